# SPDX-License-Identifier: Apache-2.0
"""Camera images to an H.264 video: taken when the video wants one, encoded in a thread.

The largest picture is the first camera of `_MAIN` that sends; up to two others stand beside
it, half as large. A caption below says the instruction and the time.
"""

from __future__ import annotations

import functools
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from smolvla_core.images import decode_image
from smolvla_core.ros import qos
from smolvla_learning.dataset.video import EpisodeVideo, VideoOptions

Pixels = NDArray[np.uint8]

CAMERAS = ("beauty", "top", "side", "wrist")
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
        rate: pictures per second.
    """

    def __init__(self, path: Path, caption: Callable[[float], str], rate: int = 12) -> None:
        self.rate = rate
        self._path = path
        self._caption = caption
        self._queue: queue.Queue[tuple[float, Mapping[str, bytes]] | None] = queue.Queue(4)
        self._error: Exception | None = None
        self._video: EpisodeVideo | None = None
        self._thread = threading.Thread(target=self._run, name="video", daemon=True)
        self._thread.start()

    def put(self, at: float, images: Mapping[str, bytes]) -> bool:
        """Hand over the serialized sensor_msgs/Image of `at` [s].

        Returns:
            False when they are dropped because the encoder is behind.
        """
        if self._queue.full():
            return False
        self._queue.put_nowait((at, images))
        return True

    def close(self) -> str:
        """Finish the file.

        Returns:
            Empty when the video is there, else the reason why not.
        """
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            return f"the video could not be written: {self._error}"
        return "" if self._video is not None else "there is no video: no camera image arrived"

    def _run(self) -> None:
        # On Linux this is the niceness of the calling thread alone.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        before: Pixels | None = None
        # The queue is emptied also after an error, so that close() finds an end.
        for at, images in iter(self._queue.get, None):
            if self._error is not None:
                continue
            try:
                decoded = {
                    name: decode_image(deserialize_message(data, Image))
                    for name, data in images.items()
                }
                picture = compose(decoded, self._caption(at))
                before = self._add(at, picture if before is None else before, picture)
            except Exception as error:  # close() reports it
                self._error = error
        if self._video is not None:
            try:
                self._video.finish()
            except Exception as error:
                self._error = self._error or error

    def _add(self, at: float, before: Pixels, picture: Pixels) -> Pixels:
        if self._video is None:
            options = VideoOptions(crf=23, keyframe_interval=10 * self.rate)
            height, width, _ = picture.shape
            self._video = EpisodeVideo(self._path, self.rate, height, width, options)
        # Where pictures were dropped the one before stays, so that they make no time lapse.
        while self._video.frames < round(at * self.rate):
            self._video.add(before)
        self._video.add(picture)
        return picture


class CameraFeed:
    """Feeds `video` with the newest images of all `CAMERAS`.

    A node with an executor of its own, served at the video's rate: the images in between are
    dropped by the middleware before Python sees them. They stay serialized here; the video's
    thread decodes them.

    Args:
        video: gets the images.
        node: in whose namespace the cameras are.
    """

    def __init__(self, video: VideoWriter, node: Node) -> None:
        self._video = video
        self._images: dict[str, bytes] = {}
        self._due = -float("inf")
        context, namespace = node.context, node.get_namespace()
        self._executor = SingleThreadedExecutor(context=context)
        node = Node("smolvla_demo_cameras", namespace=namespace, context=context)
        for camera in CAMERAS:
            node.create_subscription(
                Image,
                f"camera/{camera}/image_raw",
                functools.partial(self._images.__setitem__, camera),
                qos.image_qos(),
                raw=True,
            )
        self._executor.add_node(node)

    def feed(self, at: float) -> None:
        """Hand the newest images to the video as those of `at` [s], if the next are due."""
        now = time.monotonic()
        if now < self._due:
            return
        self._due = max(self._due + 1.0 / self._video.rate, now)
        # One spin per camera, and one that may only reach the end of the last look.
        for _ in range(len(CAMERAS) + 1):
            self._executor.spin_once(timeout_sec=0.0)
        if self._images:
            self._video.put(at, dict(self._images))
