# SPDX-License-Identifier: Apache-2.0
"""The last gate before the arm: every command passes `Guard.limit`."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smolvla_executor.core.chunk import Chunk, chunk_problem


@dataclass(frozen=True)
class GuardConfig:
    """Limits of the commands; each is one number for all joints or one per joint.

    Attributes:
        lower: smallest position [rad].
        upper: largest position [rad].
        max_speed: largest speed of the command [rad/s].
        max_step: largest change of the command within one control cycle [rad], in addition
            to `max_speed`; None for no other bound than the speed.
        start_jump: an approach to a first action farther than this from the measured
            position is refused [rad].
        max_tracking_error: the command stays within this distance of the measured position
            [rad], which bounds how hard a blocked arm pushes; None to leave it free.
        max_excess: a chunk with an action farther than this beyond the position limits is
            refused as a whole [rad]: that is a mistake in units, not a motion.
    """

    lower: Sequence[float] | float
    upper: Sequence[float] | float
    max_speed: Sequence[float] | float = 3.0
    max_step: Sequence[float] | float | None = None
    start_jump: Sequence[float] | float = 2.0
    max_tracking_error: Sequence[float] | float | None = None
    max_excess: float = 2.0 * math.pi


ROUNDING = 1e-6
"""A command that changes by no more than this [rad] was rounded, not limited."""
_LIMITS = {
    "position": "lower_limits, upper_limits",
    "step": "max_speed, max_step",
    "tracking": "max_tracking_error",
}
"""the parameters behind each kind of limit, for the log."""
_PARAMETERS = {"lower": "lower_limits", "upper": "upper_limits", "start_jump": "max_start_jump"}
"""Fields of `GuardConfig` that the node's parameters call otherwise."""


def _parameter(field: str) -> str:
    return _PARAMETERS.get(field, field)


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

    Args:
        joints: names, for messages.
        config: the limits.
        control_rate: control cycles per second [Hz]. The speed limit is applied per cycle of
            nominal length, so that a cycle that came late is no excuse for a larger step.
        return_speed: a joint outside its position limits is led back inside no faster than this
            [rad/s]; None: than `max_speed` allows.

    Raises:
        ValueError: a limit has the wrong length, is not finite or contradicts another.
    """

    def __init__(
        self,
        joints: tuple[str, ...],
        config: GuardConfig,
        control_rate: float,
        return_speed: float | None = None,
    ) -> None:
        self._joints = joints
        self._lower = self._per_joint("lower", config.lower)
        self._upper = self._per_joint("upper", config.upper)
        for joint, lower, upper in zip(joints, self._lower, self._upper, strict=True):
            if lower >= upper:
                raise ValueError(f"the limits of {joint} leave no room: {lower} to {upper} rad")
        self._step = self._positive("max_speed", config.max_speed) / control_rate
        if config.max_step is not None:
            self._step = np.minimum(self._step, self._positive("max_step", config.max_step))
        self.max_speed = self._step * control_rate
        self._return_step = self._step
        if return_speed is not None:
            self._return_step = np.minimum(self._step, return_speed / control_rate)
        self._start_jump = self._positive("start_jump", config.start_jump)
        self._tracking: NDArray[np.float64] | None = None
        if config.max_tracking_error is not None:
            self._tracking = self._positive("max_tracking_error", config.max_tracking_error)
        self._excess = float(self._positive("max_excess", config.max_excess)[0])
        self.reset()

    def reset(self) -> None:
        """Set the counters to zero."""
        self.limited_commands = 0
        self.counts: Counter[tuple[str, str]] = Counter()
        """How often, by (kind, joint)."""

    def succeed(self, other: Guard) -> None:
        """Go on with the counters of `other`, whose limits were others."""
        self.limited_commands = other.limited_commands
        self.counts = other.counts

    def _per_joint(self, name: str, value: Sequence[float] | float) -> NDArray[np.float64]:
        array = np.asarray(value, dtype=np.float64)
        if array.ndim > 1 or array.size not in (1, len(self._joints)):
            raise ValueError(
                f"{_parameter(name)} needs one number or one for each of "
                f"{', '.join(self._joints)}, but has {array.size}"
            )
        if not np.isfinite(array).all():
            raise ValueError(f"{_parameter(name)} must be finite, but is {array.tolist()}")
        return np.broadcast_to(array, (len(self._joints),)).copy()

    def _positive(self, name: str, value: Sequence[float] | float) -> NDArray[np.float64]:
        array = self._per_joint(name, value)
        if (array <= 0).any():
            raise ValueError(f"{_parameter(name)} must be greater than 0, but is {array.tolist()}")
        return array

    def chunk_problem(self, chunk: Chunk) -> str:
        """Say why a chunk must not be executed; empty when it may be."""
        problem = chunk_problem(chunk, self._joints)
        if problem:
            return problem
        beyond = np.maximum(self._lower - chunk.positions, chunk.positions - self._upper)
        row, column = np.unravel_index(int(np.argmax(beyond)), beyond.shape)
        if beyond[row, column] > self._excess:
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
        leashed = wanted
        if self._tracking is not None:
            leashed = np.minimum(
                np.maximum(wanted, measured - self._tracking), measured + self._tracking
            )
        inside = self.clamp(leashed)
        outside = self.clamp(previous) != previous
        step = np.where(outside, self._return_step, self._step)
        command = np.minimum(np.maximum(inside, previous - step), previous + step)
        if np.abs(command - wanted).max() <= ROUNDING:
            return command, ()
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
        limited = tuple(
            Limited(kind, self._joints[i], float(wanted[i]), float(command[i]))
            for kind, before, after in stages
            for i in np.flatnonzero(np.abs(after - before) > ROUNDING)
        )
        self.limited_commands += 1
        self.counts.update((change.kind, change.joint) for change in limited)
        return limited
