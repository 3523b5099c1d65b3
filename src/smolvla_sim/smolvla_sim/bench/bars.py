# SPDX-License-Identifier: Apache-2.0
"""What asynchronous execution has to achieve, and whether it does."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from smolvla_sim.bench.cells import CLAIM_DELAY
from smolvla_sim.bench.summary import Row
from smolvla_sim.play.intervals import bootstrap_ratio
from smolvla_sim.play.policies import PolicyFacts

CUBES_RATIO = 1.8
"""So many times the cubes of synchronous execution in the same time."""

SUCCESS_LOSS = 0.03
"""At most so much less success, as a share."""

PAPER = (
    "SmolVLA paper (arXiv 2506.01844, figure 5; a real SO-100, chunks of 50 at 30 Hz): "
    "13.75 → 9.70 s per task, 9 → 19 cubes in 60 s, success 78.3 → 73.3 %, sync → async"
)


@dataclass(frozen=True)
class Bar:
    """One bar.

    Attributes:
        words: what is asked for and what was measured.
        passed: whether it is met.
    """

    words: str
    passed: bool

    def __str__(self) -> str:
        return f"{'PASS' if self.passed else 'FAIL'}  {self.words}"


def synchronous(rows: Sequence[Row], delay_ms: int = CLAIM_DELAY) -> Row | None:
    """Return LeRobot's way, synchronous with ``n_action_steps``: the first synchronous row."""
    found = (r for r in rows if r.cell.delay_ms == delay_ms and r.cell.execution.synchronous)
    return next(found, None)


def best_asynchronous(rows: Sequence[Row], delay_ms: int = CLAIM_DELAY) -> Row | None:
    """Return the asynchronous row with the most cubes among those with enough success.

    Where none has enough success, the most cubes alone count.
    """
    sync = synchronous(rows, delay_ms)
    found = [r for r in rows if r.cell.delay_ms == delay_ms and not r.cell.execution.synchronous]
    if sync is None or not found:
        return None
    enough = sync.success - SUCCESS_LOSS - 1e-9
    return max(found, key=lambda r: (r.success >= enough, r.cubes_mean, r.success))


def beside(rows: Sequence[Row], facts: PolicyFacts, fps: float) -> list[str]:
    """Say what else is to be known of the bars: what waiting can explain, other rows.

    Args:
        rows: of the table.
        facts: of the policy.
        fps: actions per second.
    """
    delay_ms = CLAIM_DELAY
    sync, best = synchronous(rows, delay_ms), best_asynchronous(rows, delay_ms)
    if sync is None or best is None:
        return []
    motion = 1e3 * (sync.cell.execution.actions_per_chunk or facts.chunk_size) / fps
    words = [
        f"{sync.name} moves for {motion:.0f} ms and waits for {delay_ms} ms: an arm that never "
        f"waits moves {1 + delay_ms / motion:.2f} times as long. More than that would be due to "
        "something else."
    ]
    return words + [
        f"Against {other.name} at {delay_ms} ms {best.name} gets "
        f"{best.cubes_mean / other.cubes_mean:.2f} times the cubes, with a success of "
        f"{100 * best.success:.1f} against {100 * other.success:.1f} %."
        for other in rows
        if other.cell.delay_ms == delay_ms
        and other.cell.execution.synchronous
        and other is not sync
        and other.cubes_mean > 0
    ]


def bars(sync: Row, best: Row) -> list[Bar]:
    """Return the bars of two rows with the same seeds."""
    ratio = math.nan
    if sync.cubes_mean:
        ratio = best.cubes_mean / sync.cubes_mean
    elif best.cubes_mean:
        ratio = math.inf
    low, high = bootstrap_ratio(best.cubes, sync.cubes)
    gain = best.success - sync.success
    return [
        Bar(
            f"at {sync.cell.delay_ms} ms {best.name} gets {best.cubes_mean:.2f} cubes in the "
            f"same time, {sync.name} {sync.cubes_mean:.2f}: {ratio:.2f} times as many "
            f"(95 % CI {low:.2f}–{high:.2f}); asked for are {CUBES_RATIO:g}",
            ratio >= CUBES_RATIO,
        ),
        Bar(
            f"at {sync.cell.delay_ms} ms {best.name} succeeds in {100 * best.success:.1f} %, "
            f"{sync.name} in {100 * sync.success:.1f} %: {100 * gain + 0.0:+.1f} points; at most "
            f"{100 * SUCCESS_LOSS:g} fewer are allowed",
            gain >= -SUCCESS_LOSS - 1e-9,
        ),
    ]
