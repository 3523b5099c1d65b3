# SPDX-License-Identifier: Apache-2.0
"""A `Jog` among the topics of a robot: what it knows of the arm, and its targets."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from rclpy.node import Node
from sensor_msgs.msg import JointState
from smolvla_core.joints import JointOrder
from smolvla_core.node_settings import JogSettings
from smolvla_core.robot import FORWARD, TRAJECTORY, Output
from smolvla_core.ros import qos
from smolvla_core.ros.description import take_description
from smolvla_core.ros.joint_states import subscribe_joint_states
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory

from smolvla_executor.core.jog import Jog, Motion
from smolvla_executor.core.kinematics import KinematicChain
from smolvla_msgs.msg import ExecutorStatus


class HumanTargets:
    """Publishes where a human wants the joints.

    Args:
        node: that publishes.
        settings: of the robot and the motion.
        warn: called with what is wrong; maybe many times a second.

    Attributes:
        jog: where he wants them.
        status: of the executor; None before the first.

    Raises:
        ValueError: the parameter ``robot_description`` does not fit.
    """

    def __init__(self, node: Node, settings: JogSettings, warn: Callable[[str], object]) -> None:
        self.jog = Jog(settings)
        self.status: ExecutorStatus | None = None
        self._node, self._warn = node, warn
        self._joints = list(settings.joints)
        self._tip = settings.tip_link
        self._order = JointOrder(settings.joints)
        take_description(node, settings.robot_description, self._describe, self._not_described)
        self._targets = node.create_publisher(JointState, settings.human_topic, 1)
        subscribe_joint_states(node, settings.body.joint_states, self._on_joint_state)
        for output in settings.body.outputs:
            if output.type in (FORWARD, TRAJECTORY):
                kind = JointTrajectory if output.type == TRAJECTORY else Float64MultiArray
                receive = partial(self._on_command, output)
                node.create_subscription(kind, output.topic, receive, qos.command_qos())
        node.create_subscription(
            ExecutorStatus, "executor_node/status", self._on_status, qos.status_qos()
        )

    @property
    def following(self) -> bool:
        """Whether the executor follows the human."""
        return self.status is not None and self.status.source == "human"

    def publish(self, motion: Motion | None) -> None:
        """Go on by one cycle and publish the target, if there is one."""
        if motion is not None and motion.tip.any() and self.jog.chain is None:
            self._warn(
                "the tip is not moved, as there is no robot description: start "
                "robot_state_publisher, set the parameter robot_description, or move joints"
            )
        target = self.jog.cycle(motion, self.following, time.monotonic())
        if self.jog.problem:
            self._warn(f"no target: {self.jog.problem}")
        if target is not None:
            message = JointState(name=self._joints, position=target.tolist())
            message.header.stamp = self._node.get_clock().now().to_msg()
            self._targets.publish(message)

    def _on_status(self, message: ExecutorStatus) -> None:
        self.status = message

    def _on_joint_state(self, names: Sequence[str], message: JointState, source: str) -> None:
        try:
            part = self._order.some(names, message.position)
        except ValueError as error:
            self.jog.feedback.reject(f"joint state: {error}")
            return
        self.jog.feedback.update(part, time.monotonic(), source)

    def _on_command(self, output: Output, message: Float64MultiArray | JointTrajectory) -> None:
        try:
            if isinstance(message, Float64MultiArray):
                part = self._order.some(output.joints, message.data)
            elif message.points:
                names = [output.prefix + name for name in message.joint_names]
                part = self._order.some(names, message.points[-1].positions)
            else:
                return
        except ValueError as error:
            self._warn(f"command not understood: {error}")
            return
        self.jog.on_command(part, time.monotonic())

    def _not_described(self, problem: str) -> None:
        self.jog.chain = None
        self._node.get_logger().error(f"{problem}; the tip is not moved")

    def _describe(self, urdf: str) -> None:
        """Move the tip by a URDF from now on; raise ValueError where it does not fit."""
        chain = KinematicChain(urdf, self._tip)
        if not chain.joint_names:
            raise ValueError(f"no joint moves the link '{self._tip}'")
        chain.jacobian(self._joints, [0.0] * len(self._joints))
        self.jog.chain = chain
