# SPDX-License-Identifier: Apache-2.0
"""Camera images for the demo's video, taken only when the video wants one.

A node with an executor of its own, served at the video's rate: the images in between are
dropped by the middleware before Python sees them. They stay serialized here; the video's
thread decodes them.
"""

from __future__ import annotations

import functools
import time

from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import Image
from smolvla_core.images import decode_image
from smolvla_core.ros import qos

from smolvla_bringup.demo.video import Pixels, VideoWriter

CAMERAS = ("beauty", "top", "side", "wrist")


class DemoCameras:
    """Feeds `video` with the newest images of all cameras in `namespace`."""

    def __init__(self, video: VideoWriter, namespace: str) -> None:
        self._video = video
        self._images: dict[str, bytes] = {}
        self._due = -float("inf")
        self._executor = SingleThreadedExecutor()
        node = Node("smolvla_demo_cameras", namespace=namespace)
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


def decode(data: bytes) -> Pixels:
    """Return a serialized sensor_msgs/Image as uint8 (height, width, 3) RGB."""
    return decode_image(deserialize_message(data, Image))
