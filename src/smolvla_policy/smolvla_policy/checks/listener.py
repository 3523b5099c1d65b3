# SPDX-License-Identifier: Apache-2.0
"""Listens to a robot for a few seconds, on the topics that `policy_node` would listen to."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image, JointState
from smolvla_core.joints.order import JointOrder
from smolvla_core.observation import Missing, ObservationBuffer, ObservationConfig
from smolvla_core.ros import qos
from smolvla_core.ros.sensors import SerializedImage

from smolvla_policy.checks.heard import CameraHeard, Heard, JointsHeard

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")


class _Arrivals:
    """When messages came [s], and how old their stamps were [s]."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.ages: list[float] = []

    def add(self, now: float, stamp_ns: int, clock_ns: int) -> None:
        self.times.append(now)
        if stamp_ns:
            self.ages.append((clock_ns - stamp_ns) * 1e-9)

    @property
    def rate(self) -> float:
        span = self.times[-1] - self.times[0] if self.times else 0.0
        return (len(self.times) - 1) / span if span > 0.0 else math.nan

    @property
    def stamp_age(self) -> float:
        return statistics.median(self.ages) if self.ages else math.nan


class RobotListener:
    """Counts what comes from cameras and joints.

    Args:
        node: that subscribes; spun by `listen`.
        cameras: their names.
        joints: that the policy moves.
        options: values of `policy_node`'s parameters.
    """

    def __init__(
        self,
        node: Node,
        cameras: Sequence[str],
        joints: Sequence[str],
        options: Mapping[str, Any],
    ) -> None:
        self._node = node
        self._order = JointOrder(joints)
        self._compressed = options["image_transport"] == "compressed"
        self._buffer = ObservationBuffer(
            cameras,
            joints,
            ObservationConfig(
                max_image_age=options["max_image_age"],
                max_state_age=options["max_joint_state_age"],
                max_camera_skew=options["max_skew"],
                max_state_skew=options["max_skew"],
            ),
        )
        self._arrivals = {camera: _Arrivals() for camera in cameras}
        self._newest: dict[str, SerializedImage] = {}
        self._topics: dict[str, str] = {}
        self._states = _Arrivals()
        self._names: tuple[str, ...] = ()
        self._positions: NDArray[np.float64] | None = None
        self._problem = ""
        for camera in cameras:
            self._subscribe(camera, options["camera_topic"].replace("{name}", camera))
        self._joint_topic = node.create_subscription(
            JointState, "joint_states", self._on_joint_state, qos.joint_state_qos()
        ).topic_name

    def _subscribe(self, camera: str, topic: str) -> None:
        def on_image(data: bytes) -> None:
            image, now = SerializedImage(data, self._compressed), time.monotonic()
            self._newest[camera] = image
            self._arrivals[camera].add(now, image.stamp_ns, self._clock_ns())
            self._buffer.add_image(camera, image, image.stamp_ns, now)

        self._topics[camera] = self._node.create_subscription(
            CompressedImage if self._compressed else Image,
            f"{topic}/compressed" if self._compressed else topic,
            on_image,
            qos.image_qos(),
            raw=True,
        ).topic_name

    def _on_joint_state(self, message: JointState) -> None:
        now = time.monotonic()
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        self._states.add(now, stamp_ns, self._clock_ns())
        self._names = tuple(message.name)
        try:
            self._positions = self._order.pick(message.name, message.position)
            self._problem = ""
        except ValueError as error:
            self._positions, self._problem = None, str(error)
        self._buffer.add_joint_state(message.name, message.position, stamp_ns, now)

    def _clock_ns(self) -> int:
        nanoseconds: int = self._node.get_clock().now().nanoseconds
        return nanoseconds

    def listen(self, seconds: float) -> Heard:
        """Spin the node for so long and return what was heard."""
        executor = SingleThreadedExecutor(context=self._node.context)
        executor.add_node(self._node)
        deadline = time.monotonic() + seconds
        try:
            while (left := deadline - time.monotonic()) > 0.0:
                executor.spin_once(timeout_sec=left)
        finally:
            executor.remove_node(self._node)
            executor.shutdown()
        return self._heard(seconds)

    def _heard(self, seconds: float) -> Heard:
        now = time.monotonic()
        snapshot = self._buffer.snapshot(now)
        kind = IMAGE_TYPES[int(self._compressed)]
        suffix = "/compressed" if self._compressed else ""
        topics = [
            name.removesuffix(suffix)
            for name, types in self._node.get_topic_names_and_types()
            if kind in types and self._node.count_publishers(name)
        ]
        return Heard(
            seconds,
            {camera: self._camera(camera, now) for camera in self._arrivals},
            JointsHeard(
                self._joint_topic,
                self._node.count_publishers(self._joint_topic),
                len(self._states.times),
                self._states.rate,
                self._names,
                self._positions,
                self._problem,
                self._states.stamp_age,
            ),
            tuple(sorted(topics)),
            snapshot.message if isinstance(snapshot, Missing) else "",
        )

    def _camera(self, camera: str, now: float) -> CameraHeard:
        topic, arrivals = self._topics[camera], self._arrivals[camera]
        publishers = self._node.get_publishers_info_by_topic(topic)
        pixels, gray, error = None, False, ""
        if camera in self._newest:
            try:
                pixels = self._newest[camera].decode()
                gray = bool(self._newest[camera].gray())
            except ValueError as problem:
                error = str(problem)
        return CameraHeard(
            topic,
            len(publishers),
            tuple(sorted({info.topic_type for info in publishers})),
            len(arrivals.times),
            arrivals.rate,
            now - arrivals.times[-1] if arrivals.times else math.inf,
            arrivals.stamp_age,
            pixels,
            gray,
            error,
        )
