# SPDX-License-Identifier: Apache-2.0
"""Image encoder (SigLIP) and connector: pixels to image tokens of the language model.

SigLIP: Zhai et al., arXiv 2303.15343; pixel shuffle and connector: SmolVLM,
arXiv 2504.05299.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from smolvla_policy.model.layers import LayerNorm, Linear, attention, linear
from smolvla_policy.model.sizes import VisionSizes

MLP_ROWS = 512
"""Patches that pass the feed-forward part together on a CPU, so that they stay in its cache."""


class VisionBlock(nn.Module):
    """One pre-norm transformer block of the image encoder."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.heads = sizes.heads
        self.norm1 = LayerNorm(sizes.hidden, sizes.norm_eps)
        self.qkv = Linear(sizes.hidden, 3 * sizes.hidden, bias=True)
        self.out = Linear(sizes.hidden, sizes.hidden, bias=True)
        self.norm2 = LayerNorm(sizes.hidden, sizes.norm_eps)
        self.fc1 = Linear(sizes.hidden, sizes.mlp, bias=True)
        self.fc2 = Linear(sizes.mlp, sizes.hidden, bias=True)

    def forward(self, x: Tensor) -> Tensor:
        """Map (images, patches, hidden) to the same shape."""
        images, patches, hidden = x.shape
        q, k, v = (
            part.view(images, patches, self.heads, -1).transpose(1, 2)
            for part in self.project(self.norm1(x))
        )
        attended = attention(q, k, v, fused=True)
        x = x + self.out(attended.transpose(1, 2).reshape(images, patches, hidden))
        return x + self.feed_forward(self.norm2(x))

    def project(self, x: Tensor) -> Sequence[Tensor]:
        """Map (images, patches, hidden) to queries, keys and values of the same shape."""
        if not torch.compiler.is_compiling():
            return self.qkv(x).chunk(3, dim=-1)
        # OpenVINO fuses the attention with three products, not with one.
        kind = torch.float32 if self.qkv.widen else x.dtype
        assert self.qkv.bias is not None
        pairs = zip(self.qkv.weight.chunk(3), self.qkv.bias.chunk(3), strict=True)
        return [linear(x.to(kind), weight.to(kind), bias.to(kind)) for weight, bias in pairs]

    def feed_forward(self, x: Tensor) -> Tensor:
        """Map (images, patches, hidden) through the two layers of the feed-forward part."""
        weight1, bias1 = self.fc1.operands()
        weight2, bias2 = self.fc2.operands()
        rows = x.to(weight1.dtype).flatten(0, 1)
        split = x.device.type == "cpu" and not torch.compiler.is_compiling()
        parts = rows.split(MLP_ROWS) if split else (rows,)
        done = [linear(linear(part, weight1, bias1, gelu=True), weight2, bias2) for part in parts]
        return torch.cat(done).view(x.shape)


class VisionTower(nn.Module):
    """The whole image encoder."""

    def __init__(self, sizes: VisionSizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.patch = Linear(sizes.channels * sizes.patch**2, sizes.hidden, bias=True)
        self.position = nn.Parameter(torch.empty(sizes.grid**2, sizes.hidden, device="meta"))
        self.blocks = nn.ModuleList(VisionBlock(sizes) for _ in range(sizes.layers))
        self.norm = LayerNorm(sizes.hidden, sizes.norm_eps)

    def embed(self, pixels: Tensor) -> Tensor:
        """Cut images into patches and add the position embedding.

        Args:
            pixels: (images, channels, side, side) in [-1, 1].

        Returns:
            (images, patches, hidden).
        """
        side = self.sizes.patch
        images, channels, height, width = pixels.shape
        rows, columns = height // side, width // side
        patches = pixels.view(images, channels, rows, side, columns, side)
        patches = patches.permute(0, 2, 4, 1, 3, 5).reshape(images, rows * columns, -1)
        embedded = self.patch(patches)
        return embedded + self.positions(rows, columns).to(embedded.dtype)

    def positions(self, rows: int, columns: int) -> Tensor:
        """Position embedding of a grid of patches, (rows * columns, hidden).

        A grid smaller or larger than the learned one takes the entry at the same fraction of
        the side, as SmolVLM's fractional position buckets do; these are computed here with
        whole numbers, which no rounding can shift.
        """
        grid = self.sizes.grid
        if (rows, columns) == (grid, grid):
            return self.position
        row = torch.arange(rows, device=self.position.device) * grid // rows
        column = torch.arange(columns, device=self.position.device) * grid // columns
        return self.position[(row[:, None] * grid + column).flatten()]

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode (images, channels, side, side) to (images, patches, hidden)."""
        x = self.embed(pixels)
        for block in self.blocks:
            x = block(x)
        return self.norm(x)


class Connector(nn.Module):
    """Pixel shuffle and one linear map into the language model's width."""

    def __init__(self, sizes: VisionSizes, text_hidden: int) -> None:
        super().__init__()
        self.shuffle = sizes.shuffle
        self.proj = Linear(sizes.hidden * sizes.shuffle**2, text_hidden)

    def forward(self, x: Tensor) -> Tensor:
        """Map (images, patches, hidden) to (images, patches / shuffle^2, text_hidden)."""
        images, patches, hidden = x.shape
        side, merge = math.isqrt(patches), self.shuffle
        x = x.view(images, side // merge, merge, side // merge, merge, hidden)
        x = x.permute(0, 1, 3, 2, 4, 5).reshape(images, patches // merge**2, -1)
        return self.proj(x)
