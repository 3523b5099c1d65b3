# SPDX-License-Identifier: Apache-2.0
"""The error of everything that is wrong with a dataset."""

from __future__ import annotations

from pathlib import Path

RECORDING = "recording"
"""Folder of the episodes that are saved and not yet in the final files."""


class DatasetError(ValueError):
    """A dataset cannot be written or read; the text says what is wrong, where, what to do."""


def missing(path: Path) -> DatasetError:
    """Make the error for a file that is not there."""
    return DatasetError(f"{path}: is missing; {_remedy(path)}")


def damaged(path: Path, reason: object) -> DatasetError:
    """Make the error for a file that cannot be understood."""
    first_line = (str(reason).splitlines() or [""])[0]
    return DatasetError(f"{path}: is damaged or cut short ({first_line}); {_remedy(path)}")


def _remedy(path: Path) -> str:
    if RECORDING in path.parts and path.stem.startswith("episode-"):
        return (
            "to give up this episode and those after it, remove their lines from "
            f"{RECORDING}/journal.jsonl and run smolvla dataset repair"
        )
    return "copy or download it again"
