# SPDX-License-Identifier: Apache-2.0
"""What a checkpoint says about itself, read in milliseconds without loading the network."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from smolvla_policy.checkpoint.config import ACTION, STATE, SmolVLAConfig, read_config
from smolvla_policy.checkpoint.processors import Processors, read_processors
from smolvla_policy.checkpoint.robot import RobotFacts, robot_of
from smolvla_policy.checkpoint.source import (
    CONFIG,
    WEIGHTS,
    CheckpointError,
    find_checkpoint,
    find_weights,
    source_notes,
)
from smolvla_policy.checkpoint.statistics import (
    Normalizer,
    Statistics,
    choose_statistics,
    find_statistics,
    make_normalizers,
    statistics_size,
)
from smolvla_policy.checkpoint.weights import TensorFile, base_checkpoint, has_adapter

Adaptation = Callable[[SmolVLAConfig, Processors], tuple[SmolVLAConfig, Processors]]


@dataclass(frozen=True)
class CheckpointContents:
    """A checkpoint without its weights.

    Attributes:
        source: as the user named it.
        folder: that holds it.
        config: its configuration, with the sizes that the statistics have.
        processors: active settings of pre- and post-processing.
        statistics: the active ones.
        weights: file of the weights.
        robot: what the checkpoint says beyond LeRobot's files.
        notes: what a user should know of how it was read, a line each.
    """

    source: str
    folder: Path
    config: SmolVLAConfig
    processors: Processors
    statistics: Statistics
    weights: Path
    robot: RobotFacts
    notes: tuple[str, ...] = ()

    @cached_property
    def normalizers(self) -> dict[str, Normalizer]:
        """Feature name -> normalizer.

        Raises:
            CheckpointError: statistics are missing or unusable.
        """
        return make_normalizers(self.config, self.processors, self.statistics)


def read_contents(
    source: str | Path,
    stats: str | Path | Mapping[str, Any] | None = None,
    revision: str | None = None,
    adapt: Adaptation | None = None,
) -> CheckpointContents:
    """Read a checkpoint without its weights.

    Args:
        source: see `SmolVLAPolicy.from_pretrained`.
        stats: see there.
        revision: see there.
        adapt: see there.

    Raises:
        CheckpointError: the checkpoint cannot be used; the message says why and what to do.
    """
    folder = find_checkpoint(source, revision)
    config = read_config(folder)
    processors = read_processors(folder, config)
    if adapt is not None:
        config, processors = adapt(config, processors)
    weights = weights_file(folder, config)
    with TensorFile(weights) as file:
        config, processors, statistics, notes = settle(
            config, processors, file, stats, str(folder)
        )
    robot, about_robot = robot_of(folder, config.action_dim)
    notes = (*source_notes(source, folder), *notes, *about_robot)
    return CheckpointContents(
        source=str(source),
        folder=folder,
        config=config,
        processors=processors,
        statistics=statistics,
        weights=weights,
        robot=robot,
        notes=notes,
    )


def settle(
    config: SmolVLAConfig,
    processors: Processors,
    weights: TensorFile,
    stats: str | Path | Mapping[str, Any] | None,
    where: str,
) -> tuple[SmolVLAConfig, Processors, Statistics, tuple[str, ...]]:
    """Decide which statistics are used, and let them correct the sizes of state and action.

    Args:
        config: of the checkpoint.
        processors: of the checkpoint.
        weights: of the checkpoint; old ones hold the statistics.
        stats: the user's choice; see `SmolVLAPolicy.from_pretrained`.
        where: names the checkpoint in errors.

    Returns:
        Active configuration, processors and statistics, and notes on what was decided
        against ``config.json``.

    Raises:
        CheckpointError: a feature needs statistics that are not there, or does not fit into
            the network.
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
    declared = {STATE: config.state_dim, ACTION: config.action_dim}
    sizes = dict(declared)
    for name, kind in ((STATE, "STATE"), (ACTION, "ACTION")):
        mode = processors.norm_map.get(kind, "IDENTITY")
        sizes[name] = statistics_size(mode, statistics.get(name, {})) or declared[name]
    bare = [name for name in config.cameras if name not in statistics]
    mode = processors.norm_map.get("VISUAL", "IDENTITY")
    notes = [
        f"{CONFIG} says {declared[name]} numbers for {name!r}, the statistics are of "
        f"{sizes[name]}: {sizes[name]} it is"
        for name in declared
        if sizes[name] != declared[name]
    ]
    if mode != "IDENTITY" and bare:
        notes.append(
            f"there are no statistics of {', '.join(bare)}: as in LeRobot, their images are "
            f"passed on as they are, though {mode} is asked for"
        )
    return config.resized(where, sizes), processors, statistics, tuple(notes)


def constant_notes(
    config: SmolVLAConfig,
    normalizers: Mapping[str, Normalizer],
    names: Sequence[str] | None = None,
) -> dict[str, str]:
    """Say which dimensions of state and action never changed in the training data.

    Args:
        config: of the checkpoint.
        normalizers: from `make_normalizers`.
        names: of the dimensions of both; the checkpoint's own if None.

    Returns:
        Feature name -> note, where there are such dimensions.
    """
    notes = {}
    for feature, about, result in (
        (STATE, config.inputs[STATE], "keep it there: beside it the network sees huge numbers"),
        (ACTION, config.outputs[ACTION], "its actions stay there"),
    ):
        own = about.names if names is None else names
        values = normalizers[feature].low
        constant = [
            f"{own[at] if own else f'dimension {at}'} was always {values[at]:.6g}"
            for at in normalizers[feature].constant
        ]
        if constant:
            notes[feature] = f"in the training data {', '.join(constant)}; as in LeRobot, {result}"
    return notes


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
