# SPDX-License-Identifier: Apache-2.0
"""What is measured in a run, and what is made of it over many: outcomes, shares, intervals.

A `Trace` is filled by the loop in simulated time and, from topics, by the benchmark with real
nodes, so that both measure the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy import stats

from smolvla_sim.world.tasks import Progress, Task

Interval = tuple[float, float]

SUCCESS = "success"
LIFTED = "lifted only"
WRONG_CUBE = "wrong cube touched first"
TOUCHED = "right cube touched, not lifted"
NOTHING = "nothing touched"

FAILURES = (LIFTED, WRONG_CUBE, TOUCHED, NOTHING)
"""Kinds of failure, each episode one of them, the nearest to success first."""


def outcome(task: Task, score: float, progress: Progress) -> str:
    """Return `SUCCESS` or one of `FAILURES` of an episode that ended with a score of 0 to 1."""
    if score >= 1.0:
        return SUCCESS
    if task.cube in progress.lifted:
        return LIFTED
    if progress.first_touched is None:
        return NOTHING
    return TOUCHED if progress.first_touched == task.cube else WRONG_CUBE


@dataclass
class Trace:
    """One run.

    Attributes:
        commands: (joints,) commands in their order [rad].
        merges: index of the first command after each merge of a chunk.
        ages: of each executed action: the time between the observation that the newest chunk
            that contributed to it was made from, and its execution [s].
        cycles: control cycles from the first executed action on.
        starved: those of them that had no action to execute.
        approaching: those of them that led to the first action after a pause.
        requests: how often the policy was asked.
        refusals: how often it refused.
        refusal: its last reason.
    """

    commands: list[NDArray[np.float64]] = field(default_factory=list)
    merges: list[int] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    cycles: int = 0
    starved: int = 0
    approaching: int = 0
    requests: int = 0
    refusals: int = 0
    refusal: str = ""

    def measures(self, cycles_per_action: float) -> dict[str, Any]:
        """Return plain data for the file of results; see `seam_jumps` for the argument."""
        jumps = seam_jumps(self.commands, self.merges, cycles_per_action)
        return {
            "cycles": self.cycles,
            "starved": self.starved,
            "approaching": self.approaching,
            "requests": self.requests,
            "refusals": self.refusals,
            # Counted by the millisecond: small, and percentiles over all seeds stay exact.
            "ages_ms": {
                str(ms): count
                for ms, count in sorted(Counter(round(1e3 * age) for age in self.ages).items())
            },
            "seam_jumps_deg": [round(float(jump), 3) for jump in jumps],
        }


def seam_jumps(
    commands: Sequence[NDArray[np.float64]], merges: Sequence[int], cycles_per_action: float
) -> NDArray[np.float64]:
    """Return the jump at each seam between two chunks, (seams,) [degrees].

    A jump is how much the command's step from one control cycle to the next differs from the
    step before it: 0 in a steady motion, whatever its speed. Of the joints the largest counts,
    and of the cycles those of one action's length from the merge on, as the new chunk takes
    effect somewhere in there.

    Args:
        commands: (joints,) each, in their order [rad].
        merges: index of the first command after each merge.
        cycles_per_action: commands from one action to the next.
    """
    if len(commands) < 3:
        return np.empty(0)
    bends = np.abs(np.diff(np.asarray(commands), n=2, axis=0)).max(axis=1)
    span = max(1, math.ceil(cycles_per_action - 1e-9))
    # bends[i] is the one at command i + 2; before that there is no step to compare with.
    jumps = [
        bends[start : start + span].max()
        for start in (index - 2 for index in merges)
        if 0 <= start < len(bends)
    ]
    return np.degrees(np.array(jumps))


LEVEL = 0.95
"""Of all intervals here."""


def clopper_pearson(successes: int, trials: int) -> Interval:
    """Return the exact interval of a binomial share (Clopper and Pearson 1934).

    It covers the true share with at least `LEVEL`, also for few trials and shares near 0 or 1,
    where approximations do not.

    Raises:
        ValueError: the counts are impossible.
    """
    low, high = stats.binomtest(successes, trials).proportion_ci(LEVEL)
    return float(low), float(high)


def bootstrap_mean(values: ArrayLike) -> Interval:
    """Return the percentile bootstrap interval of the mean of (n,) values; NaN for none.

    The draws are fixed: same values, same interval.
    """
    return _bootstrap((values,), np.mean)


def bootstrap_ratio(over: ArrayLike, under: ArrayLike) -> Interval:
    """Return the bootstrap interval of mean(over) / mean(under), both (n,) of the same seeds.

    Pairs are drawn together, as scenes that are hard for one are hard for the other.
    """
    return _bootstrap(
        (over, under), lambda a, b, axis: np.mean(a, axis=axis) / np.mean(b, axis=axis)
    )


def _bootstrap(samples: Sequence[ArrayLike], statistic: Callable[..., Any]) -> Interval:
    data = [np.asarray(sample, dtype=np.float64) for sample in samples]
    if len(data[0]) == 0:
        return math.nan, math.nan
    with np.errstate(divide="ignore", invalid="ignore"):
        if len(data[0]) == 1:
            return (float(statistic(*data, axis=0)),) * 2
        drawn = stats.bootstrap(
            data,
            statistic,
            n_resamples=10_000,
            paired=True,
            method="percentile",
            random_state=np.random.default_rng(0),
        ).bootstrap_distribution
    # Values that were drawn and not SciPy's mean of two of them: infinities have none.
    ends = 50.0 * (1.0 - LEVEL), 50.0 * (1.0 + LEVEL)
    low, high = np.percentile(drawn, ends, method="inverted_cdf")
    return float(low), float(high)


def mean(values: Sequence[float]) -> float:
    """Return the mean; NaN for no values."""
    return float(np.mean(values)) if len(values) else math.nan
