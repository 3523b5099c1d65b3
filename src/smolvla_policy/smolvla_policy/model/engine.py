# SPDX-License-Identifier: Apache-2.0
"""From an observation to a chunk of normalized actions, stage by stage."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from smolvla_policy.model.guidance import make_guidance
from smolvla_policy.model.images import PixelScale, stack_cameras
from smolvla_policy.model.network import SmolVLANetwork
from smolvla_policy.model.sampler import sample_actions

Floats = NDArray[np.float32]
STAGES = ("images", "prefix", "steps", "total")


@dataclass(frozen=True)
class EngineInputs:
    """A batch of observations, ready for the network.

    Attributes:
        cameras: per present camera (batch, height, width, 3) uint8 RGB.
        scales: per present camera its normalization, None for none.
        absent: cameras that may be and are missing.
        tokens: (batch, words) token ids.
        token_valid: (batch, words), None if no word is padding.
        state: (batch, state_dim) normalized.
        noise: (batch, chunk, action_dim) standard normal.
        decided: (batch, rows, joints) normalized actions that the chunk shall continue, rows
            from its first on; None for none.
        delay: so many of them will have been executed when the chunk arrives.
    """

    cameras: Sequence[NDArray[np.uint8]]
    scales: Sequence[PixelScale | None]
    absent: int
    tokens: NDArray[np.int64]
    token_valid: NDArray[np.bool_] | None
    state: Floats
    noise: Floats
    decided: Floats | None = None
    delay: int = 0


@contextmanager
def untouched_by_global_state(device: torch.device) -> Iterator[None]:
    """Compute the same whatever the program around has set.

    Autocast is off, gradients are off, and float32 products are exact. The precision of
    products is one setting for the whole process; it is put back at the end.
    """
    before = torch.get_float32_matmul_precision()
    if before != "highest":
        torch.set_float32_matmul_precision("highest")
    try:
        with torch.inference_mode(), torch.autocast(device.type, enabled=False):
            yield
    finally:
        if before != "highest":
            torch.set_float32_matmul_precision(before)


@dataclass
class Engine:
    """Runs the network. Not to be used by two threads at once.

    What a chunk does not need is not computed: cameras that are absent and words that are
    padding do not enter the prefix, and everything that all denoising steps share is computed
    once.

    Attributes:
        network: with weights.
        side: pixels of the square that images are fitted into.
        resize: whether images are resized to it.
        image_start: token ids before each image.
        image_end: token ids behind each image.
        profile: wait for the device after each stage, so that `stage_times` are exact on a
            GPU too.
        stage_times: seconds of the stages of the latest chunk: ``images`` (preprocessing,
            image encoder, connector), ``prefix``, ``steps``, ``total``.
    """

    network: SmolVLANetwork
    side: int
    resize: bool = True
    image_start: tuple[int, ...] = ()
    image_end: tuple[int, ...] = ()
    profile: bool = False
    stage_times: dict[str, float] = field(default_factory=dict)

    def run(self, inputs: EngineInputs) -> Floats:
        """Compute actions.

        Args:
            inputs: a batch of observations.

        Returns:
            (batch, chunk, action_dim) normalized and padded.
        """
        network = self.network
        device, sizes = network.device, network.sizes
        batch = inputs.state.shape[0]
        with untouched_by_global_state(device):
            marks = [time.perf_counter()]
            target = (self.side, self.side) if self.resize else None
            pixels = stack_cameras(inputs.cameras, self.side, target, device, inputs.scales)
            embedded = network.encode_images(pixels).split(batch)
            del pixels
            self._mark(marks)
            state = torch.zeros(batch, sizes.state_dim, dtype=torch.float32, device=device)
            state[:, : inputs.state.shape[1]] = torch.from_numpy(inputs.state).to(device)
            valid = inputs.token_valid
            images: list[Tensor | None] = [*embedded, *[None] * inputs.absent]
            prefix = network.embed_prefix(
                images,
                [None] * len(images),
                torch.from_numpy(inputs.tokens).to(device),
                None if valid is None else torch.from_numpy(valid).to(device),
                state,
                image_start=self._ids(self.image_start),
                image_end=self._ids(self.image_end),
            )
            keys_values, _ = network.prefill(prefix)
            cache = network.expert_cache(keys_values, prefix)
            self._mark(marks)
            noise = torch.from_numpy(inputs.noise).to(device, torch.float32)
            guidance = None
            if inputs.decided is not None:
                guidance = make_guidance(inputs.decided, inputs.delay, noise.shape, device)
            actions: Floats = (
                sample_actions(network, cache, noise, guidance=guidance).cpu().numpy()
            )
            self._mark(marks)
        durations = [after - before for before, after in pairwise(marks)]
        self.stage_times = dict(zip(STAGES, [*durations, marks[-1] - marks[0]], strict=True))
        return actions

    def _ids(self, ids: tuple[int, ...]) -> Tensor | None:
        return torch.tensor(ids, device=self.network.device) if ids else None

    def _mark(self, marks: list[float]) -> None:
        if self.profile and self.network.device.type == "cuda":
            torch.cuda.synchronize(self.network.device)
        marks.append(time.perf_counter())
