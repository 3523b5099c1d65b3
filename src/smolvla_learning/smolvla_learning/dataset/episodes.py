# SPDX-License-Identifier: Apache-2.0
"""The table of the episodes in the final files: meta/episodes/chunk-…/file-….parquet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from smolvla_learning.dataset.errors import DatasetError
from smolvla_learning.dataset.features import FRAME_COLUMNS, Array
from smolvla_learning.dataset.layout import Position
from smolvla_learning.dataset.metadata import Info
from smolvla_learning.dataset.statistics import REQUIRED, Statistics, merge_feature
from smolvla_learning.dataset.tables import parquet_file, read_table, to_array


@dataclass(frozen=True)
class VideoPart:
    """Where an episode lies in the video files of a camera; times in seconds."""

    position: Position
    from_timestamp: float
    to_timestamp: float


@dataclass(frozen=True)
class EpisodeRow:
    """An episode in the final files.

    Attributes:
        index: of the episode.
        length: frames.
        tasks: texts that occur in it; empty where the table does not tell.
        from_index: its first frame, counted over the whole dataset.
        data: its data file.
        videos: camera -> its part of a video file.
    """

    index: int
    length: int
    tasks: tuple[str, ...]
    from_index: int
    data: Position
    videos: Mapping[str, VideoPart]


def episode_files(folder: Path) -> list[Path]:
    """Files of the table, in order."""
    return sorted((folder / "meta" / "episodes").glob("chunk-*/file-*.parquet"))


def read_rows(folder: Path, info: Info) -> list[EpisodeRow]:
    """Read the table of the episodes.

    Raises:
        DatasetError: a file is damaged, lacks a column, or the episodes have gaps.
    """
    rows = []
    for path in episode_files(folder):
        rows += _rows_of(path, info)
    frames = 0
    for expected, row in enumerate(rows):
        where = f"{folder}/meta/episodes: episode {row.index}"
        if row.index != expected:
            raise DatasetError(f"{where} stands where episode {expected} should")
        if row.from_index != frames:
            raise DatasetError(f"{where} begins at index {row.from_index}, expected {frames}")
        frames += row.length
    return rows


def _rows_of(path: Path, info: Info) -> list[EpisodeRow]:
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
        videos = {
            camera: VideoPart(
                Position(*(int(about[f"videos/{camera}/{key}"]) for key in keys[:2])),
                *(float(about[f"videos/{camera}/{key}"]) for key in keys[2:]),
            )
            for camera in info.videos
        }
        rows.append(
            EpisodeRow(
                int(about["episode_index"]),
                int(length),
                tuple(about.get("tasks", ())),
                int(about["dataset_from_index"]),
                Position(int(about["data/chunk_index"]), int(about["data/file_index"])),
                videos,
            )
        )
    return rows


def episode_table(
    rows: Sequence[EpisodeRow], statistics: Sequence[Statistics], position: Position
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
        "data/chunk_index": pa.array([row.data.chunk for row in rows], pa.int64()),
        "data/file_index": pa.array([row.data.file for row in rows], pa.int64()),
        "dataset_from_index": pa.array([row.from_index for row in rows], pa.int64()),
        "dataset_to_index": pa.array([row.from_index + row.length for row in rows], pa.int64()),
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
