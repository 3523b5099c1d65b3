# SPDX-License-Identifier: Apache-2.0
"""Read and write safetensors files tensor by tensor, without a second copy in memory.

The format: 8 bytes with the length of a JSON header, the header with type, shape and byte
range of every tensor, then the bytes. Tensors are read straight into the memory of the network
with plain reads: mapping the file instead would count its pages as memory of this process.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO

import torch
from torch import Tensor

from smolvla_policy.checkpoint.errors import CheckpointError

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
DTYPE_NAMES = {dtype: name for name, dtype in DTYPES.items()}
MAX_HEADER = 100_000_000
PIECE = 1 << 20
"""Elements converted at a time when the type in the file is not the wanted one."""


@dataclass(frozen=True)
class Entry:
    """Where a tensor lies in the file.

    Attributes:
        dtype: type of the elements.
        shape: sizes.
        start: first byte, counted from the start of the file.
        size: bytes.
    """

    dtype: torch.dtype
    shape: tuple[int, ...]
    start: int
    size: int


class TensorFile:
    """An open safetensors file.

    Args:
        path: the file.

    Attributes:
        entries: name -> where it lies.

    Raises:
        CheckpointError: it is no safetensors file, or it is cut short.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self._file: BinaryIO = path.open("rb", buffering=0)
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
        try:
            self.entries = self._read_header()
        except BaseException:
            self._file.close()
            raise

    def __enter__(self) -> TensorFile:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._file.close()

    def _read_header(self) -> dict[str, Entry]:
        path, total = self.path, self.path.stat().st_size
        first = self._file.read(9)
        if len(first) < 9:
            raise CheckpointError(f"{path} is no safetensors file: it has only {total} bytes")
        if first[8:] != b"{" and first.startswith((b"\x80", b"PK")):
            raise CheckpointError(
                f"{path} is a PyTorch pickle, which can run code when it is loaded, and is never "
                "opened here; convert it to safetensors where you trust it"
            )
        (length,) = struct.unpack("<Q", first[:8])
        if length > min(MAX_HEADER, total - 8):
            raise CheckpointError(
                f"{path} is no safetensors file or is cut short: its header should have "
                f"{length} bytes, the whole file has {total}"
            )
        try:
            header = json.loads(first[8:] + self._file.read(max(length - 1, 0)))
            return {
                name: self._entry(name, about, 8 + length, total)
                for name, about in header.items()
                if name != "__metadata__"
            }
        except (UnicodeDecodeError, json.JSONDecodeError, AttributeError) as error:
            raise CheckpointError(
                f"{path} is no safetensors file: bad header ({error})"
            ) from error

    def _entry(self, name: str, about: object, data: int, total: int) -> Entry:
        try:
            fields: Mapping[str, object] = about  # type: ignore[assignment]
            dtype = DTYPES[str(fields["dtype"])]
            shape = tuple(int(size) for size in fields["shape"])  # type: ignore[attr-defined]
            begin, end = (int(at) for at in fields["data_offsets"])  # type: ignore[attr-defined]
        except (KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{self.path}: header of tensor {name!r} cannot be understood ({error!r})"
            ) from error
        if end - begin != math.prod(shape) * dtype.itemsize or begin < 0:
            raise CheckpointError(f"{self.path}: tensor {name!r} contradicts its own shape")
        if data + end > total:
            raise CheckpointError(
                f"{self.path} is cut short: tensor {name!r} ends at byte {data + end}, the file "
                f"has {total}; download or copy it again"
            )
        return Entry(dtype, shape, data + begin, end - begin)

    def _fill(self, target: Tensor, position: int) -> None:
        """Read bytes at `position` into a contiguous CPU tensor."""
        buffer = target.reshape(-1).view(torch.uint8).numpy().data
        self._file.seek(position)
        done = 0
        while done < len(buffer):
            got = self._file.readinto(buffer[done:])  # type: ignore[attr-defined]
            if not got:
                raise CheckpointError(f"{self.path} became shorter while it was read")
            done += got

    def read_into(self, name: str, target: Tensor, value_dtype: torch.dtype | None = None) -> None:
        """Read a tensor into memory that exists already.

        Args:
            name: of the tensor in the file.
            target: contiguous, of the tensor's shape; another type or device is converted to.
            value_dtype: type that the values are rounded to on the way.

        Raises:
            CheckpointError: another shape, or not a floating-point tensor.
        """
        entry = self.entries[name]
        if entry.shape != tuple(target.shape):
            raise CheckpointError(
                f"{self.path}: tensor {name!r} has shape {list(entry.shape)}, but by its "
                f"configuration the network needs {list(target.shape)}"
            )
        if not entry.dtype.is_floating_point:
            raise CheckpointError(f"{self.path}: tensor {name!r} holds {entry.dtype}, not floats")
        value_dtype = target.dtype if value_dtype is None else value_dtype
        same = entry.dtype == target.dtype == value_dtype
        if same and target.device.type == "cpu":
            self._fill(target, entry.start)
            return
        flat = target.reshape(-1)
        for at in range(0, flat.numel(), PIECE):
            count = min(PIECE, flat.numel() - at)
            piece = torch.empty(count, dtype=entry.dtype, device="cpu")
            self._fill(piece, entry.start + at * entry.dtype.itemsize)
            flat[at : at + count].copy_(piece.to(value_dtype))

    def read(self, name: str) -> Tensor:
        """Read a tensor as it is."""
        entry = self.entries[name]
        tensor = torch.empty(entry.shape, dtype=entry.dtype, device="cpu")
        if entry.size:
            self._fill(tensor, entry.start)
        return tensor

    def pieces(self, name: str) -> Iterator[bytes]:
        """Read the bytes of a tensor piece by piece."""
        entry = self.entries[name]
        step = 8 * PIECE
        for at in range(0, entry.size, step):
            piece = torch.empty(min(step, entry.size - at), dtype=torch.uint8, device="cpu")
            self._fill(piece, entry.start + at)
            yield piece.numpy().tobytes()


@dataclass(frozen=True)
class Outgoing:
    """A tensor to be written: its type, its shape, and its bytes in pieces."""

    dtype: torch.dtype
    shape: tuple[int, ...]
    pieces: Iterable[bytes]


def tensor_pieces(tensor: Tensor, dtype: torch.dtype) -> Iterator[bytes]:
    """Cut a tensor on any device into pieces of bytes of another type."""
    flat = tensor.detach().reshape(-1)
    for at in range(0, flat.numel(), PIECE):
        piece = flat[at : at + PIECE].to("cpu", dtype).contiguous()
        yield piece.view(torch.uint8).numpy().tobytes()


def outgoing(tensor: Tensor, dtype: torch.dtype | None = None) -> Outgoing:
    """Describe a tensor for `write_tensor_file`, written as `dtype` if given."""
    dtype = tensor.dtype if dtype is None else dtype
    return Outgoing(dtype, tuple(tensor.shape), tensor_pieces(tensor, dtype))


def write_tensor_file(path: Path, tensors: Mapping[str, Outgoing]) -> None:
    """Write a safetensors file; it appears under its name only when it is complete.

    Args:
        path: the file.
        tensors: name -> what to write, in the order of the file.
    """
    header: dict[str, object] = {"__metadata__": {"format": "pt"}}
    at = 0
    for name, item in tensors.items():
        size = math.prod(item.shape) * item.dtype.itemsize
        header[name] = {
            "dtype": DTYPE_NAMES[item.dtype],
            "shape": list(item.shape),
            "data_offsets": [at, at + size],
        }
        at += size
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    partial = path.with_name(path.name + ".partial")
    with partial.open("wb") as file:
        file.write(struct.pack("<Q", len(text)))
        file.write(text)
        for item in tensors.values():
            for piece in item.pieces:
                file.write(piece)
    os.replace(partial, path)
