# SPDX-License-Identifier: Apache-2.0
"""From runs to rows of the table, with confidence intervals, and what they have to show."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from smolvla_core.latency import percentile

from smolvla_sim.bench.runs import CLAIM_DELAY, Cell
from smolvla_sim.play.measures import (
    Interval,
    bootstrap_mean,
    bootstrap_ratio,
    clopper_pearson,
    mean,
)
from smolvla_sim.play.policies import PolicyFacts

Result = Mapping[str, Any]

CUBES_RATIO = 2.0
"""So many times the cubes of synchronous execution in the same time."""

SUCCESS_LOSS = 0.03
"""At most so much less success, as a share."""

LASTING = {600: 0.9, 1000: 0.8}
"""Delay [ms] -> share of the undelayed success that asynchronous execution has to keep."""

PAPER = (
    "SmolVLA paper (arXiv 2506.01844, figure 5; a real SO-100, chunks of 50 at 30 Hz): "
    "13.75 → 9.70 s per task, 9 → 19 cubes in 60 s, success 78.3 → 73.3 %, sync → async"
)


@dataclass(frozen=True)
class Row:
    """A cell of the matrix, over all seeds; intervals are of 95 %.

    Attributes:
        cell: which.
        episodes: single tasks.
        successes: those of them that were done in time.
        success_interval: Clopper and Pearson's, 0 to 1.
        seconds: mean time of the tasks that were done [s]; NaN for none.
        seconds_interval: bootstrap over seeds [s].
        minutes: runs of continuous operation.
        cubes: of each of them, in the order of the seeds.
        cubes_mean: their mean.
        cubes_interval: bootstrap over seeds.
        failed: tasks of continuous operation that were not done in time, mean.
        starved: share of the control cycles without an action.
        approaching: share of the control cycles that led to the first action after a pause.
        ages: p50, p95 and p99 of the age of the executed actions [ms].
        jumps: p50, p95 and the largest jump at the seams [degrees]; see `measures.seam_jumps`.
        refusals: how often the policy refused.
    """

    cell: Cell
    episodes: int
    successes: int
    success_interval: Interval
    seconds: float
    seconds_interval: Interval
    minutes: int
    cubes: tuple[int, ...]
    cubes_mean: float
    cubes_interval: Interval
    failed: float
    starved: float
    approaching: float
    ages: tuple[float, ...]
    jumps: tuple[float, ...]
    refusals: int

    @property
    def success(self) -> float:
        """Share of the single tasks that were done."""
        return self.successes / self.episodes

    @property
    def name(self) -> str:
        """Of the execution."""
        return self.cell.execution.name

    def plain(self) -> dict[str, Any]:
        """Return the row for JSON, which has no NaN: null instead."""
        values = {name: _plain(value) for name, value in vars(self).items() if name != "cell"}
        return {"name": self.name, **self.cell.key, "success": self.success, **values}


def _plain(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_plain(part) for part in value]
    return None if isinstance(value, float) and math.isnan(value) else value


def row(cell: Cell, episodes: Sequence[Result], minutes: Sequence[Result]) -> Row:
    """Return the row of a cell, from at least one single task."""
    successes = sum(bool(run["success"]) for run in episodes)
    times = [float(run["seconds"]) for run in episodes if run["success"]]
    cubes = tuple(int(run["cubes"]) for run in minutes)
    # Continuous operation is mostly motion; single tasks begin with a wait.
    runs = list(minutes) or list(episodes)
    cycles = sum(run["cycles"] for run in runs)
    ages: Counter[str] = Counter()
    for run in runs:
        ages.update(run["ages_ms"])
    jumps = [float(jump) for run in runs for jump in run["seam_jumps_deg"]]
    return Row(
        cell=cell,
        episodes=len(episodes),
        successes=successes,
        success_interval=clopper_pearson(successes, len(episodes)),
        seconds=mean(times),
        seconds_interval=bootstrap_mean(times),
        minutes=len(minutes),
        cubes=cubes,
        cubes_mean=mean(cubes),
        cubes_interval=bootstrap_mean(cubes),
        failed=mean([run["failed"] for run in minutes]),
        starved=sum(run["starved"] for run in runs) / max(cycles, 1),
        approaching=sum(run["approaching"] for run in runs) / max(cycles, 1),
        ages=_percentiles([float(age) for age in ages.elements()], (0.50, 0.95, 0.99)),
        jumps=_percentiles(jumps, (0.50, 0.95, 1.0)),
        refusals=sum(run["refusals"] for run in [*episodes, *minutes]),
    )


def _percentiles(values: Sequence[float], shares: Sequence[float]) -> tuple[float, ...]:
    ordered = sorted(values)
    return tuple(percentile(ordered, share) for share in shares)


@dataclass(frozen=True)
class Criterion:
    """What asynchronous execution has to show.

    Attributes:
        text: what is asked for and what was measured.
        passed: whether it is met.
    """

    text: str
    passed: bool

    def __str__(self) -> str:
        return f"{'PASS' if self.passed else 'FAIL'}  {self.text}"


def synchronous(rows: Sequence[Row]) -> Row | None:
    """Return LeRobot's way, synchronous with ``n_action_steps``: the first synchronous row at
    `CLAIM_DELAY`.
    """
    return next(iter(_judged(rows, synchronous=True)), None)


def _judged(rows: Sequence[Row], *, synchronous: bool) -> list[Row]:
    return [
        row
        for row in rows
        if row.cell.delay_ms == CLAIM_DELAY
        and not row.cell.jitter
        and row.cell.execution.synchronous is synchronous
    ]


def best_asynchronous(rows: Sequence[Row]) -> Row | None:
    """Return the asynchronous row at `CLAIM_DELAY` with the most cubes among those with enough
    success.

    Where none has enough success, the most cubes alone count.
    """
    sync, found = synchronous(rows), _judged(rows, synchronous=False)
    if sync is None or not found:
        return None
    enough = sync.success - SUCCESS_LOSS - 1e-9
    return max(found, key=lambda r: (r.success >= enough, r.cubes_mean, r.success))


def comparisons(
    rows: Sequence[Row], sync: Row, best: Row, facts: PolicyFacts, fps: float
) -> list[str]:
    """Return notes on the criteria: what waiting can explain, and the other synchronous rows.

    Args:
        rows: of the table.
        sync: the judged synchronous row.
        best: the judged asynchronous row.
        facts: of the policy.
        fps: actions per second.
    """
    motion = 1e3 * (sync.cell.execution.actions_per_chunk or facts.chunk_size) / fps
    text = [
        f"{sync.name} moves for {motion:.0f} ms and waits for {CLAIM_DELAY} ms: an arm that never "
        f"waits moves {1 + CLAIM_DELAY / motion:.2f} times as long. More than that would be due "
        "to something else."
    ]
    return text + [
        f"Against {other.name} at {CLAIM_DELAY} ms {best.name} gets "
        f"{best.cubes_mean / other.cubes_mean:.2f} times the cubes, with a success of "
        f"{100 * best.success:.1f} against {100 * other.success:.1f} %."
        for other in _judged(rows, synchronous=True)
        if other is not sync and other.cubes_mean > 0
    ]


def criteria(sync: Row, best: Row) -> list[Criterion]:
    """Return the criteria of two rows with the same seeds; none without continuous operation."""
    if not sync.minutes:
        return []
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = float(np.divide(best.cubes_mean, sync.cubes_mean))
    low, high = bootstrap_ratio(best.cubes, sync.cubes)
    gain = best.success - sync.success
    return [
        Criterion(
            f"at {sync.cell.delay_ms} ms {best.name} gets {best.cubes_mean:.2f} cubes in the "
            f"same time, {sync.name} {sync.cubes_mean:.2f}: {ratio:.2f} times as many "
            f"(95 % CI {low:.2f}–{high:.2f}); asked for are {CUBES_RATIO:g}",
            ratio >= CUBES_RATIO,
        ),
        Criterion(
            f"at {sync.cell.delay_ms} ms {best.name} succeeds in {100 * best.success:.1f} %, "
            f"{sync.name} in {100 * sync.success:.1f} %: {100 * gain + 0.0:+.1f} points; at most "
            f"{100 * SUCCESS_LOSS:g} fewer are allowed",
            gain >= -SUCCESS_LOSS - 1e-9,
        ),
    ]


def lasting(rows: Sequence[Row]) -> list[Criterion]:
    """Return the criteria of success under long delays, beside synchronous execution undelayed."""
    undelayed = [row for row in rows if row.cell.delay_ms == 0 and row.cell.execution.synchronous]
    found = []
    for delay, share in LASTING.items() if undelayed else ():
        there = [
            row
            for row in rows
            if row.cell.delay_ms == delay
            and not row.cell.jitter
            and not row.cell.execution.synchronous
        ]
        if there:
            best = max(there, key=lambda row: (row.success, -row.seconds))
            kept = best.success / max(undelayed[-1].success, 1e-9)
            found.append(
                Criterion(
                    f"at {delay} ms {best.name} keeps {100 * kept:.0f} % of the success of "
                    f"{undelayed[-1].name} without delay ({100 * best.success:.1f} of "
                    f"{100 * undelayed[-1].success:.1f} %); asked for are {100 * share:g} %",
                    kept >= share,
                )
            )
    return found
