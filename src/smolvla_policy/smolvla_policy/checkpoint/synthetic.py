# SPDX-License-Identifier: Apache-2.0
"""Checkpoints with random weights in LeRobot's exact format, for benchmarks and tests.

The tokenizer in them is a stand-in, one token per byte: the real one belongs to SmolVLM2 and
is on the Hugging Face Hub. Instructions therefore become longer than in reality (21 tokens
instead of 7 for "pick up the red cube"), which makes a benchmark slower, never faster.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from smolvla_core.units.calibration import LEROBOT_JOINTS
from tokenizers import pre_tokenizers
from torch import Tensor

from smolvla_policy.checkpoint.config import ACTION, DEFAULTS, STATE, parse_config
from smolvla_policy.checkpoint.processors import Processors
from smolvla_policy.checkpoint.robot import RobotFacts, write_robot
from smolvla_policy.checkpoint.save import (
    POSTPROCESSOR_STATE,
    PREPROCESSOR_STATE,
    processor_files,
    write_json,
)
from smolvla_policy.checkpoint.source import CONFIG, WEIGHTS
from smolvla_policy.checkpoint.text import (
    FAKE_IMAGE_TOKEN,
    GLOBAL_IMAGE_TOKEN,
    TOKENIZER,
    TOKENIZER_CONFIG,
)
from smolvla_policy.checkpoint.vlm import SMOLVLM2_500M, model_sizes
from smolvla_policy.checkpoint.weights import write_tensor_file
from smolvla_policy.model.names import LM_HEAD, locations, views
from smolvla_policy.model.network import SmolVLANetwork
from smolvla_policy.model.sizes import Precision

SPREAD = 0.02
"""Standard deviation of random matrices, as at the start of a training."""
_PIECE = 1 << 20  # numbers made at a time


RANDOM = "random_weights"
"""An empty file that tells such a checkpoint from a trained one."""


def make_checkpoint(
    folder: Path,
    *,
    cameras: Sequence[str] = ("top", "wrist"),
    joints: int = 6,
    vlm: dict[str, Any] | None = None,
    overrides: dict[str, Any] | None = None,
    seed: int = 0,
) -> None:
    """Write a checkpoint with random weights, in the number types of released ones.

    One of six joints says, as a training here does, that they are an SO-100's in degrees.

    Args:
        folder: created if needed.
        cameras: short camera names.
        joints: size of state and action.
        vlm: sizes of the VLM in the form of its ``config.json``; SmolVLM2-500M's if None,
            which gives 450 million parameters and 907 MB.
        overrides: fields of ``config.json``.
        seed: of the random numbers.
    """
    vlm = SMOLVLM2_500M if vlm is None else vlm
    raw = policy_config(cameras, joints, overrides or {})
    config = parse_config(raw, str(folder / CONFIG))
    sizes = model_sizes(config, vlm, str(folder / CONFIG))
    (folder / "vlm").mkdir(parents=True, exist_ok=True)
    (folder / "tokenizer").mkdir(exist_ok=True)
    (folder / RANDOM).touch()
    write_json(folder / CONFIG, raw)
    write_vlm(folder, vlm, sizes.vocabulary, sizes.image_tokens)
    half = torch.bfloat16
    network = SmolVLANetwork(sizes, Precision(half, half, half))
    generator = torch.Generator().manual_seed(seed)
    places = locations(network)
    tensors: dict[str, Tensor] = {}
    for name, tensor in views(network).items():
        dtype = network.value_dtype(places[name].parameter)
        offset = 1.0 if name.endswith("weight") and tensor.ndim == 1 else 0.0
        tensors[name] = _random(tuple(tensor.shape), dtype, offset, generator)
    head = (sizes.vocabulary, sizes.text.hidden)
    tensors[LM_HEAD] = _random(head, half, 0.0, generator)
    write_tensor_file(folder / WEIGHTS, tensors)
    settings = Processors(
        max_length=config.tokenizer_max_length, norm_map=dict(config.normalization_mapping)
    )
    for file, content in processor_files(raw, settings, "vlm").items():
        write_json(folder / file, content)
    numbers = np.random.default_rng(seed)
    for file in (PREPROCESSOR_STATE, POSTPROCESSOR_STATE):
        flat: dict[str, Tensor] = {}
        for feature in (STATE, ACTION):
            mean = numbers.uniform(-30.0, 30.0, joints).astype(np.float32)
            std = numbers.uniform(5.0, 30.0, joints).astype(np.float32)
            flat[f"{feature}.mean"] = torch.from_numpy(mean)
            flat[f"{feature}.std"] = torch.from_numpy(std)
        write_tensor_file(folder / file, flat)
    if joints == len(LEROBOT_JOINTS):
        names = tuple(f"{name}.pos" for name in LEROBOT_JOINTS)
        write_robot(folder, RobotFacts("degrees", names, 30.0, tuple(config.cameras)))


def policy_config(
    cameras: Sequence[str], joints: int, overrides: dict[str, Any]
) -> dict[str, Any]:
    """Compose ``config.json``; arguments as `make_checkpoint`."""
    inputs: dict[str, Any] = {STATE: {"type": "STATE", "shape": [joints]}}
    for name in cameras:
        inputs[f"observation.images.{name}"] = {"type": "VISUAL", "shape": [3, 480, 640]}
    return {
        "type": "smolvla",
        "input_features": inputs,
        "output_features": {ACTION: {"type": "ACTION", "shape": [joints]}},
        **DEFAULTS,
        "vlm_model_name": "vlm",
        # As in lerobot/smolvla_base, from which most checkpoints descend.
        "pad_language_to": "max_length",
        "prefix_length": 0,
        "num_expert_layers": 0,
        **overrides,
    }


def _random(
    shape: tuple[int, ...], dtype: torch.dtype, offset: float, generator: torch.Generator
) -> Tensor:
    values = torch.empty(shape, dtype=dtype)
    for piece in values.view(-1).split(_PIECE):  # and not all of it in float32
        piece.copy_(torch.randn(len(piece), generator=generator) * SPREAD + offset)
    return values


def write_vlm(
    folder: Path,
    vlm: dict[str, Any],
    vocabulary: int,
    image_tokens: int,
    merges: Sequence[str] = (),
) -> None:
    """Write the VLM's configuration and its tokenizer, as LeRobot wants them.

    Args:
        folder: of the checkpoint, with its subfolders ``vlm`` and ``tokenizer``.
        vlm: as `make_checkpoint`.
        vocabulary: rows of the token embedding.
        image_tokens: of one image.
        merges: see `byte_tokenizer`.
    """
    text = {
        "model_type": "llama",
        "architectures": ["LlamaForCausalLM"],
        "torch_dtype": "bfloat16",
        "max_position_embeddings": 8192,
        "pad_token_id": 2,
        **vlm["text_config"],
    }
    special = {
        "<|endoftext|>": 0,
        "<|im_start|>": 1,
        "<|im_end|>": 2,
        GLOBAL_IMAGE_TOKEN: vocabulary - 4,
        FAKE_IMAGE_TOKEN: vocabulary - 3,
        "<image>": vocabulary - 2,
        "<end_of_utterance>": vocabulary - 1,
    }
    side = vlm["vision_config"]["image_size"]
    write_json(
        folder / "vlm" / CONFIG,
        {
            "model_type": "smolvlm",
            "architectures": ["SmolVLMForConditionalGeneration"],
            "image_token_id": special["<image>"],
            "pad_token_id": 2,
            "scale_factor": vlm["scale_factor"],
            "tie_word_embeddings": False,
            "vocab_size": vocabulary,
            "text_config": text,
            "vision_config": {"model_type": "smolvlm_vision", **vlm["vision_config"]},
        },
    )
    write_json(
        folder / "vlm" / "preprocessor_config.json",
        {
            "image_processor_type": "SmolVLMImageProcessor",
            "processor_class": "SmolVLMProcessor",
            "max_image_size": {"longest_edge": side},
            "size": {"longest_edge": 4 * side},
            "video_sampling": {
                "fps": 1,
                "max_frames": 64,
                "video_size": {"longest_edge": side},
            },
        },
    )
    write_json(
        folder / "vlm" / "processor_config.json",
        {"image_seq_len": image_tokens, "processor_class": "SmolVLMProcessor"},
    )
    settings = {
        "bos_token": "<|im_start|>",
        "eos_token": "<end_of_utterance>",
        "pad_token": "<|im_end|>",
        "unk_token": "<|endoftext|>",
        "extra_special_tokens": {
            "end_of_utterance_token": "<end_of_utterance>",
            "fake_image_token": FAKE_IMAGE_TOKEN,
            "global_image_token": GLOBAL_IMAGE_TOKEN,
            "image_token": "<image>",
        },
        "clean_up_tokenization_spaces": False,
        "model_max_length": 8192,
        "truncation_side": "left",
        "processor_class": "SmolVLMProcessor",
        "tokenizer_class": "PreTrainedTokenizerFast",
    }
    for place in ("vlm", "tokenizer"):
        write_json(folder / place / TOKENIZER, byte_tokenizer(special, vocabulary, merges))
        write_json(folder / place / TOKENIZER_CONFIG, settings)


def byte_tokenizer(
    special: dict[str, int], vocabulary: int, merges: Sequence[str] = ()
) -> dict[str, Any]:
    """Compose a ``tokenizer.json`` with one token per byte, and one per merge.

    Args:
        special: special token -> id; ids 3 to 258 are taken by the bytes.
        vocabulary: size; ids without a meaning get names that no text contains.
        merges: of a byte-pair encoding, best first, each as two tokens with a space between;
            those that the vocabulary has no room for are left out.
    """
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocab = {**special, **{letter: at + 3 for at, letter in enumerate(letters)}}
    room = vocabulary - len(special) - len(letters)
    merges = list(merges)[: max(room, 0)]
    ids = iter(sorted(set(range(vocabulary)) - set(vocab.values())))
    vocab.update({"".join(merge.split(" ")): next(ids) for merge in merges})
    taken = set(vocab.values())
    vocab.update({f"unused {at}": at for at in range(vocabulary) if at not in taken})
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
    added = [{"id": at, "content": name, **flags, "special": True} for name, at in special.items()]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True}
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {**byte_level, "use_regex": True},
        "post_processor": None,
        "decoder": {**byte_level, "use_regex": True},
        "model": {
            "type": "BPE",
            "dropout": None,
            "unk_token": None,
            "continuing_subword_prefix": None,
            "end_of_word_suffix": None,
            "fuse_unk": False,
            "byte_fallback": False,
            "ignore_merges": False,
            "vocab": vocab,
            "merges": merges,
        },
    }
