# SPDX-License-Identifier: Apache-2.0
"""Listens to a robot for a few seconds, on the topics that `policy_node` would listen to."""

from __future__ import annotations

import math
import statistics
import time
from collections.abc import Sequence

import numpy as np
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, Image, JointState
from smolvla_core.images import SerializedImage
from smolvla_core.joints import JointOrder
from smolvla_core.node_settings import SensorSettings
from smolvla_core.observation import Missing, ObservationBuffer
from smolvla_core.robot import Robot
from smolvla_core.ros import qos
from smolvla_core.ros.joint_states import subscribe_joint_states
from smolvla_core.ros.sensors import received_image

from smolvla_policy.checks.robot_checks import Received, ReceivedCamera, ReceivedJoints

IMAGE_TYPES = ("sensor_msgs/msg/Image", "sensor_msgs/msg/CompressedImage")
PATIENCE = 10.0
"""So long it waits for the first messages [s]: DDS announces a node every 3 s, and where a machine
is busy the first announcements are lost."""


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
        robot: that publishes, with the joints that the policy moves.
        settings: of `policy_node`.
    """

    def __init__(
        self, node: Node, cameras: Sequence[str], robot: Robot, settings: SensorSettings
    ) -> None:
        self._node = node
        joints = robot.joint_names
        self._order = JointOrder(joints)
        self._buffer = ObservationBuffer(cameras, joints, settings)
        self._newest: dict[str, SerializedImage] = {}
        self._topics: dict[str, str] = dict.fromkeys(cameras, "")
        self._positions = np.full(len(joints), np.nan)
        self._count_anew()
        for camera in cameras:
            self._subscribe(camera, *settings.image_topic(camera))
        subscriptions = subscribe_joint_states(node, robot.joint_states, self._on_joint_state)
        self._joint_topics = [subscription.topic_name for subscription in subscriptions]

    def _count_anew(self) -> None:
        self._arrivals = {camera: _Arrivals() for camera in self._topics}
        self._states = [_Arrivals() for _ in self._order.joints]
        self._names: dict[str, None] = {}  # in the order in which they were received
        self._problem = ""

    def _subscribe(self, camera: str, topic: str, compressed: bool) -> None:
        def on_image(data: bytes) -> None:
            image, now = received_image(data, compressed), time.monotonic()
            self._newest[camera] = image
            self._arrivals[camera].add(now, image.stamp_ns, self._clock_ns())
            self._buffer.add_image(camera, image, image.stamp_ns, now)

        self._topics[camera] = self._node.create_subscription(
            CompressedImage if compressed else Image,
            topic,
            on_image,
            qos.image_qos(),
            raw=True,
        ).topic_name

    def _on_joint_state(self, names: list[str], message: JointState, source: str) -> None:
        now = time.monotonic()
        stamp_ns = message.header.stamp.sec * 10**9 + message.header.stamp.nanosec
        self._names.update(dict.fromkeys(names))
        try:
            joints, positions = self._order.some(names, message.position)
        except ValueError as error:
            self._problem = str(error)
            return
        for joint in joints:
            self._states[joint].add(now, stamp_ns, self._clock_ns())
        self._positions[joints] = positions
        if joints.size:
            self._problem = ""
        self._buffer.add_joint_state(names, message.position, stamp_ns, now, source)

    def _clock_ns(self) -> int:
        nanoseconds: int = self._node.get_clock().now().nanoseconds
        return nanoseconds

    def listen(self, seconds: float) -> Received:
        """Spin the node until all have sent something, then for so long.

        Waiting ends after `PATIENCE` where a camera or a joint stays silent. What is returned was
        received after it.
        """
        executor = SingleThreadedExecutor(context=self._node.context)
        executor.add_node(self._node)
        try:
            deadline = time.monotonic() + PATIENCE
            while not self._complete() and (left := deadline - time.monotonic()) > 0.0:
                executor.spin_once(timeout_sec=left)
            self._count_anew()
            deadline = time.monotonic() + seconds
            while (left := deadline - time.monotonic()) > 0.0:
                executor.spin_once(timeout_sec=left)
            return self._received(seconds, time.monotonic())
        finally:
            executor.remove_node(self._node)
            executor.shutdown()

    def _complete(self) -> bool:
        return all(arrivals.times for arrivals in (*self._arrivals.values(), *self._states))

    def _received(self, seconds: float, now: float) -> Received:
        snapshot = self._buffer.snapshot(now)
        topics = {
            name.removesuffix("/compressed")
            for name, types in self._node.get_topic_names_and_types()
            if set(IMAGE_TYPES) & set(types) and self._node.count_publishers(name)
        }
        return Received(
            seconds,
            {camera: self._camera(camera, now) for camera in self._arrivals},
            self._joints(),
            tuple(sorted(topics)),
            snapshot.message if isinstance(snapshot, Missing) else "",
        )

    def _joints(self) -> ReceivedJoints:
        slowest = min(self._states, key=lambda joint: (len(joint.times), joint.rate))
        silent = [
            name
            for name, arrivals in zip(self._order.joints, self._states, strict=True)
            if not arrivals.times
        ]
        problem = self._problem
        if silent and not problem and self._names:
            problem = (
                f"no {', '.join(silent)} among the joints {', '.join(self._names)}: give the "
                "topics' names of the joints in a robot file, and their topics"
            )
        return ReceivedJoints(
            ", ".join(self._joint_topics),
            sum(self._node.count_publishers(topic) for topic in self._joint_topics),
            max(len(arrivals.times) for arrivals in self._states) or len(self._names),
            slowest.rate,
            tuple(name for name in self._order.joints if name not in silent),
            None if problem or silent else self._positions,
            problem,
            max((a.stamp_age for a in self._states if a.ages), key=abs, default=math.nan),
        )

    def _camera(self, camera: str, now: float) -> ReceivedCamera:
        topic, arrivals = self._topics[camera], self._arrivals[camera]
        publishers = self._node.get_publishers_info_by_topic(topic)
        pixels, gray, error = None, False, ""
        if camera in self._newest:
            try:
                pixels = self._newest[camera].decode()
                gray = bool(self._newest[camera].gray())
            except ValueError as problem:
                error = str(problem)
        return ReceivedCamera(
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
