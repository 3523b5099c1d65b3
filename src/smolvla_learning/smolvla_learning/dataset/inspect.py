# SPDX-License-Identifier: Apache-2.0
"""``smolvla dataset inspect``: says what a dataset holds and whether it is sound."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence

from smolvla_core.console import DONE, NO, command_parser

from smolvla_learning.dataset.check import find_problems
from smolvla_learning.dataset.decode import video_facts
from smolvla_learning.dataset.layout import DatasetError
from smolvla_learning.dataset.reader import Dataset


def describe(dataset: Dataset) -> list[tuple[str, str]]:
    """Make the table of a dataset: rows of a title and a text."""
    lengths = [episode.length for episode in dataset.episodes]
    seconds = dataset.num_frames / dataset.fps
    rows = [
        ("folder", str(dataset.folder)),
        ("robot", str(dataset.robot_type)),
        ("episodes", f"{dataset.num_episodes}, of {min(lengths)} to {max(lengths)} frames"),
        ("frames", f"{dataset.num_frames} at {dataset.fps} per second: {seconds / 60:.1f} min"),
    ]
    if dataset.interrupted:
        rows.append(("state", "not closed; for LeRobot run `smolvla dataset repair`"))
    used = Counter(task for episode in dataset.episodes for task in episode.tasks)
    rows += [("task", f"{task!r}: {used[task]} episodes") for task in dataset.tasks]
    for name, feature in dataset.features.items():
        if not (feature.is_camera or feature.is_depth):
            rows.append(("feature", f"{name}: {feature}"))
    for camera in dataset.cameras:
        rows.append(("camera", f"{camera}: {_images(dataset, camera)}"))
    for camera in dataset.depth_cameras:
        rows.append(
            ("depth", f"{camera}: {_images(dataset, camera)}; left out: only color is read")
        )
    return rows + _remarks(dataset)


def _remarks(dataset: Dataset) -> list[tuple[str, str]]:
    """Say what is unusual, but no error."""
    try:
        lacking = dataset.without_statistics
    except DatasetError:  # the check says why
        return []
    if not lacking:
        return []
    return [("remark", f"no statistics of {', '.join(lacking)}; the training needs none of them")]


def _images(dataset: Dataset, camera: str) -> str:
    """Say what the images of a camera are."""
    feature = dataset.features[camera]
    if not feature.is_video:
        return f"{feature.shape[1]}x{feature.shape[0]} pictures inside parquet"
    paths = list(dataset.video_files(camera))
    megabytes = sum(path.stat().st_size for path in paths) / 1024**2
    try:
        facts = video_facts(paths[0])
        about = f"{facts.width}x{facts.height} {facts.codec} {facts.pix_fmt}"
    except DatasetError:
        about = "unreadable"  # the check says why
    return f"{about}, {len(paths)} files, {megabytes:.1f} MB"


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        "smolvla dataset inspect",
        "Say what a LeRobot dataset holds and whether it is sound.",
        "smolvla dataset inspect data/my_task --deep",
        "0 it is sound, 1 it is not, 2 wrong options, 130 Ctrl-C",
    )
    made.add_argument(
        "dataset",
        help="folder that holds meta/, data/ and videos/, or owner/name[@revision] on the hub",
    )
    made.add_argument("--deep", action="store_true", help="decode all images too")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and the errors of a dataset."""
    options = parser().parse_args(arguments)
    try:
        dataset = Dataset.open(options.dataset)
        for title, text in describe(dataset):
            print(f"{title:<10}{text}")
        problems = find_problems(dataset, options.deep)
    except DatasetError as error:
        problems = [str(error)]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if not problems:
        print("sound" if options.deep else "sound (--deep would decode all images too)")
    return NO if problems else DONE
