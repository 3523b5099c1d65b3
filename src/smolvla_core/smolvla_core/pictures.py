# SPDX-License-Identifier: Apache-2.0
"""Compressed pictures to RGB arrays with OpenCV: of cameras and of datasets."""

from __future__ import annotations

import re
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""(height, width, 3) RGB."""

# What a camera or a transport may compress a single picture to. Not all that OpenCV reads: the
# data come from the network.
_FORMATS = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WEBP": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "BMP": re.compile(rb"BM"),
    "TIFF": re.compile(rb"II\*\0|MM\0\*"),
}


class UnknownFormatError(ValueError):
    """The bytes are no picture of a format that is read."""


class NoColorsError(ValueError):
    """The picture holds depth, not colors or 8 bits of gray."""


def decode_picture(data: bytes) -> tuple[Pixels, bool]:
    """Decode a JPEG, PNG, WebP, BMP or TIFF of any color or gray format.

    Returns:
        The pixels, and whether the picture has one channel only.

    Raises:
        UnknownFormatError, NoColorsError: see there.
        ValueError: it is broken or cut off.
    """
    name = next((name for name, magic in _FORMATS.items() if magic.match(data)), None)
    if name is None:
        raise UnknownFormatError(f"holds {len(data)} bytes that are none of {', '.join(_FORMATS)}")
    # OpenCV 4 fills up a JPEG that was cut off: no end of image after the last scan.
    cut = name == "JPEG" and data.find(b"\xff\xd9", data.rfind(b"\xff\xda")) < 0
    picture: Any = None
    if not cut:
        picture = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if picture is None:
        raise ValueError(f"the {name} ({len(data)} bytes) is broken or cut off")
    channels = picture.shape[2] if picture.ndim == 3 else 1
    if picture.dtype != np.uint8 and (picture.dtype != np.uint16 or channels == 1):
        raise NoColorsError(
            f"the {name} has one channel of more than 8 bits, as depth has, and is no color "
            "picture"
        )
    code = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGB}[channels]
    return to_rgb8(picture, code), channels == 1


def to_rgb8(pixels: NDArray[Any], conversion: int | None) -> Pixels:
    """Convert with a code of `cv2.cvtColor` (None: it is RGB already); 16 bits become 8."""
    if conversion is not None:
        pixels = cv2.cvtColor(pixels, conversion)
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257)
    return np.ascontiguousarray(pixels, np.uint8)
