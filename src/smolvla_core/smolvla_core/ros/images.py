# SPDX-License-Identifier: Apache-2.0
"""Image messages to RGB arrays, without cv_bridge (which ROS 2 from PyPI does not have).

A message that is no picture of a color camera, as depth or video, is refused with the reason
and what to do. A gray one is taken, its one channel for all three; `is_gray` tells.
"""

from __future__ import annotations

import io
import re
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray
from PIL import Image as PilImage
from PIL import UnidentifiedImageError
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
_GRAY = frozenset(("mono8", "8UC1"))
# What depth cameras send: REP 118, and openni's and librealsense's drivers.
_DEPTH = frozenset(("16UC1", "16SC1", "32SC1", "32FC1", "64FC1", "z16"))
_SET_COLOR = "set camera_topic to the topic of the camera's color images"
# What a camera or a transport may compress a single picture to, and Pillow reads. Not all that
# it reads: the data come from the network.
_FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "TIFF")
# Pillow's modes of at most 8 bits a channel: with color, and without.
_COLOR_MODES = frozenset(("RGB", "RGBA", "RGBX", "P", "PA", "CMYK", "YCbCr", "LAB", "HSV"))
_GRAY_MODES = frozenset(("1", "L", "LA"))
_VIDEO = re.compile(r"h\.?26[45]|hevc|avc|av1|vp[89]|mpeg|theora|ffmpeg", re.IGNORECASE)


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
    elif encoding in _DEPTH:
        raise ValueError(
            f"encoding '{encoding}' ({width}x{height}) is depth and no color picture: {_SET_COLOR}"
        )
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
    """Return the pixels of a JPEG, PNG, WebP, BMP or TIFF as uint8 (height, width, 3) RGB.

    Raises:
        ValueError: the message is empty, depth, video, or no picture that can be read; the text
            says which and what to do.
    """
    with _opened(message) as image:
        return np.asarray(image.convert("RGB"), dtype=np.uint8)


def is_gray(message: Image | CompressedImage) -> bool:
    """Say whether a picture has one channel only, so that a policy sees no color.

    Raises:
        ValueError: it is no picture; see `decode_image` and `decode_compressed`.
    """
    if isinstance(message, Image):
        return message.encoding in _GRAY
    with _opened(message) as image:
        return image.mode in _GRAY_MODES


@contextmanager
def _opened(message: CompressedImage) -> Iterator[PilImage.Image]:
    """Open the picture in `message`; it has 8 bits a channel.

    Raises:
        ValueError: there is none; also from within the ``with``, where the pixels are broken.
    """
    size, kind = len(message.data), message.format
    if size == 0:
        raise ValueError(
            f"the message of format '{kind}' is empty: the camera's driver or its transport "
            "could not compress the picture; its log says why, and image_transport 'raw' does "
            "without"
        )
    # "16UC1; png compressed", "16UC1; compressedDepth rvl": compressed_image_transport and
    # compressed_depth_image_transport name the encoding of the raw image first.
    if kind.partition(";")[0].strip() in _DEPTH or "compressedDepth" in kind:
        raise ValueError(f"format '{kind}' is depth and no color picture: {_SET_COLOR}")
    try:
        image = PilImage.open(io.BytesIO(bytes(message.data)), formats=_FORMATS)
    except UnidentifiedImageError:
        what = (
            "is video, of which one message is no picture"
            if _VIDEO.search(kind)
            else f"holds {size} bytes that are none of {', '.join(_FORMATS)}"
        )
        raise ValueError(
            f"format '{kind}' {what}: let the camera's driver publish JPEG or PNG (the transport "
            "'compressed' of image_transport), or set image_transport to 'raw'"
        ) from None
    except Exception as error:  # of whatever kind: Pillow's readers raise many
        raise _broken(message, error) from error
    if image.mode not in _COLOR_MODES | _GRAY_MODES:
        raise ValueError(
            f"the {image.format} of format '{kind}' has one channel of more than 8 bits, as depth "
            f"has, and is no color picture: {_SET_COLOR}"
        )
    with image:
        try:
            yield image
        except Exception as error:
            raise _broken(message, error) from error


def _broken(message: CompressedImage, error: Exception) -> ValueError:
    size = len(message.data)
    return ValueError(
        f"the picture of format '{message.format}' ({size} bytes) is broken: {error}"
    )


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
