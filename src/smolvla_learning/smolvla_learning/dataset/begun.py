# SPDX-License-Identifier: Apache-2.0
"""A dataset that was begun and of which no episode was saved: nothing in it is worth keeping."""

from __future__ import annotations

import fcntl
import json
from pathlib import Path

from smolvla_learning.dataset.errors import RECORDING, DatasetError
from smolvla_learning.dataset.journal import journal_path, read_journal
from smolvla_learning.dataset.layout import INFO


def holds_dataset(folder: Path, *own: str) -> bool:
    """Whether there is something in a folder that a new dataset must not replace.

    Args:
        folder: that may not exist.
        own: more files that the caller writes at the beginning, relative to the folder.
    """
    if not folder.exists():
        return False
    if not folder.is_dir():
        return True
    return any(folder.iterdir()) and _leftovers(folder, own) is None


def clear_begun(folder: Path, *own: str) -> None:
    """Remove what a recording left that ended before its first episode was saved.

    Nothing is removed where there is an episode, a recording that runs, or any other file.

    Args:
        folder: that may not exist.
        own: see `holds_dataset`.
    """
    files = _leftovers(folder, own) if folder.is_dir() else None
    if files is None:
        return
    inner = {parent for file in files for parent in file.parents if parent != folder}
    for file in files:
        file.unlink()
    for path in sorted((p for p in inner if folder in p.parents), reverse=True):
        path.rmdir()


def _leftovers(folder: Path, own: tuple[str, ...]) -> list[Path] | None:
    """Return all files of a dataset that was only begun; None if it is anything else."""
    try:
        episodes = json.loads((folder / INFO).read_text(encoding="utf-8"))["total_episodes"]
        if episodes != 0 or read_journal(folder, 0)[0]:
            return None
    except (OSError, ValueError, KeyError, TypeError, DatasetError):
        return None
    files = [path for path in folder.rglob("*") if not path.is_dir()]
    known = {folder / INFO, journal_path(folder), *(folder / name for name in own)}
    episode = [path for path in files if path.name.startswith("episode-")]
    known |= {path for path in episode if folder / RECORDING in path.parents}
    if not known.issuperset(files) or _is_recorded(folder):
        return None
    return files


def _is_recorded(folder: Path) -> bool:
    """Whether a program has the journal open for recording."""
    if not journal_path(folder).exists():
        return False
    with journal_path(folder).open("rb") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False
