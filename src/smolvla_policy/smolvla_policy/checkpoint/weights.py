# SPDX-License-Identifier: Apache-2.0
"""Safetensors files, and the weights from one into the network with its LoRA adapter (PEFT).

LoRA, arXiv 2106.09685: the product of two thin matrices, scaled by alpha / rank, is added to a
weight. Merged once, it costs nothing at run time.
"""

from __future__ import annotations

import logging
import math
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from smolvla_policy.checkpoint.source import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CheckpointError,
    find_weights,
    read_json,
)
from smolvla_policy.model.names import LM_HEAD, TEXT, locations, views
from smolvla_policy.model.network import SmolVLANetwork

BUFFER = re.compile(
    r"(?:normalize_inputs|normalize_targets|unnormalize_targets|unnormalize_outputs)\."
    r"(?:(?P<set>.+?)_)?buffer_(?P<feature>.+)\.(?P<statistic>[^.]+)"
)
"""Name of statistics among the weights, where LeRobot kept them before version 0.4."""
EMBEDDING = TEXT + "embed_tokens.weight"
COMPILED = "_orig_mod."
WRAPPER = "base_model.model."
KEY = re.compile(r"(?P<name>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight")
LISTED = 8

logger = logging.getLogger(__name__)


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
            value_dtype: type that the values are rounded to on the way; None for the target's.

        Raises:
            CheckpointError: another shape, or not a floating-point tensor.
        """
        self.check_shape(name, target)
        tensor = self.read(name)
        if not tensor.is_floating_point():
            raise CheckpointError(f"{self.path}: tensor {name!r} holds {tensor.dtype}, not floats")
        # One conversion where there is nothing to round: `copy_` converts, too.
        target.copy_(tensor if value_dtype in (None, target.dtype) else tensor.to(value_dtype))

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


def has_adapter(folder: Path) -> bool:
    """Whether a checkpoint folder holds an adapter."""
    return (folder / ADAPTER_CONFIG).is_file()


def weight_files(folder: Path, weights: Path) -> list[Path]:
    """Return the files that a checkpoint's weights come from, its adapter's included."""
    return [weights, *([find_weights(folder, ADAPTER_WEIGHTS)] if has_adapter(folder) else [])]


def base_checkpoint(folder: Path) -> str | None:
    """Return what the adapter was trained on, if its file names it."""
    base = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    return str(base) if base else None


def merge_adapter(folder: Path, targets: dict[str, Tensor]) -> None:
    """Add an adapter to weights in place.

    Args:
        folder: of the checkpoint.
        targets: LeRobot's name -> view of the weight.

    Raises:
        CheckpointError: the adapter is of another kind than LoRA, incomplete, or does not fit.
    """
    settings = read_json(folder / ADAPTER_CONFIG)
    _check_kind(folder, settings)
    path = find_weights(folder, ADAPTER_WEIGHTS)
    pairs: dict[str, dict[str, Tensor]] = {}
    with TensorFile(path) as file:
        for key in file.shapes:
            name = key.removeprefix(WRAPPER)
            match = KEY.fullmatch(name)
            if match:
                pairs.setdefault(match["name"] + ".weight", {})[match["side"]] = file.read(key)
                continue
            # Modules that were trained as a whole are stored under their own name.
            plain = re.sub(r"\.modules_to_save(\.default)?", "", name)
            if plain not in targets:
                raise CheckpointError(f"{path}: {key!r} fits no weight of this network")
            file.read_into(key, targets[plain])
    for name, pair in pairs.items():
        if set(pair) != {"A", "B"}:
            raise CheckpointError(f"{path}: adapter of {name!r} is incomplete")
        if name not in targets:
            raise CheckpointError(f"{path}: adapter for {name!r}, which this network lacks")
        down, up, target = pair["A"].float(), pair["B"].float(), targets[name]
        if down.ndim != 2 or up.ndim != 2 or (up.shape[0], down.shape[1]) != target.shape:
            raise CheckpointError(
                f"{path}: adapter of {name!r} has shapes {list(up.shape)} x {list(down.shape)}, "
                f"the weight {list(target.shape)}"
            )
        scale = _scale(settings, name.removesuffix(".weight"), down.shape[0])
        change = (up @ down * scale).to(target.device)
        target.copy_(target.float() + change)


def _check_kind(folder: Path, settings: dict[str, Any]) -> None:
    where = folder / ADAPTER_CONFIG
    if settings.get("peft_type") != "LORA":
        raise CheckpointError(
            f"{where}: adapter of kind {settings.get('peft_type')!r}; only LORA can be merged"
        )
    for name in (
        "use_dora",
        "fan_in_fan_out",
        "use_qalora",
        "layer_replication",
        "megatron_config",
    ):
        if settings.get(name):
            raise CheckpointError(f"{where}: {name} is set, which cannot be merged here")
    if settings.get("bias", "none") != "none":
        raise CheckpointError(f"{where}: adapters with trained biases cannot be merged here")


def _scale(settings: dict[str, Any], module: str, rank: int) -> float:
    alpha = float(settings.get("lora_alpha", rank))
    for pattern, value in (settings.get("alpha_pattern") or {}).items():
        if re.fullmatch(rf"(.*\.)?({pattern})", module):
            alpha = float(value)
    return alpha / (math.sqrt(rank) if settings.get("use_rslora") else rank)


def load_weights(
    network: SmolVLANetwork, folder: Path, file: TensorFile, device: torch.device
) -> None:
    """Give the network memory and read every weight straight into it.

    Args:
        network: without memory.
        folder: of the checkpoint; an adapter in it is merged.
        file: the weights.
        device: where the network will compute.

    Raises:
        CheckpointError: weights are missing or have another shape.
    """
    stored = {name.replace(COMPILED, ""): name for name in file.shapes}
    places = locations(network)
    missing = [name for name in places if name not in stored]
    if missing:
        raise CheckpointError(
            f"{file.path} lacks {len(missing)} of {len(places)} weights: {_some(missing)}. "
            "It belongs to another configuration, or was not saved completely"
        )
    for name, tensor in views(network).items():
        file.check_shape(stored[name], tensor)
    unexpected = sorted(
        name
        for name in set(stored) - set(places)
        if name != LM_HEAD and not BUFFER.fullmatch(name)
    )
    if unexpected:
        logger.warning(
            "%s: %d tensors are not used: %s", file.path, len(unexpected), _some(unexpected)
        )
    stored_dtype = (
        file.half(stored[EMBEDDING]) if network.precision.text == torch.float32 else None
    )
    network.allocate(device, embedding_dtype=stored_dtype)
    targets = views(network)
    rounded = {
        name: tensor.dtype if name == EMBEDDING else network.value_dtype(places[name].parameter)
        for name, tensor in targets.items()
    }
    for name, tensor in targets.items():
        file.read_into(stored[name], tensor, rounded[name])
    if has_adapter(folder):
        merge_adapter(folder, targets)
        for name, tensor in targets.items():
            tensor.copy_(tensor.to(rounded[name]))
    network.eval()


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:LISTED])
    return shown if len(names) <= LISTED else f"{shown} and {len(names) - LISTED} more"
