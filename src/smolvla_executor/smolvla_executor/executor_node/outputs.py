# SPDX-License-Identifier: Apache-2.0
"""Where the commands go: the topics and actions of the robot file."""

from __future__ import annotations

import math
from array import array
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.action import ActionClient  # type: ignore[attr-defined]
from smolvla_core.robot import FOLLOW_TRAJECTORY, FORWARD, GRIPPER_COMMAND, TRAJECTORY, Output
from smolvla_core.ros import qos
from smolvla_core.ros.converters import to_duration
from smolvla_core.ros.managed_node import ManagedNode
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

GOAL_RATE = 10.0
"""Goals of an action per second: each replaces the one before, which costs a controller time."""
GOAL_STEP = 0.005
"""A goal that differs by less from the last one is not sent [rad]."""


class Outputs:
    """Takes whole commands apart and sends each output its joints.

    Args:
        node: that publishes, while it is active.
        outputs: of the robot.
        joints: the order of the commands.
        period: of the commands [s].

    Raises:
        ValueError: an action's package is not installed.
    """

    def __init__(
        self, node: ManagedNode, outputs: Sequence[Output], joints: Sequence[str], period: float
    ) -> None:
        self._targets: list[tuple[_Topic | _Action, list[int]]] = []
        for output in outputs:
            make = _Topic if output.type in (FORWARD, TRAJECTORY) else _Action
            columns = [joints.index(joint) for joint in output.joints]
            self._targets.append((make(node, output, period), columns))

    @property
    def names(self) -> list[str]:
        """Topics and actions, in full."""
        return [target.name for target, _ in self._targets]

    def without_listener(self) -> str:
        """Return the first output that nobody listens to; empty for none."""
        return next((target.name for target, _ in self._targets if not target.has_listener()), "")

    def publish(self, command: NDArray[np.float64], now: float) -> None:
        """Send a command (joints,) [rad]; `now` is of a monotonic clock [s]."""
        for target, columns in self._targets:
            target.send(command[columns], now)

    def close(self) -> None:
        """Free publishers and clients."""
        while self._targets:
            self._targets.pop()[0].close()


class _Topic:
    """An output: a topic of forward_command_controller or joint_trajectory_controller."""

    def __init__(self, node: ManagedNode, output: Output, period: float) -> None:
        self._node, self._joints, self._period = node, output.names, period
        self._as_trajectory = output.type == TRAJECTORY
        kind = JointTrajectory if self._as_trajectory else Float64MultiArray
        self._publisher = node.create_lifecycle_publisher(kind, output.topic, qos.command_qos())
        self.name: str = self._publisher.topic_name

    def send(self, positions: NDArray[np.float64], now: float) -> None:
        self._publisher.publish(
            command_trajectory(self._joints, positions, self._period)
            if self._as_trajectory
            else Float64MultiArray(data=array("d", positions))
        )

    def has_listener(self) -> bool:
        return bool(self._node.count_subscribers(self.name))

    def close(self) -> None:
        self._node.destroy_lifecycle_publisher(self._publisher)


class GoalPacer:
    """Decides when a position becomes a goal: at a rate, and only where it differs."""

    def __init__(self) -> None:
        self._sent: NDArray[np.float64] | None = None
        self._time = -math.inf

    def due(self, positions: NDArray[np.float64], now: float) -> bool:
        """Say whether to send `positions` [rad] at `now` [s]; then they count as sent."""
        if now - self._time < 1.0 / GOAL_RATE:
            return False
        if self._sent is not None and np.abs(positions - self._sent).max() < GOAL_STEP:
            return False
        self._sent, self._time = positions.copy(), now
        return True


class _Action:
    """An output: an action of a gripper's controller, or of joint_trajectory_controller."""

    def __init__(self, node: ManagedNode, output: Output, period: float) -> None:
        kind, self._goal = _action(output)
        self._client: Any = ActionClient(node, kind, output.topic)
        self._pacer = GoalPacer()
        self.name = node.resolve_service_name(output.topic)

    def send(self, positions: NDArray[np.float64], now: float) -> None:
        # A goal that nobody takes would count as sent.
        if self._client.server_is_ready() and self._pacer.due(positions, now):
            self._client.send_goal_async(self._goal(positions))

    def has_listener(self) -> bool:
        return bool(self._client.server_is_ready())

    def close(self) -> None:
        self._client.destroy()


def _action(output: Output) -> tuple[Any, Callable[[NDArray[np.float64]], Any]]:
    """Return the type of an action, and what makes its goal of positions [rad]."""
    try:
        from control_msgs import action
    except ImportError as error:
        raise ValueError(
            f"output {output.topic} of the robot file is a {output.type}, and the package "
            "control_msgs is not installed: sudo apt install ros-$ROS_DISTRO-control-msgs; or "
            "give the gripper a controller with a topic"
        ) from error
    if output.type == GRIPPER_COMMAND:

        def gripper(positions: NDArray[np.float64]) -> Any:
            goal = action.GripperCommand.Goal()
            goal.command.position = float(positions[0])
            goal.command.max_effort = output.max_effort
            return goal

        return action.GripperCommand, gripper
    assert output.type == FOLLOW_TRAJECTORY

    def trajectory(positions: NDArray[np.float64]) -> Any:
        goal = action.FollowJointTrajectory.Goal()
        goal.trajectory = command_trajectory(output.names, positions, 1.0 / GOAL_RATE)
        return goal

    return action.FollowJointTrajectory, trajectory


def command_trajectory(
    joints: Sequence[str], command: NDArray[np.float64], duration: float
) -> JointTrajectory:
    """Return joint positions [rad] to be reached in `duration` seconds, one point.

    The stamp stays zero: joint_trajectory_controller then starts at once.
    """
    point = JointTrajectoryPoint(
        positions=array("d", command), time_from_start=to_duration(duration)
    )
    return JointTrajectory(joint_names=list(joints), points=[point])
