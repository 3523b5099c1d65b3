# SPDX-License-Identifier: Apache-2.0
"""Read pictures that are kept inside parquet files, as LeRobot does without videos."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from smolvla_learning.dataset.errors import DatasetError, damaged
from smolvla_learning.dataset.features import Array
from smolvla_learning.dataset.tables import read_slice

COLOR_MODES = ("RGB", "RGBA", "L", "LA", "P", "1")
"""Pillow's names of 8-bit formats; all others hold depth or are no colors of a camera."""


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
            picture = Image.open(io.BytesIO(content))
            picture.load()
        except (OSError, SyntaxError, ValueError) as error:
            raise damaged(path, f"row {at}: {column!r}: {error}") from error
        if picture.mode not in COLOR_MODES:
            raise DatasetError(f"{where}: holds depth ({picture.mode}), not colors")
        yield np.asarray(picture.convert("RGB"))


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
