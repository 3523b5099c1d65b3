# SPDX-License-Identifier: Apache-2.0
"""Which episodes a dataset has and where each of them lies.

Episodes of an interrupted recording lie in files of their own; for the reader they are no
different from those in the final files.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from smolvla_learning.dataset.features import FRAME_COLUMNS, Array
from smolvla_learning.dataset.journal import Saved, read_journal, saved_data, saved_video
from smolvla_learning.dataset.layout import (
    BEFORE_FIRST,
    TASKS,
    DatasetError,
    Position,
    data_file,
    video_file,
)
from smolvla_learning.dataset.metadata import Info, read_tasks
from smolvla_learning.dataset.statistics import REQUIRED, Statistics, merge_feature
from smolvla_learning.dataset.tables import parquet_file, read_table, to_array


@dataclass(frozen=True)
class VideoSpan:
    """Where the frames of an episode are.

    Attributes:
        path: of the video file.
        from_timestamp: time of its first frame in the file, in seconds.
        to_timestamp: time after its last frame.
        position: number of the video file, `BEFORE_FIRST` outside of the final files.
    """

    path: Path
    from_timestamp: float
    to_timestamp: float
    position: Position = BEFORE_FIRST


@dataclass(frozen=True)
class Episode:
    """One episode of a dataset.

    Attributes:
        index: of the episode.
        length: frames.
        from_index: its first frame, counted over the whole dataset.
        tasks: texts that occur in it; `read_rows` leaves them empty where the table has none.
        data: its data file.
        videos: camera -> where its frames are.
        position: number of the data file, `BEFORE_FIRST` outside of the final files.
    """

    index: int
    length: int
    from_index: int
    tasks: tuple[str, ...]
    data: Path
    videos: Mapping[str, VideoSpan]
    position: Position = BEFORE_FIRST

    @property
    def to_index(self) -> int:
        """The frame after its last one."""
        return self.from_index + self.length


def episode_files(folder: Path) -> list[Path]:
    """Files of the table, in order."""
    return sorted((folder / "meta" / "episodes").glob("chunk-*/file-*.parquet"))


def read_rows(folder: Path, info: Info) -> list[Episode]:
    """Read the table of the episodes.

    Raises:
        DatasetError: a file is damaged, lacks a column, or the episodes have gaps.
    """
    rows = []
    for path in episode_files(folder):
        rows += _rows_of(folder, path, info)
    frames = 0
    for expected, row in enumerate(rows):
        where = f"{folder}/meta/episodes: episode {row.index}"
        if row.index != expected:
            raise DatasetError(f"{where} stands where episode {expected} should")
        if row.from_index != frames:
            raise DatasetError(f"{where} begins at index {row.from_index}, expected {frames}")
        frames += row.length
    return rows


def _rows_of(folder: Path, path: Path, info: Info) -> list[Episode]:
    keys = ["chunk_index", "file_index", "from_timestamp", "to_timestamp"]
    names = ["episode_index", "length", "data/chunk_index", "data/file_index"]
    names += ["dataset_from_index", "dataset_to_index"]
    names += [f"videos/{camera}/{key}" for camera in info.videos for key in keys]
    with parquet_file(path) as file:
        # LeRobot's conversion of images to video leaves the tasks out.
        names += ["tasks"] * ("tasks" in file.schema_arrow.names)
    table = read_table(path, names).to_pydict()
    rows = []
    for at in range(len(table["episode_index"])):
        about = {name: values[at] for name, values in table.items()}
        lacking = [name for name, value in about.items() if value is None or value != value]
        if lacking:
            raise DatasetError(f"{path}: episode {about['episode_index']}: no value of {lacking}")
        length = about["length"]
        if length < 1 or about["dataset_to_index"] - about["dataset_from_index"] != length:
            raise DatasetError(
                f"{path}: episode {about['episode_index']} has length {length}, but its indices "
                f"go from {about['dataset_from_index']} to {about['dataset_to_index']}"
            )
        videos = {}
        for camera in info.videos:
            chunk, number, begin, end = (about[f"videos/{camera}/{key}"] for key in keys)
            position = Position(int(chunk), int(number))
            video = folder / video_file(camera, position, info.video_path)
            videos[camera] = VideoSpan(video, float(begin), float(end), position)
        position = Position(int(about["data/chunk_index"]), int(about["data/file_index"]))
        rows.append(
            Episode(
                int(about["episode_index"]),
                int(length),
                int(about["dataset_from_index"]),
                tuple(about.get("tasks", ())),
                folder / data_file(position, info.data_path),
                videos,
                position,
            )
        )
    return rows


def episode_table(
    rows: Sequence[Episode], statistics: Sequence[Statistics], position: Position
) -> pa.Table:
    """Make the table of some episodes.

    Args:
        rows: the episodes; at least one.
        statistics: of each of them.
        position: of the file that the table will be.
    """
    columns: dict[str, Any] = {
        "episode_index": pa.array([row.index for row in rows], pa.int64()),
        "tasks": pa.array([list(row.tasks) for row in rows], pa.list_(pa.string())),
        "length": pa.array([row.length for row in rows], pa.int64()),
        "data/chunk_index": pa.array([row.position.chunk for row in rows], pa.int64()),
        "data/file_index": pa.array([row.position.file for row in rows], pa.int64()),
        "dataset_from_index": pa.array([row.from_index for row in rows], pa.int64()),
        "dataset_to_index": pa.array([row.to_index for row in rows], pa.int64()),
    }
    for camera in rows[0].videos:
        parts = [row.videos[camera] for row in rows]
        about = {
            "chunk_index": pa.array([part.position.chunk for part in parts], pa.int64()),
            "file_index": pa.array([part.position.file for part in parts], pa.int64()),
            "from_timestamp": pa.array([part.from_timestamp for part in parts], pa.float64()),
            "to_timestamp": pa.array([part.to_timestamp for part in parts], pa.float64()),
        }
        columns |= {f"videos/{camera}/{key}": column for key, column in about.items()}
    for name, first in statistics[0].items():
        for key in first:
            values = [part[name][key].tolist() for part in statistics]
            columns[f"stats/{name}/{key}"] = pa.array(values)
    here = {"chunk_index": position.chunk, "file_index": position.file}
    for key, value in here.items():
        columns[f"meta/episodes/{key}"] = pa.array([value] * len(rows), pa.int64())
    return pa.table(columns)


def check_statistics_columns(folder: Path, info: Info) -> None:
    """Make sure that the statistics of the whole can be made from those of the episodes.

    Raises:
        DatasetError: the table lacks some.
    """
    names = [*info.recorded, *FRAME_COLUMNS]
    for path in episode_files(folder):
        with parquet_file(path) as file:
            present = set(file.schema_arrow.names)
        lacking = [name for name in names if f"stats/{name}/mean" not in present]
        if lacking:
            raise DatasetError(
                f"{path}: has no statistics of {lacking} for each episode, so the dataset cannot "
                "be extended; record into a new folder and merge the two with "
                "lerobot-edit-dataset"
            )


def read_merged_statistics(folder: Path, info: Info) -> Statistics:
    """Merge the statistics of all episodes in the table.

    Raises:
        DatasetError: a file is damaged or lacks statistics.
    """
    parts: dict[str, dict[str, list[Array]]] = {}
    for path in episode_files(folder):
        table = read_table(path)
        for name in [*info.features, *FRAME_COLUMNS]:
            prefix = f"stats/{name}/"
            keys = [key[len(prefix) :] for key in table.column_names if key.startswith(prefix)]
            for key in keys:
                column = table[prefix + key]
                shape = np.shape(column[0].as_py())
                try:
                    values = to_array(column, shape)
                except ValueError as error:
                    raise DatasetError(f"{path}: {prefix}{key} is incomplete ({error})") from error
                parts.setdefault(name, {}).setdefault(key, []).append(values)
    merged: Statistics = {}
    for name, about in parts.items():
        files = len(about.get("count", []))
        common = {key: np.concatenate(v) for key, v in about.items() if len(v) == files}
        if set(REQUIRED) - common.keys():
            lacking = sorted(set(REQUIRED) - common.keys())
            raise DatasetError(f"{folder}/meta/episodes: {name!r} has no statistics {lacking}")
        merged[name] = merge_feature(common)
    return merged


@dataclass(frozen=True)
class Catalog:
    """The episodes of a dataset.

    Attributes:
        episodes: in order.
        tasks: texts, in the order of task_index.
        pending: the last episodes, which are not in the final files yet.
    """

    episodes: list[Episode]
    tasks: list[str]
    pending: list[Saved]


def read_catalog(folder: Path, info: Info) -> Catalog:
    """Find the episodes of a dataset, those of an interrupted recording included.

    Raises:
        DatasetError: a file is missing or damaged, or the episodes have gaps.
    """
    episodes = read_rows(folder, info)
    pending, _ = read_journal(folder, len(episodes))
    tasks: dict[str, None] = {}
    if episodes or (folder / TASKS).exists():
        tasks = dict.fromkeys(read_tasks(folder))
    if not all(episode.tasks for episode in episodes):
        episodes = _with_tasks(episodes, list(tasks))
    begin = episodes[-1].to_index if episodes else 0
    for entry in pending:
        episodes.append(_of_saved(folder, info, entry, begin))
        tasks |= dict.fromkeys(entry.tasks)
        begin += entry.length
    return Catalog(episodes, list(tasks), pending)


def _with_tasks(episodes: Sequence[Episode], tasks: Sequence[str]) -> list[Episode]:
    """Take the tasks from the frames where the table of the episodes has none."""
    completed = []
    for path, group in groupby(episodes, key=lambda episode: episode.data):
        column = read_table(path, ["task_index"])["task_index"]
        try:
            numbers = to_array(column, ()).tolist()
        except ValueError as error:
            raise DatasetError(f"{path}: 'task_index': {error}; copy it again") from error
        begin = 0
        for episode in group:
            used = dict.fromkeys(numbers[begin : begin + episode.length])
            begin += episode.length
            texts = tuple(tasks[at] for at in used if 0 <= at < len(tasks))
            completed.append(replace(episode, tasks=episode.tasks or texts))
    return completed


def _of_saved(folder: Path, info: Info, entry: Saved, begin: int) -> Episode:
    seconds = entry.length / info.fps
    videos = {
        camera: VideoSpan(saved_video(folder, camera, entry.index), 0.0, seconds)
        for camera in info.videos
    }
    data = saved_data(folder, entry.index)
    return Episode(entry.index, entry.length, begin, entry.tasks, data, videos)


def span_of(episodes: Sequence[Episode]) -> str:
    """Name neighboring episodes for a message."""
    if len(episodes) == 1:
        return f"episode {episodes[0].index}"
    return f"episodes {episodes[0].index} to {episodes[-1].index}"
