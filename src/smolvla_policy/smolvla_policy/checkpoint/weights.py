# SPDX-License-Identifier: Apache-2.0
"""Weights from a checkpoint into the network; LoRA adapters (PEFT) are added to them.

LoRA, arXiv 2106.09685: the product of two thin matrices, scaled by alpha / rank, is added to a
weight. Merged once, it costs nothing at run time.
"""

from __future__ import annotations

import logging
import math
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from smolvla_policy.checkpoint.source import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    CheckpointError,
    find_weights,
    read_json,
)
from smolvla_policy.checkpoint.statistics import is_buffer
from smolvla_policy.checkpoint.tensor_file import TensorFile
from smolvla_policy.model.names import LM_HEAD, TEXT, locations, views
from smolvla_policy.model.network import SmolVLANetwork

WRAPPER = "base_model.model."
KEY = re.compile(r"(?P<name>.+)\.lora_(?P<side>[AB])(?:\.default)?\.weight")


def has_adapter(folder: Path) -> bool:
    """Whether a checkpoint folder holds an adapter."""
    return (folder / ADAPTER_CONFIG).is_file()


def base_checkpoint(folder: Path) -> str | None:
    """Return what the adapter was trained on, if its file names it."""
    base = read_json(folder / ADAPTER_CONFIG).get("base_model_name_or_path")
    return str(base) if base else None


def merge_adapter(folder: Path, targets: dict[str, Tensor]) -> int:
    """Add an adapter to weights in place.

    Args:
        folder: of the checkpoint.
        targets: LeRobot's name -> view of the weight.

    Returns:
        Number of weights that were changed.

    Raises:
        CheckpointError: the adapter is of another kind than LoRA, incomplete, or does not fit.
    """
    settings = read_json(folder / ADAPTER_CONFIG)
    _check_kind(folder, settings)
    path = find_weights(folder, ADAPTER_WEIGHTS)
    pairs: dict[str, dict[str, Tensor]] = {}
    changed = 0
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
            changed += 1
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
    return changed + len(pairs)


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


EMBEDDING = TEXT + "embed_tokens.weight"
COMPILED = "_orig_mod."
LISTED = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class LoadReport:
    """What happened while a checkpoint was loaded.

    Attributes:
        folder: of the checkpoint.
        weights: file that the weights came from.
        loaded: tensors in the network.
        unexpected: tensors in the file that the network has no place for.
        ignored: tensors that are known and not needed (``lm_head``, old statistics).
        adapted: weights changed by an adapter.
        unknown_fields: fields of ``config.json`` that are not LeRobot's.
        statistics: where the statistics came from.
        notes: what a user should know of how the checkpoint was read, a line each.
    """

    folder: Path
    weights: Path
    loaded: int
    unexpected: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    adapted: int = 0
    unknown_fields: tuple[str, ...] = ()
    statistics: str = ""
    notes: tuple[str, ...] = ()


def load_weights(
    network: SmolVLANetwork, folder: Path, file: TensorFile, device: torch.device
) -> LoadReport:
    """Give the network memory and read every weight straight into it.

    Args:
        network: without memory.
        folder: of the checkpoint; an adapter in it is merged.
        file: the weights.
        device: where the network will compute.

    Returns:
        The report, without statistics and fields.

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
    ignored = sorted(name for name in stored if name == LM_HEAD or is_buffer(name))
    unexpected = sorted(set(stored) - set(places) - set(ignored))
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
    adapted = 0
    if has_adapter(folder):
        adapted = merge_adapter(folder, targets)
        for name, tensor in targets.items():
            tensor.copy_(tensor.to(rounded[name]))
    network.eval()
    return LoadReport(
        folder=folder,
        weights=file.path,
        loaded=len(places),
        unexpected=tuple(unexpected),
        ignored=tuple(ignored),
        adapted=adapted,
    )


def _some(names: list[str]) -> str:
    shown = ", ".join(names[:LISTED])
    return shown if len(names) <= LISTED else f"{shown} and {len(names) - LISTED} more"
