# SPDX-License-Identifier: Apache-2.0
"""The cells of the table: how chunks are executed, and how long the policy takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from smolvla_core.node_settings import ExecutorSettings

from smolvla_sim.play.execution import NO_APPROACH, USUAL_AGGREGATE, USUAL_G, Execution

G_SHARES = (0.3, 0.5, 0.7, 0.9)
RTC = "rtc"
"""Real-time chunking, among the ways of blending: the policy blends and the executor replaces."""
BLENDS = ("latest", "weighted", "average", "conservative", "temporal_ensemble", RTC)
DELAYS = (0, 100, 300, 600)
CLAIM_DELAY = 300
"""The delay [ms] at which synchronous and asynchronous execution are judged."""


@dataclass(frozen=True)
class Cell:
    """An execution at a delay.

    Attributes:
        execution: how chunks are executed.
        delay_ms: simulated time from an observation to its chunk [ms].
    """

    execution: Execution
    delay_ms: int

    @property
    def key(self) -> dict[str, Any]:
        """Plain data that tells it from every other cell."""
        return {**asdict(self.execution), "delay_ms": self.delay_ms}


def executions(
    n_action_steps: int,
    chunk_size: int,
    g_shares: Sequence[float] = G_SHARES,
    blends: Sequence[str] = BLENDS,
) -> tuple[Execution, ...]:
    """Return what is compared: a part of all combinations, as time is not for free.

    Synchronous with `n_action_steps` and with the whole chunk, both without an approach after
    a hold, which would slow down what others do not have; every share of `g_shares` with one
    way of blending (weighted, or the first of `blends`) and with real-time chunking; and every
    way of `blends` with one share (0.7, or the first of `g_shares`). All go on in a chunk by
    pose, as `executor_node` does; one goes on by tick for comparison.

    Raises:
        ValueError: a share is not within 0..1, or a way of blending unknown.
    """
    for g in g_shares:
        if not 0.0 < g <= 1.0:
            raise ValueError(f"g is {g:g}; asynchronous execution needs 0 < g <= 1")
    for name in blends:
        if name != RTC:
            ExecutorSettings(aggregate=name)
    g_shares = tuple(dict.fromkeys(g_shares))
    found = [Execution(0.0, actions_per_chunk=n_action_steps, resume_jump=NO_APPROACH)]
    if n_action_steps < chunk_size:
        found.append(Execution(0.0, resume_jump=NO_APPROACH))
    if g_shares and blends:
        one_g = USUAL_G if USUAL_G in g_shares else g_shares[0]
        one_way = USUAL_AGGREGATE if USUAL_AGGREGATE in blends else blends[0]
        ways = dict.fromkeys((one_way, *blends))
        found += [
            _asynchronous(g, name)
            for name in ways
            for g in (g_shares if name in (one_way, RTC) else (one_g,))
        ]
        if one_way != RTC:
            found.append(Execution(one_g, one_way, alignment="tick"))
    return tuple(found)


def _asynchronous(g: float, blend: str) -> Execution:
    return Execution(g, "latest", real_time_chunking=True) if blend == RTC else Execution(g, blend)


def cells(compared: Sequence[Execution], delays_ms: Sequence[int]) -> tuple[Cell, ...]:
    """Return every execution at every delay, delays slowest.

    Raises:
        ValueError: a delay is negative.
    """
    for delay in delays_ms:
        if delay < 0:
            raise ValueError(f"a delay is {delay} ms; it must be 0 or more")
    return tuple(
        Cell(execution, delay) for delay in dict.fromkeys(delays_ms) for execution in compared
    )
