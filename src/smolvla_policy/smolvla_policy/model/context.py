# SPDX-License-Identifier: Apache-2.0
"""What the action expert is conditioned on: the prefix of tokens, and the flow time."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from smolvla_policy.model.decoder import KeyValue
from smolvla_policy.model.layers import Rotary


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

        Images and words read each other but not the state; the state reads all.
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
