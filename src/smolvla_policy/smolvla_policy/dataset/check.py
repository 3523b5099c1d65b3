# SPDX-License-Identifier: Apache-2.0
"""Find what is wrong with the content of a dataset: rows, videos, statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .decode import frame_times, video_facts
from .errors import DatasetError, missing
from .layout import INFO
from .statistics import REQUIRED
from .tables import parquet_file, read_table, to_array

if TYPE_CHECKING:
    from .catalog import Episode
    from .reader import Dataset

TOLERANCE = 1e-4
"""Seconds that LeRobot allows between the time of a row and that of its image."""


def check_files(dataset: Dataset) -> None:
    """Check what can be checked without reading the data: totals, files, rows.

    Raises:
        DatasetError: files are missing, damaged, or contradict each other.
    """
    if not dataset.interrupted:
        said = (dataset.info.total_episodes, dataset.info.total_frames)
        if said != (dataset.num_episodes, dataset.num_frames):
            raise DatasetError(
                f"{dataset.folder / INFO}: says {said[0]} episodes with {said[1]} frames, but "
                f"meta/episodes holds {dataset.num_episodes} with {dataset.num_frames}"
            )
    for path, episodes in dataset.data_files().items():
        wanted = sum(episode.length for episode in episodes)
        with parquet_file(path) as file:
            rows = file.metadata.num_rows
        if rows != wanted:
            raise DatasetError(
                f"{path}: has {rows} rows, but {_span(episodes)} in it have {wanted} frames"
            )
    for camera in dataset.cameras:
        for path in video_files(dataset, camera):
            if not path.exists():
                raise missing(path)


def video_files(dataset: Dataset, camera: str) -> dict[Path, list[Episode]]:
    """Video files of a camera in order, each with its episodes."""
    files: dict[Path, list[Episode]] = {}
    for episode in dataset.episodes:
        files.setdefault(episode.videos[camera].path, []).append(episode)
    return files


def _span(episodes: Sequence[Episode]) -> str:
    if len(episodes) == 1:
        return f"episode {episodes[0].index}"
    return f"episodes {episodes[0].index} to {episodes[-1].index}"


def find_problems(dataset: Dataset, deep: bool = False) -> list[str]:
    """Check a dataset that could be opened.

    Args:
        dataset: the dataset.
        deep: decode all videos too.

    Returns:
        What is wrong, naming file and episode; empty if all is well.
    """
    problems = list(_stray_files(dataset))
    for path, episodes in dataset.data_files().items():
        problems += _guarded(_data_problems(dataset, path, episodes))
    for name in ("observation.state", "action"):
        if name in dataset.features:
            problems += _guarded(_read_column(dataset, name))
    for camera in dataset.cameras:
        for path, episodes in video_files(dataset, camera).items():
            found = _guarded(_video_problems(dataset, camera, path, episodes))
            if deep and not found:
                found = _guarded(_decode_problems(dataset, path, episodes))
            problems += found
    return problems + _guarded(_statistics_problems(dataset))


def _guarded(problems: Iterator[str]) -> list[str]:
    """Collect problems; an error that ends the search is one of them."""
    found = []
    try:
        for problem in problems:
            found.append(problem)
    except DatasetError as error:
        found.append(str(error))
    return found


def _read_column(dataset: Dataset, name: str) -> Iterator[str]:
    dataset.column(name)
    yield from ()


def _stray_files(dataset: Dataset) -> Iterator[str]:
    if dataset.interrupted:
        return
    known = dataset.data_files()
    for path in sorted((dataset.folder / "data").glob("*/*.parquet")):
        if path not in known:
            yield f"{path}: belongs to no episode, but LeRobot would read it; remove it"


def _data_problems(dataset: Dataset, path: Path, episodes: Sequence[Episode]) -> Iterator[str]:
    names = ["index", "episode_index", "frame_index", "timestamp", "task_index"]
    table = read_table(path, names)
    columns = {}
    for name in names:
        try:
            columns[name] = to_array(table[name], ())
        except ValueError as error:
            yield f"{path}: {name!r} is not one number for each row ({error})"
            return
    begin = 0
    for episode in episodes:
        rows = {name: values[begin : begin + episode.length] for name, values in columns.items()}
        begin += episode.length
        frames = np.arange(episode.length)
        where = f"{path}: episode {episode.index}"
        expected = {
            "episode_index": np.full(episode.length, episode.index),
            "index": episode.from_index + frames,
            "frame_index": frames,
        }
        for name, values in expected.items():
            wrong = rows[name] != values
            if wrong.any():
                at = int(wrong.argmax())
                yield f"{where}, row {at}: {name} is {rows[name][at]}, expected {values[at]}"
        late = np.abs(rows["timestamp"] - frames / dataset.fps) > TOLERANCE
        if late.any():
            at = int(late.argmax())
            found, right = rows["timestamp"][at], at / dataset.fps
            yield f"{where}, row {at}: timestamp is {found:.4f} s, expected {right:.4f} s"
        used = set(rows["task_index"].tolist())
        if not used <= set(range(len(dataset.tasks))):
            yield f"{where}: task_index {sorted(used)}; there are {len(dataset.tasks)} tasks"
        elif {dataset.tasks[at] for at in used} != set(episode.tasks):
            yield f"{where}: its rows and meta/episodes name different tasks"


def _video_problems(
    dataset: Dataset, camera: str, path: Path, episodes: Sequence[Episode]
) -> Iterator[str]:
    facts = video_facts(path)
    height, width = dataset.features[camera].shape[:2]
    span = _span(episodes)
    if (facts.height, facts.width) != (height, width):
        yield (
            f"{path}: {span}: the images are {facts.width}x{facts.height}, meta/info.json says "
            f"{width}x{height}"
        )
    frames = 0
    for episode in episodes:
        part = episode.videos[camera]
        begin, end = part.from_timestamp, part.to_timestamp
        where = f"{path}: episode {episode.index}"
        if not abs((end - begin) - episode.length / dataset.fps) <= TOLERANCE:
            yield (
                f"{where}: its video goes from {begin:.4f} to {end:.4f} s, which is not "
                f"{episode.length} frames at {dataset.fps} frames per second"
            )
        elif not abs(begin - frames / dataset.fps) <= TOLERANCE:
            yield f"{where}: its video begins at {begin:.4f} s, not {frames / dataset.fps:.4f} s"
        frames += episode.length
    if facts.frames != frames:
        yield f"{path}: {span}: has {facts.frames} video frames, its episodes {frames}"


def _decode_problems(dataset: Dataset, path: Path, episodes: Sequence[Episode]) -> Iterator[str]:
    ends = np.cumsum([episode.length for episode in episodes])

    def where(frame: int) -> str:
        at = min(int(np.searchsorted(ends, frame, side="right")), len(episodes) - 1)
        return f"{path}: episode {episodes[at].index}"

    count = 0
    try:
        for count, time in enumerate(frame_times(path), start=1):
            if not abs(time - (count - 1) / dataset.fps) <= TOLERANCE:
                yield (
                    f"{where(count - 1)}: video frame {count - 1} is shown at {time:.4f} s, not "
                    f"{(count - 1) / dataset.fps:.4f} s"
                )
                return
    except DatasetError as error:
        yield f"{where(count)}: {error}"
        return
    if count != ends[-1]:
        yield f"{where(count)}: {count} video frames can be decoded, its episodes have {ends[-1]}"


def _statistics_problems(dataset: Dataset) -> Iterator[str]:
    for name in dataset.features:
        if dataset.features[name].dtype == "string":
            continue
        about = dataset.stats[name]
        lacking = [key for key in REQUIRED if key not in about]
        if lacking:
            yield f"{dataset.folder}/meta/stats.json: {name!r} lacks {lacking}"
        bad = [key for key, value in about.items() if not np.isfinite(value).all()]
        if bad:
            yield f"{dataset.folder}/meta/stats.json: {bad} of {name!r} hold NaN or infinity"
