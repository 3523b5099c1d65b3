# SPDX-License-Identifier: Apache-2.0
"""The output folder: begun, begun anew, or gone on in; by one training at a time."""

from __future__ import annotations

import fcntl
import shutil
from pathlib import Path
from typing import IO

from smolvla_learning.training.options import CONFIG, TrainingError
from smolvla_learning.training.state import CHECKPOINTS, LAST, whole_checkpoints
from smolvla_learning.training.trainer import FILE as METRICS
from smolvla_learning.training.trainer import TENSORBOARD

INITIAL = "initial"
"""Folder of the random weights that a training from an architecture starts with."""


def prepare(folder: Path) -> None:
    """Make room for a new training.

    What an attempt left that ended before its first checkpoint is removed; other files stay.

    Raises:
        TrainingError: the folder holds a training that got farther, one that runs, or something
            else.
    """
    if folder.exists() and not folder.is_dir():
        raise TrainingError(f"{folder} is a file; choose another --output")
    whole = whole_checkpoints(folder)
    if whole:
        raise TrainingError(
            f"{folder} holds a training with {whole[-1].name} as its newest checkpoint; go on "
            "with --resume, or choose another --output"
        )
    if folder.exists() and any(folder.iterdir()):
        if not (folder / CONFIG).is_file():
            raise TrainingError(
                f"{folder} is not empty and holds no training; choose another --output"
            )
        lock(folder).close()
        _clear(folder)
    folder.mkdir(parents=True, exist_ok=True)


def lock(folder: Path) -> IO[bytes]:
    """Keep other trainings out of a folder for as long as the returned file is open.

    Raises:
        TrainingError: another training writes into it.
    """
    file = (folder / CONFIG).open("rb")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise TrainingError(
            f"another training is writing into {folder}; choose another --output, or end it"
        ) from error
    return file


def _clear(folder: Path) -> None:
    for file in (folder / CONFIG, folder / METRICS, folder / CHECKPOINTS / LAST):
        file.unlink(missing_ok=True)
    for event in (folder / TENSORBOARD).glob("events.out.tfevents.*"):
        event.unlink()
    for part in [*(folder / CHECKPOINTS).glob(".*.part"), folder / INITIAL]:
        shutil.rmtree(part, ignore_errors=True)
