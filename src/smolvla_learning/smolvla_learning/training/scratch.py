# SPDX-License-Identifier: Apache-2.0
"""A new checkpoint with random weights, made for a dataset, from which a training can start."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from smolvla_policy.checkpoint.config import ACTION, STATE, parse_config
from smolvla_policy.checkpoint.processors import Processors
from smolvla_policy.checkpoint.save import (
    POSTPROCESSOR_STATE,
    PREPROCESSOR_STATE,
    processor_files,
    save_weights,
)
from smolvla_policy.checkpoint.source import CONFIG, WEIGHTS, CheckpointError, read_json
from smolvla_policy.checkpoint.synthetic import policy_config, write_vlm
from smolvla_policy.checkpoint.vlm import model_sizes
from smolvla_policy.checkpoint.weights import write_tensor_file
from smolvla_policy.model.network import SmolVLANetwork
from smolvla_policy.model.sizes import Precision
from smolvla_policy.policy import SmolVLAPolicy
from tokenizers import Tokenizer, models, pre_tokenizers, trainers
from torch import Tensor

from smolvla_learning.training.options import TrainingError

Statistics = Mapping[str, Mapping[str, Any]]
STATISTICS = ("mean", "std", "min", "max")


@dataclass(frozen=True)
class Robot:
    """What a checkpoint has to fit.

    Attributes:
        cameras: feature name -> (height, width).
        state: numbers in the state.
        action: numbers in an action.
        statistics: of state and action, see `STATISTICS`.
        sentences: instructions, from which the tokenizer learns its words.
    """

    cameras: Mapping[str, tuple[int, int]]
    state: int
    action: int
    statistics: Statistics
    sentences: Sequence[str]


def new_policy(
    architecture: str | Path, robot: Robot, folder: Path, *, seed: int
) -> SmolVLAPolicy:
    """Write a checkpoint with random weights and load it.

    Args:
        architecture: JSON file with ``vlm`` (sizes as in a VLM's ``config.json``) and
            ``policy`` (fields of the checkpoint's ``config.json``).
        robot: what it has to fit.
        folder: of the new checkpoint.
        seed: of the weights.

    Raises:
        TrainingError: the architecture cannot be read or contradicts itself.
    """
    where = str(architecture)
    try:
        content = read_json(Path(architecture))
        vlm, fields = dict(content["vlm"]), dict(content["policy"])
    except (CheckpointError, KeyError, TypeError, ValueError) as error:
        raise TrainingError(
            f"{where} is no architecture ({error}); it needs 'vlm' and 'policy'"
        ) from error
    raw = policy_config([], robot.action, fields)
    raw["input_features"][STATE]["shape"] = [robot.state]
    for camera, (height, width) in robot.cameras.items():
        raw["input_features"][camera] = {"type": "VISUAL", "shape": [3, height, width]}
    config = parse_config(raw, where)
    sizes = model_sizes(config, vlm, where)
    for inside in ("vlm", "tokenizer"):
        (folder / inside).mkdir(parents=True, exist_ok=True)
    _write(folder / CONFIG, raw)
    merges = learn_merges(robot.sentences, sizes.vocabulary)
    write_vlm(folder, vlm, sizes.vocabulary, sizes.image_tokens, merges)
    exact = torch.float32
    network = SmolVLANetwork(sizes, Precision(exact, exact, exact)).allocate(torch.device("cpu"))
    initialize(network, torch.Generator().manual_seed(seed))
    save_weights(folder / WEIGHTS, network, None)
    settings = Processors(
        max_length=config.tokenizer_max_length, norm_map=dict(config.normalization_mapping)
    )
    for file, processor in processor_files(raw, settings, "vlm").items():
        _write(folder / file, processor)
    for file in (PREPROCESSOR_STATE, POSTPROCESSOR_STATE):
        write_tensor_file(folder / file, _numbers(robot.statistics))
    return SmolVLAPolicy.from_pretrained(folder, dtype="float32")


def _numbers(statistics: Statistics) -> dict[str, Tensor]:
    return {
        f"{feature}.{statistic}": torch.from_numpy(
            np.array(values[statistic], np.float32).reshape(-1)
        )
        for feature, values in statistics.items()
        if feature in (STATE, ACTION)
        for statistic in STATISTICS
    }


def learn_merges(sentences: Iterable[str], vocabulary: int) -> list[str]:
    """Learn a byte-pair encoding, so that the words of the instructions become one token each.

    Args:
        sentences: instructions.
        vocabulary: tokens at most.

    Returns:
        The merges, see `checkpoint.synthetic.byte_tokenizer`.
    """
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        min_frequency=1,
        show_progress=False,
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
    )
    tokenizer.train_from_iterator(sorted({text + "\n" for text in sentences}), trainer)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    return [merge if isinstance(merge, str) else " ".join(merge) for merge in merges]


def initialize(network: SmolVLANetwork, generator: torch.Generator) -> None:
    """Draw random weights.

    Matrices keep the scale of what passes through them (LeCun), those that end a residual
    branch are smaller with the depth of the stack (GPT-2), and tokens of images and words enter
    the text model at the same scale: LeRobot multiplies both by the root of its width.

    Args:
        network: with memory.
        generator: source of randomness on the CPU.
    """
    hidden = network.sizes.text.hidden
    for name, parameter in network.named_parameters():
        values = parameter.detach()
        last = name.rpartition(".")[2]
        if last == "bias":
            values.zero_()
        elif values.ndim == 1:
            values.fill_(1.0)
        elif name == "text.embedding":
            values.normal_(0.0, hidden**-0.5, generator=generator)
        elif name == "vision.position":
            values.normal_(0.0, 0.2, generator=generator)
        else:
            values.normal_(0.0, values.shape[1] ** -0.5, generator=generator)
            if name == "connector.proj.weight":
                values.mul_(hidden**-0.5)
            if name.endswith((".out.weight", ".down.weight", ".fc2.weight")):
                values.mul_((2 * _depth(network, name)) ** -0.5)


def _depth(network: SmolVLANetwork, name: str) -> int:
    sizes = network.sizes
    part = name.split(".", 1)[0]
    if part == "vision":
        return sizes.vision.layers
    return sizes.text.layers if part == "text" else sizes.expert.layers


def _write(path: Path, content: dict[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
