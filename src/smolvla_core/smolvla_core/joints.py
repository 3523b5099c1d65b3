# SPDX-License-Identifier: Apache-2.0
"""Joints by name, never by position in a message; and positions that no one arm can have."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

TOLERANCE = 0.3
"""Two messages of one arm may differ by this much [rad], as one may have waited in a queue ..."""
JOINT_SPEED = 10.0
"""... and by this much for each second between them [rad/s]: faster turns no joint."""
STILL = 0.02
STILL_TIME = 0.5
STILL_TOLERANCE = 0.05
"""Sources that have moved less than `STILL` [rad] for `STILL_TIME` [s] may differ by this much."""
JUMPS_SPAN = 1.0
"""A jump there and back within this time [s] is no motion, nor an arm that was set elsewhere."""
CLEAR = 2.0
"""Positions are relied on again when they have fitted for so long [s]."""


class Part(NamedTuple):
    """Positions of some of the joints.

    Attributes:
        joints: (part,) where they stand in the fixed order.
        values: (part,) [rad], or (rows, part).
    """

    joints: NDArray[np.intp]
    values: NDArray[np.float64]


class JointOrder:
    """Brings named values into one fixed order.

    A message may hold the joints in any order and others besides; joint states of a robot may come
    in parts, of several publishers.

    Args:
        joints: the names wanted, in order.

    Raises:
        ValueError: a name appears twice.
    """

    def __init__(self, joints: Sequence[str]) -> None:
        self.joints = tuple(joints)
        if len(set(self.joints)) != len(self.joints):
            raise ValueError(f"the list of joints names one twice: {', '.join(self.joints)}")
        self._names: tuple[str, ...] | None = None
        self._own: NDArray[np.intp] = np.empty(0, dtype=np.intp)
        self._theirs: NDArray[np.intp] = self._own

    def indices(self, names: Sequence[str]) -> NDArray[np.intp]:
        """Return where in `names` each joint stands.

        Raises:
            ValueError: a joint is missing or named twice.
        """
        self._look(tuple(names))
        if len(self._own) < len(self.joints):
            missing = [joint for joint in self.joints if joint not in names]
            raise ValueError(
                f"no {', '.join(missing)} among the joints {', '.join(names) or '(none)'}: "
                "do both nodes have the same robot file?"
            )
        return self._theirs

    def some(self, names: Sequence[str], values: ArrayLike) -> Part:
        """Return those of the wanted joints that a message holds.

        Args:
            names: of the message.
            values: (len(names),) its positions.

        Raises:
            ValueError: names and values differ in number, a wanted joint is named twice, or its
                value is not finite.
        """
        array = np.asarray(values, dtype=np.float64)
        columns = array.shape[-1] if array.ndim else 0
        if columns != len(names):
            raise ValueError(f"{len(names)} joint names came with {columns} positions")
        self._look(tuple(names))
        picked: NDArray[np.float64] = array[..., self._theirs]
        finite = np.isfinite(picked)
        if not finite.all():
            bad = np.flatnonzero(~finite.reshape(-1, len(self._own)).all(axis=0))
            raise ValueError(
                f"the position of {', '.join(self.joints[self._own[i]] for i in bad)} is not "
                "finite"
            )
        return Part(self._own, picked)

    def pick(self, names: Sequence[str], values: ArrayLike) -> NDArray[np.float64]:
        """Return the values (joints,) of the wanted joints, all of which must be there.

        Args:
            names: of the columns of `values`.
            values: (len(names),) or, as a chunk, (rows, len(names)).

        Raises:
            ValueError: a joint is missing; or see `some`.
        """
        self.indices(names)
        return self.some(names, values).values

    def _look(self, names: tuple[str, ...]) -> None:
        """Find the joints in `names`, which seldom change."""
        if names == self._names:
            return
        twice = [joint for joint in self.joints if names.count(joint) > 1]
        if twice:
            raise ValueError(f"{', '.join(twice)} is named twice in {', '.join(names)}")
        there = [(i, names.index(joint)) for i, joint in enumerate(self.joints) if joint in names]
        self._own = np.array([own for own, _ in there], dtype=np.intp)
        self._theirs = np.array([theirs for _, theirs in there], dtype=np.intp)
        self._names = names


@dataclass
class _State:
    """Of one source, (joints,) each: positions [rad], when they came, where they have stood since
    when [s]; NaN and -inf where it has not sent them."""

    positions: NDArray[np.float64]
    times: NDArray[np.float64]
    stood: NDArray[np.float64]
    still_since: NDArray[np.float64]


class JointSources:
    """Notices two sources that contradict each other, and one whose positions jump.

    Two publishers of the same positions are no fault, nor are an arm that was moved by hand or
    one that a simulation has set elsewhere, which jumps once.

    Args:
        joints: names, for the message.
    """

    def __init__(self, joints: tuple[str, ...]) -> None:
        self._joints = joints
        self._newest: dict[str, _State] = {}
        self._jumps: deque[tuple[float, NDArray[np.float64]]] = deque()
        self._problem = ""
        self._noticed = -math.inf

    def update(self, part: Part, source: str, now: float) -> None:
        """Take the positions of a valid joint state, of all joints or some.

        Args:
            part: measured.
            source: who published them; empty where that is not known.
            now: when they came [s].
        """
        index, positions = part
        if not len(index):
            return
        self._newest = {
            name: state
            for name, state in self._newest.items()
            if 0 <= now - state.times.max() <= CLEAR
        }
        own = self._newest.get(source)
        if own is None:
            size = len(self._joints)
            own = _State(*(np.full(size, value) for value in (math.nan, -math.inf, 0.0, 0.0)))
        moved = np.isnan(own.positions[index]) | (np.abs(positions - own.stood[index]) > STILL)
        own.stood[index] = np.where(moved, positions, own.stood[index])
        own.still_since[index] = np.where(moved, now, own.still_since[index])
        for other, state in self._newest.items():
            since = np.maximum(own.still_since[index], state.still_since[index])
            still = now - since > STILL_TIME if other != source else False
            age = now - state.times[index]
            tolerance = np.where(still, STILL_TOLERANCE, TOLERANCE) + JOINT_SPEED * age
            gaps = np.where(age <= CLEAR, np.abs(positions - state.positions[index]), 0.0)
            worst = int(np.argmax(gaps - tolerance))
            if gaps[worst] <= tolerance[worst]:
                continue
            joint = index[worst]
            was, name = state.positions[joint], self._joints[joint]
            if other != source:
                self._notice(
                    f"joint states of {other} and {source or 'another source'} contradict each "
                    f"other: {name} is at {was:.2f} and at {positions[worst]:.2f} rad; end one of "
                    "the two, or give it another topic",
                    now,
                )
            elif self._returns(_jump(positions - state.positions[index], index, own), now):
                self._notice(
                    f"the joint states jump there and back: {name} from {was:.2f} to "
                    f"{positions[worst]:.2f} rad in {age[worst]:.3f} s; do two programs publish "
                    "on this topic? Else check the servo and its cable",
                    now,
                )
        own.positions[index], own.times[index] = positions, now
        self._newest[source] = own

    def problem(self, now: float) -> str:
        """Return why the positions cannot be relied on, and what to do; empty when they can."""
        # A message may have come after the control cycle's `now`: then it is negative.
        return self._problem if now - self._noticed <= CLEAR else ""

    def _returns(self, jump: NDArray[np.float64], now: float) -> bool:
        """Whether a jump goes back where one of a moment ago came from."""
        while self._jumps and now - self._jumps[0][0] > JUMPS_SPAN:
            self._jumps.popleft()
        back = any(float(jump @ earlier) < -0.5 * float(jump @ jump) for _, earlier in self._jumps)
        self._jumps.append((now, jump))
        return back

    def _notice(self, problem: str, now: float) -> None:
        if not self.problem(now):  # else the first message stays: its numbers would flicker
            self._problem = problem
        self._noticed = now


def _jump(
    change: NDArray[np.float64], index: NDArray[np.intp], state: _State
) -> NDArray[np.float64]:
    """Return the change (joints,) of joints that were known before; 0 of the others."""
    jump = np.zeros_like(state.positions)
    jump[index] = np.nan_to_num(change)
    return jump
