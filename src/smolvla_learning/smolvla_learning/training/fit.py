# SPDX-License-Identifier: Apache-2.0
"""A base for other cameras and joints: its configuration is made to fit a dataset.

One encoder serves all cameras and state and action are padded to the network's width, so that a
network is bound to no cameras and joints but by names and sizes in ``config.json``. Three cases:
names agree, as they are or through a rename map, and the base's names stay; cameras are named
with ``--cameras``, or none is of a name of the base's: the dataset's take the place of the base's.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from smolvla_policy.checkpoint.config import (
    ACTION,
    EMPTY_CAMERA,
    STATE,
    SmolVLAConfig,
    parse_config,
)
from smolvla_policy.checkpoint.processors import CAMERA_PREFIX, Processors

from smolvla_learning.dataset import Dataset
from smolvla_learning.training.options import RENAME, TrainingError


def chosen_cameras(dataset: Dataset, wished: Sequence[str]) -> list[str]:
    """Return the feature names of the cameras that are used, in the order of the wishes.

    Raises:
        TrainingError: there is no such camera, or one is named twice.
    """
    if not wished:
        return list(dataset.cameras)
    names = [_named(wish, dataset.cameras) for wish in wished]
    lacking = [wish for wish, name in zip(wished, names, strict=True) if name is None]
    if lacking:
        raise TrainingError(
            f"--cameras names {_list(lacking)}, but the cameras of {dataset.folder} are "
            f"{_choice(dataset)}"
        )
    found = [name for name in names if name is not None]
    if len(set(found)) < len(found):
        raise TrainingError(f"--cameras names a camera twice: {_list(wished)}")
    return found


def fit(
    config: SmolVLAConfig,
    processors: Processors,
    dataset: Dataset,
    where: str,
    *,
    cameras: Sequence[str] = (),
    rename_map: Mapping[str, str] | None = None,
    empty_cameras: int | None = None,
) -> tuple[SmolVLAConfig, Processors, list[str]]:
    """Make a configuration fit a dataset.

    Args:
        config: of the base.
        processors: of the base.
        dataset: that it is trained on.
        where: names the base in errors.
        cameras: of the dataset, by feature name or its last part; all if empty.
        rename_map: camera of the dataset -> camera of the base, both as above; None for the
            checkpoint's own.
        empty_cameras: cameras that are padded; None for the checkpoint's number.

    Returns:
        Both made to fit, and notes for the user on what differs from the base.

    Raises:
        TrainingError: cameras cannot be matched, or the robot has more numbers than the network
            has room for; the text says what to do.
    """
    wished, cameras = cameras, chosen_cameras(dataset, cameras)
    raw = json.loads(json.dumps(config.raw))
    inputs, notes = dict(raw["input_features"]), []
    state = {STATE: inputs.pop(STATE)}
    others = {name: about for name, about in inputs.items() if about["type"] != "VISUAL"}
    base = {name: inputs[name] for name in config.cameras}
    if rename_map is not None:
        mapping = _resolved(rename_map, dataset, config.cameras, where)
        processors = replace(processors, rename_map=mapping)
    renamed = {name: processors.rename_map.get(name, name) for name in cameras}
    matched = [name for name in cameras if renamed[name] in base]
    mapped = rename_map is not None
    if mapped and not matched:
        raise TrainingError(
            f"{RENAME} names none of the cameras that are used ({_list(cameras)}) as one of "
            f"{where} ({_list(base)})"
        )
    if matched and (len(matched) == len(cameras) or mapped or not wished):
        kept = _kept(config.cameras, [renamed[name] for name in matched], where)
        visual = {name: base[name] for name in kept}
        if mapped:
            # All that are used, so that the checkpoint names all the cameras it expects.
            whole = {name: renamed[name] for name in matched}
            processors = replace(processors, rename_map={**processors.rename_map, **whole})
        unused = [name for name in cameras if name not in matched]
        absent = [name for name in base if name not in visual]
        if unused and absent and not mapped:
            raise TrainingError(
                f"cameras differ: {where} reads {_list(base)}, {dataset.folder} has "
                f"{_list(cameras)}; say which takes which place with {RENAME} "
                f"{_last(unused[0])}={_last(absent[0])}, or choose the cameras with --cameras "
                f"{' '.join(map(_last, matched))}"
            )
        if unused:
            notes.append(f"cameras of the dataset that are left out: {_list(unused)}")
        if absent:
            notes.append(f"cameras of {where} that are left out: {_list(absent)}")
        pairs = [f"{name} as {new}" for name, new in renamed.items() if name != new in visual]
        if pairs:
            notes.append(f"cameras: {', '.join(pairs)}")
    else:
        visual = {
            name: {"type": "VISUAL", "shape": [3, *dataset.image_size(name)]} for name in cameras
        }
        processors = replace(processors, rename_map={})
        notes.append(
            f"cameras: {_list(cameras)} take the place of {_list(base)}, in this order; to keep "
            f"the names of {where} give {RENAME}"
        )
    processors = replace(processors, trained_cameras=tuple(visual))
    raw["input_features"] = {**state, **visual, **others}
    # Empty ones of the base are replaced by as many as are wished for.
    if empty_cameras is not None:
        raw["empty_cameras"] = empty_cameras
    for index in range(int(raw.get("empty_cameras") or 0)):
        name = f"{CAMERA_PREFIX}empty_camera_{index}"
        raw["input_features"][name] = config.raw["input_features"].get(
            name, {"type": "VISUAL", "shape": [3, 480, 640]}
        )
    notes += _sizes(raw, config, dataset, where)
    return parse_config(raw, where), processors, notes


def sized(config: SmolVLAConfig, chunk_size: int | None, where: str) -> SmolVLAConfig:
    """Return a configuration with chunks of so many actions, all of which are executed.

    No weight depends on it. None keeps the number.
    """
    if chunk_size is None:
        return config
    sizes = {"chunk_size": chunk_size, "n_action_steps": chunk_size}
    return parse_config({**config.raw, **sizes}, where)


def dataset_cameras(
    config: SmolVLAConfig, processors: Processors, dataset: Dataset, wished: Sequence[str]
) -> dict[str, str]:
    """Return camera of the policy -> camera of the dataset, in the network's order.

    Args:
        config: made to fit.
        processors: made to fit.
        dataset: that is trained on.
        wished: see `chosen_cameras`.

    Raises:
        TrainingError: one is not there.
    """
    cameras = chosen_cameras(dataset, wished)
    names = {processors.rename_map.get(name, name): name for name in cameras}
    lacking = [name for name in config.cameras if name not in names]
    if lacking:
        raise TrainingError(
            f"{dataset.folder} has no camera for {_list(lacking)} of the checkpoint; its cameras "
            f"are {_list(cameras)}"
        )
    return {name: names[name] for name in config.cameras}


def _resolved(
    wish: Mapping[str, str], dataset: Dataset, base: Sequence[str], where: str
) -> dict[str, str]:
    mapping: dict[str, str] = {}
    for old, new in wish.items():
        source, target = _named(old, dataset.cameras), _named(new, base)
        if source is None or target is None:
            turned = _named(old, base) is not None and _named(new, dataset.cameras) is not None
            advice = "; write the dataset's name first" if turned else ""
            raise TrainingError(
                f"{RENAME} says {old!r} is {new!r}, but the cameras of {dataset.folder} are "
                f"{_choice(dataset)}, those of {where} {_list(base)}{advice}"
            )
        mapping[source] = target
    return mapping


def _kept(base: Sequence[str], used: Sequence[str], where: str) -> list[str]:
    twice = sorted({name for name in used if used.count(name) > 1})
    if twice:
        raise TrainingError(
            f"two cameras are to be {_list(twice)} of {where}; leave one out with --cameras, or "
            f"give it another name with {RENAME}"
        )
    return [name for name in base if name in used]


def _sizes(raw: dict[str, Any], config: SmolVLAConfig, dataset: Dataset, where: str) -> list[str]:
    notes = []
    for name, key, limit in (
        (STATE, "input_features", "max_state_dim"),
        (ACTION, "output_features", "max_action_dim"),
    ):
        feature, most = dataset.features[name], int(getattr(config, limit))
        if len(feature.shape) != 1:
            raise TrainingError(
                f"{dataset.folder}: {name!r} has shape {list(feature.shape)}; a policy needs one "
                "row of numbers"
            )
        size, was = feature.shape[0], raw[key][name]["shape"]
        if size > most:
            raise TrainingError(
                f"{name!r} of {dataset.folder} has {size} numbers, and {where} has room for "
                f"{most} ({limit}); start from another checkpoint, or with --architecture and "
                f"{limit}: {size} in its 'policy'"
            )
        if list(was) != [size]:
            notes.append(f"{name}: {size} numbers, as in the dataset ({where}: {list(was)})")
            raw[key][name] = {"type": raw[key][name]["type"], "shape": [size]}
    return notes


def _named(wish: str, names: Sequence[str]) -> str | None:
    """Return the camera that goes by this name or ends in it; None if none or several do."""
    for whole in (wish, CAMERA_PREFIX + wish):
        if whole in names:
            return whole
    fitting = [name for name in names if _last(name) == wish and not EMPTY_CAMERA.fullmatch(name)]
    return fitting[0] if len(fitting) == 1 else None


def _choice(dataset: Dataset) -> str:
    depth = dataset.depth_cameras
    return _list(dataset.cameras) + (f" (depth is not read: {_list(depth)})" if depth else "")


def _last(name: str) -> str:
    return name.rpartition(".")[2]


def _list(names: Sequence[str] | Mapping[str, Any]) -> str:
    return ", ".join(names) or "none"
