# SPDX-License-Identifier: Apache-2.0
"""Flow-matching sampler: from noise to actions along the learned velocity.

Flow matching: arXiv 2210.02747; SmolVLA, arXiv 2506.01844, section 3.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from smolvla_policy.model.context import ExpertCache
from smolvla_policy.model.guidance import Guidance
from smolvla_policy.model.network import SmolVLANetwork

StepObserver = Callable[[int, Tensor, Tensor], None]
"""Called after each step with its index, the velocity and the new actions."""


def flow_times(steps: int) -> list[float]:
    """Flow times at which the velocity is evaluated: 1, ..., 1/steps."""
    return [1.0 - step / steps for step in range(steps)]


def sample_actions(
    network: SmolVLANetwork,
    cache: ExpertCache,
    noise: Tensor,
    *,
    steps: int | None = None,
    guidance: Guidance | None = None,
    observe: StepObserver | None = None,
) -> Tensor:
    """Integrate the flow from noise (time 1) to actions (time 0) with Euler steps.

    Args:
        network: the network.
        cache: of the prefix, from `SmolVLANetwork.expert_cache`.
        noise: (batch, chunk, action_dim) float32, standard normal.
        steps: number of steps; the checkpoint's if None.
        guidance: actions that the result shall continue.
        observe: called after each step.

    Returns:
        (batch, chunk, action_dim) float32, normalized and padded.
    """
    count = network.sizes.steps if steps is None else steps
    times = flow_times(count)
    features = network.time_features(torch.tensor(times, dtype=torch.float32, device=noise.device))
    actions = noise
    for step in range(count):
        velocity = network.velocity(actions, features[step : step + 1], cache)
        if guidance is not None:
            velocity = guidance.steer(velocity, actions, times[step])
        actions = actions - velocity / count
        if observe is not None:
            observe(step, velocity, actions)
    return actions
