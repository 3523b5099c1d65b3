# SPDX-License-Identifier: Apache-2.0
"""`visualization_node`: shows in RViz and Foxglove where the policy wants the gripper to go.

It only listens: it commands nothing, and nothing waits for it.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.callback_groups import CallbackGroup
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from smolvla_core.joints import JointOrder
from smolvla_core.level import Level
from smolvla_core.ros import converters, qos
from smolvla_core.ros.parameters import Tuning, read
from smolvla_core.ros.run import run
from smolvla_core.ros.sparse_log import SparseLog, log_at
from smolvla_core.settings import settings_of
from std_msgs.msg import String
from visualization_msgs.msg import MarkerArray

from smolvla_executor.core.chunk_queue import Chunk, chunk_problem
from smolvla_executor.visualization_node.kinematics import KinematicChain
from smolvla_executor.visualization_node.markers import PathMarkers, VisualizationSettings
from smolvla_executor.visualization_node.predicted_path import Plan, PredictedPath
from smolvla_msgs.msg import ActionChunk


class _Never(CallbackGroup):
    """Callback group that never wakes the executor: each wake-up costs half a millisecond."""

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        return None


class NewestMessage:
    """Subscribes without waking the node up.

    Args:
        node: that subscribes.
        kind: type of the messages.
        topic: name of the topic.
        profile: quality of service; of depth 1, or `take` gives an older message.
    """

    def __init__(self, node: Node, kind: Any, topic: str, profile: QoSProfile) -> None:
        self._kind = kind
        self._subscription = node.create_subscription(
            kind, topic, lambda message: None, profile, callback_group=_Never()
        )

    def take(self) -> Any | None:
        """Return the newest message, or None when none has come since the last call."""
        with self._subscription.handle:
            taken = self._subscription.handle.take_message(self._kind, False)
        return None if taken is None else taken[0]


class VisualizationNode(Node):
    """Wires chunks and joint states to a `PredictedPath` and publishes it as markers.

    Raises:
        ValueError: a parameter does not fit; the text names it.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("visualization_node", **node_options)
        settings = read(self, VisualizationSettings)
        self._tip = settings.tip_link
        self._frame = settings.frame
        self._frame_prefix = settings.frame_prefix
        self._path = PredictedPath(settings.fade, settings.timeout)
        self._markers = PathMarkers(settings)
        self._chain: KinematicChain | None = None
        self._urdf = ""
        self._order: JointOrder | None = None
        self._warn = SparseLog(partial(log_at, self.get_logger(), Level.WARN))

        if settings.robot_description:
            try:
                self._chain = KinematicChain(settings.robot_description, self._tip, self._frame)
            except ValueError as error:
                raise ValueError(f"parameter 'robot_description': {error}") from error
        else:
            self.create_subscription(
                String, "robot_description", self._on_description, qos.description_qos()
            )
        self._paths = self.create_publisher(MarkerArray, "~/predicted_path", qos.scene_qos())
        self.create_subscription(
            ActionChunk, "smolvla/action_chunk", self._on_chunk, qos.chunk_qos()
        )
        self._joint_states = NewestMessage(
            self, JointState, "joint_states", qos.joint_state_qos(1)
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(1.0 / settings.rate, self._publish, clock=steady)
        Tuning(self, VisualizationSettings, take=self._tune)

    def _tune(self, settings: VisualizationSettings, names: set[str]) -> None:
        """Draw by new values of the parameters."""
        self._path.fade, self._path.timeout = settings.fade, settings.timeout
        self._markers.style = settings
        self._timer.timer_period_ns = round(1e9 / settings.rate)

    def _on_description(self, message: String) -> None:
        if message.data == self._urdf:
            return
        self._urdf = message.data
        self._path.clear()
        self._chain = None
        try:
            self._chain = KinematicChain(message.data, self._tip, self._frame)
        except ValueError as error:
            self.get_logger().error(f"robot_description: {error}; no path is drawn")
            return
        self.get_logger().info(f"path of '{self._tip}' in the frame '{self._chain.base}'")

    def _on_chunk(self, message: ActionChunk) -> None:
        if message.error:
            return  # the policy refused; what it said before still holds
        if self._chain is None:
            if not self._urdf:
                self.get_logger().warning(
                    "no robot description yet, so no path is drawn: start "
                    "robot_state_publisher, or set the parameter robot_description",
                    once=True,
                )
            return
        try:
            plan, order = _plan(message, self._chain)
        except ValueError as error:
            self._warn(f"action chunk not drawn: {error}")
            return
        now = time.monotonic()
        self._follow(now)  # the seam is where the arm is now
        self._order = order
        self._path.on_chunk(plan, now)

    def _follow(self, now: float) -> None:
        """Update the path with the newest joint state."""
        message = self._joint_states.take()
        if message is None or self._order is None or self._chain is None:
            return
        try:
            positions = self._order.pick(message.name, message.position)
        except ValueError as error:
            self._warn(f"progress on the path is unknown: joint state: {error}")
            return
        point = self._chain.positions(self._order.joints, positions[None])[0]
        self._path.on_joint_state(positions, point, now)

    def _publish(self) -> None:
        if self._chain is None:
            return
        now = time.monotonic()
        self._follow(now)
        picture = self._path.picture(now)
        frame = self._frame_prefix + self._chain.base
        message = self._markers.message(picture, frame, self.get_clock().now().to_msg())
        if message is not None:
            self._paths.publish(message)


def _plan(message: ActionChunk, chain: KinematicChain) -> tuple[Plan, JointOrder]:
    """Return the path of a chunk, and the order of its joints.

    Raises:
        ValueError: it cannot be executed, or a joint of the URDF is missing in it.
    """
    names = tuple(message.joint_names)
    order = JointOrder(names)
    rows: NDArray[np.float64] = converters.chunk_positions(message, order)
    period = converters.from_duration(message.period)
    problem = chunk_problem(Chunk(message.request_id, message.first_tick, rows, period), names)
    if problem:
        raise ValueError(problem)
    return Plan(message.first_tick, period, rows, chain.positions(names, rows)), order


def main() -> int:
    """Run the node until it is interrupted; 78 when a parameter does not fit."""
    return run("visualization_node", VisualizationNode, settings_of(VisualizationSettings))


if __name__ == "__main__":
    raise SystemExit(main())
