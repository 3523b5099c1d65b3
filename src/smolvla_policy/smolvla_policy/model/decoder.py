# SPDX-License-Identifier: Apache-2.0
"""Llama blocks of the text model and of the action expert.

Llama: arXiv 2302.13971; grouped-query attention: arXiv 2305.13245; interleaved self- and
cross-attention of the action expert: SmolVLA, arXiv 2506.01844, section 3.
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional

from smolvla_policy.model.layers import Linear, RMSNorm, Rotary, grouped_attention
from smolvla_policy.model.sizes import DecoderSizes, ModelSizes

KeyValue = tuple[Tensor, Tensor]
"""Keys after the rotary embedding and values, each (batch, kv_heads, tokens, head_dim)."""


class DecoderBlock(nn.Module):
    """One block: attention, then a SwiGLU feed-forward part, each behind an RMS norm.

    Queries, keys and values come from one product, gate and up from another.

    Args:
        sizes: of the stack.
        cross_width: None for self-attention; otherwise keys and values are projections of a
            prefix of this width and only queries come from the block's own tokens.
    """

    def __init__(self, sizes: DecoderSizes, cross_width: int | None = None) -> None:
        super().__init__()
        self.sizes = sizes
        self.is_cross = cross_width is not None
        queries, keys = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
        self.norm1 = RMSNorm(sizes.hidden, sizes.norm_eps)
        if cross_width is None:
            self.qkv = Linear(sizes.hidden, queries + 2 * keys)
        else:
            self.q = Linear(sizes.hidden, queries)
            self.k = Linear(cross_width, keys)
            self.v = Linear(cross_width, keys)
        self.out = Linear(queries, sizes.hidden)
        self.norm2 = RMSNorm(sizes.hidden, sizes.norm_eps)
        self.gate_up = Linear(sizes.hidden, 2 * sizes.mlp)
        self.down = Linear(sizes.mlp, sizes.hidden)

    def project(self, x: Tensor, rotary: Rotary) -> tuple[Tensor, KeyValue]:
        """Return queries (batch, heads, tokens, head_dim) and keys and values of `x`."""
        sizes = self.sizes
        queries, keys = sizes.heads * sizes.head_dim, sizes.kv_heads * sizes.head_dim
        parts = self.qkv(self.norm1(x)).split((queries, keys, keys), dim=-1)
        q, k, v = (self._by_head(part) for part in parts)
        return rotary(q), (rotary(k), v)

    def _by_head(self, x: Tensor) -> Tensor:
        """Turn (batch, tokens, heads * head_dim) into (batch, heads, tokens, head_dim)."""
        return x.view(*x.shape[:2], -1, self.sizes.head_dim).transpose(1, 2)

    def project_prefix(self, prefix: KeyValue) -> KeyValue:
        """Turn the text model's keys and values into those a cross-attention block reads."""

        def apply(linear: Linear, x: Tensor) -> Tensor:
            return self._by_head(linear(x.transpose(1, 2).flatten(2)))

        return apply(self.k, prefix[0]), apply(self.v, prefix[1])

    def finish(self, x: Tensor, attended: Tensor) -> Tensor:
        """Add attention and feed-forward part to the residual stream `x`.

        The sums take the type of the weights, as in LeRobot: a float32 stream becomes bfloat16
        behind the first block of a bfloat16 stack. Under autocast it stays float32.
        """
        held = self.out.weight.dtype
        x = self.out(attended).to(torch.float32 if self.out.widen else held).add_(x)
        gate, up = self.gate_up(self.norm2(x)).chunk(2, dim=-1)
        return self.down(functional.silu(gate) * up).to(x.dtype).add_(x)

    def attend_self(
        self, x: Tensor, rotary: Rotary, mask: Tensor | None, prefix: KeyValue | None = None
    ) -> tuple[Tensor, KeyValue]:
        """Self-attention, over `prefix` and `x` if a prefix is given.

        Args:
            x: (batch, tokens, hidden).
            rotary: of the tokens' positions.
            mask: from `additive_mask`.
            prefix: keys and values to be put before the block's own.

        Returns:
            The new `x`, and the keys and values of `x` alone.
        """
        q, (k, v) = self.project(x, rotary)
        all_k, all_v = k, v
        if prefix is not None:
            all_k = torch.cat((prefix[0], k), dim=2)
            all_v = torch.cat((prefix[1], v), dim=2)
        return self.finish(x, grouped_attention(q, all_k, all_v, mask)), (k, v)

    def attend_cross(
        self, x: Tensor, rotary: Rotary, mask: Tensor | None, prefix: KeyValue
    ) -> Tensor:
        """Cross-attention to `prefix`, which comes from `project_prefix`."""
        q = self._by_head(self.q(self.norm1(x)))
        return self.finish(x, grouped_attention(rotary(q), *prefix, mask))


def decoder_blocks(blocks: nn.ModuleList) -> list[DecoderBlock]:
    """Tell the type checker what the blocks are."""
    return cast("list[DecoderBlock]", list(blocks))


class TextModel(nn.Module):
    """Token embedding and the kept layers of the language model."""

    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__()
        self.embedding = nn.Parameter(
            torch.empty(sizes.vocabulary, sizes.text.hidden, device="meta")
        )
        self.blocks = nn.ModuleList(DecoderBlock(sizes.text) for _ in range(sizes.text.layers))
        self.norm = RMSNorm(sizes.text.hidden, sizes.text.norm_eps)


class ActionExpert(nn.Module):
    """The smaller decoder that turns noise into actions."""

    def __init__(self, sizes: ModelSizes) -> None:
        super().__init__()
        width = sizes.text.kv_heads * sizes.text.head_dim
        self.blocks = nn.ModuleList(
            DecoderBlock(sizes.expert, cross_width=width if sizes.is_cross(index) else None)
            for index in range(sizes.expert.layers)
        )
        self.norm = RMSNorm(sizes.expert.hidden, sizes.expert.norm_eps)
