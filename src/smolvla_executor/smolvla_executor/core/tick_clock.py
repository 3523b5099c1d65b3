# SPDX-License-Identifier: Apache-2.0
"""A fixed rate on absolute deadlines, and how well it is kept."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable

from smolvla_core.latency import percentile


class TickClock:
    """Wakes at ``start + n * period``; a late wake-up never shifts the ones that follow.

    Deadlines that have passed are skipped, not caught up: a burst of cycles would multiply
    the speed of the arm.

    Args:
        period: time between two cycles [s].
        clock: returns the time [s], monotonic.
        sleep: sleeps for so many seconds; may return early.

    Raises:
        ValueError: `period` is not greater than 0.
    """

    def __init__(
        self, period: float, clock: Callable[[], float], sleep: Callable[[float], None]
    ) -> None:
        if not math.isfinite(period) or period <= 0:
            raise ValueError(f"the period must be greater than 0 s, but is {period}")
        self._period = period
        self._clock = clock
        self._sleep = sleep
        self._start = clock()
        self._cycle = 1

    def wait(self) -> float:
        """Sleep until the next deadline that is still ahead or just due; return the time.

        A deadline less than one period ago is served at once; older ones are skipped.
        """
        late = self._clock() - self._deadline()
        if late >= self._period:
            self._cycle += int(late // self._period)
        while (remaining := self._deadline() - self._clock()) > 0:
            self._sleep(remaining)
        self._cycle += 1
        return self._clock()

    def _deadline(self) -> float:
        # A product, not a sum: rounding does not add up over hours.
        return self._start + self._cycle * self._period


class CycleStatistics:
    """Periods of the newest cycles, and overruns since `reset`.

    Lateness is judged on a grid of deadlines one nominal period apart. A cycle that begins
    more than half a period after its deadline is an overrun. The grid begins anew at an
    overrun, and at a cycle that comes early (then those before it were the late ones).

    Args:
        period: the nominal period [s].
        window: how many periods are kept.
    """

    def __init__(self, period: float, window: int = 1000) -> None:
        self._nominal = period
        self._window = window
        self.reset()

    def reset(self) -> None:
        """Forget all cycles."""
        self._periods: deque[float] = deque(maxlen=self._window)
        self._begun: float | None = None
        self._deadline = 0.0
        self.overruns = 0

    def record(self, now: float) -> None:
        """Take note that a cycle begins at `now` [s]."""
        if self._begun is None:
            self._deadline = now
        else:
            self._periods.append(now - self._begun)
        late = now - self._deadline
        if late > self._nominal / 2:
            self.overruns += 1
        if late < 0 or late > self._nominal / 2:
            self._deadline = now
        self._deadline += self._nominal
        self._begun = now

    def percentiles(self) -> tuple[float, float, float]:
        """Return the median, the 99th percentile and the maximum [s]; NaN before two cycles."""
        ordered = sorted(self._periods)
        return percentile(ordered, 0.50), percentile(ordered, 0.99), percentile(ordered, 1.0)
