# SPDX-License-Identifier: Apache-2.0
"""The last gate before the arm: every command passes `Guard.limit`."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from smolvla_core.node_settings import ExecutorSettings

from smolvla_executor.core.chunk_queue import Chunk, chunk_problem

MAX_EXCESS = 2.0 * math.pi
"""A chunk with an action farther than this beyond the position limits is refused as a whole [rad]:
that is a mistake in units, not a motion."""
ROUNDING = 1e-6
"""A command that changes by no more than this [rad] was rounded, not limited."""
_LIMITS = {
    "position": "lower and upper of the robot file",
    "step": "max_speed, max_step, speed of the robot file",
    "tracking": "max_tracking_error",
}
"""The parameters behind each kind of limit, for the log."""


@dataclass(frozen=True)
class Limited:
    """One joint of one command that the guard changed.

    Attributes:
        kind: ``position``, ``step`` (speed or step) or ``tracking``.
        joint: its name.
        wanted: what was asked for [rad].
        given: the command instead [rad].
    """

    kind: str
    joint: str
    wanted: float
    given: float

    def __str__(self) -> str:
        by = _LIMITS.get(self.kind, self.kind)
        return f"{self.joint}: {self.wanted:.3f} rad limited to {self.given:.3f} ({by})"


class Guard:
    """Keeps commands finite, within the joints' limits and slow enough.

    Where limits conflict, speed wins: an arm that stands outside its position limits is led
    back inside at a bounded speed, and is never led farther out.

    Attributes:
        max_speed: (joints,) largest speed of the command [rad/s], that of `max_step` included.
        limited_commands: how many were changed.

    Args:
        settings: whose limits count. The speed limit is applied per cycle of nominal length, so
            that a cycle that came late is no excuse for a larger step. A joint outside its
            position limits is led back inside no faster than `approach_speed`.
    """

    def __init__(self, settings: ExecutorSettings) -> None:
        def per_joint(name: str) -> NDArray[np.float64]:
            return np.array(settings.per_joint(name), dtype=np.float64)

        self._joints = settings.joints
        self._lower, self._upper = settings.body.lower, settings.body.upper
        self._step = np.minimum(settings.speeds / settings.rate, per_joint("max_step"))
        self.max_speed = self._step * settings.rate
        self._return_step = np.minimum(self._step, settings.approach_speed / settings.rate)
        self._start_jump = per_joint("max_start_jump")
        tracking = per_joint("max_tracking_error")
        self._tracking = np.where(tracking > 0.0, tracking, np.inf)
        self.limited_commands = 0

    def chunk_problem(self, chunk: Chunk) -> str:
        """Say why a chunk must not be executed; empty when it may be."""
        problem = chunk_problem(chunk, self._joints)
        if problem:
            return problem
        beyond = np.maximum(self._lower - chunk.positions, chunk.positions - self._upper)
        row, column = np.unravel_index(int(np.argmax(beyond)), beyond.shape)
        if beyond[row, column] > MAX_EXCESS:
            return (
                f"the chunk wants {self._joints[column]} at {chunk.positions[row, column]:.2f} "
                f"rad in row {row}, {beyond[row, column]:.2f} rad beyond its limits: check the "
                "policy's units (degrees taken for radians?)"
            )
        return ""

    def approach_problem(
        self, measured: NDArray[np.float64], first_action: NDArray[np.float64]
    ) -> str:
        """Say why the arm must not move from `measured` to `first_action`, both (joints,)."""
        excess = np.abs(self.clamp(first_action) - measured) - self._start_jump
        worst = int(np.argmax(excess))
        if excess[worst] <= 0:
            return ""
        return (
            f"the first action wants {self._joints[worst]} at {first_action[worst]:.2f} rad, "
            f"but it stands at {measured[worst]:.2f} rad, farther away than the largest start "
            f"jump ({self._start_jump[worst]:.2f} rad): bring the arm nearer to where the policy "
            "expects it, or check the units and zero positions"
        )

    def clamp(self, positions: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return `positions` (joints,) within the position limits."""
        return np.minimum(np.maximum(positions, self._lower), self._upper)

    def limit(
        self,
        wanted: NDArray[np.float64],
        previous: NDArray[np.float64],
        measured: NDArray[np.float64],
    ) -> tuple[NDArray[np.float64], tuple[Limited, ...]]:
        """Return the command (joints,) to publish and what was changed on `wanted`.

        Args:
            wanted: (joints,) [rad].
            previous: the command before, or the measured position when there is none.
            measured: (joints,) [rad].

        Raises:
            ValueError: `wanted` is not finite. Nothing may be published then.
        """
        if not np.isfinite(wanted).all():
            raise ValueError(f"the command is not finite: {wanted.tolist()}")
        leashed = np.minimum(
            np.maximum(wanted, measured - self._tracking), measured + self._tracking
        )
        inside = self.clamp(leashed)
        outside = self.clamp(previous) != previous
        step = np.where(outside, self._return_step, self._step)
        command = np.minimum(np.maximum(inside, previous - step), previous + step)
        if np.abs(command - wanted).max() <= ROUNDING:
            return command, ()
        self.limited_commands += 1
        return command, self._explain(wanted, leashed, inside, command)

    def _explain(
        self,
        wanted: NDArray[np.float64],
        leashed: NDArray[np.float64],
        inside: NDArray[np.float64],
        command: NDArray[np.float64],
    ) -> tuple[Limited, ...]:
        stages = (
            ("tracking", wanted, leashed),
            ("position", leashed, inside),
            ("step", inside, command),
        )
        return tuple(
            Limited(kind, self._joints[i], float(wanted[i]), float(command[i]))
            for kind, before, after in stages
            for i in np.flatnonzero(np.abs(after - before) > ROUNDING)
        )
