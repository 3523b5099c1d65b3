# SPDX-License-Identifier: Apache-2.0
"""Read images: of a video file, and of parquet files, where LeRobot keeps them without videos."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from smolvla_core.images import NoColorsError, decode_picture

from smolvla_learning.dataset.features import Array, is_depth_format
from smolvla_learning.dataset.layout import DatasetError, damaged, missing
from smolvla_learning.dataset.tables import read_slice


@dataclass(frozen=True)
class VideoFacts:
    """What the header of a video file says.

    Attributes:
        codec: for example "h264" or "av1".
        pix_fmt: for example "yuv420p".
        height: of the images in pixels.
        width: of the images in pixels.
        frames: number of frames.
    """

    codec: str
    pix_fmt: str
    height: int
    width: int
    frames: int


def _open(path: Path) -> tuple[InputContainer, VideoStream]:
    try:
        container = av.open(str(path))
    except FileNotFoundError as error:
        raise missing(path) from error
    except (OSError, av.error.FFmpegError) as error:
        raise damaged(path, error) from error
    if not container.streams.video:
        container.close()
        raise damaged(path, "no video in it")
    return container, container.streams.video[0]


def video_facts(path: Path) -> VideoFacts:
    """Read the header of a video file.

    Raises:
        DatasetError: the file is missing, damaged, or of a format that cannot be decoded.
    """
    container, stream = _open(path)
    context = stream.codec_context
    facts = VideoFacts(
        context.codec.canonical_name,
        str(context.pix_fmt),
        context.height,
        context.width,
        stream.frames,
    )
    container.close()
    return facts


def frame_times(path: Path, first: int, count: int, fps: int) -> Iterator[float]:
    """Decode neighboring frames, as `decode_frames` does, without making images of them.

    Yields:
        The time of each frame in seconds.

    Raises:
        DatasetError: see `decode_frames`.
    """
    for frame in _decode(path, first, count, fps):
        yield float(frame.time) if frame.time is not None else float("nan")


def decode_frames(path: Path, first: int, count: int, fps: int) -> Iterator[Array]:
    """Decode neighboring frames.

    Args:
        path: of the video file.
        first: number of the first frame; frame k is shown at k / fps.
        count: of frames.
        fps: frames per second.

    Yields:
        (height, width, 3) uint8 RGB, exactly `count` times.

    Raises:
        DatasetError: the file is missing, damaged, too short, lacks a frame, or holds depth.
    """
    for frame in _decode(path, first, count, fps):
        if is_depth_format(frame.format.name):
            raise DatasetError(f"{path}: holds depth ({frame.format.name}), not color images")
        yield np.asarray(frame.to_ndarray(format="rgb24"))


def _decode(path: Path, first: int, count: int, fps: int) -> Iterator[av.VideoFrame]:
    container, stream = _open(path)
    with container:
        stream.codec_context.thread_count = 1
        base = stream.time_base
        if base is None:
            raise DatasetError(f"{path}: its video has no time base")
        expected = first
        try:
            for frame in _from_keyframe(container, stream, round(first / fps / base)):
                at = round(float(frame.pts * base) * fps) if frame.pts is not None else expected
                if at < first:
                    continue
                if at != expected:
                    raise DatasetError(
                        f"{path}: frame {expected} (at {expected / fps:.3f} s) is missing; the "
                        f"next one is at {at / fps:.3f} s"
                    )
                yield frame
                expected += 1
                if expected == first + count:
                    return
        except (OSError, av.error.FFmpegError) as error:
            raise damaged(path, error) from error
    raise DatasetError(
        f"{path}: ends after frame {expected - 1}; frames {first} to {first + count - 1} were "
        "expected"
    )


def _from_keyframe(
    container: InputContainer, stream: VideoStream, pts: int
) -> Iterator[av.VideoFrame]:
    """Decode from a keyframe on that the frame of a time can be decoded from.

    With an open group of pictures (as hevc encoders make by default) a keyframe is followed by
    frames that are shown before it and need the keyframe before. A decoder that begins at such
    a keyframe leaves them out; then it has to begin one keyframe earlier.
    """
    container.seek(pts, stream=stream)
    frames = container.decode(stream)
    shown = next(frames, None)
    if shown is not None and shown.pts is not None and shown.pts > pts:
        container.seek(pts, stream=stream)
        keyframe = next(container.demux(stream))
        if keyframe.dts is not None:
            container.seek(keyframe.dts - 1, stream=stream)
        frames = container.decode(stream)
    elif shown is not None:
        yield shown
    yield from frames


def read_pictures(
    folder: Path, path: Path, column: str, begin: int, count: int
) -> Iterator[Array]:
    """Decode the pictures of neighboring rows.

    Args:
        folder: of the dataset; files that rows refer to lie in it.
        path: of the parquet file.
        column: each row has the bytes of a file, or its path.
        begin: first row.
        count: of rows.

    Yields:
        (height, width, 3) uint8 RGB.

    Raises:
        DatasetError: the file or a picture is missing or damaged, or holds depth.
    """
    rows = read_slice(path, column, begin, count)
    for at, row in enumerate(rows, start=begin):
        where = f"{path}: row {at}: {column!r}"
        content = _content(folder, row.as_py(), where)
        try:
            yield decode_picture(content)[0]
        except NoColorsError as error:
            raise DatasetError(f"{where}: holds depth, not colors: {error}") from error
        except ValueError as error:
            raise damaged(path, f"row {at}: {column!r}: {error}") from error


def _content(folder: Path, value: Any, where: str) -> bytes:
    if isinstance(value, bytes):
        return value
    about = value if isinstance(value, dict) else {}
    content, name = about.get("bytes"), about.get("path")
    if content:
        return bytes(content)
    if not name:
        raise DatasetError(f"{where}: holds no picture; download the file again")
    try:
        return (folder / name).read_bytes()
    except OSError as error:
        raise DatasetError(
            f"{where}: refers to {name}, which cannot be read; put that file there, or ask for "
            "the dataset with its pictures inside parquet"
        ) from error
