# SPDX-License-Identifier: Apache-2.0
"""Pictures to RGB arrays with OpenCV, as cv_bridge converts them: image messages, and files.

cv_bridge itself is not used: it comes with a ROS distribution only. What is no picture of a color
camera, as depth or video, is refused with the reason and what to do. A gray one is taken, its one
channel for all three; see `is_gray`.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]
"""(height, width, 3) RGB."""
ImageMessage: TypeAlias = Any
"""sensor_msgs/Image or sensor_msgs/CompressedImage, which has a `format`."""

# Encodings of sensor_msgs/image_encodings.hpp, those of color and of gray.
# One value per channel and pixel -> bits of a value, channels, conversion to RGB; None: it is RGB.
_PACKED: dict[str, tuple[int, int, int | None]] = {
    f"{name}{bits}": (bits, channels, code)
    for name, channels, code in (
        ("rgb", 3, None),
        ("bgr", 3, cv2.COLOR_BGR2RGB),
        ("rgba", 4, cv2.COLOR_RGBA2RGB),
        ("bgra", 4, cv2.COLOR_BGRA2RGB),
        ("mono", 1, cv2.COLOR_GRAY2RGB),
        ("bayer_rggb", 1, cv2.COLOR_BayerRGGB2RGB),
        ("bayer_bggr", 1, cv2.COLOR_BayerBGGR2RGB),
        ("bayer_gbrg", 1, cv2.COLOR_BayerGBRG2RGB),
        ("bayer_grbg", 1, cv2.COLOR_BayerGRBG2RGB),
    )
    for bits in (8, 16)
} | {
    "8UC1": (8, 1, cv2.COLOR_GRAY2RGB),
    "8UC3": (8, 3, None),
    "8UC4": (8, 4, cv2.COLOR_RGBA2RGB),
    "16UC3": (16, 3, None),
    "16UC4": (16, 4, cv2.COLOR_RGBA2RGB),
}
# Two values per pixel; columns come in pairs.
_YUV422 = {
    "uyvy": cv2.COLOR_YUV2RGB_UYVY,
    "yuv422": cv2.COLOR_YUV2RGB_UYVY,
    "yuyv": cv2.COLOR_YUV2RGB_YUYV,
    "yuv422_yuy2": cv2.COLOR_YUV2RGB_YUYV,
}
# A plane of luma, then one of chroma with half as many rows and columns, in pairs.
_YUV420 = {"nv12": cv2.COLOR_YUV2RGB_NV12, "nv21": cv2.COLOR_YUV2RGB_NV21}
# A plane of luma, then one of pairs U, V for each pixel.
_YUV444 = "nv24"
# ITU-R BT.601 in the studio range, what OpenCV takes for the others: Y, U, V, 1 -> R, G, B.
_BT601 = np.array(
    [
        [1.164, 0.0, 1.596, -222.912],
        [1.164, -0.391, -0.813, 135.488],
        [1.164, 2.018, 0.0, -276.928],
    ]
)
_GRAY = frozenset(("mono8", "mono16", "8UC1"))
# What depth cameras send: REP 118, and openni's and librealsense's drivers.
_DEPTH = frozenset(("16UC1", "16SC1", "32SC1", "32FC1", "64FC1", "z16"))
_SET_COLOR = "give the topic of the camera's color images in the robot file"
# What a camera or a transport may compress a single picture to. Not all that OpenCV reads: the
# data come from the network.
_FORMATS = {
    "JPEG": re.compile(rb"\xff\xd8\xff"),
    "PNG": re.compile(rb"\x89PNG\r\n\x1a\n"),
    "WEBP": re.compile(rb"RIFF.{4}WEBP", re.DOTALL),
    "BMP": re.compile(rb"BM"),
    "TIFF": re.compile(rb"II\*\0|MM\0\*"),
}
_VIDEO = re.compile(r"h\.?26[45]|hevc|avc|av1|vp[89]|mpeg|theora|ffmpeg", re.IGNORECASE)


class UnknownFormatError(ValueError):
    """The bytes are no picture of a format that is read."""


class NoColorsError(ValueError):
    """The picture holds depth, not colors or 8 bits of gray."""


def decode_image(message: ImageMessage) -> Pixels:
    """Return the pixels of `message`, uint8 (height, width, 3) RGB.

    16 bits a channel become 8 as cv_bridge does it: divided by 257. YUV is taken for
    ITU-R BT.601 in the studio range.

    Raises:
        ValueError: no picture of a color or gray camera, an encoding that is not understood, or
            fewer bytes than the size promises; the text says which and what to do.
    """
    if hasattr(message, "format"):
        return _decode(message)[0]
    encoding, height, width = message.encoding, message.height, message.width
    if encoding in _PACKED:
        bits, channels, conversion = _PACKED[encoding]
        if encoding.startswith("bayer") and min(height, width) < 2:
            raise ValueError(f"broken image: {width}x{height} {encoding} has no cell of 2x2")
        length = width * channels * bits // 8
        rows = _rows(message, height, length)[:, :length]
        if bits == 16:
            rows = rows.view(">u2" if message.is_bigendian else "<u2").astype(np.uint16)
        return _rgb8(rows.reshape(height, width, channels), conversion)
    if encoding in _YUV422 and width % 2 == 0:
        pairs = _rows(message, height, 2 * width)[:, : 2 * width]
        return _rgb8(pairs.reshape(height, width, 2), _YUV422[encoding])
    if encoding in _YUV420 and width % 2 == 0 and height % 2 == 0:
        planes = _rows(message, height * 3 // 2, width)[:, :width]
        return _rgb8(np.ascontiguousarray(planes), _YUV420[encoding])
    if encoding == _YUV444:
        planes = _rows(message, 3 * height, width)
        chroma = planes[height:].reshape(height, -1)[:, : 2 * width].reshape(height, width, 2)
        return _rgb8(cv2.transform(np.dstack((planes[:height, :width], chroma)), _BT601), None)
    if encoding in _DEPTH:
        raise ValueError(
            f"encoding '{encoding}' ({width}x{height}) is depth and no color picture: {_SET_COLOR}"
        )
    known = ", ".join((*_PACKED, *_YUV422, *_YUV420, _YUV444))
    raise ValueError(
        f"image encoding '{encoding}' ({width}x{height}) is not understood; set the camera "
        f"driver to one of: {known}"
    )


def is_gray(message: ImageMessage) -> bool:
    """Return whether a picture has one channel only, so that a policy sees no color.

    Raises:
        ValueError: it is no picture; see `decode_image`.
    """
    if hasattr(message, "format"):
        return _decode(message)[1]
    return str(message.encoding) in _GRAY


@dataclass(frozen=True)
class SerializedImage:
    """An image message as it came, in CDR.

    Attributes:
        data: the message.
        read: deserializes it.
        topic: where it came, for the text of errors; empty to leave it out.
    """

    data: bytes
    read: Callable[[bytes], ImageMessage]
    topic: str = ""

    def decode(self) -> Pixels:
        """Return the pixels, uint8 (height, width, 3) RGB.

        Raises:
            ValueError: see `decode_image`; the text begins with the topic.
        """
        try:
            return decode_image(self.read(self.data))
        except ValueError as error:
            raise ValueError(f"{self.topic}: {error}" if self.topic else str(error)) from error

    def gray(self) -> bool | None:
        """Whether the picture has one channel only; None where it cannot be read."""
        try:
            return is_gray(self.read(self.data))
        except ValueError:
            return None

    @property
    def stamp_ns(self) -> int:
        """The header's stamp [ns], read without decoding the rest.

        The header is the first field: in CDR its stamp follows the 4 bytes of encapsulation,
        whose second byte is the byte order (OMG DDS-XTypes 1.3, 7.6.3.1).
        """
        order = "<" if self.data[1] & 1 else ">"
        seconds, nanoseconds = struct.unpack_from(f"{order}iI", self.data, 4)
        return int(seconds) * 10**9 + int(nanoseconds)


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
    return _rgb8(picture, code), channels == 1


def _rgb8(pixels: NDArray[Any], conversion: int | None) -> Pixels:
    """Convert with a code of `cv2.cvtColor` (None: it is RGB already); 16 bits become 8."""
    if conversion is not None:
        pixels = cv2.cvtColor(pixels, conversion)
    if pixels.dtype == np.uint16:
        pixels = cv2.convertScaleAbs(pixels, alpha=1 / 257)
    return np.ascontiguousarray(pixels, np.uint8)


def _rows(message: ImageMessage, count: int, length: int) -> NDArray[np.uint8]:
    """Return `count` rows of `step` bytes each, of which the first `length` are the picture's.

    Planes of chroma follow with the step of the luma. Drivers also send planes without a gap
    and a step that counts all planes of a row; then the size decides.
    """
    data = np.frombuffer(message.data, dtype=np.uint8)
    step = length if count > message.height and data.size == count * length else message.step
    if count == 0 or length == 0 or step < length or data.size < count * step:
        raise ValueError(
            f"broken image: {message.width}x{message.height} {message.encoding} with step "
            f"{message.step} needs {count * max(step, length)} bytes, got {data.size}"
        )
    return data[: count * step].reshape(count, step)


def _decode(message: ImageMessage) -> tuple[Pixels, bool]:
    """Return the pixels of a picture and whether it is gray.

    Raises:
        ValueError: see `decode_image`.
    """
    data, kind = bytes(message.data), message.format
    if not data:
        raise ValueError(
            f"the message of format '{kind}' is empty: the camera's driver or its transport "
            "could not compress the picture; its log has the reason, and image_transport 'raw' "
            "does without"
        )
    # "16UC1; png compressed", "16UC1; compressedDepth rvl": compressed_image_transport and
    # compressed_depth_image_transport name the encoding of the raw image first.
    if kind.partition(";")[0].strip() in _DEPTH or "compressedDepth" in kind:
        raise ValueError(f"format '{kind}' is depth and no color picture: {_SET_COLOR}")
    try:
        return decode_picture(data)
    except NoColorsError as error:
        raise ValueError(f"format '{kind}': {error}: {_SET_COLOR}") from error
    except UnknownFormatError as error:
        video = "is video, of which one message is no picture"
        raise ValueError(
            f"format '{kind}' {video if _VIDEO.search(kind) else error}: let the camera's driver "
            "publish JPEG or PNG (the transport 'compressed' of image_transport), or set "
            "image_transport to 'raw'"
        ) from error
    except ValueError as error:
        raise ValueError(
            f"format '{kind}': {error}: look at the camera's cable and the network"
        ) from error
