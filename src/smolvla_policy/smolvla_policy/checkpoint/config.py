# SPDX-License-Identifier: Apache-2.0
"""A checkpoint's ``config.json``: LeRobot's ``SmolVLAConfig``, read tolerantly."""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from smolvla_policy.checkpoint.source import CONFIG, SMOLVLM2, CheckpointError, read_json

STATE = "observation.state"
ACTION = "action"
MODES = ("IDENTITY", "MEAN_STD", "MIN_MAX", "QUANTILES", "QUANTILE10")
EMPTY_CAMERA = re.compile(r"observation\.images\.empty_camera_\d+")

DEFAULTS: dict[str, Any] = {
    "chunk_size": 50,
    "n_action_steps": 50,
    "max_state_dim": 32,
    "max_action_dim": 32,
    "resize_imgs_with_padding": [512, 512],
    "empty_cameras": 0,
    "adapt_to_pi_aloha": False,
    "use_delta_joint_actions_aloha": False,
    "tokenizer_max_length": 48,
    "num_steps": 10,
    "freeze_vision_encoder": True,
    "train_expert_only": True,
    "train_state_proj": True,
    "vlm_model_name": SMOLVLM2,
    "load_vlm_weights": False,
    "add_image_special_tokens": False,
    "attention_mode": "cross_attn",
    "prefix_length": -1,
    "num_expert_layers": -1,
    "num_vlm_layers": 16,
    "self_attn_every_n_layers": 2,
    "expert_width_multiplier": 0.75,
    "min_period": 4e-3,
    "max_period": 4.0,
    "normalization_mapping": {"VISUAL": "IDENTITY", "STATE": "MEAN_STD", "ACTION": "MEAN_STD"},
}
"""Fields that are read here, with the defaults of LeRobot's class."""

OTHER_FIELDS = frozenset(
    {
        *("type", "n_obs_steps", "input_features", "output_features", "device", "use_amp"),
        *("use_peft", "push_to_hub", "repo_id", "private", "tags", "license", "use_cache"),
        *("pretrained_path", "pretrained_revision", "optimizer_lr", "optimizer_betas"),
        *("optimizer_eps", "optimizer_weight_decay", "optimizer_grad_clip_norm"),
        *("scheduler_warmup_steps", "scheduler_decay_steps", "scheduler_decay_lr"),
        *("pad_language_to", "rtc_config", "compile_model", "compile_mode"),
    }
)
"""Fields of LeRobot's class that change nothing in how actions are computed."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Feature:
    """One input or output.

    Attributes:
        kind: ``STATE``, ``VISUAL``, ``ACTION``, ``ENV`` …
        shape: images as (channels, height, width).
        names: of the dimensions, if the file has them.
    """

    kind: str
    shape: tuple[int, ...]
    names: tuple[str, ...] | None = None


@dataclass(frozen=True)
class SmolVLAConfig:
    """What a checkpoint says about itself.

    Attributes:
        inputs: feature name -> feature, in the file's order.
        outputs: feature name -> feature.
        values: the fields of `DEFAULTS`, also to be had as attributes.
        unknown: fields that LeRobot's class does not have; they are ignored.
        raw: the file as it is.
    """

    inputs: dict[str, Feature]
    outputs: dict[str, Feature]
    values: dict[str, Any]
    unknown: tuple[str, ...] = ()
    raw: dict[str, Any] = field(default_factory=dict, repr=False)

    def __getattr__(self, name: str) -> Any:
        if name in DEFAULTS:
            return self.values[name]
        raise AttributeError(f"the configuration of SmolVLA has no field {name!r}")

    @property
    def images(self) -> tuple[str, ...]:
        """Feature names of all images that may be given, in the network's order.

        LeRobot puts those of ``empty_cameras`` behind the others where the file lacks them.
        """
        declared = [name for name, feature in self.inputs.items() if feature.kind == "VISUAL"]
        count = int(self.values["empty_cameras"])
        empty = [f"observation.images.empty_camera_{index}" for index in range(count)]
        return tuple(dict.fromkeys([*declared, *empty]))

    @property
    def cameras(self) -> tuple[str, ...]:
        """Feature names of the cameras in the network's order, empty ones left out."""
        return tuple(name for name in self.images if not EMPTY_CAMERA.fullmatch(name))

    @property
    def state_dim(self) -> int:
        """Numbers in the state."""
        return self.inputs[STATE].shape[0]

    @property
    def action_dim(self) -> int:
        """Numbers in an action."""
        return self.outputs[ACTION].shape[0]

    def resized(self, where: str, sizes: Mapping[str, int]) -> SmolVLAConfig:
        """Return the configuration with these sizes of state and action.

        Fine-tuned checkpoints keep the base model's sizes, so the file is not always right.

        Args:
            where: names the checkpoint in errors.
            sizes: feature name -> numbers in it, where it is known better than by the file.

        Raises:
            CheckpointError: the network has room for fewer numbers.
        """
        features = {}
        for name, about, limit in (
            (STATE, self.inputs[STATE], "max_state_dim"),
            (ACTION, self.outputs[ACTION], "max_action_dim"),
        ):
            size = sizes.get(name, about.shape[0])
            if size > self.values[limit]:
                raise CheckpointError(
                    f"{where}: {name!r} has {size} dimensions, more than {limit} "
                    f"({self.values[limit]})"
                )
            names = about.names if about.names and len(about.names) == size else None
            features[name] = Feature(about.kind, (size,), names)
        return replace(
            self,
            inputs={**self.inputs, STATE: features[STATE]},
            outputs={**self.outputs, ACTION: features[ACTION]},
        )

    @property
    def image_side(self) -> int | None:
        """Side of the square that images are fitted into; None if they are not resized."""
        size = self.values["resize_imgs_with_padding"]
        return None if size is None else int(size[0])


def read_config(folder: Path) -> SmolVLAConfig:
    """Read and check ``config.json``.

    Args:
        folder: of the checkpoint.

    Returns:
        The configuration. Unknown fields are tolerated with a warning in the log.

    Raises:
        CheckpointError: missing, of another policy, contradictory, or beyond what is
            supported.
    """
    path = folder / CONFIG
    return parse_config(read_json(path), str(path))


def parse_config(raw: dict[str, Any], where: str) -> SmolVLAConfig:
    """Check a configuration; `where` names it in errors. See `read_config`."""
    if raw.get("type") != "smolvla":
        raise CheckpointError(
            f"{where}: policy type is {raw.get('type')!r}, only 'smolvla' can be run here"
        )
    unknown = tuple(sorted(set(raw) - set(DEFAULTS) - OTHER_FIELDS))
    if unknown:
        logger.warning("%s: unknown fields are ignored: %s", where, ", ".join(unknown))
    values = {name: raw.get(name, default) for name, default in DEFAULTS.items()}
    for name, default in DEFAULTS.items():
        _check_type(where, name, values[name], default)
    for name in ("chunk_size", "num_steps", "max_state_dim", "max_action_dim"):
        if values[name] < 1:
            raise CheckpointError(f"{where}: {name} is {values[name]}, it must be at least 1")
    for name in ("adapt_to_pi_aloha", "use_delta_joint_actions_aloha"):
        if values[name]:
            raise CheckpointError(
                f"{where}: {name} is set; the joint conventions of ALOHA are not supported"
            )
    inputs = _features(where, raw, "input_features")
    outputs = _features(where, raw, "output_features")
    config = SmolVLAConfig(inputs, outputs, values, unknown, raw)
    _check_features(where, config)
    return config


def _check_type(where: str, name: str, value: object, default: object) -> None:
    if name == "resize_imgs_with_padding":
        square = (
            isinstance(value, list)
            and len(value) == 2
            and all(isinstance(side, int) and side > 0 for side in value)
            and value[0] == value[1]
        )
        if value is not None and not square:
            raise CheckpointError(
                f"{where}: {name} is {value!r}; the image encoder needs a square, [side, side]"
            )
        return
    wanted: tuple[type, ...] = (type(default),)
    if isinstance(default, float):
        wanted = (float, int)
    if not isinstance(value, wanted) or (isinstance(value, bool) != isinstance(default, bool)):
        raise CheckpointError(f"{where}: {name} is {value!r}, expected {type(default).__name__}")


def _features(where: str, raw: dict[str, Any], key: str) -> dict[str, Feature]:
    content = raw.get(key)
    if not isinstance(content, dict) or not content:
        raise CheckpointError(f"{where}: {key} is missing or empty")
    features: dict[str, Feature] = {}
    for name, about in content.items():
        try:
            names = about.get("names")
            features[name] = Feature(
                kind=str(about["type"]),
                shape=tuple(int(size) for size in about["shape"]),
                names=tuple(map(str, names)) if isinstance(names, list) else None,
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise CheckpointError(
                f"{where}: {key}[{name!r}] must have a type and a shape, got {about!r}"
            ) from error
    return features


def _check_features(where: str, config: SmolVLAConfig) -> None:
    for name, features in ((STATE, config.inputs), (ACTION, config.outputs)):
        feature = features.get(name)
        if feature is None or len(feature.shape) != 1 or feature.shape[0] < 1:
            raise CheckpointError(f"{where}: feature {name!r} with shape [n] is missing")
    if not config.cameras:
        raise CheckpointError(f"{where}: no camera (VISUAL feature) among input_features")
    for kind, mode in config.values["normalization_mapping"].items():
        if mode not in MODES:
            raise CheckpointError(
                f"{where}: normalization {mode!r} of {kind} is unknown; known are "
                f"{', '.join(MODES)}"
            )
