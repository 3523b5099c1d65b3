# SPDX-License-Identifier: Apache-2.0
"""What a policy sees and feels: cameras, joint states and objects, taken off the wire.

Images are kept as they come and decoded when an observation is taken: of 90 images a second
only a few are ever looked at.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from rclpy.node import Node
from rclpy.qos import QoSProfile
from rclpy.serialization import deserialize_message
from sensor_msgs.msg import CompressedImage, Image, JointState
from visualization_msgs.msg import MarkerArray

from smolvla_core.backend import Observation, SceneObject
from smolvla_core.images import SerializedImage
from smolvla_core.node_settings import ObservationSettings, SensorSettings
from smolvla_core.observation import GRAY, Missing, ObservationBuffer
from smolvla_core.ros import qos
from smolvla_core.ros.converters import scene_objects
from smolvla_core.ros.joint_states import subscribe_joint_states


def received_image(data: bytes, compressed: bool, topic: str = "") -> SerializedImage:
    """Return a serialized Image, or CompressedImage, as it was received on `topic`."""
    kind: Any = CompressedImage if compressed else Image
    return SerializedImage(data, lambda message: deserialize_message(message, kind), topic)


@dataclass(frozen=True)
class SensorHealth:
    """Ages [s] of the newest image of each camera and of the newest joint state, and what
    keeps an observation from being taken (empty when nothing does)."""

    camera_ages: Mapping[str, float]
    joint_state_age: float
    missing: str


class SensorIntake:
    """Subscribes to what is needed; observations may be taken from any thread.

    Args:
        node: whose executor receives.
        cameras: names.
        joints: names, the order of all positions.
        settings: robot and its cameras, and how old and how far apart the parts may be.
        objects: whether the objects of the simulation are needed.
    """

    def __init__(
        self,
        node: Node,
        cameras: Sequence[str],
        joints: Sequence[str],
        settings: SensorSettings,
        objects: bool = False,
    ) -> None:
        self._node = node
        self._lock = threading.Lock()
        self._buffer = ObservationBuffer(cameras, joints, settings)
        self._objects: Mapping[str, SceneObject] | None = None
        self._needs_objects = objects
        self._subscriptions: list[Any] = []
        for camera in cameras:
            self._subscribe(camera, *settings.image_topic(camera))
        self._subscriptions += subscribe_joint_states(
            node, settings.body.joint_states, self._on_joint_state
        )
        if objects:
            self._receive(MarkerArray, "sim/objects", self._on_objects, qos.scene_qos())

    def close(self) -> None:
        """Receive nothing any more; to be called in the thread of ROS."""
        while self._subscriptions:
            self._node.destroy_subscription(self._subscriptions.pop())

    def reconfigure(self, settings: ObservationSettings) -> None:
        """Go by other ages and skews from now on."""
        with self._lock:
            self._buffer.reconfigure(settings)

    def _receive(
        self,
        kind: Any,
        topic: str,
        receive: Callable[..., None],
        profile: QoSProfile,
        raw: bool = False,
    ) -> None:
        self._subscriptions.append(
            self._node.create_subscription(kind, topic, receive, profile, raw=raw)
        )

    def snapshot(self) -> Observation | Missing:
        """Return the newest observation with its images as `SerializedImage`, or what is
        missing."""
        with self._lock:
            return self._buffer.snapshot(time.monotonic())

    def observe(self, instruction: str) -> Observation:
        """Return the newest observation, its images decoded, its stamp in ROS time.

        Raises:
            ValueError: something is missing, stale or cannot be decoded; the text names all
                of it and what to do.
        """
        matched = self.snapshot()
        if isinstance(matched, Missing):
            raise ValueError(matched.message)
        if self._needs_objects and self._objects is None:
            raise ValueError(
                "no objects on sim/objects yet: the backend works in the simulation only"
            )
        images = {}
        for camera, image in matched.images.items():
            try:
                images[camera] = image.decode()
            except ValueError as error:
                raise ValueError(f"camera {camera}: {error}") from error
        stamp_ns = matched.stamp_ns or self._node.get_clock().now().nanoseconds
        return replace(
            matched,
            images=images,
            instruction=instruction,
            objects=self._objects or {},
            stamp_ns=stamp_ns,
        )

    def health(self) -> SensorHealth:
        """Return how fresh everything is."""
        now = time.monotonic()
        with self._lock:
            snapshot = self._buffer.snapshot(now)
            return SensorHealth(
                self._buffer.camera_ages(now),
                self._buffer.joint_state_age(now),
                snapshot.message if isinstance(snapshot, Missing) else "",
            )

    def _subscribe(self, camera: str, topic: str, compressed: bool) -> None:
        name = self._node.resolve_topic_name(topic)
        seen = False  # a picture that could be read

        def on_image(data: bytes) -> None:
            nonlocal seen
            image = received_image(data, compressed, name)
            if not seen and (gray := image.gray()) is not None:
                seen = True
                if gray:
                    self._node.get_logger().warning(f"camera {camera}: {name}: {GRAY}")
            with self._lock:
                self._buffer.add_image(camera, image, image.stamp_ns, time.monotonic())

        self._receive(
            CompressedImage if compressed else Image,
            topic,
            on_image,
            qos.image_qos(),
            raw=True,
        )

    def _on_joint_state(self, names: list[str], message: JointState, source: str) -> None:
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        with self._lock:  # one that is not used may hold other joints: reported when none is left
            self._buffer.add_joint_state(
                names, message.position, stamp_ns, time.monotonic(), source
            )

    def _on_objects(self, message: MarkerArray) -> None:
        try:
            self._objects = scene_objects(message)
        except ValueError as error:
            self._node.get_logger().warning(str(error), throttle_duration_sec=5.0)
