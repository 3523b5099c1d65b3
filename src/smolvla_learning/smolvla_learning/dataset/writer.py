# SPDX-License-Identifier: Apache-2.0
"""Record a LeRobotDataset v3.0, frame by frame and episode by episode."""

from __future__ import annotations

import errno
import os
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import numpy as np
import pyarrow as pa

from smolvla_learning.dataset.catalog import Episode, check_statistics_columns, read_rows
from smolvla_learning.dataset.features import (
    FRAME_COLUMNS,
    Array,
    Feature,
    check_features,
    checked_frame,
    feature_differences,
)
from smolvla_learning.dataset.finalize import finalize
from smolvla_learning.dataset.journal import (
    Journal,
    Saved,
    clear_begun,
    journal_path,
    saved_data,
    saved_video,
)
from smolvla_learning.dataset.layout import PARTIAL, RECORDING, TASKS, DatasetError, Limits
from smolvla_learning.dataset.metadata import Info, read_info, read_tasks, write_info
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
            raise DatasetError(f"{where}: the task is empty; give the instruction")
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


WRITE_ERRORS = (OSError, pa.ArrowException, av.error.FFmpegError)


class DatasetWriter:
    """Records a dataset; made by `create` or `resume`.

    A saved episode is safe at once, whatever happens to the program. `close` brings the saved
    episodes into the final files that LeRobot reads. Used as a context manager it closes the
    dataset at the end, and after an error gives up the running episode only.

    Raises:
        DatasetError: also when the disk is full; the text says how many episodes are safe.
    """

    def __init__(
        self,
        folder: Path,
        info: Info,
        rows: list[Episode],
        video: VideoOptions,
    ) -> None:
        self._folder = folder
        self._info = info
        self._rows = rows
        self._video = video
        # A journal that is there already: the last close was not completed.
        self._unfinished = journal_path(folder).exists()
        self._journal = Journal(folder, len(rows))
        self._journal.remove_leftovers()
        self._tasks = {}
        if (folder / TASKS).exists():
            self._tasks = {task: at for at, task in enumerate(read_tasks(folder))}
        for entry in self._journal.saved:
            for task in entry.tasks:
                self._tasks.setdefault(task, len(self._tasks))
        lengths = [part.length for part in rows] + [part.length for part in self._journal.saved]
        self._num_frames = sum(lengths)
        self._running: EpisodeBuffer | None = None
        self._closed = False

    @classmethod
    def create(
        cls,
        folder: str | Path,
        *,
        fps: int,
        robot_type: str | None,
        features: Mapping[str, Feature],
        video: VideoOptions | None = None,
        limits: Limits | None = None,
        about: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> DatasetWriter:
        """Begin a new dataset.

        Args:
            folder: that does not exist yet or is empty, or holds a dataset of which no episode
                was saved; that is begun anew.
            fps: frames per second.
            robot_type: name of the robot.
            features: name -> what is recorded.
            video: how camera images are compressed.
            limits: how large files may become.
            about: feature -> more to be said about it in ``meta/info.json``, under ``info``.

        Raises:
            DatasetError: the folder holds something, or the features cannot be written.
        """
        folder = Path(folder)
        check_features(features)
        if fps != int(fps) or fps < 1:
            raise DatasetError(f"fps is {fps}; a whole number of frames per second is needed")
        clear_begun(folder)
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise DatasetError(
                f"{folder}: exists and is not empty; take another folder, or continue the "
                "dataset in it with DatasetWriter.resume"
            )
        info = Info(int(fps), robot_type, dict(features), limits or Limits())
        info = replace(info, camera_info={k: dict(v) for k, v in (about or {}).items()})
        video = video or VideoOptions()
        try:
            write_info(folder, info)
            return cls(folder, info, [], video)
        except OSError as error:
            raise DatasetError(f"{folder}: cannot be written ({error})") from error

    @classmethod
    def resume(
        cls,
        folder: str | Path,
        *,
        fps: int | None = None,
        robot_type: str | None = None,
        features: Mapping[str, Feature] | None = None,
        video: VideoOptions | None = None,
    ) -> DatasetWriter:
        """Continue a dataset after its last saved episode, also after a crash.

        Args:
            folder: of the dataset.
            fps: that is expected, or None for that of the dataset; the same for the others.
            robot_type: that is expected.
            features: that are expected.
            video: how camera images are compressed from now on.

        Raises:
            DatasetError: there is no dataset, it differs from what is expected, it is damaged,
                or another program is recording into it.
        """
        folder = Path(folder)
        info = read_info(folder)
        check_features(info.features)
        differences = []
        if fps is not None and fps != info.fps:
            differences.append(f"fps is {info.fps} in the dataset, wanted {fps}")
        if robot_type is not None and robot_type != info.robot_type:
            differences.append(f"robot_type is {info.robot_type!r}, wanted {robot_type!r}")
        if features is not None:
            differences += feature_differences(features, info.features)
        if differences:
            raise DatasetError(f"{folder}: cannot be continued: {'; '.join(differences)}")
        rows = read_rows(folder, info)
        check_statistics_columns(folder, info)
        return cls(folder, info, rows, video or VideoOptions())

    def __enter__(self) -> DatasetWriter:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if kind is not None:
            self.discard_episode()
        self.close()

    @property
    def num_episodes(self) -> int:
        """Saved episodes."""
        return len(self._rows) + len(self._journal.saved)

    @property
    def num_frames(self) -> int:
        """Frames of the saved episodes."""
        return self._num_frames

    @property
    def features(self) -> dict[str, Feature]:
        """What is recorded: name -> feature."""
        return dict(self._info.recorded)

    @property
    def fps(self) -> int:
        """Frames per second."""
        return self._info.fps

    def about(self, name: str) -> dict[str, Any]:
        """Return what ``meta/info.json`` says of a feature under ``info``."""
        return dict(self._info.camera_info.get(name, {}))

    def add_frame(self, frame: Mapping[str, object], task: str) -> None:
        """Add a frame to the running episode.

        Args:
            frame: name of every feature -> array of its shape.
            task: the instruction.

        Raises:
            DatasetError: a value does not fit (the episode then stays as it was), or the frame
                cannot be written (the episode is then given up).
        """
        self._check_open()
        if self._running is None:
            self._running = EpisodeBuffer(self._folder, self._info, self._video, self.num_episodes)
        try:
            self._running.add(frame, task)
        except WRITE_ERRORS as error:
            raise self._failed(error) from error

    def save_episode(self) -> int:
        """Save the running episode; it is safe when this returns.

        Returns:
            The index of the episode.

        Raises:
            DatasetError: it has no frames, or cannot be written and is given up.
        """
        self._check_open()
        running = self._running
        if running is None or not running.length:
            raise DatasetError(f"episode {self.num_episodes}: has no frames; nothing was saved")
        tasks = dict(self._tasks)
        for task in running.tasks:
            tasks.setdefault(task, len(tasks))
        try:
            statistics = running.write(tasks, self.num_frames)
            entry = Saved(running.episode, running.length, tuple(running.tasks), statistics)
            self._journal.append(entry)
        except WRITE_ERRORS as error:
            raise self._failed(error) from error
        self._tasks, self._running = tasks, None
        self._num_frames += entry.length
        return entry.index

    def discard_episode(self) -> None:
        """Give up the running episode, if there is one."""
        if self._running is not None:
            self._running.discard()
            self._running = None

    def close(self) -> None:
        """Bring the saved episodes into the final files. Closing twice does nothing.

        Raises:
            DatasetError: frames of a running episode are neither saved nor discarded, or the
                files cannot be written; the saved episodes stay safe and closing can be tried
                again, with `smolvla dataset repair`.
        """
        if self._closed:
            return
        if self._running is not None and self._running.length:
            raise DatasetError(
                f"episode {self.num_episodes}: its {self._running.length} frames are not saved; "
                "call save_episode or discard_episode before close"
            )
        self.discard_episode()
        self._closed = True
        try:
            saved = self._journal.saved
            if saved or (self._unfinished and self._rows):
                finalize(self._folder, self._info, self._rows, saved, list(self._tasks))
            self._journal.remove()
        except WRITE_ERRORS as error:
            raise DatasetError(
                f"{self._folder}: {_reason(error)} while closing the dataset; all "
                f"{self.num_episodes} episodes are safe in {self._folder / RECORDING} and the "
                "files before. Closing needs as much free space again as the new episodes take; "
                f"then run: smolvla dataset repair {self._folder}"
            ) from error
        finally:
            self._journal.close()

    def _check_open(self) -> None:
        if self._closed:
            raise DatasetError(
                f"{self._folder}: the dataset is closed; continue with DatasetWriter.resume"
            )

    def _failed(self, error: Exception) -> DatasetError:
        """Give up the running episode and say what is safe."""
        self.discard_episode()
        return DatasetError(
            f"{self._folder}: {_reason(error)}; episode {self.num_episodes} is lost, all "
            f"{self.num_episodes} before it are safe. Free some space, then go on with this "
            "writer or with DatasetWriter.resume"
        )


def _reason(error: Exception) -> str:
    number = getattr(error, "errno", None)
    if number in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full"
    return f"writing failed ({error})"
