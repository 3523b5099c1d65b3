# SPDX-License-Identifier: Apache-2.0
"""From runs to rows of the table, with confidence intervals."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from smolvla_sim.bench.cells import Cell
from smolvla_sim.bench.results import Figures
from smolvla_sim.play.intervals import Interval, bootstrap_mean, clopper_pearson, mean
from smolvla_sim.play.trace import counted, percentiles


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
        jumps: p50, p95 and the largest jump at the seams [degrees]; see `trace.seam_jumps`.
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


def row(cell: Cell, episodes: Sequence[Figures], minutes: Sequence[Figures]) -> Row:
    """Return the row of a cell, from at least one single task.

    Args:
        cell: which.
        episodes: figures of its single tasks, in the order of the seeds.
        minutes: figures of its continuous operation; may be none.
    """
    successes = sum(bool(run["success"]) for run in episodes)
    times = [float(run["seconds"]) for run in episodes if run["success"]]
    cubes = tuple(int(run["cubes"]) for run in minutes)
    # Continuous operation is mostly motion; single tasks begin with a wait.
    runs = list(minutes) or list(episodes)
    cycles = sum(run["cycles"] for run in runs)
    ages: Counter[str] = Counter()
    for run in runs:
        ages.update(run["ages_ms"])
    jumps = np.concatenate([np.asarray(run["seam_jumps_deg"], dtype=np.float64) for run in runs])
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
        ages=percentiles(counted(ages), (0.50, 0.95, 0.99)),
        jumps=percentiles(jumps, (0.50, 0.95, 1.0)),
        refusals=sum(run["refusals"] for run in [*episodes, *minutes]),
    )
