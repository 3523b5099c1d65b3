# SPDX-License-Identifier: Apache-2.0
"""From an observation to a chunk of normalized actions, stage by stage.

Camera images become the pixels that the image encoder reads, the network encodes the prefix, and
the sampler integrates the learned flow from noise to actions (flow matching: arXiv 2210.02747;
SmolVLA, arXiv 2506.01844, section 3).

Real-time chunking (Black, Galliker, Levine, "Real-Time Execution of Action Chunking Flow
Policies", arXiv 2506.07339): a new chunk continues the actions that are already decided. While a
policy computes, the arm goes on with the chunk before. A new chunk that is drawn without regard to
it may have decided otherwise (left instead of right, close the gripper now instead of later), and
the seam becomes a jump. Guidance pulls each denoising step toward the old actions: fully where
they will have been executed anyway, less and less behind. The correction is that of LeRobot's
"guided" mode, with the Jacobian of the network taken as the identity, so it costs no backward
pass.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from smolvla_policy.model.network import ExpertCache, SmolVLANetwork


@dataclass(frozen=True)
class PixelScale:
    """Affine map of a camera's values in [0, 1] before they are resized.

    Attributes:
        factor: (3,) float32.
        offset: (3,) float32.
    """

    factor: NDArray[np.float32]
    offset: NDArray[np.float32]


def fitted_size(height: int, width: int, target: tuple[int, int]) -> tuple[int, int]:
    """Size of an image shrunk or enlarged to fit into a frame, aspect ratio kept.

    Args:
        height: of the image.
        width: of the image.
        target: (width, height) of the frame, LeRobot's order.

    Returns:
        (height, width), truncated like LeRobot's and at least 1.
    """
    ratio = max(width / target[0], height / target[1])
    return max(int(height / ratio), 1), max(int(width / ratio), 1)


def to_pixels(
    images: NDArray[np.uint8],
    out: Tensor,
    target: tuple[int, int] | None,
    scale: PixelScale | None = None,
) -> None:
    """Resize images, pad them on the left and the top, and bring them to [-1, 1].

    As LeRobot: bilinear without antialiasing, the padding is black (-1), an image of the
    right size is not touched.

    Args:
        images: (batch, height, width, 3) RGB.
        out: (batch, 3, side, side) float32 on the target device, overwritten.
        target: (width, height) of the frame; None takes images as they are.
        scale: normalization of the values, if the checkpoint has one for images.

    Raises:
        ValueError: `target` is None and the images have not the size of `out`.
    """
    side_h, side_w = out.shape[-2:]
    height, width = images.shape[1:3]
    if target is None and (height, width) != (side_h, side_w):
        raise ValueError(
            f"image is {height}x{width}, but this checkpoint does not resize images and needs "
            f"{side_h}x{side_w}"
        )
    # PyTorch takes no read-only arrays, and images of ROS messages are such.
    writable = np.require(images, requirements=("C", "W"))
    pixels = torch.from_numpy(writable).to(out.device).permute(0, 3, 1, 2)
    values = pixels.to(torch.float32).div_(255.0)
    if target is not None and (width, height) != target:
        size = fitted_size(height, width, target)
        values = functional.interpolate(values, size=size, mode="bilinear", align_corners=False)
    if scale is not None:
        factor = torch.from_numpy(scale.factor).to(out.device)[:, None, None]
        offset = torch.from_numpy(scale.offset).to(out.device)[:, None, None]
        values = values * factor + offset
    out.fill_(-1.0)
    fitted_h, fitted_w = values.shape[-2:]
    out[:, :, side_h - fitted_h :, side_w - fitted_w :] = values.mul_(2.0).sub_(1.0)


def stack_cameras(
    cameras: Sequence[NDArray[np.uint8]],
    side: int,
    target: tuple[int, int] | None,
    device: torch.device,
    scales: Sequence[PixelScale | None] | None = None,
) -> Tensor:
    """Prepare all cameras for one pass of the image encoder.

    Args:
        cameras: per camera (batch, height, width, 3) uint8 RGB; sizes may differ.
        side: pixels of the square that the encoder reads.
        target: (width, height) of the frame; None takes images as they are.
        device: where the pixels are wanted.
        scales: per camera normalization.

    Returns:
        (cameras * batch, 3, side, side) float32, camera by camera.
    """
    batch = cameras[0].shape[0]
    out = torch.empty((len(cameras) * batch, 3, side, side), dtype=torch.float32, device=device)
    for index, images in enumerate(cameras):
        part = out[index * batch : (index + 1) * batch]
        to_pixels(images, part, target, None if scales is None else scales[index])
    return out


MAX_WEIGHT = 10.0
"""Largest pull of a step; with ten steps the first one goes all the way."""


@dataclass(frozen=True)
class Guidance:
    """What the denoising is pulled to.

    Attributes:
        target: (batch, chunk, action_dim) normalized actions; without meaning where `weights`
            is 0.
        weights: (batch, chunk, action_dim) between 0 and 1.
    """

    target: Tensor
    weights: Tensor

    def steer(self, velocity: Tensor, actions: Tensor, time: float) -> Tensor:
        """Return the velocity that leads to the target where the weights say so.

        Args:
            velocity: (batch, chunk, action_dim) of the network at `actions`.
            actions: (batch, chunk, action_dim) at flow time `time`.
            time: 1 (noise) to 0 (actions), above 0.
        """
        expected = actions - time * velocity
        return velocity - pull(time) * self.weights * (self.target - expected)


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
) -> Guidance:
    """Return the guidance of a batch.

    Args:
        target: (batch, decided, joints) normalized actions, as many rows as are decided.
        delay: see `prefix_weights`.
        shape: (batch, chunk, action_dim) of the network; padded dimensions are left alone.
        device: of the network.
    """
    chunk, joints = shape[1], target.shape[2]
    rows = min(target.shape[1], chunk)
    wanted = torch.zeros(shape, dtype=torch.float32)
    wanted[:, :rows, :joints] = torch.from_numpy(target[:, :rows])
    weights = torch.zeros(shape, dtype=torch.float32)
    weights[:, :, :joints] = torch.from_numpy(prefix_weights(chunk, rows, delay))[:, None]
    return Guidance(wanted.to(device), weights.to(device))


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


Floats = NDArray[np.float32]
STAGES = ("images", "prefix", "steps", "total")


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

    What a chunk does not need is not computed: cameras that are absent and tokens that are
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

        Returns:
            (batch, chunk, action_dim) normalized and padded.
        """
        network = self.network
        device, sizes = network.device, network.sizes
        batch = state.shape[0]
        with untouched_by_global_state(device):
            marks = [time.perf_counter()]
            target = (self.side, self.side) if self.resize else None
            pixels = stack_cameras(cameras, self.side, target, device, scales)
            embedded = network.encode_images(pixels).split(batch)
            del pixels
            self._mark(marks)
            padded = torch.zeros(batch, sizes.state_dim, dtype=torch.float32, device=device)
            padded[:, : state.shape[1]] = torch.from_numpy(state).to(device)
            images: list[Tensor | None] = [*embedded, *[None] * absent]
            prefix = network.embed_prefix(
                images,
                [None] * len(images),
                torch.from_numpy(tokens).to(device),
                None if token_valid is None else torch.from_numpy(token_valid).to(device),
                padded,
                image_start=self._ids(self.image_start),
                image_end=self._ids(self.image_end),
            )
            keys_values, _ = network.prefill(prefix)
            cache = network.expert_cache(keys_values, prefix)
            self._mark(marks)
            guidance = None
            if decided is not None:
                guidance = make_guidance(decided, delay, noise.shape, device)
            start = torch.from_numpy(noise).to(device, torch.float32)
            actions: Floats = (
                sample_actions(network, cache, start, guidance=guidance).cpu().numpy()
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
