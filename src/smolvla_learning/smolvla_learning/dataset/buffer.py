# SPDX-License-Identifier: Apache-2.0
"""The episode that is being recorded: checks its frames, encodes its images as they come."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pyarrow as pa

from smolvla_learning.dataset.errors import DatasetError
from smolvla_learning.dataset.features import FRAME_COLUMNS, Array, checked_frame
from smolvla_learning.dataset.journal import saved_data, saved_video
from smolvla_learning.dataset.layout import PARTIAL
from smolvla_learning.dataset.metadata import Info
from smolvla_learning.dataset.statistics import ImageHistograms, Statistics, numeric_statistics
from smolvla_learning.dataset.tables import frame_schema, to_column, write_rows
from smolvla_learning.dataset.video import EpisodeVideo, VideoOptions


class EpisodeBuffer:
    """The episode that is being recorded.

    Args:
        folder: of the dataset.
        info: of the dataset.
        video: how camera images are compressed.
        episode: index of the episode.

    Attributes:
        episode: index of the episode.
        length: frames so far.
    """

    def __init__(self, folder: Path, info: Info, video: VideoOptions, episode: int) -> None:
        self.episode = episode
        self.length = 0
        self._folder = folder
        self._info = info
        self._options = video
        self._task_of_frame: list[str] = []
        self._values: dict[str, list[Array]] = {
            name: [] for name, item in info.recorded.items() if not item.is_camera
        }
        self._videos: dict[str, EpisodeVideo] = {}
        self._histograms = {camera: ImageHistograms() for camera in info.cameras}

    @property
    def tasks(self) -> list[str]:
        """Texts so far, in the order of their first frame."""
        return list(dict.fromkeys(self._task_of_frame))

    def add(self, frame: Mapping[str, object], task: str) -> None:
        """Add a frame.

        Raises:
            DatasetError: a value does not fit; the episode stays as it was.
            OSError: an image could not be written; the episode must be discarded.
        """
        where = f"episode {self.episode}, frame {self.length}"
        if not isinstance(task, str) or not task.strip():
            raise DatasetError(f"{where}: the task is empty; say what the robot is told to do")
        values = checked_frame(self._info.recorded, frame, where)
        if not self._videos:
            self._open_videos()
        for camera, video in self._videos.items():
            video.add(values[camera])
            self._histograms[camera].add(values[camera])
        for name, kept in self._values.items():
            kept.append(values[name])
        self._task_of_frame.append(task)
        self.length += 1

    def _partial(self, camera: str) -> Path:
        path = saved_video(self._folder, camera, self.episode)
        return path.with_name(path.name + PARTIAL)

    def _open_videos(self) -> None:
        for camera in self._info.cameras:
            height, width, _ = self._info.features[camera].shape
            path = self._partial(camera)
            path.parent.mkdir(parents=True, exist_ok=True)
            self._videos[camera] = EpisodeVideo(path, self._info.fps, height, width, self._options)

    def write(self, tasks: Mapping[str, int], first_index: int) -> Statistics:
        """Complete the episode's files.

        Args:
            tasks: text -> task_index.
            first_index: of its first frame, counted over the whole dataset.

        Returns:
            The statistics of its features.

        Raises:
            OSError: they could not be written; the episode must be discarded.
        """
        for video in self._videos.values():
            video.finish()
        for camera in self._videos:
            os.replace(self._partial(camera), saved_video(self._folder, camera, self.episode))
        columns = self._columns(tasks, first_index)
        stored = self._info.stored
        schema = frame_schema(stored)
        arrays = [to_column(stored[name], columns[name]) for name in schema.names]
        table = pa.Table.from_arrays(arrays, schema=schema)
        write_rows(saved_data(self._folder, self.episode), schema, iter([table]))
        statistics: Statistics = {}
        for name, feature in {**self._info.recorded, **FRAME_COLUMNS}.items():
            if feature.is_camera:
                statistics[name] = self._histograms[name].statistics()
            else:
                statistics[name] = numeric_statistics(columns[name])
        return statistics

    def _columns(self, tasks: Mapping[str, int], first_index: int) -> dict[str, Array]:
        frames = np.arange(self.length)
        numbers = {name: np.stack(values) for name, values in self._values.items()}
        own = {
            "timestamp": (frames / self._info.fps).astype(np.float32),
            "frame_index": frames,
            "episode_index": np.full(self.length, self.episode),
            "index": first_index + frames,
            "task_index": np.array([tasks[task] for task in self._task_of_frame]),
        }
        return {**numbers, **{name: values.reshape(-1, 1) for name, values in own.items()}}

    def discard(self) -> None:
        """Remove what was written of the episode."""
        for camera, video in self._videos.items():
            video.abandon()
            self._partial(camera).unlink(missing_ok=True)
            saved_video(self._folder, camera, self.episode).unlink(missing_ok=True)
        path = saved_data(self._folder, self.episode)
        path.unlink(missing_ok=True)
