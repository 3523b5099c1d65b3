# SPDX-License-Identifier: Apache-2.0
"""The active command at an instant: the last one that came before it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray
from smolvla_core.joints import JointOrder
from smolvla_core.observation import Missing


@dataclass(frozen=True)
class Silent(Missing):
    """Nobody commands, or nobody does any more; nothing is wrong with what came."""


@dataclass(frozen=True)
class _Command:
    """Positions (points, joints) [rad] at times (points,) [s] after `start`."""

    start: float
    times: NDArray[np.float64]
    positions: NDArray[np.float64]

    @property
    def end(self) -> float:
        """When its last point is reached; from then on it only grows older."""
        return self.start + float(self.times[-1])

    def at(self, now: float) -> NDArray[np.float64]:
        """Positions (joints,); before the first point that point, after the last the last."""
        columns = self.positions.T
        return np.array([np.interp(now - self.start, self.times, column) for column in columns])


class CommandBuffer:
    """Keeps the active command. A bad one is told once, at the next look.

    It may come in parts, as where arm and gripper have controllers of their own.

    Args:
        joints: names, the order of all positions.
        max_age: a command older than this is stale [s]; 0: it holds until the next one. It
            may be changed at any time.
        source: name of the commands in messages, with their topic.

    Raises:
        ValueError: a joint is named twice.
    """

    def __init__(self, joints: Sequence[str], max_age: float, source: str) -> None:
        self._order = JointOrder(joints)
        self.max_age = max_age
        self._source = source
        self._commands: dict[tuple[int, ...], _Command] = {}  # by the joints that they are of
        self._bad = ""
        self._bad_is_newest = False

    def add(self, positions: ArrayLike, now: float, names: Sequence[str] | None = None) -> str:
        """Take a command that came at `now` [s, monotonic].

        Args:
            positions: (joints,) [rad].
            now: when it came.
            names: of `positions`; without, they are in the order of `joints`.

        Returns:
            Why it is no command, empty when it is one.
        """
        rows = np.asarray(positions, dtype=np.float64).reshape(1, -1)
        return self._take(now, [0.0], rows, names)

    def add_trajectory(
        self, names: Sequence[str], times: ArrayLike, positions: ArrayLike, start: float
    ) -> str:
        """Take a trajectory; between its points the command runs in a straight line.

        Args:
            names: of the columns.
            times: (points,) [s] after `start`, ascending.
            positions: (points, len(names)) [rad].
            start: when it begins [s, monotonic].

        Returns:
            Why it is no command, empty when it is one.
        """
        return self._take(start, times, positions, names)

    def reject(self, problem: str) -> str:
        """Take note of a message that holds no command, and why. Returns `problem`."""
        self._bad, self._bad_is_newest = problem, True
        return problem

    def forget(self) -> None:
        """Hold no command until the next one comes."""
        self._commands.clear()

    def at(self, now: float) -> NDArray[np.float64] | Missing:
        """Return the positions (joints,) [rad] commanded at `now`, or why there are none.

        Why is `Silent` where the next command is all that is wanted.
        """
        if self._bad:
            problem = self._bad
            if not self._bad_is_newest:
                self._bad = ""
            return Missing((f"{self._source}: {problem}",))
        told = {column for columns in self._commands for column in columns}
        missing = [name for i, name in enumerate(self._order.joints) if i not in told]
        if missing:
            of = f" of {', '.join(missing)}" if told else ""
            return Silent((f"{self._source}: none{of} yet: is the arm being commanded?",))
        age = max(now - command.end for command in self._commands.values())
        if self.max_age and age > self.max_age:
            return Silent(
                (
                    f"{self._source}: newest is {age:.2f} s old, more than {self.max_age:g} s: "
                    "is the arm still being commanded?",
                )
            )
        positions = np.empty(len(self._order.joints))
        for columns, command in self._commands.items():
            positions[list(columns)] = command.at(now)
        return positions

    def _take(
        self, start: float, times: ArrayLike, positions: ArrayLike, names: Sequence[str] | None
    ) -> str:
        instants = np.asarray(times, dtype=np.float64)
        if not instants.size:
            return self.reject("a trajectory without points")
        if not np.isfinite(instants).all() or (np.diff(instants) <= 0).any():
            return self.reject("the times of a trajectory do not ascend")
        try:
            if names is None:
                names = self._order.joints
            columns, picked = self._order.some(names, positions)
        except ValueError as error:
            return self.reject(str(error))
        if not columns.size:
            return self.reject(f"none of the joints among {', '.join(names)}")
        self._commands[tuple(columns)] = _Command(start, instants, picked)
        self._bad_is_newest = False
        return ""
