# SPDX-License-Identifier: Apache-2.0
"""Read safetensors files tensor by tensor, without a second copy of all in memory."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from smolvla_policy.checkpoint.source import CheckpointError


class TensorFile:
    """An open safetensors file.

    Args:
        path: the file.

    Attributes:
        path: the file.
        shapes: name -> shape of each tensor.

    Raises:
        CheckpointError: it is no safetensors file, or it is cut short.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            with path.open("rb") as file:
                first = file.read(9)
            # A mapped file would count its pages as memory of this process: twice the network.
            self._file = safe_open(path, "pt", backend="pread")
        except OSError as error:
            raise CheckpointError(f"{path}: cannot be read ({error.strerror})") from error
        except SafetensorError as error:
            if first[8:] != b"{" and first.startswith((b"\x80", b"PK")):
                raise CheckpointError(
                    f"{path} is a PyTorch pickle, which can run code when it is loaded, and is "
                    "never opened here; convert it to safetensors where you trust it"
                ) from error
            raise CheckpointError(
                f"{path} is no safetensors file, is damaged or cut short ({error}); download or "
                "copy it again"
            ) from error
        self.shapes: dict[str, tuple[int, ...]] = {
            name: tuple(self._file.get_slice(name).get_shape())
            for name in self._file.offset_keys()
        }

    def __enter__(self) -> TensorFile:
        self._file.__enter__()
        return self

    def __exit__(self, *error: object) -> None:
        self._file.__exit__(*error)

    def read(self, name: str) -> Tensor:
        """Read a tensor as it is.

        Raises:
            CheckpointError: the file became shorter since it was opened.
        """
        try:
            tensor: Tensor = self._file.get_tensor(name)
        except (SafetensorError, OSError) as error:
            raise CheckpointError(f"{self.path}: tensor {name!r}: {error}") from error
        return tensor

    def half(self, name: str) -> torch.dtype | None:
        """Return the type of a tensor of 16-bit floats, None for one of another type."""
        kinds = {"F16": torch.float16, "BF16": torch.bfloat16}
        return kinds.get(self._file.get_slice(name).get_dtype())

    def read_into(self, name: str, target: Tensor, value_dtype: torch.dtype | None = None) -> None:
        """Read a tensor into memory that exists already.

        Args:
            name: of the tensor in the file.
            target: of the tensor's shape; another type or device is converted to.
            value_dtype: type that the values are rounded to on the way.

        Raises:
            CheckpointError: another shape, or not a floating-point tensor.
        """
        self.check_shape(name, target)
        tensor = self.read(name)
        if not tensor.is_floating_point():
            raise CheckpointError(f"{self.path}: tensor {name!r} holds {tensor.dtype}, not floats")
        target.copy_(tensor if value_dtype is None else tensor.to(value_dtype))

    def check_shape(self, name: str, target: Tensor) -> None:
        """Raise CheckpointError if a tensor has another shape than its place."""
        if self.shapes[name] != tuple(target.shape):
            raise CheckpointError(
                f"{self.path}: tensor {name!r} has shape {list(self.shapes[name])}, but by its "
                f"configuration the network needs {list(target.shape)}"
            )


def write_tensor_file(path: Path, tensors: Mapping[str, Tensor]) -> None:
    """Write a safetensors file; it appears under its name only when it is complete."""
    partial = path.with_name(path.name + ".partial")
    save_file({k: t.detach().contiguous() for k, t in tensors.items()}, partial, {"format": "pt"})
    os.replace(partial, path)
