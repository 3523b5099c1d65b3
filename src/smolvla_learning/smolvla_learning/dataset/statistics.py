# SPDX-License-Identifier: Apache-2.0
"""Statistics of features: of one episode, and merged over many.

Numbers: per entry over the frames. Images: per color channel over the pixels of a sample of
frames, in [0, 1], shape (3, 1, 1). The names and shapes are LeRobot's; so is the way of
merging: mean and standard deviation exactly, quantiles as the mean weighted by the counts.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import cv2
import numpy as np

from smolvla_learning.dataset.features import Array
from smolvla_learning.dataset.layout import DatasetError

QUANTILES = {"q01": 0.01, "q10": 0.10, "q50": 0.50, "q90": 0.90, "q99": 0.99}
REQUIRED = ("min", "max", "mean", "std", "count")
FeatureStatistics = dict[str, Array]
"""min, max, mean, std, q01 … q99 with the feature's shape; count with shape (1,)."""
Statistics = dict[str, FeatureStatistics]
"""Name of a feature -> its statistics."""

MIN_SAMPLES = 100
MAX_SAMPLES = 10_000
SAMPLE_POWER = 0.75
DOWNSAMPLE_FROM = 300
DOWNSAMPLE_TO = 150
"""Larger sides than the first are thinned out to about the second, in pixels."""


def numeric_statistics(values: Array) -> FeatureStatistics:
    """Compute the statistics of a feature of numbers.

    Args:
        values: (frames, *shape) of any numeric type; at least one frame.

    Returns:
        Arrays of the last axis' size, as LeRobot makes them: a table of numbers is taken as
        its rows. float64, but min and max of integers stay int64
        and those of Booleans bool.
    """
    exact = {"b": np.bool_, "i": np.int64, "u": np.int64}.get(values.dtype.kind, np.float64)
    frames = len(values)
    values = values.reshape(-1, values.shape[-1])
    wide = values.astype(np.float64)
    quantiles = np.quantile(wide, list(QUANTILES.values()), axis=0)
    return {
        "min": values.min(axis=0).astype(exact),
        "max": values.max(axis=0).astype(exact),
        "mean": wide.mean(axis=0),
        "std": wide.std(axis=0),
        "count": np.array([frames]),
        **dict(zip(QUANTILES, quantiles, strict=True)),
    }


def sampled_frames(length: int) -> list[int]:
    """Choose the frames that the statistics of a camera are made from.

    All of them up to 100, then evenly spread ones: length**0.75, at most 10 000.
    """
    count = max(min(length, MIN_SAMPLES), min(int(length**SAMPLE_POWER), MAX_SAMPLES))
    return [int(at) for at in np.round(np.linspace(0, length - 1, count))]


class ImageHistograms:
    """Counts of the pixel values of each frame of an episode, from which its statistics come.

    Statistics from 256 counts per channel are exact and need no images to be kept.
    """

    def __init__(self) -> None:
        self._frames: list[Array] = []

    def add(self, image: Array) -> None:
        """Count a frame: (height, width, 3) uint8."""
        height, width = image.shape[:2]
        step = 1
        if max(height, width) >= DOWNSAMPLE_FROM:
            step = max(1, max(height, width) // DOWNSAMPLE_TO)
        thinned = np.ascontiguousarray(image[::step, ::step])
        counts = [cv2.calcHist([thinned], [at], None, [256], [0, 256]) for at in range(3)]
        self._frames.append(np.array(counts, np.int32))

    def statistics(self) -> FeatureStatistics:
        """Statistics over a sample of the frames: values in [0, 1], shape (3, 1, 1)."""
        sample = sampled_frames(len(self._frames))
        counts = np.zeros((3, 256), np.int64)
        for at in sample:
            counts += self._frames[at].reshape(3, 256)
        levels = np.arange(256) / 255
        total = counts[0].sum()
        cumulative = counts.cumsum(axis=1)
        mean = counts @ levels / total
        variance = counts @ levels**2 / total - mean**2
        result = {
            "min": levels[(cumulative > 0).argmax(axis=1)],
            "max": levels[(cumulative >= total).argmax(axis=1)],
            "mean": mean,
            "std": np.sqrt(np.maximum(variance, 0)),
        }
        for name, part in QUANTILES.items():
            result[name] = levels[(cumulative >= part * total).argmax(axis=1)]
        shaped = {name: value.reshape(3, 1, 1) for name, value in result.items()}
        return {**shaped, "count": np.array([len(sample)])}


def merge_feature(parts: Mapping[str, Array]) -> FeatureStatistics:
    """Merge the statistics of one feature.

    Args:
        parts: name of a statistic -> (parts, *shape); count: (parts, 1).
    """
    counts = np.asarray(parts["count"], np.float64)
    total = counts.sum()
    mean_parts = np.asarray(parts["mean"], np.float64)
    weights = (counts / total).reshape(-1, *[1] * (mean_parts.ndim - 1))
    mean = (mean_parts * weights).sum(axis=0)
    squares = np.asarray(parts["std"], np.float64) ** 2 + (mean_parts - mean) ** 2
    merged = {
        "min": parts["min"].min(axis=0),
        "max": parts["max"].max(axis=0),
        "mean": mean,
        "std": np.sqrt((squares * weights).sum(axis=0)),
        "count": np.array([int(total)]),
    }
    for name in QUANTILES:
        if name in parts:
            merged[name] = (parts[name] * weights).sum(axis=0)
    return merged


def merge_statistics(parts: Sequence[Mapping[str, Mapping[str, Array]]]) -> Statistics:
    """Merge statistics of several episodes or datasets.

    Args:
        parts: name of a feature -> name of a statistic -> array; the same features in each.

    Raises:
        DatasetError: no part, or the parts hold different features or statistics.
    """
    if not parts:
        raise DatasetError("there are no statistics to merge")
    first = parts[0]
    for part in parts[1:]:
        if part.keys() != first.keys():
            odd = sorted(part.keys() ^ first.keys())
            raise DatasetError(f"statistics cannot be merged: {odd} are only in some of them")
    merged: Statistics = {}
    for name, about in first.items():
        common = [key for key in about if all(key in part[name] for part in parts)]
        lacking = set(REQUIRED) - set(common)
        if lacking:
            raise DatasetError(f"statistics of {name!r} cannot be merged: no {sorted(lacking)}")
        stacked = {
            key: np.stack([np.asarray(part[name][key]) for part in parts]) for key in common
        }
        merged[name] = merge_feature(stacked)
    return merged
