# SPDX-License-Identifier: Apache-2.0
"""The folder `recording`: episodes that are saved and not yet in the final files.

Every episode has finished files of its own there, and a line in journal.jsonl that is written
after them. So whenever the program is killed, the lines show which episodes are complete.
Closing the dataset moves them to the final files and removes the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from smolvla_learning.dataset.layout import INFO, RECORDING, DatasetError
from smolvla_learning.dataset.statistics import Statistics


@dataclass(frozen=True)
class Saved:
    """An episode in the recording folder.

    Attributes:
        index: of the episode.
        length: frames.
        tasks: texts that occur in it, in the order of their first frame.
        statistics: of its features.
    """

    index: int
    length: int
    tasks: tuple[str, ...]
    statistics: Statistics

    def to_line(self) -> bytes:
        """One line of the journal."""
        content = {
            "episode_index": self.index,
            "length": self.length,
            "tasks": list(self.tasks),
            "stats": {
                name: {key: value.tolist() for key, value in about.items()}
                for name, about in self.statistics.items()
            },
        }
        return json.dumps(content, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"

    @staticmethod
    def from_json(content: Mapping[str, Any]) -> Saved:
        """Inverse of `to_line`."""
        statistics = {
            name: {key: np.array(value) for key, value in about.items()}
            for name, about in content["stats"].items()
        }
        return Saved(
            int(content["episode_index"]),
            int(content["length"]),
            tuple(content["tasks"]),
            statistics,
        )


def journal_path(folder: Path) -> Path:
    """Path of the journal of a dataset."""
    return folder / RECORDING / "journal.jsonl"


def saved_data(folder: Path, episode: int) -> Path:
    """Data file of an episode in the recording folder."""
    return folder / RECORDING / "data" / f"episode-{episode:06d}.parquet"


def saved_video(folder: Path, camera: str, episode: int) -> Path:
    """Video file of an episode in the recording folder."""
    return folder / RECORDING / "videos" / camera / f"episode-{episode:06d}.mp4"


def read_journal(folder: Path, first: int) -> tuple[list[Saved], int]:
    """Read which episodes are saved.

    Args:
        folder: of the dataset.
        first: number of episodes in the final files; earlier lines are done with.

    Returns:
        The saved episodes, in order, and the size in bytes of the journal's complete lines: a
        program that was killed may have left half a line behind them.

    Raises:
        DatasetError: a line is damaged, or an episode is missing.
    """
    path = journal_path(folder)
    try:
        content = path.read_bytes()
    except FileNotFoundError:
        return [], 0
    size = content.rfind(b"\n") + 1
    saved: list[Saved] = []
    for number, line in enumerate(content[:size].splitlines(), start=1):
        try:
            entry = Saved.from_json(json.loads(line))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DatasetError(f"{path}: line {number} is damaged ({error!r})") from error
        if entry.index < first:
            continue
        if entry.index != first + len(saved):
            raise DatasetError(
                f"{path}: line {number} is episode {entry.index}, expected {first + len(saved)}"
            )
        saved.append(entry)
    return saved, size


class Journal:
    """The journal of a dataset that is being recorded; one program at a time holds it.

    Args:
        folder: of the dataset.
        first: number of episodes in the final files.

    Attributes:
        saved: the episodes in the recording folder, in order.

    Raises:
        DatasetError: another program records into the dataset, or the journal is damaged.
    """

    def __init__(self, folder: Path, first: int) -> None:
        path = journal_path(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._file = path.open("ab", buffering=0)
        try:
            try:
                fcntl.flock(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise DatasetError(
                    f"{folder}: another program is recording into this dataset: end it, or give "
                    "another folder"
                ) from error
            self.saved, self._size = read_journal(folder, first)
            self._file.truncate(self._size)
        except BaseException:
            self._file.close()
            raise

    def append(self, entry: Saved) -> None:
        """Add an episode whose files are complete; all of its line or nothing."""
        line = entry.to_line()
        try:
            written = 0
            while written < len(line):
                written += self._file.write(line[written:])
        except BaseException:
            self._file.truncate(self._size)
            raise
        self._size += len(line)
        self.saved.append(entry)

    def remove_leftovers(self) -> None:
        """Remove files of episodes that were never saved."""
        known = {f"episode-{entry.index:06d}" for entry in self.saved}
        for path in (self._folder / RECORDING).glob("*/**/episode-*"):
            if path.suffix not in (".parquet", ".mp4") or path.stem not in known:
                path.unlink()

    def close(self) -> None:
        """Let go of the journal; the recording folder stays."""
        self._file.close()

    def remove(self) -> None:
        """Remove the recording folder, after its episodes came into the final files."""
        # The journal goes last, so that what a kill leaves behind is still known as leftovers.
        for name in ("data", "videos"):
            shutil.rmtree(self._folder / RECORDING / name, ignore_errors=True)
        with contextlib.suppress(FileNotFoundError):
            journal_path(self._folder).unlink()
        self.close()
        with contextlib.suppress(OSError):
            (self._folder / RECORDING).rmdir()


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
