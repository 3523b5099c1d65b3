# SPDX-License-Identifier: Apache-2.0
"""NumPy arrays to and from parquet columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from smolvla_core.images import NoColorsError, decode_picture

from smolvla_learning.dataset.features import Array, Feature
from smolvla_learning.dataset.layout import DatasetError, complete_file, damaged, missing


def column_type(feature: Feature) -> pa.DataType:
    """Parquet type of a feature: a number for shape (1,), else lists of fixed length."""
    kind = pa.from_numpy_dtype(np.dtype(feature.dtype))
    if feature.shape == (1,):
        return kind
    for size in reversed(feature.shape):
        kind = pa.list_(kind, size)
    return kind


def to_column(feature: Feature, values: Array) -> pa.Array:
    """Turn (frames, *shape) into a parquet column."""
    column = pa.array(np.ascontiguousarray(values).reshape(-1))
    if feature.shape == (1,):
        return column
    for size in reversed(feature.shape):
        column = pa.FixedSizeListArray.from_arrays(column, size)
    return column


def to_array(column: pa.ChunkedArray, shape: Sequence[int]) -> Array:
    """Turn a parquet column into (rows, *shape); the inverse of `to_column`.

    Raises:
        ValueError: values are missing, or are not of that shape.
    """
    rows = len(column)
    if not rows:
        return np.empty((0, *shape))
    flat: pa.Array = column.combine_chunks()
    if isinstance(flat, pa.ChunkedArray):
        flat = pa.concat_arrays(flat.chunks)
    while True:
        if flat.null_count:
            raise ValueError("values are missing")
        if isinstance(flat, pa.ExtensionArray):
            flat = flat.storage
        elif pa.types.is_nested(flat.type):
            flat = flat.flatten()
        else:
            break
    return np.asarray(flat.to_numpy(zero_copy_only=False)).reshape(rows, *shape)


def frame_schema(features: Mapping[str, Feature]) -> pa.Schema:
    """Schema of a data file with features of numbers."""
    return pa.schema([(name, column_type(item)) for name, item in features.items()])


def write_rows(path: Path, schema: pa.Schema, tables: Iterator[pa.Table]) -> None:
    """Write a parquet file with one row group for each table."""
    with (
        complete_file(path) as partial,
        pq.ParquetWriter(partial, schema, compression="snappy") as writer,
    ):
        for table in tables:
            writer.write_table(table)


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """Read a parquet file.

    Raises:
        DatasetError: it is missing, damaged, or lacks a column.
    """
    with parquet_file(path) as file:
        names = file.schema_arrow.names
        lacking = [name for name in columns or () if name not in names]
        if lacking:
            raise DatasetError(f"{path}: lacks {lacking}; it has {names}")
        try:
            return file.read(columns=None if columns is None else list(columns))
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, error) from error


def read_slice(path: Path, column: str, begin: int, count: int) -> pa.ChunkedArray:
    """Read neighboring rows of one column, from the row groups that hold them.

    Raises:
        DatasetError: the file is missing, damaged, or lacks the column.
    """
    with parquet_file(path) as file:
        names = file.schema_arrow.names
        if column not in names:
            raise DatasetError(f"{path}: lacks {[column]}; it has {names}")
        groups, skipped, rows = [], 0, 0
        for group in range(file.num_row_groups):
            size = file.metadata.row_group(group).num_rows
            if rows + size <= begin:
                skipped += size
            elif rows < begin + count:
                groups.append(group)
            rows += size
        try:
            return file.read_row_groups(groups, [column])[column].slice(begin - skipped, count)
        except (pa.ArrowException, OSError) as error:
            raise damaged(path, error) from error


def parquet_file(path: Path) -> pq.ParquetFile:
    """Open a parquet file.

    Raises:
        DatasetError: it is missing or damaged.
    """
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError as error:
        raise missing(path) from error
    except (pa.ArrowException, OSError) as error:
        raise damaged(path, error) from error


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
