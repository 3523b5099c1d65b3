# SPDX-License-Identifier: Apache-2.0
"""Video files: one episode of one camera written, many episodes joined, frames read.

Frame k is shown at k / fps exactly. There are no B-frames, so the packets are in the order of
the frames and files can be joined packet by packet without decoding.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import cast

import av
import numpy as np
from av.container import InputContainer, OutputContainer
from av.video.stream import VideoStream

from smolvla_learning.dataset.features import Array, is_depth_format
from smolvla_learning.dataset.layout import DatasetError, damaged, missing

ENCODERS = {"h264": "libx264", "av1": "libsvtav1"}
PRESETS = {"h264": "veryfast", "av1": "12"}


@dataclass(frozen=True)
class VideoOptions:
    """How camera images are compressed.

    Attributes:
        codec: "h264", which every machine decodes, or "av1", smaller and slower.
        crf: quality; smaller is better and larger. 18 to 23 is hard to tell from the original.
        keyframe_interval: frames from one keyframe to the next; small for fast random access.
        preset: the encoder's own speed setting; None for a fast one.
        threads: of each camera's encoder.
    """

    codec: str = "h264"
    crf: int = 20
    keyframe_interval: int = 2
    preset: str | None = None
    threads: int = 1

    def __post_init__(self) -> None:
        if self.codec not in ENCODERS:
            raise DatasetError(f"video codec {self.codec!r}: choose one of {list(ENCODERS)}")
        if not 0 <= self.crf <= 63 or (self.codec == "h264" and self.crf > 51):
            raise DatasetError(f"video crf {self.crf} is outside of the range of {self.codec}")
        if self.keyframe_interval < 1 or self.threads < 1:
            raise DatasetError("video keyframe_interval and threads must be at least 1")
        try:
            av.codec.Codec(ENCODERS[self.codec], "w")
        except av.error.FFmpegError as error:
            raise DatasetError(
                f"video codec {self.codec!r}: this PyAV has no encoder {ENCODERS[self.codec]}; "
                "take 'h264'"
            ) from error

    def encoder_options(self) -> dict[str, str]:
        """Options of the encoder."""
        options = {
            "crf": str(self.crf),
            "g": str(self.keyframe_interval),
            "preset": self.preset or PRESETS[self.codec],
        }
        if self.codec == "av1":
            return {**options, "svtav1-params": f"lp={self.threads}"}
        return {**options, "bf": "0", "threads": str(self.threads)}


def _realtime_threads() -> set[int]:
    found = set()
    for thread in map(int, os.listdir("/proc/self/task")):
        with contextlib.suppress(ProcessLookupError):  # it has ended meanwhile
            if os.sched_getscheduler(thread) == os.SCHED_FIFO:
                found.add(thread)
    return found


@contextlib.contextmanager
def _no_new_realtime_threads() -> Iterator[None]:
    """Undo what libsvtav1 does where root runs it.

    Its threads and the one that calls it get SCHED_FIFO 99, and leave nothing for a control loop
    on the same cores.
    """
    before = _realtime_threads()
    yield
    for thread in _realtime_threads() - before:
        with contextlib.suppress(ProcessLookupError):
            os.sched_setscheduler(thread, os.SCHED_OTHER, os.sched_param(0))


class EpisodeVideo:
    """The video of one camera in one episode, while it is being written.

    Args:
        path: the file.
        fps: frames per second.
        height: of the images.
        width: of the images.
        options: how they are compressed.
    """

    def __init__(
        self, path: Path, fps: int, height: int, width: int, options: VideoOptions
    ) -> None:
        self.frames = 0
        if options.codec == "av1":
            os.environ.setdefault("SVT_LOG", "1")  # errors only: it prints its settings else
        self._container: OutputContainer = av.open(str(path), "w", format="mp4")
        try:
            added = self._container.add_stream(
                ENCODERS[options.codec], rate=fps, options=options.encoder_options()
            )
            stream = cast(VideoStream, added)
            stream.height, stream.width, stream.pix_fmt = height, width, "yuv420p"
            stream.codec_context.thread_count = options.threads
            stream.codec_context.time_base = Fraction(1, fps)
        except BaseException:
            self._container.close()
            raise
        self._stream: VideoStream = stream
        self._time_base = Fraction(1, fps)

    def add(self, image: Array) -> None:
        """Append a frame: (height, width, 3) uint8 RGB."""
        frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), format="rgb24")
        frame.pts, frame.time_base = self.frames, self._time_base
        self.frames += 1
        if self.frames > 1:
            self._write(frame)
            return
        # The encoder begins with its first frame. In a thread that ends: the C library would go
        # on to give the threads of this one what the encoder gave it.
        with _no_new_realtime_threads(), ThreadPoolExecutor(1) as beginning:
            beginning.submit(self._write, frame).result()

    def _write(self, frame: av.VideoFrame | None) -> None:
        for packet in self._stream.encode(frame):
            packet.duration = 1
            self._container.mux(packet)

    def finish(self) -> None:
        """Write what the encoder holds back and close the file."""
        try:
            self._write(None)
        finally:
            self._container.close()

    def abandon(self) -> None:
        """Close the file without completing it."""
        with contextlib.suppress(OSError, av.error.FFmpegError):  # as on a full disk
            self._container.close()


class JoinedVideo:
    """A video file that episodes are appended to without encoding them again.

    Args:
        path: the file.
        fps: frames per second of all episodes.
    """

    def __init__(self, path: Path, fps: int) -> None:
        self.path = path
        self.frames = 0
        self.size = 0
        self._fps = fps
        self._container: OutputContainer = av.open(str(path), "w", format="mp4")
        self._stream: VideoStream | None = None
        self._format: tuple[object, ...] = ()

    def append(self, path: Path, length: int) -> bool:
        """Append an episode's video.

        Args:
            path: of the episode's video.
            length: frames that it must have.

        Returns:
            False if its compression differs, so that it has to begin a new file.

        Raises:
            DatasetError: the file is damaged or has another number of frames.
        """
        try:
            with av.open(str(path)) as source:
                stream = source.streams.video[0]
                context = stream.codec_context
                about = (context.name, context.extradata, context.width, context.height)
                if self._stream is None:
                    self._format = about
                    self._stream = self._container.add_stream_from_template(stream, opaque=True)
                    self._stream.time_base = Fraction(1, self._fps)
                elif about != self._format:
                    return False
                count = self._copy(source.demux(stream))
        except FileNotFoundError as error:
            raise missing(path) from error
        except (av.error.InvalidDataError, IndexError) as error:
            raise damaged(path, error) from error
        if count != length:
            raise damaged(path, f"it has {count} frames, its episode {length}")
        self.size += path.stat().st_size
        return True

    def _copy(self, packets: object) -> int:
        count = 0
        for packet in packets:  # type: ignore[attr-defined]
            if packet.dts is None:  # the demuxer's mark of the end
                continue
            packet.stream = self._stream
            packet.time_base = Fraction(1, self._fps)
            packet.pts = packet.dts = self.frames
            packet.duration = 1
            self._container.mux(packet)
            self.frames += 1
            count += 1
        return count

    def close(self) -> None:
        """Complete the file."""
        self._container.close()


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
