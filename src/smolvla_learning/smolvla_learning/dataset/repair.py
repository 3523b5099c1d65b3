# SPDX-License-Identifier: Apache-2.0
"""``smolvla dataset repair``: completes a dataset whose recording was interrupted."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from smolvla_core.console import COULD_NOT_RUN, DONE, command_parser

from smolvla_learning.dataset.journal import journal_path
from smolvla_learning.dataset.layout import DatasetError
from smolvla_learning.dataset.writer import DatasetWriter


def repair(folder: Path) -> str:
    """Bring the saved episodes of an interrupted recording into the final files.

    Returns:
        What was done.

    Raises:
        DatasetError: it is no dataset, is being recorded, has no episodes, or is damaged.
    """
    interrupted = journal_path(folder).exists()
    with DatasetWriter.resume(folder) as writer:
        count = writer.num_episodes
    if not count:
        raise DatasetError(f"{folder}: no episode was saved; there is nothing to repair")
    if not interrupted:
        return f"{folder}: nothing to repair, {count} episodes"
    return f"{folder}: complete, {count} episodes"


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        "smolvla dataset repair",
        "Complete a LeRobot dataset whose recording was interrupted, so that LeRobot can read it.",
        "smolvla dataset repair data/my_task",
    )
    made.add_argument("folder", type=Path, help="that holds meta/ and recording/")
    return made


def main(arguments: Sequence[str] | None = None) -> int:
    """Repair the dataset in a folder."""
    try:
        print(repair(parser().parse_args(arguments).folder))
    except DatasetError as error:
        print(f"smolvla dataset repair: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    return DONE
