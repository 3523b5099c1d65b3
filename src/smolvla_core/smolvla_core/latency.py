# SPDX-License-Identifier: Apache-2.0
"""Latency of the answers over a sliding window."""

from __future__ import annotations

import math
from collections import deque

WINDOW = 100
RECENT = 10
RATE_SPAN = 10.0
"""`EventRate` looks back so far [s]."""


def percentile(ordered: list[float], share: float) -> float:
    """Return the nearest-rank percentile of sorted numbers, NaN when there are none."""
    if not ordered:
        return math.nan
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


class LatencyWindow:
    """Times from request to usable chunk [s], of the last `WINDOW` answers."""

    def __init__(self) -> None:
        self._window: deque[float] = deque(maxlen=WINDOW)
        self.last = math.nan
        self.p50 = math.nan
        self.p95 = math.nan
        self.max = math.nan
        self._recent = 0.0

    def add(self, latency: float) -> None:
        """Take in the latency of one answer [s]."""
        self._window.append(latency)
        ordered = sorted(self._window)
        self.last = latency
        self.p50 = percentile(ordered, 0.50)
        self.p95 = percentile(ordered, 0.95)
        self.max = ordered[-1]
        recent = sorted(list(self._window)[-RECENT:])
        self._recent = recent[-2] if len(recent) > 1 else recent[-1]

    def expected_delay(self, period: float) -> int:
        """Return the ticks of `period` seconds that an answer is expected to take, rounded up.

        It is the second largest of the last `RECENT` latencies: one outlier (the first
        inference, a lost packet) does not count, a habit does. A maximum over all time, as
        in LeRobot's latency tracker, would never forget the warm-up. 0 before the first
        answer.
        """
        return math.ceil(self._recent / period - 1e-9)


class EventRate:
    """How often something has happened lately.

    Args:
        begin: since when it is counted [s].
    """

    def __init__(self, begin: float) -> None:
        self._begin = begin
        self._times: deque[float] = deque()

    def add(self, now: float) -> None:
        """Take note that it happens now [s]."""
        self._times.append(now)
        self._forget(now)

    def rate(self, now: float) -> float:
        """Return the events of the last `RATE_SPAN` seconds, or since `begin`, per second."""
        self._forget(now)
        span = min(RATE_SPAN, now - self._begin)
        return len(self._times) / span if span > 0 else 0.0

    def _forget(self, now: float) -> None:
        while self._times and self._times[0] <= now - RATE_SPAN:
            self._times.popleft()
