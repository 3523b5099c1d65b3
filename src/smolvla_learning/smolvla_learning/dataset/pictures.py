# SPDX-License-Identifier: Apache-2.0
"""Read pictures that are kept inside parquet files, as LeRobot does without videos."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from smolvla_core.images import NoColorsError, decode_picture

from smolvla_learning.dataset.errors import DatasetError, damaged
from smolvla_learning.dataset.features import Array
from smolvla_learning.dataset.tables import read_slice


def read_pictures(
    folder: Path, path: Path, column: str, begin: int, count: int
) -> Iterator[Array]:
    """Decode the pictures of neighboring rows.

    Args:
        folder: of the dataset; files that rows refer to lie in it.
        path: of the parquet file.
        column: each row has the bytes of a file, or its path.
        begin: first row.
        count: of rows.

    Yields:
        (height, width, 3) uint8 RGB.

    Raises:
        DatasetError: the file or a picture is missing or damaged, or holds depth.
    """
    rows = read_slice(path, column, begin, count)
    for at, row in enumerate(rows, start=begin):
        where = f"{path}: row {at}: {column!r}"
        content = _content(folder, row.as_py(), where)
        try:
            yield decode_picture(content)[0]
        except NoColorsError as error:
            raise DatasetError(f"{where}: holds depth, not colors: {error}") from error
        except ValueError as error:
            raise damaged(path, f"row {at}: {column!r}: {error}") from error


def _content(folder: Path, value: Any, where: str) -> bytes:
    if isinstance(value, bytes):
        return value
    about = value if isinstance(value, dict) else {}
    content, name = about.get("bytes"), about.get("path")
    if content:
        return bytes(content)
    if not name:
        raise DatasetError(f"{where}: holds no picture; download the file again")
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise DatasetError(
            f"{where}: refers to {name}, which cannot be read; put that file there, or ask for "
            "the dataset with its pictures inside parquet"
        ) from error
