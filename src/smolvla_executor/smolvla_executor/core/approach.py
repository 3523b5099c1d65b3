# SPDX-License-Identifier: Apache-2.0
"""The way to a position far away: slow, and smooth at both ends."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

MIN_JERK_PEAK = 1.875
"""Peak speed of a minimum-jerk motion over its mean speed (30/16)."""


class Approach:
    """A minimum-jerk motion between two positions (Flash and Hogan 1985), cycle by cycle.

    All joints start and arrive together, at rest.

    Args:
        start: (joints,) [rad].
        goal: (joints,) [rad].
        control_rate: control cycles per second [Hz].
        max_speed: no joint is faster than this [rad/s]; one number, or (joints,).
        min_duration: it takes at least this long [s].
    """

    def __init__(
        self,
        start: NDArray[np.float64],
        goal: NDArray[np.float64],
        control_rate: float,
        max_speed: float | NDArray[np.float64],
        min_duration: float,
    ) -> None:
        self.start = start.copy()
        self.goal = goal.copy()
        longest = float(np.max(np.abs(goal - start) / max_speed))
        self.duration = max(min_duration, MIN_JERK_PEAK * longest)
        self.cycles = max(1, int(np.ceil(self.duration * control_rate - 1e-9)))
        self._cycle = 0

    @property
    def progress(self) -> float:
        """Share of the time that is over, in [0, 1]."""
        return self._cycle / self.cycles

    @property
    def done(self) -> bool:
        """Whether the goal has been commanded."""
        return self._cycle >= self.cycles

    def __str__(self) -> str:
        return f"{100 * self.progress:.0f} % of {self.duration:.1f} s"

    def advance(self, goal: NDArray[np.float64] | None = None) -> NDArray[np.float64]:
        """Return the command of the next cycle (joints,) [rad]; the goal exactly at the end.

        Args:
            goal: (joints,) where it has moved to [rad]; None: nowhere.
        """
        if goal is not None:
            self.goal = goal
        self._cycle = min(self._cycle + 1, self.cycles)
        if self.done:
            return self.goal.copy()
        s = self.progress
        return self.start + (self.goal - self.start) * (s**3 * (10.0 - 15.0 * s + 6.0 * s**2))
