# SPDX-License-Identifier: Apache-2.0
"""Sizes of the vision-language model that a checkpoint was built on."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smolvla_policy.checkpoint.config import SmolVLAConfig
from smolvla_policy.checkpoint.source import (
    CONFIG,
    HUB_ID,
    SMOLVLM2,
    VLM_FOLDER,
    CheckpointError,
    companion_cached,
    companion_here,
    find_companion,
    model_name,
    read_json,
)
from smolvla_policy.checkpoint.weights import COMPILED, EMBEDDING, TensorFile
from smolvla_policy.model.sizes import DecoderSizes, ModelSizes, VisionSizes, expert_sizes

SMOLVLM2_500M: dict[str, Any] = {
    "scale_factor": 4,
    "vision_config": {
        "hidden_size": 768,
        "intermediate_size": 3072,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "image_size": 512,
        "patch_size": 16,
    },
    "text_config": {
        "hidden_size": 960,
        "intermediate_size": 2560,
        "num_hidden_layers": 32,
        "num_attention_heads": 15,
        "num_key_value_heads": 5,
        "head_dim": 64,
        "rms_norm_eps": 1e-5,
        "vocab_size": 49280,
    },
}
"""SmolVLM2-500M-Video-Instruct: used where a checkpoint names it and no file is at hand."""

WIDTH: int = SMOLVLM2_500M["text_config"]["hidden_size"]
"""Width of the text model by which a network built on SmolVLM2-500M is recognized."""

VISION_DEFAULTS: dict[str, Any] = {
    "intermediate_size": 3072,
    "num_hidden_layers": 12,
    "num_channels": 3,
    "layer_norm_eps": 1e-6,
}
"""What a VLM configuration leaves out because it equals the default of its class."""


def read_vlm_config(config: SmolVLAConfig, folder: Path, weights: TensorFile) -> dict[str, Any]:
    """Return the VLM's configuration.

    Args:
        config: of the checkpoint.
        folder: of the checkpoint.
        weights: of the checkpoint.

    Returns:
        The content of the VLM's ``config.json``: of the folder that the checkpoint names, of
        one in the checkpoint or beside it, of `SMOLVLM2_500M` where the weights are of its
        size, of the hub's cache or of the hub, whichever comes first.

    Raises:
        CheckpointError: it is nowhere.
    """
    name = str(config.vlm_model_name)
    here = companion_here([name], folder, CONFIG, (VLM_FOLDER,))
    if here is not None:
        return read_json(here / CONFIG)
    stored = {key.replace(COMPILED, ""): shape for key, shape in weights.shapes.items()}
    usual = EMBEDDING not in stored or stored[EMBEDDING][-1] == WIDTH
    called_so = model_name(name) == model_name(SMOLVLM2)
    # The weights show what a folder of another machine held.
    if name == SMOLVLM2 or (usual and (called_so or not HUB_ID.fullmatch(name))):
        return SMOLVLM2_500M
    if not called_so:
        return read_json(find_companion([name], folder, (CONFIG,), (VLM_FOLDER,))[CONFIG])
    cached = companion_cached([name], (CONFIG,))
    if cached:
        return read_json(cached[CONFIG])
    raise CheckpointError(
        f"{folder} refers to the VLM {name!r}, which is not here, and its weights are of another "
        f"size than {SMOLVLM2}. Put {CONFIG}, tokenizer.json and tokenizer_config.json of that "
        f"VLM into {folder / VLM_FOLDER}"
    )


def vlm_dtype(vlm: dict[str, Any]) -> str:
    """Return the number type that the VLM's configuration names for its text model.

    LeRobot builds text model and action expert in it.
    """
    text = vlm.get("text_config", {})
    return str(text.get("torch_dtype") or text.get("dtype") or "bfloat16")


def model_sizes(config: SmolVLAConfig, vlm: dict[str, Any], where: str) -> ModelSizes:
    """Work out the sizes of the whole network.

    Args:
        config: of the checkpoint.
        vlm: from `read_vlm_config`.
        where: names the checkpoint in errors.

    Returns:
        The sizes.

    Raises:
        CheckpointError: a size is missing or they contradict each other.
    """
    try:
        vision, text = {**VISION_DEFAULTS, **vlm["vision_config"]}, vlm["text_config"]
        kept = config.num_vlm_layers if config.num_vlm_layers > 0 else text["num_hidden_layers"]
        decoder = DecoderSizes(
            hidden=text["hidden_size"],
            layers=min(kept, text["num_hidden_layers"]),
            heads=text["num_attention_heads"],
            kv_heads=text.get("num_key_value_heads") or text["num_attention_heads"],
            head_dim=text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"],
            mlp=text["intermediate_size"],
            norm_eps=text.get("rms_norm_eps", 1e-6),
        )
        sizes = ModelSizes(
            vision=VisionSizes(
                hidden=vision["hidden_size"],
                layers=vision["num_hidden_layers"],
                heads=vision["num_attention_heads"],
                mlp=vision["intermediate_size"],
                image=vision["image_size"],
                patch=vision["patch_size"],
                channels=vision["num_channels"],
                norm_eps=vision["layer_norm_eps"],
                shuffle=vlm.get("scale_factor", 2),
            ),
            text=decoder,
            expert=expert_sizes(decoder, config.expert_width_multiplier, config.num_expert_layers),
            vocabulary=text["vocab_size"],
            state_dim=config.max_state_dim,
            action_dim=config.max_action_dim,
            chunk=config.chunk_size,
            steps=config.num_steps,
            min_period=config.min_period,
            max_period=config.max_period,
            cross_attention="cross" in config.attention_mode,
            self_attention_every=config.self_attn_every_n_layers,
        )
    except KeyError as error:
        raise CheckpointError(
            f"{where}: the configuration of the VLM {config.vlm_model_name!r} lacks {error}"
        ) from error
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{where}: {error}") from error
    side = config.image_side or sizes.vision.image
    unit = sizes.vision.patch * sizes.vision.shuffle
    if side % unit:
        raise CheckpointError(
            f"{where}: images of {side} pixels a side do not divide into tokens of {unit} pixels"
        )
    return sizes
