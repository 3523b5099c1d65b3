# SPDX-License-Identifier: Apache-2.0
"""The position profile of the servos: commands become set points with limited speed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]


class ServoProfile:
    """Follows a held command with limited speed and acceleration, as an STS3215 does.

    Args:
        lower: (joints,) lower joint limits, radians.
        upper: (joints,) upper joint limits, radians.
        speed: (joints,) highest speeds, rad/s.
        acceleration: (joints,) ramps, rad/s^2.
        period: seconds between two calls of `advance`.
    """

    def __init__(
        self, lower: Array, upper: Array, speed: Array, acceleration: Array, period: float
    ) -> None:
        self._lower = lower
        self._upper = upper
        self._speed = speed
        self._acceleration = acceleration
        self._period = period
        self._target = np.clip(np.zeros_like(lower), lower, upper)
        self._position = self._target.copy()
        self._velocity = np.zeros_like(lower)

    @property
    def target(self) -> Array:
        """(joints,) the held command after clamping to the joint limits, radians."""
        return self._target.copy()

    def reset(self, positions: Array) -> None:
        """Stand still at `positions`, (joints,) radians."""
        self._target = np.clip(positions, self._lower, self._upper)
        self._position = self._target.copy()
        self._velocity = np.zeros_like(self._position)

    def command(self, positions: Array) -> None:
        """Hold a new command, (joints,) radians; clamped to the joint limits."""
        self._target = np.clip(positions, self._lower, self._upper)

    def advance(self) -> Array:
        """Move the set point by one period and return it, (joints,) radians."""
        error = self._target - self._position
        distance = np.abs(error)
        # The fastest speed from which the ramp still stops at the target.
        wanted = np.minimum(self._speed, np.sqrt(2.0 * self._acceleration * distance))
        wanted = np.sign(error) * np.minimum(wanted, distance / self._period)
        step = self._acceleration * self._period
        self._velocity = np.clip(wanted, self._velocity - step, self._velocity + step)
        self._position = self._position + self._velocity * self._period
        # The ramp's last step may cross the target by rounding; the servo stops on it.
        crossed = (self._target - self._position) * error < 0.0
        self._position = np.where(crossed, self._target, self._position)
        self._velocity = np.where(crossed, 0.0, self._velocity)
        return np.clip(self._position, self._lower, self._upper)
