# SPDX-License-Identifier: Apache-2.0
"""Statistics of states and actions: all the places where checkpoints keep them.

Since LeRobot 0.4 they are in files of the processors, before that they were buffers among the
weights. A checkpoint trained on several datasets can hold several sets, or, like
``lerobot/smolvla_base``, sets for the action alone under names that LeRobot itself does not
find; it then silently takes normalized numbers for degrees. Here such a checkpoint is refused
until a set is chosen.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from smolvla_policy.checkpoint.config import ACTION, STATE, SmolVLAConfig
from smolvla_policy.checkpoint.errors import CheckpointError
from smolvla_policy.checkpoint.normalization import Floats
from smolvla_policy.checkpoint.processors import Processors
from smolvla_policy.checkpoint.source import read_json
from smolvla_policy.checkpoint.tensor_file import TensorFile

Statistics = dict[str, dict[str, Floats]]
"""Feature name -> statistic -> values."""

DEFAULT_SET = ""
BUFFER = re.compile(
    r"(?:normalize_inputs|normalize_targets|unnormalize_targets|unnormalize_outputs)\."
    r"(?:(?P<set>.+?)_)?buffer_(?P<feature>.+)\.(?P<statistic>[^.]+)"
)
MIGRATED = re.compile(r"(?P<set>.+?)\.buffer\.(?P<feature>.+)")


def is_buffer(name: str) -> bool:
    """Whether a name among the weights is an old normalization buffer."""
    return BUFFER.fullmatch(name) is not None


def find_statistics(
    config: SmolVLAConfig, processors: Processors, weights: TensorFile | None
) -> dict[str, Statistics]:
    """Collect all sets of statistics that a checkpoint holds.

    Args:
        config: of the checkpoint; its feature names resolve names that lost their dots.
        processors: of the checkpoint.
        weights: the weights, for buffers of old checkpoints.

    Returns:
        Set name -> statistics. The set that needs no choice is `DEFAULT_SET`.
    """
    known = {_plain(name): name for name in (*config.inputs, *config.outputs)}
    sets: dict[str, Statistics] = {}

    def add(set_name: str, feature: str, statistic: str, values: Floats) -> None:
        name = known.get(_plain(feature))
        if name is not None:
            sets.setdefault(set_name, {}).setdefault(name, {})[statistic] = values

    for path, outputs in ((processors.input_state, False), (processors.output_state, True)):
        if path is None:
            continue
        with TensorFile(path) as file:
            for key in file.shapes:
                feature, _, statistic = key.rpartition(".")
                match = MIGRATED.fullmatch(feature)
                set_name = match["set"] if match else DEFAULT_SET
                feature = match["feature"] if match else feature
                values = file.read(key).float().numpy()
                # Actions are un-normalized with the statistics of the post-processor.
                if outputs == (known.get(_plain(feature)) in config.outputs) or match:
                    add(set_name, feature, statistic, values)
    if weights is not None:
        for key in weights.shapes:
            match = BUFFER.fullmatch(key)
            if match:
                values = weights.read(key).float().numpy()
                add(match["set"] or DEFAULT_SET, match["feature"], match["statistic"], values)
    return sets


def _plain(name: str) -> str:
    return re.sub(r"[._]", " ", name)


def choose_statistics(
    sets: Mapping[str, Statistics],
    wish: str | Path | Mapping[str, Any] | None,
    needed: tuple[str, ...],
    where: str,
) -> tuple[Statistics, frozenset[str]]:
    """Decide which statistics are used.

    Args:
        sets: from `find_statistics`.
        wish: None for the checkpoint's own; the name of a set, optionally with
            ``,state=action`` (use the set's action statistics for the state too) or
            ``,state=identity`` (pass the state on as it is), which without a name are about
            the checkpoint's only set; a dataset's folder or its ``meta/stats.json``; or a
            mapping of that form.
        needed: features that are normalized by statistics.
        where: names the checkpoint in errors.

    Returns:
        The statistics, and the features that the user asked to be passed on unchanged.

    Raises:
        CheckpointError: a needed feature has none; the text lists the choices.
    """
    unchanged: frozenset[str] = frozenset()
    if wish is None:
        only = next(iter(sets.values())) if len(sets) == 1 else {}
        chosen, origin = dict(sets.get(DEFAULT_SET, only)), "it"
    elif isinstance(wish, Mapping):
        chosen, origin = _from_mapping(wish, "stats"), "the given stats"
    else:
        path = _statistics_file(wish)
        if path is not None:
            chosen, origin = _from_mapping(read_json(path), str(path)), str(path)
        else:
            chosen, unchanged = _from_name(sets, str(wish), where)
            origin = f"stats {str(wish)!r}"
    missing = [name for name in needed if name not in chosen and name not in unchanged]
    if missing:
        raise CheckpointError(
            f"{where}: {origin} has no statistics for {' and '.join(map(repr, missing))}; "
            "without them the network's normalized numbers would be taken for joint angles. "
            + _choices(sets, needed)
        )
    return chosen, unchanged


def _choices(sets: Mapping[str, Statistics], needed: tuple[str, ...]) -> str:
    lines = []
    for name, statistics in sorted(sets.items()):
        prefix = "" if name == DEFAULT_SET else f"{name},"
        if all(feature in statistics for feature in needed):
            lines += [f"stats={name!r}"] if name != DEFAULT_SET else []
        elif ACTION in statistics and STATE in needed:
            lines += [
                f"stats='{prefix}state=action' (the action's statistics for the state too)",
                f"stats='{prefix}state=identity' (the state as it is, what LeRobot does)",
            ]
    lines.append("stats=<folder of a LeRobot dataset, or its meta/stats.json>")
    return "Choose one of: " + "; ".join(lines)


def _from_name(
    sets: Mapping[str, Statistics], wish: str, where: str
) -> tuple[Statistics, frozenset[str]]:
    name, _, rest = wish.partition(",")
    if name.startswith("state="):
        name, rest = DEFAULT_SET, name
    if not wish or name not in sets:
        there = ", ".join(repr(key) for key in sorted(sets) if key) or "none"
        raise CheckpointError(
            f"{where}: there is no set of statistics {name!r} and no such file; sets in this "
            f"checkpoint: {there}"
        )
    chosen = dict(sets[name])
    if rest == "state=action":
        chosen[STATE] = chosen.get(ACTION, {})
    elif rest == "state=identity":
        return chosen, frozenset({STATE})
    elif rest:
        raise CheckpointError(
            f"stats {wish!r}: {rest!r} is unknown; use 'state=action' or 'state=identity'"
        )
    return chosen, frozenset()


def _statistics_file(wish: str | Path) -> Path | None:
    path = Path(wish).expanduser()
    for candidate in (path / "meta" / "stats.json", path / "stats.json", path):
        if candidate.is_file():
            return candidate
    return None


def _from_mapping(content: Mapping[str, Any], where: str) -> Statistics:
    chosen: Statistics = {}
    for feature, statistics in content.items():
        if not isinstance(statistics, Mapping):
            raise CheckpointError(f"{where}: {feature!r} must map statistics to numbers")
        try:
            chosen[feature] = {
                str(name): np.asarray(values, dtype=np.float32)
                for name, values in statistics.items()
            }
        except (TypeError, ValueError) as error:
            raise CheckpointError(f"{where}: {feature!r} holds no numbers ({error})") from error
    return chosen
