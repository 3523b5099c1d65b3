# SPDX-License-Identifier: Apache-2.0
"""Weights from a checkpoint into the network."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import torch

from smolvla_policy.checkpoint.adapters import has_adapter, merge_adapter
from smolvla_policy.checkpoint.errors import CheckpointError
from smolvla_policy.checkpoint.statistics import is_buffer
from smolvla_policy.checkpoint.tensor_file import TensorFile
from smolvla_policy.model.names import LM_HEAD, TEXT, locations, views
from smolvla_policy.model.network import SmolVLANetwork

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
        remarks: what a user should know of how the checkpoint was read, a line each.
    """

    folder: Path
    weights: Path
    loaded: int
    unexpected: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    adapted: int = 0
    unknown_fields: tuple[str, ...] = ()
    statistics: str = ""
    remarks: tuple[str, ...] = ()


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
