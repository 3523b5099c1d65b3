# SPDX-License-Identifier: Apache-2.0
"""Commands between the actions, and the way to the first one."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
from numpy.typing import NDArray

MAX_DENOMINATOR = 10_000
MIN_JERK_PEAK = 1.875
"""Peak speed of a minimum-jerk motion over its mean speed (30/16)."""


class Upsampler:
    """Says in which control cycle an action begins and how far it has gone.

    Counting is in integers: an action lasts ``cycles`` = n/d control cycles, a phase grows by
    d each cycle and an action begins when it reaches n. So nothing drifts, however long it
    runs, and at rates that divide each other the fraction is exactly 0 at every action.
    The rate and the period are first rounded to a ratio with a denominator of at most
    `MAX_DENOMINATOR` (relative error below 1e-8), which makes the 33333333 ns of a message
    the thirtieth of a second that was meant.

    A cycle that came late delays the actions that follow; it never makes them jump.

    Args:
        control_rate: control cycles per second [Hz].
        period: time between two actions [s].

    Raises:
        ValueError: there are fewer control cycles than actions.
    """

    def __init__(self, control_rate: float, period: float) -> None:
        cycles = Fraction(control_rate * period).limit_denominator(MAX_DENOMINATOR)
        if cycles < 1:
            raise ValueError(
                f"actions are {period:.6g} s apart, but control runs at {control_rate:g} Hz "
                f"only: raise the control rate to {1 / period:.4g} Hz or more"
            )
        self.period = period
        self._length = cycles.numerator
        self._step = cycles.denominator
        self._phase = self._length

    @property
    def due(self) -> bool:
        """Whether the next action begins in this cycle."""
        return self._phase >= self._length

    @property
    def fraction(self) -> float:
        """How much of the current action's period is over, in [0, 1)."""
        return self._phase / self._length

    def begin(self) -> None:
        """Begin the action that is due."""
        self._phase -= self._length

    def wait(self) -> None:
        """No action is known: the next one begins, at its very start, when there is one."""
        self._phase = self._length

    def advance(self) -> None:
        """End this control cycle."""
        self._phase += self._step


def interpolate(
    current: NDArray[np.float64], following: NDArray[np.float64], fraction: float
) -> NDArray[np.float64]:
    """Go from one action (joints,) to the next; bit for bit `current` at fraction 0."""
    if fraction == 0.0:
        return current.copy()
    return current + fraction * (following - current)


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

    def advance(self) -> NDArray[np.float64]:
        """Return the command of the next cycle (joints,) [rad]; the goal exactly at the end."""
        self._cycle = min(self._cycle + 1, self.cycles)
        if self.done:
            return self.goal.copy()
        s = self.progress
        return self.start + (self.goal - self.start) * (s**3 * (10.0 - 15.0 * s + 6.0 * s**2))
