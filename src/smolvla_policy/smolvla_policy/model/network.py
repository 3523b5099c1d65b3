# SPDX-License-Identifier: Apache-2.0
"""The SmolVLA network: prefix of images, text and state, and an expert that denoises actions.

SmolVLA, arXiv 2506.01844. Inference happens in four stages, each a method, so that each can
be measured and tested by itself: `encode_images`, `embed_prefix`, `prefill` with
`expert_cache`, and `denoise`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

from smolvla_policy.model.decoder import ActionExpert, KeyValue, TextModel, decoder_blocks
from smolvla_policy.model.layers import Linear, Rotary, additive_mask
from smolvla_policy.model.sizes import ModelSizes, Precision
from smolvla_policy.model.vision import Connector, VisionTower


@dataclass(frozen=True)
class Prefix:
    """What the action expert attends to, as tokens.

    Attributes:
        embeddings: (batch, tokens, hidden) float32.
        valid: (batch, tokens) False for padding.
        starts_block: (batch, tokens) True where a token may not be seen by those before it.
        dense: whether all of `valid` is known to be True.
    """

    embeddings: Tensor
    valid: Tensor
    starts_block: Tensor
    dense: bool

    def attention(self) -> Tensor:
        """Which token reads which, (batch, tokens, tokens) Boolean.

        Images and text read each other but not the state; the state reads all.
        """
        block = self.starts_block.cumsum(1)
        allowed = block[:, None, :] <= block[:, :, None]
        return allowed & self.valid[:, None, :] & self.valid[:, :, None]

    def positions(self) -> Tensor:
        """Position of each token, counted over valid ones, (batch, tokens)."""
        return self.valid.cumsum(1) - 1


@dataclass(frozen=True)
class ExpertCache:
    """Everything about a prefix that all denoising steps share.

    Attributes:
        layers: keys and values per expert layer: raw ones for self-attention, projected ones
            for cross-attention.
        self_rotary: of the absolute positions of the action tokens.
        cross_rotary: of positions counted from the first action token.
        self_mask: for prefix and action tokens.
        cross_mask: for the prefix; None if all of it may be read.
    """

    layers: list[KeyValue]
    self_rotary: Rotary
    cross_rotary: Rotary
    self_mask: Tensor
    cross_mask: Tensor | None

    def repeat(self, times: int) -> ExpertCache:
        """Repeat each sample, for several noise draws of one observation.

        Args:
            times: copies of each sample, behind each other.

        Returns:
            The cache of a batch that is so many times larger.
        """
        if times == 1:
            return self

        def each(tensor: Tensor) -> Tensor:
            return tensor.repeat_interleave(times, 0) if tensor.shape[0] > 1 else tensor

        return ExpertCache(
            layers=[
                (k.repeat_interleave(times, 0), v.repeat_interleave(times, 0))
                for k, v in self.layers
            ],
            self_rotary=self.self_rotary.map(each),
            cross_rotary=self.cross_rotary.map(each),
            self_mask=each(self.self_mask),
            cross_mask=None if self.cross_mask is None else each(self.cross_mask),
        )


def sinusoid(time: Tensor, width: int, min_period: float, max_period: float) -> Tensor:
    """Sine and cosine embedding of the flow time.

    Computed on the CPU in float64, as LeRobot does: the shortest period turns an error of
    1e-7 in the time into 1e-4 in the angle.

    Args:
        time: (n,).
        width: features, an even number.
        min_period: period of the first feature.
        max_period: period of the last feature.

    Returns:
        (n, width) float32 on the device of `time`: sines, then cosines.
    """
    fraction = torch.linspace(0.0, 1.0, width // 2, dtype=torch.float64, device="cpu")
    period = min_period * (max_period / min_period) ** fraction
    angle = time.detach().to("cpu", torch.float64)[:, None] * (2.0 * math.pi / period)
    return torch.cat((angle.sin(), angle.cos()), dim=1).to(time.device, torch.float32)


class SmolVLANetwork(nn.Module):
    """All weights of SmolVLA, on the meta device until `allocate` is called.

    Args:
        sizes: of every part.
        precision: number types of every part.
    """

    def __init__(self, sizes: ModelSizes, precision: Precision) -> None:
        super().__init__()
        self.sizes = sizes
        self.precision = precision
        text, expert = sizes.text.hidden, sizes.expert.hidden
        self.vision = VisionTower(sizes.vision)
        self.connector = Connector(sizes.vision, text)
        self.text = TextModel(sizes)
        self.expert = ActionExpert(sizes)
        self.state_proj = Linear(sizes.state_dim, text, bias=True)
        self.action_in_proj = Linear(sizes.action_dim, expert, bias=True)
        self.action_out_proj = Linear(expert, sizes.action_dim, bias=True)
        self.action_time_mlp_in = Linear(2 * expert, expert, bias=True)
        self.action_time_mlp_out = Linear(expert, expert, bias=True)
        for module in self.modules():
            if isinstance(module, Linear):
                module.widen = precision.widen

    def storage_dtype(self, name: str) -> torch.dtype:
        """Type that the parameter `name` (of this module tree) is held in."""
        part = name.split(".", 1)[0]
        if part in ("vision", "connector"):
            return self.precision.vision
        if part == "text":
            return self.precision.text
        if part == "expert":
            cross = name.endswith((".k.weight", ".v.weight"))
            return torch.float32 if cross else self.precision.expert_storage
        return torch.float32

    def value_dtype(self, name: str) -> torch.dtype:
        """Type that the values of the parameter `name` are rounded to."""
        held = self.storage_dtype(name)
        cross = name.endswith((".k.weight", ".v.weight"))
        if name.startswith("expert.") and not cross:
            return self.precision.expert
        return held

    def allocate(
        self, device: torch.device, embedding_dtype: torch.dtype | None = None
    ) -> SmolVLANetwork:
        """Give every parameter memory of its own; the values are undefined.

        Args:
            device: where.
            embedding_dtype: type of the token embedding if narrower than the rest: its rows
                are converted one by one when they are read, which is exact.

        Returns:
            The network itself.
        """
        for path, module in self.named_modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                full = f"{path}.{name}" if path else name
                dtype = self.storage_dtype(full)
                if full == "text.embedding" and embedding_dtype is not None:
                    dtype = embedding_dtype
                memory = torch.empty(parameter.shape, dtype=dtype, device=device)
                setattr(module, name, nn.Parameter(memory, requires_grad=False))
        return self

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.state_proj.weight.device

    def encode_images(self, pixels: Tensor) -> Tensor:
        """Turn images into tokens of the text model, not yet scaled.

        Args:
            pixels: (images, channels, side, side) float32 in [-1, 1]; all cameras and samples.

        Returns:
            (images, image tokens, text hidden).
        """
        widen = self.precision.widen
        pixels = pixels.float() if widen else pixels.to(self.precision.vision)
        return self.connector(self.vision(pixels))

    def embed_tokens(self, tokens: Tensor) -> Tensor:
        """Look up token ids (batch, tokens) -> (batch, tokens, text hidden)."""
        rows = functional.embedding(tokens, self.text.embedding)
        narrow = not self.precision.widen and self.precision.text != torch.float32
        return rows.to(self.precision.text) if narrow else rows.float()

    def embed_prefix(
        self,
        images: Sequence[Tensor | None],
        image_valid: Sequence[Tensor | None],
        tokens: Tensor,
        token_valid: Tensor | None,
        state: Tensor,
        *,
        image_start: Tensor | None = None,
        image_end: Tensor | None = None,
        pad_to: int = 0,
    ) -> Prefix:
        """Line up images, text and state.

        Args:
            images: per camera (batch, image tokens, hidden) from `encode_images`; None for a
                camera that no sample has, which leaves only the tokens around the image.
            image_valid: per camera (batch,) Boolean, None if present in every sample.
            tokens: (batch, tokens) token ids.
            token_valid: (batch, tokens) Boolean, None if no token is padding.
            state: (batch, state_dim) normalized and padded.
            image_start: token ids before every image (``add_image_special_tokens``).
            image_end: token ids behind every image.
            pad_to: length that is reached by padding on the right; 0 for none.

        Returns:
            The prefix.
        """
        batch, device = tokens.shape[0], tokens.device
        parts: list[Tensor] = []
        valid: list[Tensor] = []

        def append(embedded: Tensor, mask: Tensor | None) -> None:
            parts.append(embedded.float())
            shape = embedded.shape[:2]
            full = torch.ones(shape, dtype=torch.bool, device=device)
            valid.append(full if mask is None else full & mask)

        def special(ids: Tensor) -> Tensor:
            return self.embed_tokens(ids[None]).expand(batch, -1, -1)

        width = math.sqrt(self.sizes.text.hidden)
        # LeRobot rounds this factor, unlike that of the text, to the type of the images.
        factor = torch.full((), width, dtype=self.precision.vision, device=device)
        for embedded, present in zip(images, image_valid, strict=True):
            if image_start is not None:
                append(special(image_start), None)
            if embedded is not None:
                append(embedded * factor, None if present is None else present[:, None])
            if image_end is not None:
                append(special(image_end), None)
        append(self.embed_tokens(tokens) * width, token_valid)
        state_at = sum(part.shape[1] for part in parts)
        append(self.state_proj(state)[:, None], None)
        dense = token_valid is None and all(mask is None for mask in image_valid)
        missing = pad_to - state_at - 1
        if missing > 0:
            padding = parts[0].new_zeros(batch, missing, self.sizes.text.hidden)
            append(padding, padding.new_zeros(batch, 1, dtype=torch.bool))
            dense = False
        embeddings = torch.cat(parts, 1)
        starts = torch.arange(embeddings.shape[1], device=device) == state_at
        return Prefix(embeddings, torch.cat(valid, 1), starts.expand(batch, -1), dense)

    def prefill(
        self, prefix: Prefix, *, with_output: bool = False
    ) -> tuple[list[KeyValue], Tensor]:
        """Run the text model over the prefix.

        Args:
            prefix: from `embed_prefix`.
            with_output: also compute the text model's output. The actions need only keys and
                values, so without it the last block stops there.

        Returns:
            Keys and values of every layer, and (batch, tokens, hidden): the normalized output,
            or without it what enters the last block.
        """
        text = self.sizes.text
        rotary = Rotary(prefix.positions(), text.head_dim)
        mask = additive_mask(prefix.attention(), text.heads // text.kv_heads)
        return self.run_text(prefix.embeddings, rotary, mask, with_output=with_output)

    def run_text(
        self, x: Tensor, rotary: Rotary, mask: Tensor, *, with_output: bool = False
    ) -> tuple[list[KeyValue], Tensor]:
        """Run the text model over (batch, tokens, hidden); see `prefill`."""
        text = self.sizes.text
        keys_values: list[KeyValue] = []
        for block in decoder_blocks(self.text.blocks):
            if not with_output and len(keys_values) == text.layers - 1:
                keys_values.append(block.project(x, rotary)[1])
                return keys_values, x
            x, key_value = block.attend_self(x, rotary, mask)
            keys_values.append(key_value)
        return keys_values, self.text.norm(x)

    def suffix_attention(self, valid: Tensor) -> Tensor:
        """Which action token reads which prefix and action token.

        Args:
            valid: (batch, prefix tokens).

        Returns:
            (batch, chunk, prefix tokens + chunk) Boolean: the valid prefix, and no later
            action.
        """
        batch, chunk = valid.shape[0], self.sizes.chunk
        causal = torch.ones(chunk, chunk, dtype=torch.bool, device=valid.device).tril()
        return torch.cat(
            (valid[:, None].expand(-1, chunk, -1), causal[None].expand(batch, -1, -1)), dim=2
        )

    def suffix_positions(self, valid: Tensor) -> Tensor:
        """Positions of the action tokens behind the valid prefix, (batch, chunk)."""
        steps = torch.arange(self.sizes.chunk, device=valid.device)
        return valid.sum(1, keepdim=True) + steps

    def expert_cache(self, keys_values: Sequence[KeyValue], prefix: Prefix) -> ExpertCache:
        """Prepare once a chunk what every denoising step needs.

        Args:
            keys_values: per text layer, from `prefill`.
            prefix: the prefix they belong to.

        Returns:
            The cache.
        """
        sizes = self.sizes
        groups = sizes.expert.heads // sizes.expert.kv_heads
        allowed = self.suffix_attention(prefix.valid)
        cross_mask = None
        if not prefix.dense:
            length = prefix.valid.shape[1]
            cross_mask = additive_mask(allowed[:, :, :length], groups)
        steps = torch.arange(sizes.chunk, device=prefix.valid.device)[None]
        return ExpertCache(
            layers=self.expert_layers(keys_values),
            self_rotary=Rotary(self.suffix_positions(prefix.valid), sizes.expert.head_dim),
            cross_rotary=Rotary(steps, sizes.expert.head_dim),
            self_mask=additive_mask(allowed, groups),
            cross_mask=cross_mask,
        )

    def expert_layers(self, keys_values: Sequence[KeyValue]) -> list[KeyValue]:
        """Return keys and values per expert layer, see `ExpertCache`, from those of the text."""
        blocks = decoder_blocks(self.expert.blocks)
        layers: list[KeyValue] = []
        for index, key_value in enumerate(keys_values):
            expert = self.sizes.expert_layer(index)
            if expert is None:
                continue
            block = blocks[expert]
            layers.append(block.project_prefix(key_value) if block.is_cross else key_value)
        return layers

    def time_features(self, time: Tensor) -> Tensor:
        """Time's share of the first layer of the action-time MLP.

        That layer is linear in [action, time], so the share of the time is one vector a step
        and can be computed for all steps at once.

        Args:
            time: (n,) flow time, 1 is noise and 0 is data.

        Returns:
            (n, expert hidden) float32, the bias included.
        """
        return self.project_time(self.embed_time(time))

    def embed_time(self, time: Tensor) -> Tensor:
        """Embed flow times (n,) as (n, expert hidden) float32; weights have no part in it."""
        sizes = self.sizes
        return sinusoid(time, sizes.expert.hidden, sizes.min_period, sizes.max_period)

    def project_time(self, embedding: Tensor) -> Tensor:
        """Turn the result of `embed_time` into that of `time_features`."""
        layer = self.action_time_mlp_in
        return functional.linear(embedding, layer.weight[:, embedding.shape[1] :], layer.bias)

    def embed_suffix(self, actions: Tensor, time_features: Tensor) -> Tensor:
        """Turn noisy actions into tokens of the expert.

        Args:
            actions: (batch, chunk, action_dim) float32.
            time_features: (1 or batch, 1 or chunk, expert hidden) from `time_features`: of all
                actions, or of each.

        Returns:
            (batch, chunk, expert hidden) float32.
        """
        width = self.sizes.expert.hidden
        weight = self.action_time_mlp_in.weight[:, :width]
        mixed = functional.linear(self.action_in_proj(actions), weight)
        return self.action_time_mlp_out(functional.silu(mixed + time_features))

    def run_expert(self, suffix: Tensor, cache: ExpertCache) -> Tensor:
        """Run the expert's blocks and final norm over action tokens.

        Args:
            suffix: from `embed_suffix`.
            cache: from `expert_cache`.

        Returns:
            (batch, chunk, expert hidden).
        """
        x = suffix
        for block, key_value in zip(decoder_blocks(self.expert.blocks), cache.layers, strict=True):
            if block.is_cross:
                x = block.attend_cross(x, cache.cross_rotary, cache.cross_mask, key_value)
            else:
                x, _ = block.attend_self(x, cache.self_rotary, cache.self_mask, key_value)
        return self.expert.norm(x)

    def velocity(self, actions: Tensor, time_features: Tensor, cache: ExpertCache) -> Tensor:
        """Predict the velocity of the flow, (batch, chunk, action_dim) float32."""
        suffix = self.embed_suffix(actions, time_features)
        return self.action_out_proj(self.run_expert(suffix, cache))
