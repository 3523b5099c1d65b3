# SPDX-License-Identifier: Apache-2.0
"""Camera images become the pixels that the image encoder reads, as in LeRobot."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional


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


def upload(array: NDArray[Any], device: torch.device) -> Tensor:
    """Bring an array to a device, to a GPU through pinned memory, without waiting for it.

    Args:
        array: of numbers; on the CPU the tensor may share its memory.
        device: where it is wanted.
    """
    # PyTorch takes no read-only arrays, and images of ROS messages are such.
    tensor = torch.from_numpy(np.require(array, requirements=("C", "W")))
    if device.type == "cuda":
        # PyTorch keeps pinned memory for the next time, and frees none that is being copied.
        return tensor.pin_memory().to(device, non_blocking=True)
    return tensor.to(device)


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
    pixels = upload(images, out.device).permute(0, 3, 1, 2)
    values = pixels.to(torch.float32).div_(255.0)
    if target is not None and (width, height) != target:
        size = fitted_size(height, width, target)
        values = functional.interpolate(values, size=size, mode="bilinear", align_corners=False)
    if scale is not None:
        factor = upload(scale.factor, out.device)[:, None, None]
        offset = upload(scale.offset, out.device)[:, None, None]
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
