# SPDX-License-Identifier: Apache-2.0
"""Normalization of states, actions and images, with LeRobot's formulas."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smolvla_policy.checkpoint.config import ACTION, STATE, SmolVLAConfig
from smolvla_policy.checkpoint.errors import CheckpointError
from smolvla_policy.checkpoint.processors import Processors

Floats = NDArray[np.float32]
FeatureStatistics = Mapping[str, Floats]

NEEDED: dict[str, tuple[str, ...]] = {
    "IDENTITY": (),
    "MEAN_STD": ("mean", "std"),
    "MIN_MAX": ("min", "max"),
    "QUANTILES": ("q01", "q99"),
    "QUANTILE10": ("q10", "q90"),
}
"""Statistics that each mode reads."""


def statistics_size(mode: str, statistics: FeatureStatistics) -> int | None:
    """Return how many numbers a feature has by its statistics; None if they do not tell.

    Args:
        mode: one of `NEEDED`; what it reads decides, and for ``IDENTITY`` any of them.
        statistics: of the feature.
    """
    names = NEEDED[mode] or {name for needed in NEEDED.values() for name in needed}
    sizes = {np.size(statistics[name]) for name in names if name in statistics}
    return sizes.pop() if len(sizes) == 1 else None


@dataclass(frozen=True)
class Normalizer:
    """Turns a feature's own units into the network's numbers and back.

    Attributes:
        mode: one of `NEEDED`.
        low: the mean, or the lower bound.
        high: the standard deviation, or the upper bound.
        epsilon: LeRobot's guard against division by zero.
    """

    mode: str
    low: Floats
    high: Floats
    epsilon: float

    def normalize(self, values: Floats) -> Floats:
        """Map own units to about [-3, 3] (mean and deviation) or [-1, 1] (bounds)."""
        if self.mode == "IDENTITY":
            return values
        if self.mode == "MEAN_STD":
            return (values - self.low) / (self.high + np.float32(self.epsilon))
        return np.float32(2.0) * (values - self.low) / self._range() - np.float32(1.0)

    def unnormalize(self, values: Floats) -> Floats:
        """Map the network's numbers back to own units.

        As in LeRobot, the inverse of mean and deviation is without the epsilon.
        """
        if self.mode == "IDENTITY":
            return values
        if self.mode == "MEAN_STD":
            return values * self.high + self.low
        return (values + np.float32(1.0)) / np.float32(2.0) * self._range() + self.low

    @property
    def constant(self) -> tuple[int, ...]:
        """Dimensions that never changed in the data: deviation 0, or equal bounds."""
        if self.mode == "MEAN_STD":
            return tuple(np.flatnonzero(self.high == 0).tolist())
        return tuple(np.flatnonzero(self.high == self.low).tolist())

    def _range(self) -> Floats:
        span = self.high - self.low
        return np.where(span == 0, np.float32(self.epsilon), span).astype(np.float32)


def make_normalizer(
    feature: str, mode: str, statistics: FeatureStatistics, size: int, epsilon: float
) -> Normalizer:
    """Check a feature's statistics and build its normalizer.

    Args:
        feature: name, for errors.
        mode: one of `NEEDED`.
        statistics: of this feature.
        size: numbers in the feature (images: color channels).
        epsilon: see `Normalizer`.

    Returns:
        The normalizer.

    Raises:
        CheckpointError: statistics are missing, of the wrong length, not finite, or make no
            sense.
    """
    empty = np.zeros(0, np.float32)
    if mode == "IDENTITY":
        return Normalizer(mode, empty, empty, epsilon)
    found: list[Floats] = []
    for name in NEEDED[mode]:
        if name not in statistics:
            raise CheckpointError(
                f"statistics of {feature!r} lack {name!r}, which normalization {mode} needs; "
                f"there are {', '.join(sorted(statistics)) or 'none'}"
            )
        values = np.asarray(statistics[name], dtype=np.float32).reshape(-1)
        if values.size != size:
            raise CheckpointError(
                f"statistic {name!r} of {feature!r} has {values.size} numbers, the feature {size}"
            )
        if not np.isfinite(values).all():
            raise CheckpointError(
                f"statistic {name!r} of {feature!r} holds NaN or infinity ({values.tolist()}); "
                "the checkpoint was saved without statistics, or they were computed wrongly"
            )
        found.append(values)
    low, high = found
    if mode == "MEAN_STD" and (high < 0).any():
        raise CheckpointError(
            f"standard deviation of {feature!r} is negative in dimensions "
            f"{np.flatnonzero(high < 0).tolist()}: {high.tolist()}"
        )
    if mode != "MEAN_STD" and (high < low).any():
        raise CheckpointError(
            f"{NEEDED[mode][1]!r} of {feature!r} is below {NEEDED[mode][0]!r} in dimensions "
            f"{np.flatnonzero(high < low).tolist()}"
        )
    return Normalizer(mode, low, high, epsilon)


def make_normalizers(
    config: SmolVLAConfig, processors: Processors, statistics: Mapping[str, FeatureStatistics]
) -> dict[str, Normalizer]:
    """Build the normalizers of state, action and cameras.

    Raises:
        CheckpointError: statistics are missing or unusable.
    """
    sizes = {STATE: ("STATE", config.state_dim), ACTION: ("ACTION", config.action_dim)}
    # As in LeRobot, images without statistics are passed on as they are.
    images = [name for name in config.images if name in statistics]
    sizes.update(dict.fromkeys(images, ("VISUAL", 3)))
    return {
        name: make_normalizer(
            name,
            processors.norm_map.get(kind, "IDENTITY"),
            statistics.get(name, {}),
            size,
            processors.epsilon,
        )
        for name, (kind, size) in sizes.items()
    }
