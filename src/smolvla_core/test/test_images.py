# SPDX-License-Identifier: Apache-2.0
"""Every encoding of color and gray gives the same RGB; what is no picture is refused."""

import re
import sys
from typing import Any

import cv2
import numpy as np
import pytest
from sensor_msgs.msg import CompressedImage, Image
from smolvla_core.images import decode_image, is_gray
from smolvla_core.ros.converters import image_message

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)
ALPHA = np.full(RGB.shape[:2], 7, np.uint8)
COLOR = (200, 90, 30)
# ITU-R BT.601, studio range: (Y, U, V) -> RGB of white, black, red, blue.
KNOWN = {
    (235, 128, 128): (255, 255, 255),
    (16, 128, 128): (0, 0, 0),
    (81, 90, 240): (254, 0, 0),
    (41, 240, 110): (0, 0, 255),
}


def message(pixels: np.ndarray, encoding: str, padding: int = 0, big: bool = False) -> Image:
    """`padding` bytes follow each row; `big`: values in big-endian order."""
    pixels = np.asarray(pixels, pixels.dtype.newbyteorder(">" if big else "<"))
    rows = np.ascontiguousarray(pixels).view(np.uint8).reshape(len(pixels), -1)
    rows = np.pad(rows, ((0, 0), (0, padding)), constant_values=99)
    height, width = pixels.shape[:2]
    return Image(
        height=height,
        width=width,
        encoding=encoding,
        step=rows.shape[1],
        is_bigendian=int(big),
        data=rows.tobytes(),
    )


def mosaic(order: str, dtype: type) -> np.ndarray:
    """A picture of COLOR as a sensor behind a Bayer filter sees it, (6, 8)."""
    scale = 257 if dtype is np.uint16 else 1
    cell = np.array([COLOR["rgb".index(name)] * scale for name in order], dtype).reshape(2, 2)
    return np.tile(cell, (3, 4))


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RGB),
        ("8UC3", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("rgba8", np.dstack((RGB, ALPHA))),
        ("8UC4", np.dstack((RGB, ALPHA))),
        ("bgra8", np.dstack((RGB[..., ::-1], ALPHA))),
    ],
)
@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("big", [False, True])
def test_color_encodings_give_the_same_rgb(encoding, pixels, padding, bits, big):
    if bits == 16:
        encoding = encoding.replace("8", "16")
        pixels = pixels.astype(np.uint16) * 257 + 100  # 100 of 257 is less than half a step
    decoded = decode_image(message(pixels, encoding, padding, big))
    if bits == 16:
        np.testing.assert_array_equal(decoded[RGB < 255], RGB[RGB < 255])
    else:
        np.testing.assert_array_equal(decoded, RGB)
    assert decoded.flags.c_contiguous
    assert decoded.dtype == np.uint8


@pytest.mark.parametrize("padding", [0, 2])
@pytest.mark.parametrize(("encoding", "scale"), [("mono8", 1), ("8UC1", 1), ("mono16", 257)])
def test_one_channel_stands_for_all_three(encoding, scale, padding):
    gray = RGB[..., 0].astype(np.uint16 if scale > 1 else np.uint8) * scale
    picture = message(gray, encoding, padding)
    np.testing.assert_array_equal(decode_image(picture), np.repeat(RGB[..., :1], 3, axis=2))
    assert is_gray(picture)


@pytest.mark.parametrize("order", ["rggb", "bggr", "gbrg", "grbg"])
@pytest.mark.parametrize(("bits", "dtype"), [(8, np.uint8), (16, np.uint16)])
@pytest.mark.parametrize("big", [False, True])
def test_bayer_cells_become_their_color(order, bits, dtype, big):
    picture = message(mosaic(order, dtype), f"bayer_{order}{bits}", 4, big)
    decoded = decode_image(picture)
    assert decoded.shape == (6, 8, 3)
    assert {tuple(pixel) for pixel in decoded.reshape(-1, 3).tolist()} == {COLOR}
    assert not is_gray(picture)


def yuv(encoding: str, y: int, u: int, v: int, padding: int) -> Image:
    """A picture of 4 x 6 of one color."""
    height, width = 4, 6
    luma = np.full((height, width), y, np.uint8)
    pairs = {
        "yuyv": (y, u, y, v),
        "yuv422_yuy2": (y, u, y, v),
        "uyvy": (u, y, v, y),
        "yuv422": (u, y, v, y),
        "nv12": (u, v),
        "nv24": (u, v),
        "nv21": (v, u),
    }[encoding]
    repeat = np.tile(np.array(pairs, np.uint8), 12)
    if len(pairs) == 4:
        planes = [repeat.reshape(-1)[: 2 * width].reshape(1, -1).repeat(height, axis=0)]
        step = 2 * width
    else:
        chroma = repeat[:width] if encoding != "nv24" else repeat[: 2 * width]
        rows = height if encoding == "nv24" else height // 2
        planes, step = [luma, chroma.reshape(1, -1).repeat(rows, axis=0)], width
    padded = [
        np.pad(plane, ((0, 0), (0, padding * plane.shape[1] // step)), constant_values=200)
        for plane in planes
    ]
    data = b"".join(plane.tobytes() for plane in padded)
    return Image(height=height, width=width, encoding=encoding, step=step + padding, data=data)


@pytest.mark.parametrize("padding", [0, 6])
@pytest.mark.parametrize("color", KNOWN)
@pytest.mark.parametrize(
    "encoding", ["yuyv", "yuv422_yuy2", "uyvy", "yuv422", "nv12", "nv21", "nv24"]
)
def test_yuv_decodes_known_colors(encoding, color, padding):
    decoded = decode_image(yuv(encoding, *color, padding))
    assert decoded.shape == (4, 6, 3)
    assert np.abs(decoded.astype(int) - KNOWN[color]).max() <= 2


def test_each_pixel_of_nv24_has_its_own_color_and_two_of_yuyv_share_it():
    picture = np.array(list(KNOWN), np.uint8).reshape(1, 4, 3)
    data = picture[..., 0].tobytes() + picture[..., 1:].tobytes()
    decoded = decode_image(Image(height=1, width=4, encoding="nv24", step=4, data=data))
    assert np.abs(decoded[0].astype(int) - list(KNOWN.values())).max() <= 2
    pairs = bytes((235, 128, 16, 128, 81, 90, 81, 240))
    decoded = decode_image(Image(height=1, width=4, encoding="yuyv", step=8, data=pairs))
    expected = [(255, 255, 255), (0, 0, 0), (254, 0, 0), (254, 0, 0)]
    assert np.abs(decoded[0].astype(int) - expected).max() <= 2


@pytest.mark.parametrize("step", [9, 12])
def test_planes_without_a_gap_are_read_whatever_the_step(step):
    picture = yuv("nv12", 81, 90, 240, 0)
    picture.step = step  # 12 and 16 bits for each pixel of a row
    assert np.abs(decode_image(picture).astype(int) - (254, 0, 0)).max() <= 2


def test_encode_and_decode_are_inverse():
    np.testing.assert_array_equal(decode_image(image_message(RGB)), RGB)


@pytest.mark.parametrize("encoding", ["bayer_x", "8UC2", "8SC3", "32FC3", "yuv420"])
def test_unknown_encoding_is_named_with_the_known_ones(encoding):
    with pytest.raises(ValueError, match=rf"'{encoding}' \(8x6\).*rgb8.*bayer_rggb16.*nv12"):
        decode_image(message(RGB, encoding))


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_depth_is_refused_with_what_to_do(encoding):
    with pytest.raises(ValueError, match=rf"'{encoding}' \(8x6\) is depth.*give the topic"):
        decode_image(message(RGB, encoding))


@pytest.mark.parametrize(
    ("picture", "needed"),
    [
        (message(RGB, "rgb8"), 144),
        (message(RGB[..., 0], "bayer_rggb8"), 48),
        (message(RGB.astype(np.uint16), "bgr16"), 288),
        (yuv("uyvy", 81, 90, 240, 0), 48),
        (yuv("nv21", 81, 90, 240, 0), 36),
        (yuv("nv24", 81, 90, 240, 6), 144),
    ],
)
def test_truncated_data_is_refused(picture, needed):
    picture.data = picture.data[:-1]
    with pytest.raises(ValueError, match=f"needs {needed} bytes, got {needed - 1}"):
        decode_image(picture)


@pytest.mark.parametrize("encoding", ["rgb8", "mono16", "bayer_grbg8", "yuyv", "nv12", "nv24"])
def test_a_picture_without_pixels_is_refused(encoding):
    with pytest.raises(ValueError, match="broken image: 0x0"):
        decode_image(Image(encoding=encoding))


def compressed(pixels: np.ndarray, kind: str, text: str = "") -> CompressedImage:
    """RGB, RGBA or gray `pixels` as a file of `kind`."""
    if pixels.ndim == 3:
        code = cv2.COLOR_RGB2BGR if pixels.shape[2] == 3 else cv2.COLOR_RGBA2BGRA
        pixels = cv2.cvtColor(pixels, code)
    _, data = cv2.imencode(f".{kind.lower()}", pixels)
    return CompressedImage(format=text or kind.lower(), data=data.tobytes())


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_pictures_decode_exactly(kind):
    picture = compressed(RGB, kind, f"bgr8; {kind.lower()} compressed bgr8")
    np.testing.assert_array_equal(decode_image(picture), RGB)
    assert not is_gray(picture)


def test_alpha_and_16_bits_of_a_color_picture_are_left_out():
    np.testing.assert_array_equal(
        decode_image(compressed(np.dstack((RGB, ALPHA)), "PNG", "rgba8; png compressed")), RGB
    )
    fine = compressed(RGB.astype(np.uint16) * 257, "PNG", "rgb16; png compressed")
    np.testing.assert_array_equal(decode_image(fine), RGB)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_gray_picture_is_taken_and_called_gray(kind):
    picture = compressed(np.full((8, 8), 90, np.uint8), kind)
    np.testing.assert_array_equal(decode_image(picture), np.full((8, 8, 3), 90))
    assert is_gray(picture)
    assert not is_gray(message(RGB, "bgr8"))


def cut(kind: str) -> CompressedImage:
    whole = compressed(np.repeat(np.repeat(RGB, 9, axis=0), 9, axis=1), kind)
    return CompressedImage(format=whole.format, data=whole.data[: len(whole.data) * 2 // 3])


@pytest.mark.parametrize(
    ("picture", "text"),
    [
        (CompressedImage(format="png"), "is empty"),
        (compressed(np.full((4, 4), 700, np.uint16), "PNG"), "more than 8 bits.*robot file"),
        (compressed(np.full((4, 4), 0.7, np.float32), "TIFF"), "more than 8 bits"),
        (compressed(np.full((4, 4), 700, np.uint16), "PNG", "16UC1; png compressed"), "is depth"),
        # Scaled to 8 bits by whoever published it: no color for all that.
        (compressed(np.full((4, 4), 7, np.uint8), "JPEG", "32FC1; jpeg compressed"), "is depth"),
        (CompressedImage(format="16UC1; compressedDepth png", data=bytes(40)), "is depth"),
        (CompressedImage(format="hevc", data=bytes(9)), "is video.*'raw'"),
        (CompressedImage(format="", data=b"\0\0\0\1\x67" + bytes(9)), "14 bytes that are none of"),
        (CompressedImage(format="jpeg", data=b"abc"), "format 'jpeg' holds 3 bytes"),
        (CompressedImage(format="exr", data=b"\x76\x2f\x31\x01" + bytes(90)), "none of JPEG"),
        (cut("PNG"), "is broken"),
        (cut("JPEG"), "is broken"),
        (cut("BMP"), "is broken"),
    ],
)
def test_what_is_no_color_picture_is_refused_with_the_reason(picture, text):
    with pytest.raises(ValueError, match=text) as refused:
        decode_image(picture)
    assert "object at 0x" not in str(refused.value)


@pytest.mark.parametrize(
    "encoding",
    [
        *("rgb8", "bgr8", "rgba8", "bgra8", "rgb16", "bgr16", "rgba16", "bgra16"),
        *("mono8", "mono16", "bayer_rggb8", "bayer_bggr8", "bayer_gbrg8", "bayer_grbg8"),
        *("yuv422", "yuv422_yuy2"),
    ],
)
def test_conversions_are_those_of_cv_bridge(encoding):
    bridge: Any = pytest.importorskip("cv_bridge", reason="comes with a ROS distribution")
    wide = encoding.endswith("16")
    channels = {"rgb": 3, "bgr": 3, "mono": 1, "bayer": 1, "yuv": 2}.get(
        re.match("rgba|bgra|rgb|bgr|mono|bayer|yuv", encoding)[0], 4
    )
    values = np.random.default_rng(3).integers(
        0, 65536 if wide else 256, (32, 48, channels), np.uint16 if wide else np.uint8
    )
    picture = message(values, encoding, big=sys.byteorder == "big")
    expected = bridge.CvBridge().imgmsg_to_cv2(picture, "rgb8")
    assert np.abs(decode_image(picture).astype(int) - expected).max() <= 1
