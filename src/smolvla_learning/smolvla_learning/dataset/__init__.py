# SPDX-License-Identifier: Apache-2.0
"""LeRobotDataset v3.0: written by `DatasetWriter`, read by `Dataset`."""

from smolvla_learning.dataset.catalog import Episode, VideoSpan
from smolvla_learning.dataset.features import (
    Feature,
    camera_feature,
    joint_features,
    numeric_feature,
)
from smolvla_learning.dataset.journal import clear_begun, holds_dataset
from smolvla_learning.dataset.layout import DatasetError, Limits
from smolvla_learning.dataset.reader import Dataset
from smolvla_learning.dataset.statistics import merge_statistics
from smolvla_learning.dataset.video import VideoOptions
from smolvla_learning.dataset.writer import DatasetWriter

__all__ = [
    "Dataset",
    "DatasetError",
    "DatasetWriter",
    "Episode",
    "Feature",
    "Limits",
    "VideoOptions",
    "VideoSpan",
    "camera_feature",
    "clear_begun",
    "holds_dataset",
    "joint_features",
    "merge_statistics",
    "numeric_feature",
]
