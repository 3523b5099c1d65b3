# SPDX-License-Identifier: Apache-2.0
"""Find what is wrong with the content of a dataset: rows, videos, statistics."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from smolvla_learning.dataset.catalog import Episode, span_of
from smolvla_learning.dataset.features import is_depth_format
from smolvla_learning.dataset.layout import DatasetError
from smolvla_learning.dataset.reader import Dataset
from smolvla_learning.dataset.statistics import REQUIRED
from smolvla_learning.dataset.tables import read_pictures, read_table, to_array
from smolvla_learning.dataset.video import frame_times, video_facts

TOLERANCE = 1e-4
"""Seconds that LeRobot allows between the time of a row and that of its image."""


def find_problems(dataset: Dataset, deep: bool = False) -> list[str]:
    """Check all that LeRobot and the training rely on in a dataset that could be opened.

    Args:
        dataset: the dataset.
        deep: decode all images too.

    Returns:
        What is wrong, naming file and episode; empty if all is well.
    """
    problems = list(_stray_files(dataset))
    for path, episodes in dataset.data_files().items():
        problems += _guarded(_data_problems(dataset, path, episodes))
    for name in ("observation.state", "action"):
        if name in dataset.features:
            problems += _guarded(_read_column(dataset, name))
    for camera in dataset.info.videos:
        for path, episodes in dataset.video_files(camera).items():
            found = _guarded(_video_problems(dataset, camera, path, episodes))
            if deep and not found:
                found = _guarded(_decode_problems(dataset, camera, path, episodes))
            problems += found
    for camera in dataset.cameras:
        if not dataset.features[camera].is_video:
            for path, episodes in dataset.data_files().items():
                problems += _guarded(_picture_problems(dataset, camera, path, episodes, deep))
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
    span = span_of(episodes)
    yield from _size_problems(dataset, camera, f"{path}: {span}", (facts.height, facts.width))
    if is_depth_format(facts.pix_fmt) and not dataset.features[camera].is_depth:
        yield (
            f"{path}: {span}: holds depth ({facts.pix_fmt}), but meta/info.json calls {camera!r} "
            'a color camera; put "is_depth_map": true into its "info"'
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


def _size_problems(
    dataset: Dataset, camera: str, where: str, size: tuple[int, ...]
) -> Iterator[str]:
    height, width = dataset.features[camera].shape[:2]
    if size != (height, width):
        yield (
            f"{where}: the images are {size[1]}x{size[0]}, meta/info.json says {width}x{height}"
        )


def _decode_problems(
    dataset: Dataset, camera: str, path: Path, episodes: Sequence[Episode]
) -> Iterator[str]:
    """Decode each episode as the training does: from a keyframe before its first frame on."""
    for episode in episodes:
        first = round(episode.videos[camera].from_timestamp * dataset.fps)
        times = frame_times(path, first, episode.length, dataset.fps)
        try:
            for frame, time in enumerate(times, start=first):
                if not abs(time - frame / dataset.fps) <= TOLERANCE:
                    yield (
                        f"{path}: episode {episode.index}: video frame {frame} is shown at "
                        f"{time:.4f} s, not {frame / dataset.fps:.4f} s"
                    )
                    return
        except DatasetError as error:
            yield f"{path}: episode {episode.index}: {error}"
            return


def _picture_problems(
    dataset: Dataset, camera: str, path: Path, episodes: Sequence[Episode], deep: bool
) -> Iterator[str]:
    begin = 0
    for episode in episodes if deep else episodes[:1]:
        rows = episode.length if deep else 1
        pictures = read_pictures(dataset.folder, path, camera, begin, rows)
        begin += episode.length
        for frame, picture in enumerate(pictures):
            where = f"{path}: episode {episode.index}, frame {frame}: {camera!r}"
            found = list(_size_problems(dataset, camera, where, picture.shape[:2]))
            if found:
                yield from found
                return


def _statistics_problems(dataset: Dataset) -> Iterator[str]:
    stats = dataset.stats
    for name, feature in dataset.features.items():
        if not feature.has_statistics or name not in stats:
            continue
        about = stats[name]
        lacking = [key for key in REQUIRED if key not in about]
        if lacking:
            yield f"{dataset.folder}/meta/stats.json: {name!r} lacks {lacking}"
        bad = [key for key, value in about.items() if not np.isfinite(value).all()]
        if bad:
            yield f"{dataset.folder}/meta/stats.json: {bad} of {name!r} hold NaN or infinity"
