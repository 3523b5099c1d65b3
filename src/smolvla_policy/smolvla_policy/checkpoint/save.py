# SPDX-License-Identifier: Apache-2.0
"""Write a checkpoint that LeRobot loads."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from smolvla_policy.checkpoint.config import ACTION, DEFAULTS, OTHER_FIELDS, SmolVLAConfig
from smolvla_policy.checkpoint.processors import POSTPROCESSOR, PREPROCESSOR, Processors
from smolvla_policy.checkpoint.source import (
    CONFIG,
    HUB_ID,
    SMOLVLM2,
    VLM_FOLDER,
    WEIGHTS,
    CheckpointError,
    companion_here,
)
from smolvla_policy.checkpoint.statistics import Statistics
from smolvla_policy.checkpoint.text import TOKENIZER, TOKENIZER_CONFIG, InstructionTokenizer
from smolvla_policy.checkpoint.vlm import WIDTH
from smolvla_policy.checkpoint.weights import COMPILED, TensorFile, write_tensor_file
from smolvla_policy.model.names import LM_HEAD, locations, views
from smolvla_policy.model.network import SmolVLANetwork

PREPROCESSOR_STATE = "policy_preprocessor_step_5_normalizer_processor.safetensors"
NEWER_FIELDS = frozenset(
    {"use_peft", "rtc_config", "compile_model", "compile_mode", "pretrained_revision"}
)
"""Not in LeRobot 0.4.0. They say how to run or where the base came from, none of it what the
weights are, so they are left to their defaults."""
POSTPROCESSOR_STATE = "policy_postprocessor_step_0_unnormalizer_processor.safetensors"


def save_checkpoint(
    folder: Path,
    network: SmolVLANetwork,
    config: SmolVLAConfig,
    processors: Processors,
    statistics: Statistics,
    tokenizer: InstructionTokenizer,
    source: Path | None,
) -> None:
    """Write a whole checkpoint in the format of LeRobot 0.4 and later.

    Args:
        folder: created if needed.
        network: the weights; adapters are merged already.
        config: of the checkpoint that was loaded.
        processors: with the active normalization.
        statistics: the active ones.
        tokenizer: put into ``tokenizer/``.
        source: weights file that `network` was loaded from, see `save_weights`.

    Raises:
        CheckpointError: `folder` is the one that the checkpoint was loaded from.
    """
    if source is not None and source.parent.resolve() == folder.resolve():
        raise CheckpointError(f"{folder} is the checkpoint that is in use; save to another folder")
    folder.mkdir(parents=True, exist_ok=True)
    # LeRobot refuses fields that it does not know.
    known = {*DEFAULTS, *OTHER_FIELDS} - NEWER_FIELDS
    raw = {name: config.raw[name] for name in config.raw if name in known}
    raw["normalization_mapping"] = processors.norm_map
    vlm, usual = str(config.vlm_model_name), network.sizes.text.hidden == WIDTH
    raw["vlm_model_name"] = _save_vlm(folder, vlm, CONFIG, source, usual)
    for key, features in (("input_features", config.inputs), ("output_features", config.outputs)):
        raw[key] = {
            name: {"type": about.kind, "shape": list(about.shape)}
            for name, about in features.items()
        }
    write_json(folder / CONFIG, raw)
    save_weights(folder / WEIGHTS, network, source)
    name = _save_vlm(folder, processors.tokenizer_name or vlm, TOKENIZER, source, usual)
    for file, content in processor_files(raw, processors, name).items():
        write_json(folder / file, content)
    for file in (PREPROCESSOR_STATE, POSTPROCESSOR_STATE):
        flat = {
            f"{feature}.{statistic}": torch.from_numpy(np.atleast_1d(values).astype(np.float32))
            for feature, entries in statistics.items()
            for statistic, values in entries.items()
        }
        write_tensor_file(folder / file, flat)
    (folder / "tokenizer").mkdir(exist_ok=True)
    shutil.copyfile(tokenizer.path, folder / "tokenizer" / TOKENIZER)
    if tokenizer.config_path is not None:
        shutil.copyfile(tokenizer.config_path, folder / "tokenizer" / TOKENIZER_CONFIG)


def save_weights(path: Path, network: SmolVLANetwork, source: Path | None) -> None:
    """Write the weights under LeRobot's names.

    ``lm_head`` is no part of the network. It is copied from `source` if that is still there;
    without it LeRobot, which never uses it, logs one missing key.

    Args:
        path: of ``model.safetensors``.
        network: with memory.
        source: the file that the network was loaded from.
    """
    places = locations(network)
    tensors: dict[str, Tensor] = {}
    for name, tensor in views(network).items():
        parameter = places[name].parameter
        held = parameter == "text.embedding"
        tensors[name] = tensor if held else tensor.to(network.value_dtype(parameter))
    if source is not None and source.is_file():
        with TensorFile(source) as file:
            for name in file.shapes:
                if name.replace(COMPILED, "") == LM_HEAD:
                    tensors[LM_HEAD] = file.read(name)
    write_tensor_file(path, tensors)


def processor_files(
    raw: dict[str, Any], processors: Processors, tokenizer_name: str
) -> dict[str, dict[str, Any]]:
    """Compose the two processor files of LeRobot.

    Args:
        raw: content of ``config.json``.
        processors: settings.
        tokenizer_name: folder or hub id for versions of LeRobot that do not look into the
            checkpoint's own ``tokenizer/``.

    Returns:
        File name -> content.
    """
    inputs, outputs = raw["input_features"], raw["output_features"]
    normalization = {"eps": processors.epsilon, "norm_map": processors.norm_map}
    device = {
        "registry_name": "device_processor",
        "config": {"device": "cpu", "float_dtype": None},
    }
    tokenization = {
        "max_length": processors.max_length,
        "task_key": "task",
        "padding_side": "right",
        "padding": raw.get("pad_language_to", "longest"),
        "truncation": processors.truncate,
        "tokenizer_name": tokenizer_name,
    }
    before: list[dict[str, Any]] = [
        {
            "registry_name": "rename_observations_processor",
            "config": {"rename_map": processors.rename_map},
        },
        {"registry_name": "to_batch_processor", "config": {}},
        {"registry_name": "smolvla_new_line_processor", "config": {}},
        {
            "registry_name": "tokenizer_processor",
            "config": tokenization,
            "artifacts": {"tokenizer_name": "tokenizer"},
        },
        device,
        {
            "registry_name": "normalizer_processor",
            "config": {**normalization, "features": {**inputs, **outputs}},
            "state_file": PREPROCESSOR_STATE,
        },
    ]
    after: list[dict[str, Any]] = [
        {
            "registry_name": "unnormalizer_processor",
            "config": {**normalization, "features": {ACTION: outputs[ACTION]}},
            "state_file": POSTPROCESSOR_STATE,
        },
        device,
    ]
    return {
        PREPROCESSOR: {"name": "policy_preprocessor", "steps": before},
        POSTPROCESSOR: {"name": "policy_postprocessor", "steps": after},
    }


def _save_vlm(folder: Path, name: str, file: str, source: Path | None, usual: bool) -> str:
    """Copy the folder of the VLM if the checkpoint carries it; return what to call it.

    Args:
        folder: of the new checkpoint.
        name: folder or hub id that the checkpoint gives.
        file: that is looked for in it.
        source: the weights file of the checkpoint.
        usual: whether the network is built on `SMOLVLM2`.
    """
    if source is not None:
        inside = companion_here([name], source.parent, file, (VLM_FOLDER,))
        if inside is not None and inside.resolve().parent == source.parent.resolve():
            copy = folder / inside.name
            shutil.copytree(inside, copy, copy_function=shutil.copyfile, dirs_exist_ok=True)
            # Versions of LeRobot that look for a folder look from where they are run.
            return name if HUB_ID.fullmatch(name) else inside.name
    gone = not HUB_ID.fullmatch(name) and not Path(name).expanduser().is_dir()
    return SMOLVLM2 if gone and usual else name


def write_json(path: Path, content: dict[str, Any]) -> None:
    """Write a file of a checkpoint."""
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
