# SPDX-License-Identifier: Apache-2.0
"""LeRobot's names of the weights, and where each of them lies in the network.

The network keeps some of LeRobot's matrices joined in one (queries, keys and values; gate and
up). Each of LeRobot's tensors is therefore a view: reading, writing, and accumulating an
adapter through it acts on the joined matrix.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from torch import Tensor, nn

from smolvla_policy.model.decoder import decoder_blocks
from smolvla_policy.model.network import SmolVLANetwork

ROOT = "model."
VISION = ROOT + "vlm_with_expert.vlm.model.vision_model."
CONNECTOR = ROOT + "vlm_with_expert.vlm.model.connector.modality_projection."
TEXT = ROOT + "vlm_with_expert.vlm.model.text_model."
EXPERT = ROOT + "vlm_with_expert.lm_expert."
LM_HEAD = ROOT + "vlm_with_expert.vlm.lm_head.weight"
PROJECTIONS = (
    "state_proj",
    "action_in_proj",
    "action_out_proj",
    "action_time_mlp_in",
    "action_time_mlp_out",
)


@dataclass(frozen=True)
class Location:
    """Where one of LeRobot's tensors lies.

    Attributes:
        parameter: name of the parameter in the network's own tree.
        rows: first row and end of the rows in it; None for all.
        shape: LeRobot's shape if it differs from that of the rows.
    """

    parameter: str
    rows: tuple[int, int] | None = None
    shape: tuple[int, ...] | None = None

    def view(self, tensor: Tensor) -> Tensor:
        """Cut the tensor (the parameter or its gradient) down to LeRobot's part of it."""
        part = tensor if self.rows is None else tensor[self.rows[0] : self.rows[1]]
        return part if self.shape is None else part.view(self.shape)


def locations(network: SmolVLANetwork) -> dict[str, Location]:
    """List all of LeRobot's tensors except the unused ``lm_head``.

    Args:
        network: with or without memory.

    Returns:
        LeRobot's name -> location, in the order of the network.
    """
    table: dict[str, Location] = {}
    table.update(_vision(network))
    table[CONNECTOR + "proj.weight"] = Location("connector.proj.weight")
    table[TEXT + "embed_tokens.weight"] = Location("text.embedding")
    table.update(_decoder(network.text.blocks, TEXT, "text."))
    table.update(_decoder(network.expert.blocks, EXPERT, "expert."))
    table[TEXT + "norm.weight"] = Location("text.norm.weight")
    table[EXPERT + "norm.weight"] = Location("expert.norm.weight")
    for name in PROJECTIONS:
        for kind in ("weight", "bias"):
            table[f"{ROOT}{name}.{kind}"] = Location(f"{name}.{kind}")
    return table


def views(network: SmolVLANetwork) -> dict[str, Tensor]:
    """Map LeRobot's names to views of the network's weights, detached from autograd."""
    parameters = dict(network.named_parameters())
    return {
        name: place.view(parameters[place.parameter].detach())
        for name, place in locations(network).items()
    }


def gradients(network: SmolVLANetwork) -> dict[str, Tensor]:
    """Map LeRobot's names to views of the gradients that there are."""
    parameters = dict(network.named_parameters())
    found: dict[str, Tensor] = {}
    for name, place in locations(network).items():
        gradient = parameters[place.parameter].grad
        if gradient is not None:
            found[name] = place.view(gradient)
    return found


def _vision(network: SmolVLANetwork) -> Iterator[tuple[str, Location]]:
    sizes = network.sizes.vision
    kernel = (sizes.hidden, sizes.channels, sizes.patch, sizes.patch)
    embeddings = VISION + "embeddings."
    yield embeddings + "patch_embedding.weight", Location("vision.patch.weight", shape=kernel)
    yield embeddings + "patch_embedding.bias", Location("vision.patch.bias")
    yield embeddings + "position_embedding.weight", Location("vision.position")
    width = sizes.hidden
    plain = {
        "self_attn.out_proj": "out",
        "layer_norm1": "norm1",
        "layer_norm2": "norm2",
        "mlp.fc1": "fc1",
        "mlp.fc2": "fc2",
    }
    for index in range(sizes.layers):
        theirs, ours = f"{VISION}encoder.layers.{index}.", f"vision.blocks.{index}."
        for kind in ("weight", "bias"):
            for part, letter in enumerate("qkv"):
                rows = (part * width, (part + 1) * width)
                name = f"{theirs}self_attn.{letter}_proj.{kind}"
                yield name, Location(f"{ours}qkv.{kind}", rows)
            for their, our in plain.items():
                yield f"{theirs}{their}.{kind}", Location(f"{ours}{our}.{kind}")
    for kind in ("weight", "bias"):
        yield f"{VISION}post_layernorm.{kind}", Location(f"vision.norm.{kind}")


def _decoder(blocks: nn.ModuleList, theirs: str, ours: str) -> Iterator[tuple[str, Location]]:
    for index, block in enumerate(decoder_blocks(blocks)):
        sizes = block.sizes
        queries, keys = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
        their, our = f"{theirs}layers.{index}.", f"{ours}blocks.{index}."
        attention = their + "self_attn."
        if block.is_cross:
            for letter in "qkv":
                yield f"{attention}{letter}_proj.weight", Location(f"{our}{letter}.weight")
        else:
            joined, end = our + "qkv.weight", queries + keys
            yield attention + "q_proj.weight", Location(joined, (0, queries))
            yield attention + "k_proj.weight", Location(joined, (queries, end))
            yield attention + "v_proj.weight", Location(joined, (end, end + keys))
        yield attention + "o_proj.weight", Location(our + "out.weight")
        joined = our + "gate_up.weight"
        yield their + "mlp.gate_proj.weight", Location(joined, (0, sizes.mlp))
        yield their + "mlp.up_proj.weight", Location(joined, (sizes.mlp, 2 * sizes.mlp))
        yield their + "mlp.down_proj.weight", Location(our + "down.weight")
        yield their + "input_layernorm.weight", Location(our + "norm1.weight")
        yield their + "post_attention_layernorm.weight", Location(our + "norm2.weight")


def set_trainable(
    network: SmolVLANetwork,
    *,
    freeze_vision_encoder: bool = True,
    train_expert_only: bool = True,
    train_state_proj: bool = True,
) -> None:
    """Choose what a training changes, with the meaning of the fields of LeRobot's configuration.

    Args:
        network: with memory.
        freeze_vision_encoder: keep the image encoder.
        train_expert_only: keep image encoder, connector and text model.
        train_state_proj: train the projection of the state.
    """
    last = f"text.blocks.{network.sizes.text.layers - 1}."
    # Behind the last keys and values nothing reaches the actions.
    idle = ("text.norm.", last + "out.", last + "norm2.", last + "gate_up.", last + "down.")
    frozen = list(idle)
    if freeze_vision_encoder or train_expert_only:
        frozen.append("vision.")
    if train_expert_only:
        frozen += ["connector.", "text."]
    if not train_state_proj:
        frozen.append("state_proj.")
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(not name.startswith(tuple(frozen)))
