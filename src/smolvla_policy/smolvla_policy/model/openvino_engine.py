# SPDX-License-Identifier: Apache-2.0
"""The engine for CPUs: OpenVINO runs the network's graphs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smolvla_policy.model.engine import OPENVINO_HAS_NONE, Engine
from smolvla_policy.model.layers import Rotary
from smolvla_policy.model.network import Prefix
from smolvla_policy.model.openvino_graphs import HIDDEN, INTEL_GPU, Graphs, import_openvino

openvino = import_openvino()


@dataclass(kw_only=True)
class OpenVINOEngine(Engine):
    """Runs the stages as compiled graphs, the samples of a batch one after the other.

    The network holds only the weights that the graphs lack.

    Attributes:
        graphs: of the network.
        watch: called with the name and the inputs of each graph before it runs; the inputs are
            overwritten later.
    """

    name = "openvino"
    without_gradients = OPENVINO_HAS_NONE

    graphs: Graphs
    watch: Callable[[str, Sequence[NDArray[np.float32]]], None] | None = None

    def __post_init__(self) -> None:
        self._image = _Request(self.graphs.compiled["image"])
        self._samples: list[tuple[_Request, _Request]] = []
        self._ran: set[str] = set()

    @property
    def precision(self) -> str:
        """See `Engine`."""
        return self.graphs.source.precision.name

    @property
    def place(self) -> str:
        """See `Engine`."""
        device = "xpu" if self.graphs.source.device == INTEL_GPU else "cpu"
        return f"{device} (openvino)"

    def encode_images(self, pixels: Tensor) -> Tensor:
        """See `Engine`."""
        return torch.cat([self._run("image", self._image, [image[None]]) for image in pixels])

    def prefill(self, prefix: Prefix) -> list[_Request]:
        """Return the step graph's request of each sample, with what all steps read."""
        sizes = self.network.sizes
        rotary = Rotary(prefix.positions(), sizes.text.head_dim)
        turn = Rotary(self.network.suffix_positions(prefix.valid), sizes.expert.head_dim)
        mask = _additive(prefix.attention()[:, None])
        hidden = _additive(prefix.valid[:, None, None])
        steps = []
        for i in range(len(mask)):
            if i == len(self._samples):
                compiled = self.graphs.compiled
                self._samples.append((_Request(compiled["prefix"]), _Request(compiled["step"])))
            run, step = self._samples[i]
            one = slice(i, i + 1)
            inputs = [prefix.embeddings[one], rotary.cos[one], rotary.sin[one], mask[one]]
            self._run("prefix", run, inputs)
            step.set([turn.cos[one], turn.sin[one], hidden[one]], first=2)
            step.take(run, first=5)
            steps.append(step)
        return steps

    def velocity(
        self, actions: Tensor, time_features: Tensor, context: Sequence[_Request]
    ) -> Tensor:
        """See `Engine`."""
        time_features = time_features.expand(-1, actions.shape[1], -1)
        return torch.cat(
            [
                self._run("step", step, [actions[i : i + 1], time_features])
                for i, step in enumerate(context)
            ]
        )

    def _run(self, graph: str, request: _Request, inputs: Sequence[Tensor]) -> Tensor:
        request.set(inputs)
        if self.watch is not None:
            self.watch(graph, request.inputs)
        result = request.run()
        if graph not in self._ran:  # the first run copies the weights as it wants them
            self._ran.add(graph)
            self.graphs.release(graph)
        return result


class _Request:
    """Runs a compiled graph on tensors that it does not copy."""

    def __init__(self, compiled: Any) -> None:
        self._request = compiled.create_infer_request()
        self._held: dict[int, Tensor] = {}  # whose memory the request reads

    def set(self, inputs: Sequence[Tensor], first: int = 0) -> None:
        """Set the inputs from the place `first` on."""
        for place, tensor in enumerate(inputs, first):
            self._held[place] = tensor = tensor.contiguous()
            shared = openvino.Tensor(tensor.numpy(), shared_memory=True)
            self._request.set_input_tensor(place, shared)

    def take(self, other: _Request, first: int) -> None:
        """Read another request's outputs as inputs from the place `first` on."""
        for place, tensor in enumerate(other._request.output_tensors, first):
            self._request.set_input_tensor(place, tensor)

    @property
    def inputs(self) -> list[NDArray[np.float32]]:
        """All inputs, not copied."""
        return [tensor.data for tensor in self._request.input_tensors]

    def run(self) -> Tensor:
        """Infer, and return a copy of the first output."""
        self._request.start_async()
        self._request.wait()
        return torch.from_numpy(self._request.get_output_tensor(0).data).clone()


def _additive(allowed: Tensor) -> Tensor:
    return torch.zeros(allowed.shape, dtype=torch.float32).masked_fill_(~allowed, HIDDEN)
