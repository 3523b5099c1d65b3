# SPDX-License-Identifier: Apache-2.0
"""When to ask for the next chunk."""

from __future__ import annotations

import math

SHARES = 100
"""g is looked for in steps of 1/100."""


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


def starvation_reason(
    latency_p50: float,
    latency_p95: float,
    share: float,
    chunk_size: int,
    period: float,
    offered: int = 0,
) -> str:
    """Return why the queue runs dry and what to do about it.

    Args:
        latency_p50: from request to usable chunk, mostly [s].
        latency_p95: the same, at worst [s].
        share: g, the parameter chunk_size_threshold.
        chunk_size: rows of a chunk that are used.
        period: time between two rows [s].
        offered: rows of a chunk before actions_per_chunk cut it; 0 where that is not known.
    """
    hidden = hidden_latency(share, chunk_size, period)
    half = hidden_latency(1.0, chunk_size, period)
    ticks = 0 if math.isnan(latency_p95) else math.ceil(latency_p95 / period - 1e-9) + 1
    least = least_threshold(ticks, chunk_size)
    if not latency_p95 > hidden or (latency_p50 <= hidden and least is None):
        return (
            f"the policy mostly answers in time ({latency_p50:.2f} s), but now and then not "
            f"before the queue is empty (after {hidden:.2f} s): look at the load of its machine "
            "(top, nvidia-smi) and at the network"
        )
    message = f"the policy takes {latency_p95:.2f} s, the queue reaches {hidden:.2f} s: "
    if least is not None:
        return message + f"raise chunk_size_threshold (g) to {least:.2f} or more"
    message += f"no chunk_size_threshold (g) hides more than half a chunk ({half:.2f} s); "
    longer = f"chunks of {2 * ticks} actions or more"
    if offered >= 2 * ticks:
        longer = f"actions_per_chunk of {2 * ticks} or more (the policy's chunks have {offered})"
    also = " with chunk_size_threshold 0.5" if share < 0.5 else ""
    return message + (
        f"it takes {longer}{also}, a faster device, or a smaller network or number type (dtype)"
    )
