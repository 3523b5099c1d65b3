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

from smolvla_learning.dataset.episodes import EpisodeRow, read_rows
from smolvla_learning.dataset.errors import DatasetError
from smolvla_learning.dataset.journal import Saved, read_journal, saved_data, saved_video
from smolvla_learning.dataset.layout import TASKS, data_file, video_file
from smolvla_learning.dataset.metadata import Info, read_tasks
from smolvla_learning.dataset.tables import read_table, to_array


@dataclass(frozen=True)
class VideoSpan:
    """Where the frames of an episode are.

    Attributes:
        path: of the video file.
        from_timestamp: time of its first frame in the file, in seconds.
        to_timestamp: time after its last frame.
    """

    path: Path
    from_timestamp: float
    to_timestamp: float


@dataclass(frozen=True)
class Episode:
    """One episode of a dataset.

    Attributes:
        index: of the episode.
        length: frames.
        from_index: its first frame, counted over the whole dataset.
        to_index: the frame after its last one.
        tasks: texts that occur in it.
        data: its data file.
        videos: camera -> where its frames are.
    """

    index: int
    length: int
    from_index: int
    to_index: int
    tasks: tuple[str, ...]
    data: Path
    videos: Mapping[str, VideoSpan]


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
    rows = read_rows(folder, info)
    pending, _ = read_journal(folder, len(rows))
    episodes = [_of_row(folder, info, row) for row in rows]
    tasks: dict[str, None] = {}
    if rows or (folder / TASKS).exists():
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
    """Take the texts from the frames, as the table of the episodes does not tell them all."""
    told = []
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
            told.append(replace(episode, tasks=episode.tasks or texts))
    return told


def _of_row(folder: Path, info: Info, row: EpisodeRow) -> Episode:
    videos = {
        camera: VideoSpan(
            folder / video_file(camera, part.position, info.video_path),
            part.from_timestamp,
            part.to_timestamp,
        )
        for camera, part in row.videos.items()
    }
    data = folder / data_file(row.data, info.data_path)
    end = row.from_index + row.length
    return Episode(row.index, row.length, row.from_index, end, row.tasks, data, videos)


def _of_saved(folder: Path, info: Info, entry: Saved, begin: int) -> Episode:
    seconds = entry.length / info.fps
    videos = {
        camera: VideoSpan(saved_video(folder, camera, entry.index), 0.0, seconds)
        for camera in info.videos
    }
    data = saved_data(folder, entry.index)
    end = begin + entry.length
    return Episode(entry.index, entry.length, begin, end, entry.tasks, data, videos)


def span_of(episodes: Sequence[Episode]) -> str:
    """Name neighboring episodes for a message."""
    if len(episodes) == 1:
        return f"episode {episodes[0].index}"
    return f"episodes {episodes[0].index} to {episodes[-1].index}"
