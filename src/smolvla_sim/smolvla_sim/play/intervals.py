# SPDX-License-Identifier: Apache-2.0
"""Confidence intervals: of a share of successes, and of means over seeds."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

LEVEL = 0.95
"""Of all intervals here."""

_DRAWS = 10_000
_HALVINGS = 60

Interval = tuple[float, float]


def clopper_pearson(successes: int, trials: int, level: float = LEVEL) -> Interval:
    """Return the exact interval of a binomial share (Clopper and Pearson 1934).

    It covers the true share with at least `level`, also for few trials and shares near 0 or 1,
    where approximations do not.

    Args:
        successes: how many.
        trials: out of how many, at least 1.
        level: of confidence, between 0 and 1.

    Raises:
        ValueError: the counts are impossible.
    """
    if not 0 <= successes <= trials or trials < 1:
        raise ValueError(f"{successes} successes out of {trials} trials cannot be")
    tail = (1.0 - level) / 2
    # The share at which so many or more, or so few or fewer, would be as rare as `tail`.
    low = high = 0.0
    if successes > 0:
        low = _crossing(lambda share: _at_least(successes, trials, share) < tail)
    if successes < trials:
        high = _crossing(lambda share: 1.0 - _at_least(successes + 1, trials, share) > tail)
    return low, high if successes < trials else 1.0


def _crossing(below: Callable[[float], bool]) -> float:
    """Return the share in 0..1 up to which `below` holds."""
    low, high = 0.0, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        if below(middle):
            low = middle
        else:
            high = middle
    return (low + high) / 2


def _at_least(count: int, trials: int, share: float) -> float:
    """Return the probability of `count` or more successes, for a share within (0, 1)."""
    logs = [
        math.lgamma(trials + 1)
        - math.lgamma(k + 1)
        - math.lgamma(trials - k + 1)
        + k * math.log(share)
        + (trials - k) * math.log1p(-share)
        for k in range(count, trials + 1)
    ]
    return math.fsum(math.exp(log) for log in logs)


def bootstrap_mean(values: ArrayLike) -> Interval:
    """Return the percentile bootstrap interval of a mean; NaN for no values.

    Args:
        values: (n,), one number per seed. The draws are fixed: same values, same interval.
    """
    array = np.asarray(values, dtype=np.float64)
    if len(array) == 0:
        return math.nan, math.nan
    return _percentiles(array[_draws(len(array))].mean(axis=1))


def bootstrap_ratio(over: ArrayLike, under: ArrayLike) -> Interval:
    """Return the bootstrap interval of mean(over) / mean(under) over the same seeds.

    Args:
        over: (n,), one number per seed.
        under: (n,), of the same seeds in the same order: pairs are drawn together, as scenes
            that are hard for one are hard for the other.
    """
    a, b = np.asarray(over, dtype=np.float64), np.asarray(under, dtype=np.float64)
    if len(a) == 0:
        return math.nan, math.nan
    draws = _draws(len(a))
    with np.errstate(divide="ignore", invalid="ignore"):
        return _percentiles(a[draws].mean(axis=1) / b[draws].mean(axis=1))


def mean(values: Sequence[float]) -> float:
    """Return the mean; NaN for no values."""
    return float(np.mean(values)) if len(values) else math.nan


def _draws(count: int) -> NDArray[np.int64]:
    return np.random.default_rng(0).integers(count, size=(_DRAWS, count))


def _percentiles(means: NDArray[np.float64]) -> Interval:
    tail = 50.0 * (1.0 - LEVEL)
    # One of the values, not a mean of two: infinities have none.
    low, high = np.percentile(means, [tail, 100.0 - tail], method="inverted_cdf")
    return float(low), float(high)
