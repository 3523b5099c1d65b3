# SPDX-License-Identifier: Apache-2.0
"""LoRA adapters (PEFT): added to the weights when a checkpoint is loaded.

LoRA, arXiv 2106.09685: the product of two thin matrices, scaled by alpha / rank, is added to a
weight. Merged once, it costs nothing at run time.
"""

from __future__ import annotations

import math
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from smolvla_policy.checkpoint.errors import CheckpointError
from smolvla_policy.checkpoint.source import (
    ADAPTER_CONFIG,
    ADAPTER_WEIGHTS,
    find_weights,
    read_json,
)
from smolvla_policy.checkpoint.tensor_file import TensorFile

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
