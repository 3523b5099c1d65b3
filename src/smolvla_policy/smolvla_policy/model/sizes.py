# SPDX-License-Identifier: Apache-2.0
"""Sizes of a SmolVLA network, read from configurations and never written into the layers."""

from __future__ import annotations

from dataclasses import dataclass

EXPERT_MLP_MULTIPLE = 256


@dataclass(frozen=True)
class VisionSizes:
    """Image encoder (SigLIP) and the pixel shuffle behind it.

    Attributes:
        hidden: width of a patch token.
        layers: transformer blocks.
        heads: attention heads.
        mlp: width inside the feed-forward part.
        image: side in pixels of the image that the position embedding was learned for.
        patch: side of a patch in pixels.
        channels: color channels.
        norm_eps: epsilon of the layer norms.
        shuffle: side of the square of patches that pixel shuffle merges into one token.
    """

    hidden: int
    layers: int
    heads: int
    mlp: int
    image: int
    patch: int
    channels: int
    norm_eps: float
    shuffle: int

    @property
    def grid(self) -> int:
        """Patches along one side of the learned position embedding."""
        return self.image // self.patch


@dataclass(frozen=True)
class DecoderSizes:
    """A stack of Llama blocks: the text model or the action expert.

    Attributes:
        hidden: width of a token.
        layers: blocks.
        heads: query heads.
        kv_heads: key and value heads (grouped-query attention).
        head_dim: width of one head.
        mlp: width inside the SwiGLU part.
        norm_eps: epsilon of the RMS norms.
    """

    hidden: int
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    norm_eps: float


@dataclass(frozen=True)
class ModelSizes:
    """Everything that decides the shape of the network and of its inputs.

    Attributes:
        vision: image encoder.
        text: the text layers that are kept (LeRobot's ``num_vlm_layers``).
        expert: action expert.
        vocabulary: rows of the token embedding.
        state_dim: width that the state is padded to.
        action_dim: width that actions are padded to.
        chunk: actions in a chunk.
        steps: Euler steps of the sampler.
        min_period: shortest period of the time embedding.
        max_period: longest period of the time embedding.
        cross_attention: whether layers alternate between self- and cross-attention.
        self_attention_every: in cross mode every n-th layer attends to the action tokens too;
            0 or less means that none does.
    """

    vision: VisionSizes
    text: DecoderSizes
    expert: DecoderSizes
    vocabulary: int
    state_dim: int
    action_dim: int
    chunk: int
    steps: int
    min_period: float
    max_period: float
    cross_attention: bool
    self_attention_every: int

    def __post_init__(self) -> None:
        """Check what would otherwise fail deep inside the network.

        Raises:
            ValueError: the sizes contradict each other.
        """
        if self.text.layers % self.expert.layers:
            raise ValueError(
                f"{self.text.layers} text layers are no multiple of "
                f"{self.expert.layers} expert layers"
            )
        if (self.text.head_dim, self.text.kv_heads, self.text.heads) != (
            self.expert.head_dim,
            self.expert.kv_heads,
            self.expert.heads,
        ):
            raise ValueError("text model and action expert must share heads and head width")
        if self.text.heads % self.text.kv_heads:
            raise ValueError(
                f"{self.text.heads} query heads do not divide among {self.text.kv_heads} KV heads"
            )
        if self.vision.hidden % self.vision.heads:
            raise ValueError(
                f"vision width {self.vision.hidden} is no multiple of {self.vision.heads} heads"
            )
        if self.expert.hidden % 2:
            raise ValueError(f"expert width {self.expert.hidden} must be even (time embedding)")
        if self.vision.image % self.vision.patch:
            raise ValueError(
                f"image side {self.vision.image} is no multiple of patch {self.vision.patch}"
            )
        for index in range(self.text.layers):
            expert = self.expert_layer(index)
            cross = self.is_cross(index)
            if (expert is None and not cross) or (
                expert is not None and self.is_cross(expert) != cross
            ):
                raise ValueError(
                    f"{self.expert.layers} expert layers beside {self.text.layers} text layers "
                    f"do not fit the attention pattern (every {self.self_attention_every} layers "
                    "self-attention); LeRobot cannot run this configuration either"
                )

    @property
    def image_tokens(self) -> int:
        """Tokens that an image of the learned size becomes."""
        return (self.vision.grid // self.vision.shuffle) ** 2

    def is_cross(self, index: int) -> bool:
        """Whether layer `index` reads the prefix by cross-attention."""
        if not self.cross_attention:
            return False
        return self.self_attention_every <= 0 or index % self.self_attention_every != 0

    def expert_layer(self, index: int) -> int | None:
        """Index of the expert layer that goes with text layer `index`, if any."""
        stride = self.text.layers // self.expert.layers
        return index // stride if index % stride == 0 else None


def expert_sizes(text: DecoderSizes, width_multiplier: float, layers: int) -> DecoderSizes:
    """Derive the action expert from the text model as LeRobot does.

    The feed-forward width is two thirds of four times the width, rounded up to a multiple of
    256.

    Args:
        text: sizes of the text model.
        width_multiplier: ``expert_width_multiplier`` of the checkpoint.
        layers: ``num_expert_layers``; 0 or less means as many as the text model.

    Returns:
        Sizes of the expert; heads are those of the text model.
    """
    hidden = int(text.hidden * width_multiplier)
    mlp = 4 * int(2 * hidden / 3)
    mlp = EXPERT_MLP_MULTIPLE * -(-mlp // EXPERT_MLP_MULTIPLE)
    return DecoderSizes(
        hidden=hidden,
        layers=layers if layers > 0 else text.layers,
        heads=text.heads,
        kv_heads=text.kv_heads,
        head_dim=text.head_dim,
        mlp=mlp,
        norm_eps=text.norm_eps,
    )
