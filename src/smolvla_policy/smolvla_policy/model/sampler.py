# SPDX-License-Identifier: Apache-2.0
"""From noise to actions along the learned flow, and its guidance.

Flow matching: arXiv 2210.02747; SmolVLA, arXiv 2506.01844, section 3.

Real-time chunking (Black, Galliker, Levine, "Real-Time Execution of Action Chunking Flow
Policies", arXiv 2506.07339): a new chunk continues the actions that are already decided. While a
policy computes, the arm goes on with the chunk before. A new chunk that is drawn without regard to
it may have decided otherwise (left instead of right, close the gripper now instead of later), and
the seam becomes a jump. Guidance pulls each denoising step toward the old actions: fully where
they will have been executed anyway, less and less behind. The paper's correction (algorithm 1) is
a product with the transposed Jacobian of the denoised actions, which takes a backward pass through
the network in each step and so also moves the free rows to fit the bound ones. LeRobot's "guided"
mode takes that Jacobian as the identity, which costs nothing and leaves the free rows to the next
evaluations of the network.

A network that was trained for it ("Training-Time Action Conditioning for Efficient Real-Time
Chunking", arXiv 2512.05964) needs no guidance: the decided rows enter as they are, without noise
and at flow time 0, and it draws only the rows behind them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

MAX_WEIGHT = 10.0
"""Largest pull of a step; with ten steps the first one goes all the way.

LeRobot's; the paper's is 5 with 5 steps, where it goes all the way, too.
"""


@dataclass(frozen=True)
class Guidance:
    """What the denoising is pulled to.

    Attributes:
        target: (batch, chunk, action_dim) normalized actions; without meaning where `weights`
            is 0.
        weights: (batch, chunk, action_dim) between 0 and 1.
        trained: the network reads the target where the weight is 1, and is not pulled.
        jacobian: it is pulled through its Jacobian, else as if that were the identity.
    """

    target: Tensor
    weights: Tensor
    trained: bool = False
    jacobian: bool = False

    @property
    def differentiates(self) -> bool:
        """Whether it needs the gradient of the velocity."""
        return self.jacobian and not self.trained

    def put(self, actions: Tensor) -> Tensor:
        """Return (batch, chunk, action_dim) actions with the target where the weight is 1."""
        return torch.where(self.weights == 1.0, self.target, actions)

    def steer(self, velocity: Tensor, actions: Tensor, time: float) -> Tensor:
        """Return the velocity that leads to the target where the weights say so.

        Args:
            velocity: (batch, chunk, action_dim) of the network at `actions`; if the guidance
                `differentiates`, a function of them for autograd.
            actions: (batch, chunk, action_dim) at flow time `time`.
            time: 1 (noise) to 0 (actions), above 0.
        """
        expected = actions - time * velocity
        missing = self.weights * (self.target - expected)
        if self.differentiates:
            (missing,) = torch.autograd.grad(expected, actions, missing.detach())
        return velocity.detach() - pull(time) * missing


def pull(time: float) -> float:
    """Return the strength of the guidance at a flow time (equation 3 of the paper).

    With r² = t² / (t² + (1 - t)²) it is t / (1 - t) / r², at most `MAX_WEIGHT`.
    """
    if time >= 1.0:
        return MAX_WEIGHT
    return min(MAX_WEIGHT, ((1.0 - time) ** 2 + time**2) / (time * (1.0 - time)))


def prefix_weights(chunk: int, decided: int, delay: int) -> NDArray[np.float32]:
    """Return how much each row of a chunk is bound to the actions decided before.

    Equation 5 of the paper: 1 for the rows that are executed before the chunk arrives, then
    an exponential decay to the last decided row, 0 behind it.

    Args:
        chunk: rows of the chunk.
        decided: rows that are decided, from the chunk's first on.
        delay: the first so many of them will have been executed when the chunk arrives.

    Returns:
        (chunk,) between 0 and 1.
    """
    decided = min(decided, chunk)
    delay = min(max(delay, 0), decided)
    weights = np.zeros(chunk, np.float32)
    weights[:delay] = 1.0
    share = (decided - np.arange(delay, decided)) / (decided - delay + 1)
    weights[delay:decided] = share * np.expm1(share) / (math.e - 1.0)
    return weights


def make_guidance(
    target: NDArray[np.float32],
    delay: int,
    shape: tuple[int, ...],
    device: torch.device,
    *,
    trained: bool = False,
    jacobian: bool = False,
) -> Guidance:
    """Return the guidance of a batch.

    Args:
        target: (batch, decided, joints) normalized actions, as many rows as are decided.
        delay: see `prefix_weights`.
        shape: (batch, chunk, action_dim) of the network; padded dimensions are left alone, unless
            it is trained.
        device: of the network.
        trained: the network was trained to read the first `delay` rows.
        jacobian: see `Guidance`.
    """
    chunk, joints = shape[1], target.shape[2]
    rows = min(target.shape[1], chunk)
    wanted = torch.zeros(shape, dtype=torch.float32)
    wanted[:, :rows, :joints] = torch.from_numpy(target[:, :rows])
    weights = torch.zeros(shape, dtype=torch.float32)
    if trained:
        weights[:, : min(delay, rows)] = 1.0
    else:
        weights[:, :, :joints] = torch.from_numpy(prefix_weights(chunk, rows, delay))[:, None]
    return Guidance(wanted.to(device), weights.to(device), trained, jacobian)


Velocity = Callable[[Tensor, int], Tensor]
"""The network's velocity (batch, chunk, action_dim) at actions of that shape and a step's time."""
StepObserver = Callable[[int, Tensor, Tensor], None]
"""Called after each step with its index, the velocity and the new actions."""

SOLVERS = ("euler", "ab2")
"""Euler's method, as in training and LeRobot, and the Adams-Bashforth method of second order,
which extrapolates the velocity from the step before: one evaluation a step, too."""


def flow_times(steps: int) -> list[float]:
    """Flow times at which the velocity is evaluated: 1, ..., 1/steps."""
    return [1.0 - step / steps for step in range(steps)]


def integrate(
    velocity: Velocity,
    noise: Tensor,
    steps: int,
    *,
    solver: str = "euler",
    guidance: Guidance | None = None,
    observe: StepObserver | None = None,
) -> Tensor:
    """Integrate the flow from noise (time 1) to actions (time 0) with equal steps.

    Args:
        velocity: of the flow, evaluated once a step at `flow_times`.
        noise: (batch, chunk, action_dim) float32, standard normal.
        steps: number of steps.
        solver: one of `SOLVERS`.
        guidance: actions that the result shall continue.
        observe: called after each step.

    Returns:
        (batch, chunk, action_dim) float32, normalized and padded.
    """
    actions = noise
    before: Tensor | None = None
    read = guidance.put if guidance is not None and guidance.trained else None
    differentiates = guidance is not None and guidance.differentiates
    for step, time in enumerate(flow_times(steps)):
        if read is not None:
            actions = read(actions)
        with torch.enable_grad() if differentiates else nullcontext():
            if differentiates:
                actions = actions.detach().requires_grad_()
            flow = here = velocity(actions, step)
            if solver == "ab2" and before is not None:
                flow = 1.5 * here - 0.5 * before
            if guidance is not None and read is None:
                flow = guidance.steer(flow, actions, time)
        before = here.detach()
        actions = actions.detach() - flow / steps
        if observe is not None:
            observe(step, flow, actions)
    return actions if read is None else read(actions)
