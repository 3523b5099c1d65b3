# SPDX-License-Identifier: Apache-2.0
"""From an observation to a chunk of normalized actions, stage by stage.

Camera images become the pixels that the image encoder reads, the network encodes the prefix, and
the sampler integrates the learned flow from noise to actions. An engine computes the network's
part of each stage; `TorchEngine` is the reference.
"""

from __future__ import annotations

import importlib.util
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smolvla_policy.model.network import ExpertCache, Prefix, SmolVLANetwork
from smolvla_policy.model.preprocess import PixelScale, stack_cameras, upload
from smolvla_policy.model.sampler import Guidance, flow_times, integrate, make_guidance
from smolvla_policy.model.sizes import Precision

Floats = NDArray[np.float32]
STAGES = ("images", "prefix", "steps", "total")
NEEDS_GRADIENTS = "real_time_chunking 'jacobian' needs gradients, "
OPENVINO_HAS_NONE = "which OpenVINO does not compute: use engine 'torch', or 'guided'"
GRAPH_HAS_NONE = "which a CUDA graph does not hold: set cuda_graph to false, or use 'guided'"


@contextmanager
def untouched_by_global_state(device: torch.device, *, inference: bool = True) -> Iterator[None]:
    """Compute the same whatever the program around has set.

    Autocast is off, gradients are off, and float32 products are exact. The precision of
    products is one setting for the whole process; it is put back at the end.

    Args:
        device: where.
        inference: whether no gradient is computed inside either; tensors that were made in
            inference mode cannot take part in one.
    """
    before = torch.get_float32_matmul_precision()
    if before != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        with (
            torch.inference_mode(inference),
            torch.no_grad(),
            torch.autocast(device.type, enabled=False),
        ):
            yield
    finally:
        if before != "highest":
            torch.set_float32_matmul_precision(before)


@dataclass(frozen=True)
class ChunkInputs:
    """What a chunk is computed from, on the engine's device.

    Attributes:
        pixels: (cameras * batch, 3, side, side) float32 in [-1, 1], camera by camera.
        absent: cameras that may be and are missing.
        tokens: (batch, tokens) token ids.
        token_valid: (batch, tokens), None if no token is padding.
        state: (batch, state_dim of the network) normalized and padded.
        noise: (batch, chunk, action_dim) float32, standard normal.
        guidance: actions that the chunk continues, or None.
    """

    pixels: Tensor
    absent: int
    tokens: Tensor
    token_valid: Tensor | None
    state: Tensor
    noise: Tensor
    guidance: Guidance | None


@dataclass
class Engine(ABC):
    """Runs the network. Not to be used by two threads at once.

    What a chunk does not need is not computed: cameras that are absent and tokens that are
    padding do not enter the prefix, and everything that all denoising steps share is computed
    once.

    Attributes:
        network: with the weights that this engine reads.
        side: pixels of the square that images are fitted into.
        resize: whether images are resized to it.
        image_start: token ids before each image.
        image_end: token ids behind each image.
        steps: denoising steps; 0 for the checkpoint's.
        solver: one of `sampler.SOLVERS`.
        jacobian: whether guidance goes through the network's Jacobian, see `sampler.Guidance`.
        profile: wait for the device after each stage, so that `stage_times` are exact on a
            GPU too.
        stage_times: seconds of the stages of the latest chunk: ``images`` (preprocessing,
            image encoder, connector), ``prefix``, ``steps``, ``total``.
    """

    name: ClassVar[str]
    without_gradients: ClassVar[str] = ""
    """Why there is no Jacobian, and what to do; empty where there is one."""

    network: SmolVLANetwork
    side: int
    resize: bool = True
    image_start: tuple[int, ...] = ()
    image_end: tuple[int, ...] = ()
    steps: int = 0
    solver: str = "euler"
    jacobian: bool = False
    profile: bool = False
    stage_times: dict[str, float] = field(default_factory=dict)
    # What the device need not be told again: token ids, and embedded flow times by their number.
    _constants: dict[object, Tensor] = field(default_factory=dict, init=False, repr=False)

    @property
    def precision(self) -> str:
        """Number type of the computation, for people."""
        return self.network.precision.name

    @property
    def place(self) -> str:
        """Where it computes, for people."""
        return str(self.network.device)

    def check_jacobian(self) -> None:
        """Check that this engine can compute with `jacobian`.

        Raises:
            ValueError: it cannot; the text says what to do.
        """
        if self.without_gradients:
            raise ValueError(NEEDS_GRADIENTS + self.without_gradients)

    @abstractmethod
    def encode_images(self, pixels: Tensor) -> Tensor:
        """Turn pixels into image tokens, see `SmolVLANetwork.encode_images`."""

    @abstractmethod
    def prefill(self, prefix: Prefix) -> Any:
        """Return what all steps read of a prefix, to be given to `velocity`."""

    @abstractmethod
    def velocity(self, actions: Tensor, time_features: Tensor, context: Any) -> Tensor:
        """Predict the flow's velocity, see `SmolVLANetwork.velocity`.

        Args:
            actions: (batch, chunk, action_dim) float32.
            time_features: (1, 1 or chunk, expert hidden) from `SmolVLANetwork.time_features`.
            context: from `prefill`.
        """

    def run(
        self,
        cameras: Sequence[NDArray[np.uint8]],
        tokens: NDArray[np.int64],
        state: Floats,
        noise: Floats,
        *,
        scales: Sequence[PixelScale | None] | None = None,
        absent: int = 0,
        token_valid: NDArray[np.bool_] | None = None,
        decided: Floats | None = None,
        delay: int = 0,
        trained: bool = False,
    ) -> Floats:
        """Compute the actions of a batch of observations.

        Args:
            cameras: per present camera (batch, height, width, 3) uint8 RGB.
            tokens: (batch, tokens) token ids.
            state: (batch, state_dim) normalized.
            noise: (batch, chunk, action_dim) standard normal.
            scales: per present camera its normalization, None for none.
            absent: cameras that may be and are missing.
            token_valid: (batch, tokens), None if no token is padding.
            decided: (batch, rows, joints) normalized actions that the chunk shall continue, rows
                from its first on; None for none.
            delay: so many of them will have been executed when the chunk arrives.
            trained: these are read by a network that was trained to; the others are free.

        Returns:
            (batch, chunk, action_dim) normalized and padded.

        Raises:
            ValueError: see `check_jacobian`.
        """
        if self.jacobian:
            self.check_jacobian()
        device = self.network.device
        differentiates = self.jacobian and decided is not None and not trained
        with untouched_by_global_state(device, inference=not differentiates):
            marks = [time.perf_counter()]
            target = (self.side, self.side) if self.resize else None
            shape = (state.shape[0], self.network.sizes.state_dim)
            padded = torch.zeros(shape, dtype=torch.float32, device=device)
            padded[:, : state.shape[1]] = upload(state, device)
            guidance = None
            if decided is not None:
                guidance = make_guidance(
                    decided, delay, noise.shape, device, trained=trained, jacobian=self.jacobian
                )
            inputs = ChunkInputs(
                stack_cameras(cameras, self.side, target, device, scales),
                absent,
                upload(tokens, device),
                None if token_valid is None else upload(token_valid, device),
                padded,
                upload(noise, device),
                guidance,
            )
            actions: Floats = self.chunk(inputs, lambda: self._mark(marks)).cpu().numpy()
            self._mark(marks)
        durations = [after - before for before, after in pairwise(marks)]
        self.stage_times = dict(zip(STAGES, [*durations, marks[-1] - marks[0]], strict=True))
        return actions

    def chunk(self, inputs: ChunkInputs, mark: Callable[[], None] = lambda: None) -> Tensor:
        """Compute the normalized actions of a batch, (batch, chunk, action_dim).

        Args:
            inputs: of the chunk.
            mark: called behind the stages ``images`` and ``prefix``.
        """
        network = self.network
        embedded = self.encode_images(inputs.pixels).split(len(inputs.tokens))
        mark()
        images: list[Tensor | None] = [*embedded, *[None] * inputs.absent]
        prefix = network.embed_prefix(
            images,
            [None] * len(images),
            inputs.tokens,
            inputs.token_valid,
            inputs.state,
            image_start=self._constant(self.image_start),
            image_end=self._constant(self.image_end),
        )
        context = self.prefill(prefix)
        mark()
        steps = self.steps or network.sizes.steps
        *each, clean = network.project_time(self._time_embedding(steps))[:, None, None]
        if inputs.guidance is not None and inputs.guidance.trained:
            known = inputs.guidance.weights[:1, :, :1] == 1.0
            each = [torch.where(known, clean, features) for features in each]
        return integrate(
            lambda actions, step: self.velocity(actions, each[step], context),
            inputs.noise,
            steps,
            solver=self.solver,
            guidance=inputs.guidance,
        )

    def _constant(self, ids: tuple[int, ...]) -> Tensor | None:
        if ids and ids not in self._constants:
            self._constants[ids] = torch.tensor(ids, device=self.network.device)
        return self._constants.get(ids)

    def _time_embedding(self, steps: int) -> Tensor:
        """Return (steps + 1, expert hidden): of the steps, and of actions without noise."""
        if steps not in self._constants:
            times = torch.tensor([*flow_times(steps), 0.0], dtype=torch.float32)
            self._constants[steps] = self.network.embed_time(times).to(self.network.device)
        return self._constants[steps]

    def _mark(self, marks: list[float]) -> None:
        if self.profile and self.network.device.type == "cuda":
            torch.cuda.synchronize(self.network.device)
        marks.append(time.perf_counter())


def choose_engine(engine: str, device: torch.device) -> str:
    """Turn ``auto`` into the engine to be used.

    Args:
        engine: ``auto``, ``torch`` or ``openvino``.
        device: where the network shall compute; ``xpu`` is an Intel GPU, by OpenVINO.

    Raises:
        ValueError: the engine cannot be used, or does not compute there.
    """
    intel_gpu = device.type == "xpu"
    if intel_gpu and engine == "torch":
        raise ValueError(f"engine 'torch' does not compute on {device}; use 'openvino'")
    if engine == "torch" or (engine == "auto" and device.type not in ("cpu", "xpu")):
        return "torch"
    installed = importlib.util.find_spec("openvino") is not None
    if engine == "auto" and not intel_gpu:
        return "openvino" if installed else "torch"
    if device.type not in ("cpu", "xpu"):
        raise ValueError(f"engine 'openvino' computes on cpu and xpu; for {device} use 'torch'")
    if not installed:
        raise ValueError(
            "engine 'openvino' is not installed: pip install openvino, or use "
            + ("device 'cpu'" if intel_gpu else "'torch'")
        )
    if intel_gpu:
        from smolvla_policy.model.openvino_graphs import INTEL_GPU, core

        if INTEL_GPU not in (found := core().available_devices):
            raise ValueError(
                f"device '{device}' is absent: OpenVINO finds {', '.join(found)}. Install Intel's "
                "driver for its GPU (package intel-opencl-icd), or use device 'cpu'"
            )
    return "openvino"


def gradient_engine(engine: str, device: torch.device, *, dtype: str, cuda_graph: bool) -> str:
    """Return the engine that computes gradients, ``torch``.

    Args:
        engine: as asked for.
        device: where the network shall compute.
        dtype: parameter of that name.
        cuda_graph: likewise.

    Raises:
        ValueError: another one is asked for or needed; the text says what to do.
    """
    if device.type == "xpu":
        reason = f"which do not exist on {device}: use device 'cpu', or 'guided'"
    elif engine == "openvino":
        reason = OPENVINO_HAS_NONE
    elif dtype == "int8":
        reason = "which do not exist in dtype 'int8': use dtype 'auto', or 'guided'"
    elif cuda_graph and device.type == "cuda":
        reason = GRAPH_HAS_NONE
    else:
        return "torch"
    raise ValueError(NEEDS_GRADIENTS + reason)


def check_int8(precision: Precision, engine: str, chosen: str, device: torch.device) -> None:
    """Check that an engine computes in int8 if it shall.

    Args:
        precision: of the computation.
        engine: as asked for.
        chosen: see `choose_engine`.
        device: where the network shall compute.

    Raises:
        ValueError: it does not; the text says what to do.
    """
    if not precision.int8 or chosen == "openvino":
        return
    if device.type != "cpu":
        advice = f"which is for CPUs, and the device is {device}: use dtype 'auto'"
    elif engine == "auto":
        advice = "which is not installed: pip install openvino, or use dtype 'auto'"
    else:
        advice = f"and the engine is '{engine}': use engine 'openvino', or dtype 'auto'"
    raise ValueError(f"dtype 'int8' needs OpenVINO, {advice}")


def missing_openvino(engine: str, device: torch.device) -> tuple[str, ...]:
    """Return a warning where ``auto`` would take OpenVINO if that were installed."""
    if engine != "auto" or device.type != "cpu" or choose_engine(engine, device) == "openvino":
        return ()
    return (
        "OpenVINO is not installed, so PyTorch computes, which takes longer on a CPU and much "
        "longer beside other programs: pip install openvino",
    )


class TorchEngine(Engine):
    """The reference, on every device of PyTorch."""

    name = "torch"

    def encode_images(self, pixels: Tensor) -> Tensor:
        """See `Engine`."""
        return self.network.encode_images(pixels)

    def prefill(self, prefix: Prefix) -> ExpertCache:
        """See `Engine`."""
        keys_values, _ = self.network.prefill(prefix)
        return self.network.expert_cache(keys_values, prefix)

    def velocity(self, actions: Tensor, time_features: Tensor, context: ExpertCache) -> Tensor:
        """See `Engine`."""
        return self.network.velocity(actions, time_features, context)
