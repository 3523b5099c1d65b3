# SPDX-License-Identifier: Apache-2.0
"""Record a LeRobotDataset v3.0, frame by frame and episode by episode."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import av
import pyarrow as pa

from smolvla_learning.dataset.begun import clear_begun
from smolvla_learning.dataset.buffer import EpisodeBuffer
from smolvla_learning.dataset.episodes import EpisodeRow, check_statistics_columns, read_rows
from smolvla_learning.dataset.errors import RECORDING, DatasetError
from smolvla_learning.dataset.features import Feature, check_features, feature_differences
from smolvla_learning.dataset.finalize import finalize
from smolvla_learning.dataset.journal import Journal, Saved, journal_path
from smolvla_learning.dataset.layout import TASKS, Limits
from smolvla_learning.dataset.metadata import Info, read_info, read_tasks, write_info
from smolvla_learning.dataset.video import VideoOptions

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
        rows: list[EpisodeRow],
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
            task: what the robot is told to do.

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
