# SPDX-License-Identifier: Apache-2.0
"""The torch engine with fixed shapes in fixed memory, so that a CUDA graph can hold a chunk.

A CUDA graph starts all kernels of a chunk at once, where Python would start thousands one by
one. It repeats exactly what was captured: the same shapes at the same addresses, and nothing
between that waits for the host. So the inputs are copied into memory that stays, sentences are
padded to a few lengths, and guidance is always computed, with weights of zero where there is
none. Without capture the same path runs on every device.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from smolvla_policy.model.engine import GRAPH_HAS_NONE, ChunkInputs, TorchEngine
from smolvla_policy.model.sampler import Guidance

SENTENCE_MULTIPLE = 16
"""Sentence and state together fill up to a multiple of so many tokens, which suits kernels."""
MAX_PLANS = 8
"""The least recently used plan, with its graph's memory, goes when one more is needed."""


@dataclass(frozen=True)
class Plan:
    """What is kept of chunks of equal shapes.

    Attributes:
        inputs: memory that the chunk is computed from.
        graph: the captured chunk, None if it is not captured.
        actions: memory that the graph writes, None likewise.
    """

    inputs: ChunkInputs
    graph: torch.cuda.CUDAGraph | None = None
    actions: Tensor | None = None


@dataclass
class StaticTorchEngine(TorchEngine):
    """The torch engine with fixed shapes, see the module.

    A chunk is captured when its shapes, the steps or the solver are new, which takes some
    seconds. The stages of a captured chunk cannot be told apart: all is in ``steps``, except
    the preprocessing of the images.

    Attributes:
        capture: whether chunks are captured as CUDA graphs, where the device is a CUDA one.
    """

    without_gradients = GRAPH_HAS_NONE

    capture: bool = False
    _plans: OrderedDict[Hashable, Plan] = field(
        default_factory=OrderedDict, init=False, repr=False
    )

    def chunk(self, inputs: ChunkInputs, mark: Callable[[], None] = lambda: None) -> Tensor:
        """See `Engine`."""
        plan = self._plan(inputs)
        _fill(plan.inputs, inputs)
        if plan.graph is None or plan.actions is None:
            return super().chunk(plan.inputs, mark)
        mark()
        mark()
        plan.graph.replay()
        return plan.actions.clone()

    def _plan(self, inputs: ChunkInputs) -> Plan:
        length = padded_length(inputs.tokens.shape[1])
        shapes = (inputs.pixels.shape, inputs.absent, inputs.tokens.shape[0], length)
        trained = inputs.guidance is not None and inputs.guidance.trained
        key = (*shapes, self.steps or self.network.sizes.steps, self.solver, trained)
        plan = self._plans.pop(key, None)
        if plan is None:
            while len(self._plans) >= MAX_PLANS:
                self._plans.popitem(last=False)
            plan = Plan(static_inputs(inputs, length))
            if self.capture and inputs.pixels.device.type == "cuda":
                _fill(plan.inputs, inputs)
                plan = self._captured(plan.inputs)
        self._plans[key] = plan
        return plan

    def _captured(self, inputs: ChunkInputs) -> Plan:
        device = inputs.pixels.device
        stream = torch.cuda.Stream(device)
        with torch.cuda.device(device):
            # What libraries set up at their first call must not be captured.
            stream.wait_stream(torch.cuda.current_stream())
            with torch.cuda.stream(stream):
                for _ in range(2):
                    super().chunk(inputs)
            torch.cuda.current_stream().wait_stream(stream)
            graph = torch.cuda.CUDAGraph()
            # Other threads, with policies of their own, may go on.
            with torch.cuda.graph(graph, stream=stream, capture_error_mode="thread_local"):
                actions = super().chunk(inputs)
        return Plan(inputs, graph, actions)


def padded_length(tokens: int) -> int:
    """Return how many tokens a sentence of `tokens` tokens is padded to."""
    return -(-(tokens + 1) // SENTENCE_MULTIPLE) * SENTENCE_MULTIPLE - 1


def static_inputs(inputs: ChunkInputs, length: int) -> ChunkInputs:
    """Allocate what `_fill` writes, for sentences of `length` tokens."""
    shape = (inputs.tokens.shape[0], length)
    return ChunkInputs(
        pixels=torch.empty_like(inputs.pixels),
        absent=inputs.absent,
        tokens=inputs.tokens.new_zeros(shape),
        token_valid=inputs.tokens.new_zeros(shape, dtype=torch.bool),
        state=torch.empty_like(inputs.state),
        noise=torch.empty_like(inputs.noise),
        guidance=Guidance(
            torch.zeros_like(inputs.noise),
            torch.zeros_like(inputs.noise),
            inputs.guidance is not None and inputs.guidance.trained,
        ),
    )


def _fill(static: ChunkInputs, inputs: ChunkInputs) -> None:
    """Copy the inputs of a chunk into the memory of a plan."""
    assert static.token_valid is not None
    assert static.guidance is not None
    static.pixels.copy_(inputs.pixels)
    static.state.copy_(inputs.state)
    static.noise.copy_(inputs.noise)
    length = inputs.tokens.shape[1]
    static.tokens[:, :length].copy_(inputs.tokens)
    static.token_valid[:, length:].zero_()
    if inputs.token_valid is None:
        static.token_valid[:, :length].fill_(True)
    else:
        static.token_valid[:, :length].copy_(inputs.token_valid)
    if inputs.guidance is None:
        static.guidance.weights.zero_()
    else:
        static.guidance.target.copy_(inputs.guidance.target)
        static.guidance.weights.copy_(inputs.guidance.weights)
