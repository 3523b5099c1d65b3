# SPDX-License-Identifier: Apache-2.0
"""The loop: batches, losses, optimizer steps, records and checkpoints."""

from __future__ import annotations

import csv
import math
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

import torch
from smolvla_policy.model.sizes import choose_device, cpu_has_bfloat16
from smolvla_policy.policy import SmolVLAPolicy
from tensorboardX import SummaryWriter
from torch import Tensor, distributed, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from smolvla_learning.training.learner import Learner
from smolvla_learning.training.options import TrainingError, TrainSettings
from smolvla_learning.training.samples import Batches, SampleOrder
from smolvla_learning.training.state import save_state


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


FILE = "metrics.csv"
TENSORBOARD = "tensorboard"


class Metrics:
    """Writes one row for each report.

    Args:
        folder: of the training's output.
        names: columns behind ``step``.
        step: of a training that is resumed: rows behind it, which a killed run left, go.
    """

    def __init__(self, folder: Path, names: list[str], step: int = 0) -> None:
        self._path = folder / FILE
        self._names = names
        self._keep(step)
        self._board = SummaryWriter(str(folder / TENSORBOARD), purge_step=step or None)

    def _keep(self, step: int) -> None:
        kept: list[dict[str, str]] = []
        if step and self._path.is_file():
            with self._path.open(newline="", encoding="utf-8") as file:
                kept = [row for row in csv.DictReader(file) if int(row["step"]) <= step]
        with self._path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, ["step", *self._names], extrasaction="ignore")
            writer.writeheader()
            writer.writerows(kept)

    def add(self, step: int, values: Mapping[str, float]) -> None:
        """Write the values of a step."""
        with self._path.open("a", newline="", encoding="utf-8") as file:
            row = [f"{values[name]:.6g}" if name in values else "" for name in self._names]
            csv.writer(file).writerow([step, *row])
        for name, value in values.items():
            self._board.add_scalar(name, value, step)
        self._board.flush()

    def close(self) -> None:
        """Close the files."""
        self._board.close()


COLUMNS = ["loss", "flow_loss", "grounding_loss", "lr", "grad_norm", "samples_per_second"]


class Trainer:
    """Trains a policy.

    Args:
        options: of the training.
        optimization: of the optimizer.
        policy: what is trained.
        learner: computes its loss.
        optimizer: over the learner's parameters.
        batches: puts samples together.
        order: of the samples.
        context: where it runs.
    """

    def __init__(
        self,
        options: TrainSettings,
        optimization: OptimizerOptions,
        policy: SmolVLAPolicy,
        learner: Learner,
        optimizer: torch.optim.Optimizer,
        batches: Batches,
        order: SampleOrder,
        context: DistributedContext,
    ) -> None:
        self._options = options
        self._optimization = optimization
        self._policy = policy
        self._learner = learner
        self._optimizer = optimizer
        self._batches = batches
        self._order = order
        self._context = context
        self._module: nn.Module = learner
        if context.world > 1:
            # The grounding heads have no part in steps without labels.
            self._module = DistributedDataParallel(learner, find_unused_parameters=True)
        self._sums: dict[str, float] = {}
        self._counts: dict[str, int] = {}

    def run(self, step: int) -> None:
        """Train from `step` to the end.

        Raises:
            TrainingError: the loss is not a number, or a checkpoint cannot be written.
        """
        options, first = self._options, self._context.first
        folder = options.output
        cameras = [f"grounding_error/{index}" for index in range(len(self._learner.heads))]
        metrics = Metrics(folder, [*COLUMNS, *cameras], step) if first else None
        bar = tqdm(total=options.steps, initial=step, unit="step", disable=None if first else True)
        started, since = time.monotonic(), step
        try:
            while step < options.steps:
                self._step(step)
                step += 1
                bar.update()
                if step % options.log_every == 0 or step == options.steps:
                    seconds = time.monotonic() - started
                    rate = (step - since) * self._samples_per_step / max(seconds, 1e-9)
                    values = self._averages(step, rate)
                    if metrics is not None:
                        metrics.add(step, values)
                    bar.set_postfix_str(f"loss {values['loss']:.4f}, {rate:.0f} samples/s")
                    started, since = time.monotonic(), step
                if first and (step % options.save_every == 0 or step == options.steps):
                    save_state(
                        folder,
                        step,
                        options.steps,
                        self._policy,
                        self._learner,
                        self._optimizer,
                    )
        finally:
            bar.close()
            if metrics is not None:
                metrics.close()

    @property
    def _samples_per_step(self) -> int:
        return self._options.batch_size * self._options.accumulate * self._context.world

    def _step(self, step: int) -> None:
        options, context = self._options, self._context
        rate = learning_rate(step, options.steps, self._optimization)
        for group in self._optimizer.param_groups:
            group["lr"] = rate
        for part in range(options.accumulate):
            number = (step * options.accumulate + part) * context.world + context.rank
            rows = self._order(number * options.batch_size, options.batch_size)
            generator = torch.Generator().manual_seed(
                (options.seed * 1_000_003 + number) % (1 << 63)
            )
            batch = self._batches(rows, generator).to(context.device)
            last = part == options.accumulate - 1
            waits = isinstance(self._module, DistributedDataParallel) and not last
            with self._module.no_sync() if waits else nullcontext():  # type: ignore[operator]
                with torch.autocast(context.device.type, torch.bfloat16, enabled=context.autocast):
                    losses: Mapping[str, Tensor] = self._module(batch, generator)
                (losses["loss"] / options.accumulate).backward()
            self._record({name: float(value.detach()) for name, value in losses.items()})
        norm = nn.utils.clip_grad_norm_(
            self._learner.parameters(), self._optimization.grad_clip_norm
        )
        if not torch.isfinite(norm):
            raise TrainingError(
                f"the gradient of step {step + 1} is not a number; lower --lr, or resume from the "
                "last checkpoint"
            )
        self._record({"lr": rate, "grad_norm": float(norm)})
        self._optimizer.step()
        self._optimizer.zero_grad(set_to_none=True)

    def _record(self, values: Mapping[str, float]) -> None:
        for name, value in values.items():
            if value == value:  # NaN: nothing to see in this batch
                self._sums[name] = self._sums.get(name, 0.0) + value
                self._counts[name] = self._counts.get(name, 0) + 1

    def _averages(self, step: int, rate: float) -> dict[str, float]:
        values = {name: total / self._counts[name] for name, total in self._sums.items()}
        self._sums.clear()
        self._counts.clear()
        if "loss" not in values:
            raise TrainingError(f"the loss is not a number since step {step}; lower --lr")
        return {**values, "samples_per_second": rate}


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
    if chosen.type == "xpu":
        raise TrainingError(f"training computes on cpu, cuda and mps, not on {device}")
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
