# SPDX-License-Identifier: Apache-2.0
"""Copies of the golden checkpoint, the parameters of a policy node, and a robot on real topics."""

import contextlib
import json
import shutil
import threading
from pathlib import Path

import numpy as np
import pytest
import rclpy
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from smolvla_core.ros import qos
from smolvla_core.ros.converters import image_message
from smolvla_core.units.calibration import LEROBOT_JOINTS
from smolvla_policy.backends.smolvla_settings import SmolVLASettings

GOLDEN = Path(__file__).parents[1] / "golden" / "ckpt"
# As in training: camera -> height, width.
CAMERAS = {"top": (48, 64), "wrist": (64, 64), "side": (96, 72)}


@pytest.fixture
def folder(tmp_path):
    """A copy of the golden checkpoint, to be spoilt."""
    copy = tmp_path / "ckpt"
    shutil.copytree(GOLDEN, copy)
    return copy


@pytest.fixture
def settings(folder):
    """The parameters of `policy_node`, with the copy as its checkpoint."""
    return SmolVLASettings(checkpoint=str(folder), device="cpu", threads=1)


@pytest.fixture
def edit():
    def change(path, function):
        content = json.loads(path.read_text())
        function(content)
        path.write_text(json.dumps(content))

    return change


class Robot:
    """Publishes what a robot publishes; spun in a thread, as the listener spins itself."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = Node("robot", context=self.context)
        self.positions = [0.1, 0.2, 0.3, -0.4, -0.2, 0.4]
        self.names = list(LEROBOT_JOINTS)
        self.stamp_offset_ns = 0
        self._publishers = {}
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self._thread = threading.Thread()

    def camera(self, name, kind=Image, topic=None, rate=50.0, encoding=""):
        publisher = self.node.create_publisher(
            kind, topic or f"camera/{name}/image_raw", qos.image_qos()
        )

        def publish():
            message = kind()
            if kind is Image:
                message = image_message(np.zeros((*CAMERAS.get(name, (48, 64)), 3), np.uint8))
                message.encoding = encoding or message.encoding
            self._stamp(message)
            publisher.publish(message)

        if rate:
            self.node.create_timer(1.0 / rate, publish)
        return self

    def joints(self, rate=50.0):
        publisher = self.node.create_publisher(JointState, "joint_states", 10)

        def publish():
            message = JointState(name=self.names, position=self.positions)
            self._stamp(message)
            publisher.publish(message)

        if rate:
            self.node.create_timer(1.0 / rate, publish)
        return self

    def complete(self):
        for name in CAMERAS:
            self.camera(name)
        return self.joints()

    def start(self, after=0.0):
        self._thread = threading.Timer(after, self._spin)
        self._thread.start()
        return self

    def _stamp(self, message):
        now = self.node.get_clock().now().nanoseconds + self.stamp_offset_ns
        message.header.stamp.sec, message.header.stamp.nanosec = divmod(now, 10**9)

    def _spin(self):
        with contextlib.suppress(ExternalShutdownException):
            self._executor.spin()

    def close(self):
        # Before the context: a timer that publishes without one raises in the thread.
        self._executor.shutdown()
        if self._thread.ident:
            self._thread.join(10)
        self.node.destroy_node()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture
def robot():
    robot = Robot()
    yield robot
    robot.close()
