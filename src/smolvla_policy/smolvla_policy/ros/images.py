# SPDX-License-Identifier: Apache-2.0
"""Image messages to RGB arrays, without cv_bridge (which ROS 2 from PyPI does not have)."""

from __future__ import annotations

import io
import sys

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from sensor_msgs.msg import CompressedImage, Image

# Encoding -> bytes per pixel and the order of the channels that make up RGB
# (sensor_msgs/image_encodings.hpp).
_PACKED = {
    "rgb8": (3, (0, 1, 2)),
    "8UC3": (3, (0, 1, 2)),
    "bgr8": (3, (2, 1, 0)),
    "rgba8": (4, (0, 1, 2)),
    "bgra8": (4, (2, 1, 0)),
    "mono8": (1, (0, 0, 0)),
    "8UC1": (1, (0, 0, 0)),
}
# Encoding -> positions of Y0, U, Y1, V in four bytes.
_YUV422 = {
    "yuv422_yuy2": (0, 1, 2, 3),
    "yuyv": (0, 1, 2, 3),
    "yuv422": (1, 0, 3, 2),
    "uyvy": (1, 0, 3, 2),
}


def decode_image(message: Image) -> NDArray[np.uint8]:
    """Return the pixels of `message` as uint8 (height, width, 3) RGB.

    Raises:
        ValueError: an encoding that is not understood, or fewer bytes than height and step
            promise; the text names the encoding and what is understood.
    """
    height, width, step = message.height, message.width, message.step
    data = np.frombuffer(message.data, dtype=np.uint8)
    encoding = message.encoding
    if encoding in _PACKED:
        pixel_bytes = _PACKED[encoding][0]
    elif encoding in _YUV422 and width % 2 == 0:
        pixel_bytes = 2
    else:
        known = ", ".join((*_PACKED, *_YUV422))
        raise ValueError(
            f"image encoding '{encoding}' ({width}x{height}) is not understood; set the camera "
            f"driver to one of: {known}"
        )
    if height == 0 or width == 0 or step < width * pixel_bytes or data.size < height * step:
        raise ValueError(
            f"broken image: {width}x{height} {encoding} with step {step} needs "
            f"{height * max(step, width * pixel_bytes)} bytes, got {data.size}"
        )
    rows = data[: height * step].reshape(height, step)[:, : width * pixel_bytes]
    if encoding in _YUV422:
        return _yuv422_to_rgb(rows.reshape(height, width // 2, 4), _YUV422[encoding])
    pixels = rows.reshape(height, width, pixel_bytes)
    order = _PACKED[encoding][1]
    if order == (0, 1, 2) and pixel_bytes == 3:
        return np.ascontiguousarray(pixels)
    return np.ascontiguousarray(pixels[..., list(order)])


def decode_compressed(message: CompressedImage) -> NDArray[np.uint8]:
    """Return the pixels of a JPEG or PNG as uint8 (height, width, 3) RGB.

    Raises:
        ValueError: the data are no image that Pillow can read.
    """
    try:
        with PilImage.open(io.BytesIO(bytes(message.data))) as image:
            return np.asarray(image.convert("RGB"), dtype=np.uint8)
    except (OSError, SyntaxError) as error:
        raise ValueError(
            f"compressed image of format '{message.format}' ({len(message.data)} bytes) cannot "
            f"be read: {error}"
        ) from error


def encode_image(pixels: NDArray[np.uint8]) -> Image:
    """Return an rgb8 message (without header) of uint8 (height, width, 3) pixels."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"expected uint8 (height, width, 3), got {pixels.dtype} {pixels.shape}")
    height, width, _ = pixels.shape
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.is_bigendian = int(sys.byteorder == "big")
    message.data.frombytes(np.ascontiguousarray(pixels).tobytes())
    return message


def _yuv422_to_rgb(pairs: NDArray[np.uint8], order: tuple[int, ...]) -> NDArray[np.uint8]:
    """(height, width/2, 4) packed 4:2:2 to RGB, ITU-R BT.601 in the studio range."""
    y0, u, y1, v = (pairs[..., index].astype(np.float32) for index in order)
    luma = 1.164 * (np.stack((y0, y1), axis=-1) - 16.0)
    u, v = (u - 128.0)[..., None], (v - 128.0)[..., None]
    rgb = np.stack((luma + 1.596 * v, luma - 0.392 * u - 0.813 * v, luma + 2.017 * u), axis=-1)
    height, half, _ = pairs.shape
    return np.clip(np.rint(rgb), 0, 255).astype(np.uint8).reshape(height, 2 * half, 3)
