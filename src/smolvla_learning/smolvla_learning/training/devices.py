# SPDX-License-Identifier: Apache-2.0
"""Where a training runs: one device, or several processes started by torchrun."""

from __future__ import annotations

import os
from dataclasses import dataclass

import torch
from smolvla_policy.model.sizes import choose_device, cpu_has_bfloat16
from torch import distributed

from smolvla_learning.training.options import TrainingError


@dataclass(frozen=True)
class DistributedContext:
    """The device and rank of one training process.

    Attributes:
        device: where it computes.
        rank: number of the process; the first one writes.
        world: number of processes.
        autocast: whether products are computed in bfloat16.
    """

    device: torch.device
    rank: int
    world: int
    autocast: bool

    @property
    def first(self) -> bool:
        """Whether this process writes."""
        return self.rank == 0


def init_distributed(device: str, precision: str) -> DistributedContext:
    """Choose the device and, under torchrun, initialize the process group.

    Raises:
        TrainingError: the device is absent or has no bfloat16.
    """
    rank, world = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    try:
        chosen = choose_device(device)
    except ValueError as error:
        raise TrainingError(str(error)) from error
    if chosen.type == "cuda" and world > 1:
        chosen = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(chosen)
    if world > 1:
        distributed.init_process_group("nccl" if chosen.type == "cuda" else "gloo")
    native = _has_bfloat16(chosen)
    if precision == "bfloat16" and not native:
        raise TrainingError(f"{chosen} has no bfloat16; use --precision float32")
    return DistributedContext(chosen, rank, world, native and precision != "float32")


def close_distributed(context: DistributedContext) -> None:
    """Destroy the process group."""
    if context.world > 1:
        distributed.destroy_process_group()


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    return device.type == "cpu" and cpu_has_bfloat16()
