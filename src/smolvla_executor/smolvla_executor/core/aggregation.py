# SPDX-License-Identifier: Apache-2.0
"""Ways to combine the actions that several chunks hold for one tick."""

from __future__ import annotations

import math
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.float64]
Aggregation = Callable[[Rows, Rows, NDArray[np.int64]], Rows]
"""(old (rows, joints), new (rows, joints), counts (rows,)) -> (rows, joints).

``counts`` says how many chunks the old value of each row was made of.
"""

ENSEMBLE_DECAY = 0.01
"""m of ACT's temporal ensemble (Zhao et al. 2023, arXiv 2304.13705, section IV-B)."""


def _blend(share: float) -> Aggregation:
    # old + share * (new - old) returns old bit for bit where both agree; a sum of two
    # products would not.
    def blend(old: Rows, new: Rows, counts: NDArray[np.int64]) -> Rows:
        return old + share * (new - old)

    return blend


def _latest(old: Rows, new: Rows, counts: NDArray[np.int64]) -> Rows:
    return new.copy()


def _temporal_ensemble(old: Rows, new: Rows, counts: NDArray[np.int64]) -> Rows:
    """Average all predictions of a tick with the weights exp(-m i), i = 0 for the oldest.

    The mean of the first k predictions and k are enough to add the next one: its share is
    w_k / (w_0 + ... + w_k).
    """
    newest = np.exp(-ENSEMBLE_DECAY * counts)
    total = (1.0 - newest * math.exp(-ENSEMBLE_DECAY)) / (1.0 - math.exp(-ENSEMBLE_DECAY))
    return old + (newest / total)[:, None] * (new - old)


AGGREGATIONS: dict[str, Aggregation] = {
    "latest": _latest,
    "weighted": _blend(0.7),
    "average": _blend(0.5),
    "conservative": _blend(0.3),
    "temporal_ensemble": _temporal_ensemble,
}
"""By name. `weighted`, `average` and `conservative` give the new chunk 0.7, 0.5 and 0.3: the
figures of LeRobot's `weighted_average`, `average` and `conservative`."""


def aggregation(name: str) -> Aggregation:
    """Return the aggregation called `name`.

    Raises:
        ValueError: there is none of that name; the text lists those there are.
    """
    try:
        return AGGREGATIONS[name]
    except KeyError:
        known = ", ".join(AGGREGATIONS)
        raise ValueError(f"unknown aggregation {name!r}: choose one of {known}") from None
