# SPDX-License-Identifier: Apache-2.0
"""LeRobotDataset v3.0: written by `DatasetWriter`, read by `Dataset`."""

from .begun import clear_begun, holds_dataset
from .catalog import Episode, VideoSpan
from .errors import DatasetError
from .features import Feature, camera_feature, joint_features, numeric_feature
from .layout import Limits
from .reader import Dataset
from .statistics import merge_statistics
from .video import VideoOptions
from .writer import DatasetWriter

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
