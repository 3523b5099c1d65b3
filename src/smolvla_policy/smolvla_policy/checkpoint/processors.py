# SPDX-License-Identifier: Apache-2.0
"""The pre- and post-processor files that LeRobot writes since 0.4, and how cameras are called."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from smolvla_policy.checkpoint.config import MODES, STATE, SmolVLAConfig
from smolvla_policy.checkpoint.source import CheckpointError, read_json
from smolvla_policy.checkpoint.weights import TensorFile

PREPROCESSOR = "policy_preprocessor.json"
POSTPROCESSOR = "policy_postprocessor.json"
TRAIN_CONFIG = "train_config.json"
PLAIN_STEPS = frozenset({"to_batch_processor", "device_processor"})
"""Steps that move tensors about and leave their values alone."""
NORMALIZERS = frozenset({"normalizer_processor", "unnormalizer_processor"})
OFF_UNLESS_ENABLED = frozenset({"relative_actions_processor", "absolute_actions_processor"})


@dataclass(frozen=True)
class Processors:
    """What the processor files say.

    Attributes:
        rename_map: observation's name -> feature name of the checkpoint.
        trained_cameras: features of the cameras that the training data had, as far as the
            files say: those with statistics, else those that `rename_map` leads to. Empty
            where they do not say.
        add_newline: whether the instruction ends in a line break.
        max_length: tokens that an instruction may have.
        truncate: whether a longer one is cut.
        tokenizer_name: folder or hub id of the tokenizer.
        tokenizer_folder: folder inside the checkpoint that holds it.
        norm_map: feature kind -> normalization mode.
        epsilon: added to the standard deviation when normalizing.
        input_state: file with the statistics of the inputs.
        output_state: file with the statistics of the outputs.
    """

    rename_map: dict[str, str] = field(default_factory=dict)
    trained_cameras: tuple[str, ...] = ()
    add_newline: bool = True
    max_length: int = 48
    truncate: bool = True
    tokenizer_name: str | None = None
    tokenizer_folder: str | None = None
    norm_map: dict[str, str] = field(default_factory=dict)
    epsilon: float = 1e-8
    input_state: Path | None = None
    output_state: Path | None = None


def read_processors(folder: Path, config: SmolVLAConfig) -> Processors:
    """Read ``policy_preprocessor.json`` and ``policy_postprocessor.json``.

    Args:
        folder: of the checkpoint.
        config: of the checkpoint; gives what older checkpoints do not write down.

    Returns:
        What they say.

    Raises:
        CheckpointError: one of the two is missing, or holds a step that would change values
            in a way that is not known here.
    """
    values: dict[str, Any] = {
        "max_length": config.tokenizer_max_length,
        "norm_map": dict(config.normalization_mapping),
    }
    there = [(folder / name).is_file() for name in (PREPROCESSOR, POSTPROCESSOR)]
    if not any(there):
        return Processors(**values)
    if not all(there):
        missing = POSTPROCESSOR if there[0] else PREPROCESSOR
        raise CheckpointError(f"{folder} has no {missing}; the checkpoint is incomplete")
    values.update(add_newline=False, rename_map={})
    for name in (PREPROCESSOR, POSTPROCESSOR):
        steps = read_json(folder / name).get("steps")
        if not isinstance(steps, list):
            raise CheckpointError(f"{folder / name}: 'steps' must be a list")
        for index, step in enumerate(steps):
            _read_step(f"{folder / name}, step {index}", folder, step, values)
    if not values.get("rename_map") and (folder / TRAIN_CONFIG).is_file():
        values["rename_map"] = _renamed(read_json(folder / TRAIN_CONFIG).get("rename_map"))
    values["trained_cameras"] = _trained_cameras(config, values)
    return Processors(**values)


def _renamed(rename_map: Any) -> dict[str, str]:
    content = rename_map if isinstance(rename_map, dict) else {}
    return {str(old): str(new) for old, new in content.items()}


def _trained_cameras(config: SmolVLAConfig, values: dict[str, Any]) -> tuple[str, ...]:
    rename_map: dict[str, str] = values["rename_map"]
    found: set[str] = set()
    if "input_state" in values:
        # LeRobot keeps the statistics of all features of the data, by the data's own names.
        with TensorFile(values["input_state"]) as file:
            found = {key.rpartition(".")[0] for key in file.shapes}
    for names in ({rename_map.get(name, name) for name in found}, set(rename_map.values())):
        cameras = tuple(camera for camera in config.cameras if camera in names)
        if cameras:
            return cameras
    return ()


def _read_step(where: str, folder: Path, step: Any, values: dict[str, Any]) -> None:
    if not isinstance(step, dict) or not isinstance(step.get("config", {}), dict):
        raise CheckpointError(f"{where}: must be an object with a 'config' object")
    kind = step.get("registry_name") or step.get("class")
    settings: dict[str, Any] = step.get("config", {})
    enabled = settings.get("enabled", step.get("enabled", kind not in OFF_UNLESS_ENABLED))
    if kind in NORMALIZERS:
        # LeRobot reads no switch here, and none beside the settings.
        if settings.get("enabled") is False:
            raise CheckpointError(
                f"{where}: {kind!r} is switched off, which LeRobot does not read either: "
                'normalized numbers would be taken for joint angles. Delete "enabled" there'
            )
    elif kind in PLAIN_STEPS or enabled is False:
        return
    if kind == "rename_observations_processor":
        values["rename_map"] = _renamed(settings.get("rename_map"))
    elif kind == "smolvla_new_line_processor":
        values["add_newline"] = True
    elif kind == "tokenizer_processor":
        values["max_length"] = int(settings.get("max_length") or values["max_length"])
        values["truncate"] = bool(settings.get("truncation", True))
        values["tokenizer_name"] = settings.get("tokenizer_name")
        values["tokenizer_folder"] = (step.get("artifacts") or {}).get("tokenizer_name")
        if settings.get("padding_side", "right") != "right":
            raise CheckpointError(f"{where}: instructions padded on the left are not supported")
    elif kind in NORMALIZERS:
        _read_normalizer(where, folder, step, settings, values)
    else:
        raise CheckpointError(
            f"{where}: step {kind!r} is not known here; leaving it out could change the actions"
        )


def _read_normalizer(
    where: str,
    folder: Path,
    step: dict[str, Any],
    settings: dict[str, Any],
    values: dict[str, Any],
) -> None:
    norm_map = settings.get("norm_map") or {}
    for kind, mode in norm_map.items():
        if mode not in MODES:
            raise CheckpointError(
                f"{where}: normalization {mode!r} of {kind} is unknown; known are "
                f"{', '.join(MODES)}"
            )
    forward = step.get("registry_name") == "normalizer_processor"
    # Each file decides for what it handles: inputs are normalized, actions un-normalized.
    kinds = ("STATE", "VISUAL", "ENV") if forward else ("ACTION",)
    values["norm_map"].update({kind: norm_map[kind] for kind in kinds if kind in norm_map})
    if forward:
        values["epsilon"] = float(settings.get("eps", 1e-8))
        # LeRobot passes on what is in neither list, whatever norm_map says.
        lists = (settings.get("features"), settings.get("normalize_observation_keys"))
        if any(names is not None and STATE not in names for names in lists):
            values["norm_map"]["STATE"] = "IDENTITY"
    if step.get("state_file"):
        file = folder / str(step["state_file"])
        if file.parent.resolve() != folder.resolve() or not file.is_file():
            raise CheckpointError(f"{where}: its file {step['state_file']!r} is not in {folder}")
        values["input_state" if forward else "output_state"] = file


CAMERA_PREFIX = "observation.images."


def expected_cameras(config: SmolVLAConfig, processors: Processors) -> tuple[str, ...]:
    """Return the features of the cameras that a checkpoint expects, in the network's order.

    They are those that it was trained with, as far as its files say, else all that it
    declares: fine-tuned checkpoints keep declaring the base model's.
    """
    trained = processors.trained_cameras
    return tuple(name for name in config.cameras if name in trained) or config.cameras


def default_cameras(config: SmolVLAConfig, processors: Processors) -> dict[str, str]:
    """Return camera name -> feature of `expected_cameras`.

    A camera is called as in the training data where ``rename_map`` says how, else by the last
    part of its feature's name.

    Raises:
        ValueError: two would be called the same.
    """
    data = {new: old for old, new in reversed(processors.rename_map.items())}
    expected = expected_cameras(config, processors)
    names = {data.get(feature, feature).rpartition(".")[2]: feature for feature in expected}
    if len(names) < len(expected):
        raise ValueError(
            f"cameras share their last names: {', '.join(expected)}; name them with 'name:feature'"
        )
    return names


def camera_feature(config: SmolVLAConfig, processors: Processors, name: str) -> str:
    """Return the feature name of a camera that may go by a shorter name.

    Raises:
        ValueError: the name is unknown or fits several cameras.
    """
    known = config.images
    for candidate in (name, CAMERA_PREFIX + name):
        renamed = processors.rename_map.get(candidate, candidate)
        if renamed in known:
            return renamed
    fitting = [feature for feature in known if feature.endswith("." + name)]
    if len(fitting) == 1:
        return fitting[0]
    trouble = f"fits several cameras: {fitting}" if fitting else "is unknown"
    raise ValueError(f"camera {name!r} {trouble}; this checkpoint has {', '.join(config.cameras)}")
