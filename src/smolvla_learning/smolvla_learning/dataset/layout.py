# SPDX-License-Identifier: Apache-2.0
"""Where the files of a LeRobotDataset v3.0 lie, how large they may become, what is wrong."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

VERSION = "v3.0"
INFO = "meta/info.json"
STATS = "meta/stats.json"
TASKS = "meta/tasks.parquet"
EPISODES_PATH = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
DATA_PATH = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
VIDEO_PATH = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
MEGABYTE = 1024**2
PARTIAL = ".partial"
"""Ending of a file that is still being written."""


@dataclass(frozen=True)
class Limits:
    """How large the files of a dataset may become.

    Attributes:
        files_per_chunk: files in one chunk folder.
        data_mb: size of a data file in MB (1024 x 1024 bytes).
        video_mb: size of a video file in MB.
        video_seconds: length of a video file. LeRobot compares times as float32 with a
            tolerance of 1e-4 s; beyond 1024 s two neighboring float32 are further apart.
    """

    files_per_chunk: int = 1000
    data_mb: float = 100
    video_mb: float = 200
    video_seconds: float = 1000


class Position(NamedTuple):
    """Number of a file: the chunk (folder) and the file in it."""

    chunk: int
    file: int

    def next(self, limits: Limits) -> Position:
        """Position of the file after this one."""
        if self.file + 1 >= limits.files_per_chunk:
            return Position(self.chunk + 1, 0)
        return Position(self.chunk, self.file + 1)


BEFORE_FIRST = Position(0, -1)
"""Position whose next one is the first."""


def data_file(position: Position, template: str = DATA_PATH) -> str:
    """Path of a data or episodes file, relative to the dataset."""
    return template.format(chunk_index=position.chunk, file_index=position.file)


def video_file(camera: str, position: Position, template: str = VIDEO_PATH) -> str:
    """Path of a video file, relative to the dataset."""
    return template.format(video_key=camera, chunk_index=position.chunk, file_index=position.file)


@contextlib.contextmanager
def complete_file(path: Path) -> Iterator[Path]:
    """Give a path to write to; the file gets its name only when it is complete.

    After an error the incomplete file is removed and one of that name stays as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(path.name + PARTIAL)
    try:
        yield partial
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


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
