# SPDX-License-Identifier: Apache-2.0
"""Every encoding that is understood gives the same RGB; what is not is refused with words."""

import io

import numpy as np
import pytest
from PIL import Image as PilImage
from sensor_msgs.msg import CompressedImage, Image
from smolvla_core.ros.images import decode_compressed, decode_image, encode_image, is_gray

RGB = np.random.default_rng(0).integers(0, 256, (6, 8, 3), dtype=np.uint8)


def message(pixels: np.ndarray, encoding: str, padding: int = 0) -> Image:
    height, width = pixels.shape[:2]
    rows = pixels.reshape(height, -1)
    rows = np.pad(rows, ((0, 0), (0, padding)))
    result = Image(height=height, width=width, encoding=encoding, step=rows.shape[1])
    result.data.frombytes(rows.tobytes())
    return result


@pytest.mark.parametrize("padding", [0, 5])
@pytest.mark.parametrize(
    ("encoding", "pixels"),
    [
        ("rgb8", RGB),
        ("bgr8", RGB[..., ::-1]),
        ("rgba8", np.dstack((RGB, np.full(RGB.shape[:2], 7, np.uint8)))),
        ("bgra8", np.dstack((RGB[..., ::-1], np.full(RGB.shape[:2], 7, np.uint8)))),
    ],
)
def test_color_encodings_give_the_same_rgb(encoding, pixels, padding):
    decoded = decode_image(message(pixels, encoding, padding))
    np.testing.assert_array_equal(decoded, RGB)
    assert decoded.flags.c_contiguous


def test_mono8_becomes_grey():
    decoded = decode_image(message(RGB[..., :1], "mono8"))
    np.testing.assert_array_equal(decoded, np.repeat(RGB[..., :1], 3, axis=2))


@pytest.mark.parametrize(
    ("encoding", "order"), [("yuv422_yuy2", (0, 1, 2, 3)), ("yuv422", (1, 0, 3, 2))]
)
def test_yuv422_decodes_known_colors(encoding, order):
    # ITU-R BT.601: (Y, U, V) of white, black, red, blue.
    known = {
        (235, 128, 128): (255, 255, 255),
        (16, 128, 128): (0, 0, 0),
        (81, 90, 240): (254, 0, 0),
        (41, 240, 110): (0, 0, 255),
    }
    for (y, u, v), rgb in known.items():
        pair = np.zeros(4, np.uint8)
        pair[list(order)] = (y, u, y, v)
        image = Image(height=1, width=2, encoding=encoding, step=4, data=pair.tobytes())
        difference = decode_image(image).astype(int) - np.array(rgb)
        assert np.abs(difference).max() <= 2


def test_encode_and_decode_are_inverse():
    np.testing.assert_array_equal(decode_image(encode_image(RGB)), RGB)


def test_unknown_encoding_is_named_with_the_known_ones():
    with pytest.raises(ValueError, match=r"'bayer_x' \(8x6\).*rgb8"):
        decode_image(message(RGB, "bayer_x"))


@pytest.mark.parametrize("encoding", ["16UC1", "32FC1"])
def test_depth_is_refused_with_what_to_do(encoding):
    with pytest.raises(ValueError, match=rf"'{encoding}' \(8x6\) is depth.*set camera_topic"):
        decode_image(message(RGB, encoding))


def test_truncated_data_is_refused():
    image = message(RGB, "rgb8")
    image.data = image.data[:-1]
    with pytest.raises(ValueError, match="needs 144 bytes, got 143"):
        decode_image(image)


def compressed(pixels: np.ndarray, kind: str, text: str = "") -> CompressedImage:
    buffer = io.BytesIO()
    PilImage.fromarray(pixels).save(buffer, kind)
    return CompressedImage(format=text or kind.lower(), data=buffer.getvalue())


@pytest.mark.parametrize("kind", ["PNG", "BMP", "TIFF"])
def test_lossless_pictures_decode_exactly(kind):
    picture = compressed(RGB, kind, f"bgr8; {kind.lower()} compressed bgr8")
    np.testing.assert_array_equal(decode_compressed(picture), RGB)
    assert not is_gray(picture)


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_a_gray_picture_is_taken_and_called_gray(kind):
    picture = compressed(np.full((8, 8), 90, np.uint8), kind)
    np.testing.assert_array_equal(decode_compressed(picture), np.full((8, 8, 3), 90))
    assert is_gray(picture)
    assert is_gray(message(RGB[..., :1], "mono8"))
    assert not is_gray(message(RGB, "bgr8"))


@pytest.mark.parametrize(
    ("picture", "words"),
    [
        (CompressedImage(format="png"), "is empty"),
        (compressed(np.full((4, 4), 700, np.uint16), "PNG"), "more than 8 bits.*camera_topic"),
        (compressed(np.full((4, 4), 0.7, np.float32), "TIFF"), "more than 8 bits"),
        (compressed(np.full((4, 4), 700, np.uint16), "PNG", "16UC1; png compressed"), "is depth"),
        # Scaled to 8 bits by whoever published it: no color for all that.
        (compressed(np.full((4, 4), 7, np.uint8), "JPEG", "32FC1; jpeg compressed"), "is depth"),
        (CompressedImage(format="16UC1; compressedDepth png", data=bytes(40)), "is depth"),
        (CompressedImage(format="hevc", data=bytes(9)), "is video.*'raw'"),
        (CompressedImage(format="", data=b"\0\0\0\1\x67" + bytes(9)), "14 bytes that are none of"),
        (CompressedImage(format="jpeg", data=b"abc"), "format 'jpeg' holds 3 bytes"),
        (CompressedImage(format="png", data=compressed(RGB, "PNG").data[:60]), "is broken"),
    ],
)
def test_what_is_no_color_picture_is_refused_with_the_reason(picture, words):
    with pytest.raises(ValueError, match=words) as refused:
        decode_compressed(picture)
    assert "object at 0x" not in str(refused.value)
