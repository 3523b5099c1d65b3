# SPDX-License-Identifier: Apache-2.0
"""Camera images to an H.264 video, in a thread of its own.

The largest picture is the first camera of `_MAIN` that sends; up to two others stand beside
it, half as large. A caption below says the instruction and the time.
"""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import Callable, Mapping
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

_MAIN = ("beauty", "side", "top", "wrist")
_BESIDE = ("wrist", "top", "side")
_MAIN_SIZE = (640, 480)
_SMALL_SIZE = (320, 240)
_CAPTION_HEIGHT = 40
_BACKGROUND = (18, 20, 24)
_TEXT = (235, 235, 235)
_NICENESS = 10  # of 19; control loops come first


def compose(images: Mapping[str, Pixels], caption: str) -> Pixels:
    """Return one uint8 (520, 960, 3) RGB picture of all cameras and the caption.

    Args:
        images: camera name -> uint8 (height, width, 3) RGB; at least one.
        caption: one line of text.
    """
    ranked = [name for name in _MAIN if name in images]
    ranked += sorted(name for name in images if name not in _MAIN)
    main = ranked[0]
    beside = [name for name in _BESIDE if name in images and name != main]
    beside += [name for name in ranked[1:] if name not in beside]
    (width, height), (small_width, small_height) = _MAIN_SIZE, _SMALL_SIZE
    canvas = np.full((height + _CAPTION_HEIGHT, width + small_width, 3), _BACKGROUND, np.uint8)
    canvas[:height, :width] = _resized(images[main], _MAIN_SIZE)
    for row, name in enumerate(beside[:2]):
        top = row * small_height
        canvas[top : top + small_height, width:] = _resized(images[name], _SMALL_SIZE)
    below = (12, height + _CAPTION_HEIGHT // 2 + 7)  # left end of the letters' base line
    cv2.putText(canvas, caption, below, cv2.FONT_HERSHEY_SIMPLEX, 0.6, _TEXT, 1, cv2.LINE_AA)
    return canvas


def _resized(image: Pixels, size: tuple[int, int]) -> Pixels:
    shrinks = image.shape[1] > size[0]
    kind = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    return np.asarray(cv2.resize(image, size, interpolation=kind), np.uint8)


class VideoWriter:
    """Writes pictures to `path` (H.264, yuv420p) as they are put, each at its time.

    Args:
        path: the file, .mp4.
        caption: time [s] -> the line below the picture.
        decode: bytes of an image -> uint8 (height, width, 3) RGB; called in the thread.
        rate: pictures per second.
    """

    def __init__(
        self,
        path: Path,
        caption: Callable[[float], str],
        decode: Callable[[bytes], Pixels],
        rate: int = 12,
    ) -> None:
        self.rate = rate
        self._path = path
        self._caption = caption
        self._decode = decode
        self._queue: queue.Queue[tuple[float, Mapping[str, bytes]] | None] = queue.Queue(4)
        self._error: Exception | None = None
        self._empty = True
        self._thread = threading.Thread(target=self._run, name="video", daemon=True)
        self._thread.start()

    def put(self, time: float, images: Mapping[str, bytes]) -> None:
        """Hand over the images of `time` [s]; dropped when the encoder is behind."""
        if not self._queue.full():
            self._queue.put_nowait((time, images))

    def close(self) -> str:
        """Finish the file.

        Returns:
            Empty when the video is there, else why it is not.
        """
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            return f"the video could not be written: {self._error}"
        if self._empty:
            return "there is no video: no camera image arrived"
        return ""

    def _run(self) -> None:
        # On Linux this is the niceness of the calling thread alone.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        encoder: _Encoder | None = None
        # The queue is emptied also after an error, so that close() finds an end.
        for time, images in iter(self._queue.get, None):
            if self._error is not None:
                continue
            try:
                decoded = {name: self._decode(data) for name, data in images.items()}
                picture = compose(decoded, self._caption(time))
                encoder = encoder or _Encoder(self._path, self.rate)
                encoder.add(time, picture)
            except Exception as error:  # close() reports it
                self._error = error
        if encoder is not None:
            try:
                encoder.close()
            except Exception as error:
                self._error = self._error or error
        self._empty = encoder is None


class _Encoder:
    """An open video file; the pictures of `compose` go in."""

    def __init__(self, path: Path, rate: int) -> None:
        self._rate = rate
        self._last = -1
        self._container = av.open(str(path), "w", options={"movflags": "+faststart"})
        self._stream = self._container.add_stream("libx264", rate=rate)
        self._stream.width = _MAIN_SIZE[0] + _SMALL_SIZE[0]
        self._stream.height = _MAIN_SIZE[1] + _CAPTION_HEIGHT
        self._stream.pix_fmt = "yuv420p"
        self._stream.thread_count = 1
        self._stream.options = {"preset": "veryfast", "crf": "23"}

    def add(self, time: float, picture: Pixels) -> None:
        """Append the picture of `time` [s]."""
        # Numbered by their time, so that a dropped picture makes no time lapse.
        self._last = max(round(time * self._rate), self._last + 1)
        frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
        frame.pts, frame.time_base = self._last, Fraction(1, self._rate)
        self._container.mux(self._stream.encode(frame))

    def close(self) -> None:
        """Write what is still in the encoder, and the file's index."""
        try:
            self._container.mux(self._stream.encode())
        finally:
            self._container.close()
