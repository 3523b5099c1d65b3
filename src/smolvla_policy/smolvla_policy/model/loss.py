# SPDX-License-Identifier: Apache-2.0
"""Training loss of flow matching, as LeRobot computes it today.

The network learns the velocity ``noise - actions`` on the straight line between them.
"""

from __future__ import annotations

import torch
from torch import Tensor

from smolvla_policy.model.network import ExpertCache, Prefix, SmolVLANetwork

REDUCTIONS = ("mean", "none")


def sample_times(batch: int, generator: torch.Generator | None = None) -> Tensor:
    """Draw training times: Beta(1.5, 1) stretched to [0.001, 1].

    The inverse of the distribution function is used: the 1/1.5-th power of a uniform number.

    Args:
        batch: samples.
        generator: source of randomness on the CPU; PyTorch's own if None.

    Returns:
        (batch,) float32 on the CPU.
    """
    uniform = torch.rand(batch, generator=generator, dtype=torch.float32, device="cpu")
    return uniform ** (1.0 / 1.5) * 0.999 + 0.001


def velocity_errors(
    network: SmolVLANetwork, prefix: Prefix, actions: Tensor, noise: Tensor, time: Tensor
) -> Tensor:
    """Squared errors of the predicted velocity for observations.

    Args:
        network: the network.
        prefix: of the observations.
        actions: (batch, chunk, action_dim) normalized and padded.
        noise: as `actions`, standard normal.
        time: (batch,) from `sample_times`.

    Returns:
        (batch, chunk, action_dim) float32.
    """
    keys_values, _ = network.prefill(prefix)
    return denoising_errors(
        network, network.expert_cache(keys_values, prefix), actions, noise, time
    )


def denoising_errors(
    network: SmolVLANetwork,
    cache: ExpertCache,
    actions: Tensor,
    noise: Tensor,
    time: Tensor,
    known: Tensor | None = None,
) -> Tensor:
    """Squared errors of the predicted velocity for a cache; see `velocity_errors`.

    Args:
        network, cache, actions, noise, time: as there.
        known: (batch, chunk) True for actions that the network reads without noise, at flow time
            0 (arXiv 2512.05964); their errors mean nothing. None for none.
    """
    weight, features = time[:, None, None], network.time_features(time)[:, None]
    if known is not None:
        weight = torch.where(known[:, :, None], 0.0, weight)
        features = torch.where(known[:, :, None], network.time_features(time[:1] * 0.0), features)
    noisy = weight * noise + (1.0 - weight) * actions
    predicted = network.velocity(noisy, features, cache)
    return (predicted.float() - (noise - actions)).square()


def flow_matching_loss(
    errors: Tensor,
    *,
    action_dim: int | None = None,
    is_pad: Tensor | None = None,
    reduction: str = "mean",
) -> Tensor:
    """Average squared errors over what counts.

    Args:
        errors: (batch, chunk, padded action_dim) from `velocity_errors`.
        action_dim: dimensions of the real actions; None averages over the padded ones too, as
            LeRobot did before 0.5.
        is_pad: (batch, chunk) True for actions behind the end of the episode; they are left
            out of the sum and of the count. None counts all.
        reduction: ``mean``: one number over the batch; ``none``: one per sample.

    Returns:
        () or (batch,) float32. A sample of padding alone has loss 0.

    Raises:
        ValueError: `reduction` is unknown.
    """
    if reduction not in REDUCTIONS:
        raise ValueError(f"reduction {reduction!r} is unknown; choose one of {REDUCTIONS}")
    errors = errors[:, :, :action_dim]
    counts = torch.ones(errors.shape[:2], dtype=errors.dtype, device=errors.device)
    if is_pad is not None:
        counts = counts * ~is_pad
    totals = (errors * counts[:, :, None]).sum(dim=(1, 2))
    numbers = counts.sum(1) * errors.shape[2]
    if reduction == "none":
        return totals / numbers.clamp(min=1.0)
    return totals.sum() / numbers.sum().clamp(min=1.0)
