# SPDX-License-Identifier: Apache-2.0
"""Camera images to an H.264 video: taken when the video wants one, encoded in a thread.

The largest picture is the first camera of `_MAIN` that sends; up to two others stand beside
it, half as large, each with its name. Below are the instruction, the time, the score and the plan.
"""

from __future__ import annotations

import functools
import os
import queue
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
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
_CAPTION_HEIGHT = 60
_BACKGROUND = (18, 20, 24)
_TEXT, _FAINT = (235, 235, 235), (165, 165, 170)
_PLAN = (47, 181, 255)
_DONE, _NOT_DONE = (0, 158, 115), (213, 94, 0)  # Okabe and Ito's
_FONT = cv2.FONT_HERSHEY_SIMPLEX
_ENDING = 1.5  # [s] that the last picture of a run stays that was not done
_NICENESS = 10  # of 19; control loops come first


@dataclass(frozen=True)
class Caption:
    """What a picture says of the run.

    Attributes:
        instruction: the sentence.
        time: since the instruction [s].
        score: of the task, 0 to 1; None where nobody judges it.
        plan: how much is planned, a few words.
        paths: camera -> (n, 2) the plan in its picture, 0 to 1 of width and height.
        outcome: how it ended; empty while it goes on.
        done: whether it ended well.
    """

    instruction: str = ""
    time: float = 0.0
    score: float | None = None
    plan: str = ""
    paths: Mapping[str, NDArray[np.float64]] = field(default_factory=dict)
    outcome: str = ""
    done: bool = False


def compose(images: Mapping[str, Pixels], caption: Caption) -> Pixels:
    """Return one uint8 (540, 960, 3) RGB picture of all cameras and the caption.

    Args:
        images: camera name -> uint8 (height, width, 3) RGB; at least one.
        caption: what is said of them.
    """
    ranked = [name for name in _MAIN if name in images]
    ranked += sorted(name for name in images if name not in _MAIN)
    main = ranked[0]
    beside = [name for name in _BESIDE if name in images and name != main]
    beside += [name for name in ranked[1:] if name not in beside]
    (width, height), (small_width, small_height) = _MAIN_SIZE, _SMALL_SIZE
    canvas = np.full((height + _CAPTION_HEIGHT, width + small_width, 3), _BACKGROUND, np.uint8)
    picture = _resized(images[main], _MAIN_SIZE)
    _draw_plan(picture, caption.paths.get(main))
    if caption.outcome:
        _draw_outcome(picture, caption)
    _draw_name(picture, main, 0.6)
    canvas[:height, :width] = picture
    for row, name in enumerate(beside[:2]):
        top = row * small_height
        small = _resized(images[name], _SMALL_SIZE)
        _draw_plan(small, caption.paths.get(name))
        _draw_name(small, name, 0.5)
        canvas[top : top + small_height, width:] = small
    _write(canvas, caption.instruction, (12, height + 24), 0.65)
    score = "no score" if caption.score is None else f"score {caption.score:.2f} of 1"
    _write(canvas, score, (12, height + 49), 0.5, _FAINT)
    _write(canvas, caption.plan, (170, height + 49), 0.5, _PLAN)
    time = f"{max(caption.time, 0.0):.1f} s"
    _write(canvas, time, (width + small_width - 80, height + 24), 0.65)
    return canvas


def _write(
    canvas: Pixels, text: str, place: tuple[int, int], size: float,
    color: tuple[int, int, int] = _TEXT, thickness: int = 1,
) -> None:  # fmt: skip
    """Write `text` from `place`, the left end of the letters' base line."""
    cv2.putText(canvas, text, place, _FONT, size, color, thickness, cv2.LINE_AA)


def _draw_name(picture: Pixels, name: str, size: float) -> None:
    (width, height), _ = cv2.getTextSize(name, _FONT, size, 1)
    corner = picture[: height + 14, : width + 16]
    corner[:] = corner // 3  # so that it is read on any picture
    _write(picture, name, (8, height + 7), size)


def _draw_plan(picture: Pixels, path: NDArray[np.float64] | None) -> None:
    if path is None or len(path) < 2:
        return
    height, width, _ = picture.shape
    # With 4 bits behind the point: whole pixels would make it shake.
    places = np.round(16 * path * (width, height)).astype(np.int32)
    cv2.polylines(picture, [places], False, _PLAN, 2, cv2.LINE_AA, 4)
    cv2.circle(picture, tuple(places[-1].tolist()), 16 * 5, _PLAN, -1, cv2.LINE_AA, 4)


def _draw_outcome(picture: Pixels, caption: Caption) -> None:
    (width, height), _ = cv2.getTextSize(caption.outcome, _FONT, 1.0, 2)
    bottom = picture.shape[0]
    picture[bottom - height - 32 :] = _DONE if caption.done else _NOT_DONE
    left = (picture.shape[1] - width) // 2
    _write(picture, caption.outcome, (left, bottom - 16), 1.0, thickness=2)


def _resized(image: Pixels, size: tuple[int, int]) -> Pixels:
    shrinks = image.shape[1] > size[0]
    kind = cv2.INTER_AREA if shrinks else cv2.INTER_CUBIC
    # A copy in any case: it is drawn on.
    return np.array(cv2.resize(image, size, interpolation=kind), np.uint8)


class VideoWriter:
    """Writes pictures to `path` (H.264, yuv420p) as they are put, each at its time.

    Args:
        path: the file, .mp4.
        caption: time [s] -> what the picture says.
        rate: pictures per second.
    """

    def __init__(self, path: Path, caption: Callable[[float], Caption], rate: int = 12) -> None:
        self.rate = rate
        self._path = path
        self._caption = caption
        self._queue: queue.Queue[tuple[Caption, Mapping[str, bytes]] | None] = queue.Queue(4)
        self._outcome = ""
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
        self._queue.put_nowait((self._caption(at), images))
        return True

    def close(self, outcome: str = "") -> str:
        """Finish the file.

        Args:
            outcome: of a run that was not done, which the last picture then says.

        Returns:
            Empty when the video is there, else the reason why not.
        """
        self._outcome = outcome
        self._queue.put(None)
        self._thread.join()
        if self._error is not None:
            return f"the video could not be written: {self._error}"
        return "" if self._video is not None else "there is no video: no camera image arrived"

    def _run(self) -> None:
        # On Linux this is the niceness of the calling thread alone.
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), _NICENESS)
        shown: Pixels | None = None
        decoded: dict[str, Pixels] = {}
        caption = Caption()
        # The queue is emptied also after an error, so that close() finds an end.
        for caption, images in iter(self._queue.get, None):
            if self._error is not None:
                continue
            try:
                decoded = {
                    name: decode_image(deserialize_message(data, Image))
                    for name, data in images.items()
                }
                shown = self._add(shown, compose(decoded, caption), caption.time)
            except Exception as error:  # close() reports it
                self._error = error
        if self._video is not None:
            try:
                if self._outcome and shown is not None:
                    ended = compose(decoded, replace(caption, outcome=self._outcome))
                    self._add(ended, ended, caption.time + _ENDING)
                self._video.finish()
            except Exception as error:
                self._error = self._error or error

    def _add(self, before: Pixels | None, picture: Pixels, at: float) -> Pixels:
        if self._video is None:
            options = VideoOptions(crf=23, keyframe_interval=10 * self.rate)
            height, width, _ = picture.shape
            self._video = EpisodeVideo(self._path, self.rate, height, width, options)
        # Where pictures were dropped the one before stays, so that they make no time lapse.
        while self._video.frames < round(at * self.rate):
            self._video.add(picture if before is None else before)
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
