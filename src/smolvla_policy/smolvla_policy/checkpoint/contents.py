# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint says about itself, read in milliseconds without loading the network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from .adapters import base_checkpoint, has_adapter
from .config import ACTION, STATE, SmolVLAConfig, read_config
from .errors import CheckpointError
from .processors import Processors, read_processors
from .source import WEIGHTS, find_checkpoint, find_weights
from .statistics import Statistics, choose_statistics, find_statistics
from .tensor_file import TensorFile


@dataclass(frozen=True)
class CheckpointContents:
    """A checkpoint without its weights.

    Attributes:
        folder: that holds it.
        config: its configuration.
        processors: settings of pre- and post-processing in force.
        statistics: in force.
        weights: file of the weights.
    """

    folder: Path
    config: SmolVLAConfig
    processors: Processors
    statistics: Statistics
    weights: Path


def read_contents(
    source: str | Path,
    stats: str | Path | Mapping[str, Any] | None = None,
    revision: str | None = None,
) -> CheckpointContents:
    """Read a checkpoint without its weights.

    Args:
        source: see `SmolVLAPolicy.from_pretrained`.
        stats: see there.
        revision: see there.

    Raises:
        CheckpointError: the checkpoint cannot be used; the text says why and what to do.
    """
    folder = find_checkpoint(source, revision)
    config = read_config(folder)
    processors = read_processors(folder, config)
    weights = weights_file(folder, config)
    with TensorFile(weights) as file:
        statistics, processors = statistics_in_force(config, processors, file, stats, str(folder))
    return CheckpointContents(folder, config, processors, statistics, weights)


def statistics_in_force(
    config: SmolVLAConfig,
    processors: Processors,
    weights: TensorFile,
    stats: str | Path | Mapping[str, Any] | None,
    where: str,
) -> tuple[Statistics, Processors]:
    """Return the statistics that are used, and the processors as the choice leaves them.

    Args:
        config: of the checkpoint.
        processors: of the checkpoint.
        weights: of the checkpoint; old ones hold the statistics.
        stats: the user's choice; see `SmolVLAPolicy.from_pretrained`.
        where: names the checkpoint in errors.

    Raises:
        CheckpointError: a feature needs statistics that are not there.
    """
    needed = tuple(
        name
        for name, kind in ((STATE, "STATE"), (ACTION, "ACTION"))
        if processors.norm_map.get(kind, "IDENTITY") != "IDENTITY"
    )
    sets = find_statistics(config, processors, weights)
    statistics, unchanged = choose_statistics(sets, stats, needed, where)
    if STATE in unchanged:
        processors = replace(processors, norm_map={**processors.norm_map, "STATE": "IDENTITY"})
    return statistics, processors


def weights_file(folder: Path, config: SmolVLAConfig) -> Path:
    """Find the weights; those of an adapter alone are in the checkpoint it was trained on.

    Raises:
        CheckpointError: there are none.
    """
    if has_adapter(folder) and not (folder / WEIGHTS).is_file():
        base = base_checkpoint(folder) or config.raw.get("pretrained_path")
        if not base:
            raise CheckpointError(f"{folder} holds only an adapter and does not say of what")
        return find_weights(find_checkpoint(str(base)))
    return find_weights(folder)
