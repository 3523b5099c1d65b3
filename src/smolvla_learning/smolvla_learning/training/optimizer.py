# SPDX-License-Identifier: Apache-2.0
"""AdamW, and LeRobot's learning rate: linear warm-up, then half a cosine."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import nn


@dataclass(frozen=True)
class OptimizerOptions:
    """Numbers of the optimizer; the defaults are LeRobot's for SmolVLA.

    Attributes:
        lr: peak learning rate.
        betas: decay rates of AdamW's moments.
        eps: AdamW's guard against division by zero.
        weight_decay: AdamW's decay of the weights.
        grad_clip_norm: largest norm of all gradients together.
        warmup_steps: steps of the linear rise.
        decay_steps: step at which the cosine ends.
        decay_lr: learning rate from there on.
    """

    lr: float = 1e-4
    betas: tuple[float, float] = (0.9, 0.95)
    eps: float = 1e-8
    weight_decay: float = 1e-10
    grad_clip_norm: float = 10.0
    warmup_steps: int = 1000
    decay_steps: int = 30_000
    decay_lr: float = 2.5e-6


def make_optimizer(
    parameters: Iterable[nn.Parameter], options: OptimizerOptions
) -> torch.optim.AdamW:
    """Create the optimizer over what is trained."""
    return torch.optim.AdamW(
        [parameter for parameter in parameters if parameter.requires_grad],
        lr=options.lr,
        betas=options.betas,
        eps=options.eps,
        weight_decay=options.weight_decay,
    )


def learning_rate(step: int, steps: int, options: OptimizerOptions) -> float:
    """Return the learning rate of a step.

    As in LeRobot, a training shorter than `decay_steps` shrinks warm-up and decay alike.

    Args:
        step: from 0.
        steps: of the whole training.
        options: of the optimizer.
    """
    warmup, decay = options.warmup_steps, options.decay_steps
    if steps < decay:
        warmup, decay = int(warmup * steps / decay), steps
    if step < warmup:
        start = 1.0 / (warmup + 1)
        return options.lr * (start + (1.0 - start) * step / warmup)
    cosine = 0.5 * (1.0 + math.cos(math.pi * min(step, decay) / max(decay, 1)))
    lowest = options.decay_lr / options.lr
    return options.lr * ((1.0 - lowest) * cosine + lowest)
