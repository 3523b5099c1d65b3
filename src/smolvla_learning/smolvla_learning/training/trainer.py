# SPDX-License-Identifier: Apache-2.0
"""The loop: batches, losses, optimizer steps, records and checkpoints."""

from __future__ import annotations

import time
from collections.abc import Mapping
from contextlib import nullcontext

import torch
from smolvla_policy.policy import SmolVLAPolicy
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel
from tqdm import tqdm

from smolvla_learning.training.devices import DistributedContext
from smolvla_learning.training.errors import TrainingError
from smolvla_learning.training.learner import Learner
from smolvla_learning.training.metrics import Metrics
from smolvla_learning.training.optimizer import OptimizerOptions, learning_rate
from smolvla_learning.training.options import TrainSettings
from smolvla_learning.training.order import SampleOrder
from smolvla_learning.training.samples import Batches
from smolvla_learning.training.state import save_state

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
        bar = tqdm(total=options.steps, initial=step, unit="step", disable=not first)
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
            batch = self._batches(rows).to(context.device)
            generator = torch.Generator().manual_seed(
                (options.seed * 1_000_003 + number) % (1 << 63)
            )
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
