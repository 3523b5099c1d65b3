# SPDX-License-Identifier: Apache-2.0
"""``smolvla dataset inspect`` and ``smolvla dataset repair``."""

from __future__ import annotations

import argparse
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from smolvla_core.console import DONE, NO, command_parser, could_not_run

from smolvla_learning.dataset.check import find_problems
from smolvla_learning.dataset.journal import journal_path
from smolvla_learning.dataset.layout import DatasetError
from smolvla_learning.dataset.metadata import read_info
from smolvla_learning.dataset.reader import Dataset, find_dataset
from smolvla_learning.dataset.video import video_facts
from smolvla_learning.dataset.writer import DatasetWriter


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
    return rows + _notes(dataset)


def _notes(dataset: Dataset) -> list[tuple[str, str]]:
    """Return what is unusual, but no error."""
    try:
        lacking = dataset.without_statistics
    except DatasetError:  # reported by the check
        return []
    if not lacking:
        return []
    return [("note", f"no statistics of {', '.join(lacking)}; the training needs none of them")]


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
        about = "unreadable"  # reported by the check
    return f"{about}, {len(paths)} files, {megabytes:.1f} MB"


def inspect_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        "smolvla dataset inspect",
        "Say what a LeRobot dataset holds and whether it is sound.",
        "smolvla dataset inspect data/my_task --deep",
        "0 it is sound, 1 it is not, 2 there is none or wrong options, 130 Ctrl-C",
    )
    made.add_argument(
        "dataset",
        help="folder that holds meta/, data/ and videos/, or owner/name[@revision] on the hub",
    )
    made.add_argument("--deep", action="store_true", help="decode all images too")
    return made


def inspect(arguments: Sequence[str] | None = None) -> int:
    """Print the table and the errors of a dataset."""
    options = inspect_parser().parse_args(arguments)
    try:
        folder = find_dataset(options.dataset)
        read_info(folder)
    except DatasetError as error:
        return could_not_run("smolvla dataset inspect", error)
    try:
        dataset = Dataset.open(folder)
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


def repair_parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        "smolvla dataset repair",
        "Complete a LeRobot dataset whose recording was interrupted, so that LeRobot can read it.",
        "smolvla dataset repair data/my_task",
    )
    made.add_argument("folder", type=Path, help="that holds meta/ and recording/")
    return made


def repair(arguments: Sequence[str] | None = None) -> int:
    """Bring the saved episodes of an interrupted recording into the final files."""
    folder: Path = repair_parser().parse_args(arguments).folder
    interrupted = journal_path(folder).exists()
    try:
        with DatasetWriter.resume(folder) as writer:
            count = writer.num_episodes
        if not count:
            raise DatasetError(f"{folder}: no episode was saved; there is nothing to repair")
    except DatasetError as error:
        return could_not_run("smolvla dataset repair", error)
    print(f"{folder}: {'complete' if interrupted else 'nothing to repair'}, {count} episodes")
    return DONE
