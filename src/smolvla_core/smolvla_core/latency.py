# SPDX-License-Identifier: Apache-2.0
"""How long answers take, and from it when to request the next chunk."""

from __future__ import annotations

import math
from collections import deque

SHARES = 100
"""g is looked for in steps of 1/100."""
LEAST = 0.3
"""The least g that `best_threshold` chooses. With 0.3 as many tasks succeed as with the paper's
0.7, or more (docs/reference/sync_async.md), and a chunk is computed half as often."""
SPARE = 0.1
"""Share of a chunk for an answer that takes longer than those before."""
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


def wants_chunk(share: float, queued: int, chunk_size: int) -> bool:
    """Whether the next chunk is to be requested (SmolVLA, arXiv 2506.01844, algorithm 1).

    Args:
        share: the threshold g. 0 asks when the queue is empty (synchronous), between 0 and 1 when
            less than that share of a chunk is left, 1 after every executed action.
        queued: actions that are known; the first of them begins right now and is therefore not
            counted among those that are left.
        chunk_size: rows of the newest chunk.
    """
    return queued == 0 or queued - 1 < share * chunk_size


def hidden_latency(share: float, chunk_size: int, period: float) -> float:
    """Return the longest latency that never lets the queue run dry [s].

    A chunk is asked for when `share` of one is left, so it may take that long. It may never take
    longer than half a chunk: one that arrives d ticks after it was asked for leaves n - d
    actions, and the next one takes d ticks again.

    Args:
        share: g.
        chunk_size: n, rows of a chunk.
        period: time between two rows [s].
    """
    return min(share, 0.5) * chunk_size * period


def least_threshold(delay: int, rows: int) -> float | None:
    """Return the least g with which the queue lasts until the next chunk is there.

    Args:
        delay: actions that pass while a chunk is made.
        rows: actions of a chunk that are used.

    Returns:
        In steps of 0.01; None where no g is enough: a chunk that comes `delay` actions late
        has only ``rows - delay`` left, and these must last as long again.
    """
    if delay > rows - delay:
        return None
    shares = (step / SHARES for step in range(SHARES + 1))
    # The queue shrinks by one an action, so it is asked for when as many are left, or earlier.
    return next((share for share in shares if wants_chunk(share, delay, rows)), None)


def best_threshold(delay: int, chunk_size: int, state_offset: int = 0) -> float:
    """Return the g with which the arm moves most.

    Where no queue outlasts the delay, the arm moves and waits by turns. With q of n rows left at
    the request, q are executed meanwhile, ``n - 2 q`` after, and then it is asked again: the arm
    moves for ``n - q`` of ``n - 2 q + delay`` ticks. That grows with q where the delay is shorter
    than a chunk; else it is most with q = 0.

    Args:
        delay: actions that pass while a chunk is made.
        chunk_size: actions of a chunk that is asked for at standstill.
        state_offset: one asked for in motion has up to so many more, see ``ActionChunk``.

    Returns:
        0 for synchronous execution, else `LEAST` or more.
    """
    rows = chunk_size + min(delay, state_offset)
    least = least_threshold(delay, rows)
    if least is not None:
        return min(1.0, max(LEAST, least + SPARE))
    return 0.5 if delay < rows else 0.0  # more than half a chunk never helps


def starvation_reason(
    latency_p50: float,
    latency_p95: float,
    share: float,
    chunk_size: int,
    period: float,
    offered: int = 0,
    *,
    chosen: bool = False,
) -> str:
    """Return why the queue runs dry and what to do about it.

    Args:
        latency_p50: from request to usable chunk, mostly [s].
        latency_p95: the same, at worst [s].
        share: g, the parameter chunk_size_threshold.
        chunk_size: rows of a chunk that are used.
        period: time between two rows [s].
        offered: rows of a chunk before actions_per_chunk cut it; 0 where that is not known.
        chosen: `share` is that of `best_threshold`.
    """
    share = 0.5 if chosen else share
    hidden = hidden_latency(share, chunk_size, period)
    half = hidden_latency(1.0, chunk_size, period)
    ticks = 0 if math.isnan(latency_p95) else math.ceil(latency_p95 / period - 1e-9) + 1
    least = least_threshold(ticks, chunk_size)
    if not latency_p95 > hidden or (latency_p50 <= hidden and (least is None or chosen)):
        return (
            f"the policy mostly answers in time ({latency_p50:.2f} s), but now and then not "
            f"before the queue is empty (after {hidden:.2f} s): look at the load of its machine "
            "(top, nvidia-smi) and at the network"
        )
    message = f"the policy takes {latency_p95:.2f} s, the queue reaches {hidden:.2f} s: "
    if least is not None and not chosen:
        return message + f"raise chunk_size_threshold (g) to {least:.2f} or more"
    message += f"no chunk_size_threshold (g) hides more than half a chunk ({half:.2f} s); "
    longer = f"chunks of {2 * ticks} actions or more"
    if offered >= 2 * ticks:
        longer = f"actions_per_chunk of {2 * ticks} or more (the policy's chunks have {offered})"
    also = " with chunk_size_threshold 0.5" if share < 0.5 else ""
    if ticks <= chunk_size:
        also += f", a checkpoint trained for the delay (smolvla train --state-offset {ticks})"
    return message + (
        f"it takes {longer}{also}, a faster device, or a smaller network or number type (dtype)"
    )
