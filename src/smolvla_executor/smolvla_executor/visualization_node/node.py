# SPDX-License-Identifier: Apache-2.0
"""`visualization_node`: shows in RViz and Foxglove where the policy wants the gripper to go.

It only listens: it commands nothing, and nothing waits for it.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from sensor_msgs.msg import JointState
from smolvla_core.level import Level
from smolvla_core.ros import qos
from smolvla_core.ros.description import take_description
from smolvla_core.ros.parameters import Tuning, read
from smolvla_core.ros.quiet_subscription import QuietSubscription
from smolvla_core.ros.run import run
from smolvla_core.ros.sparse_log import SparseLog, log_at
from smolvla_core.settings import settings_of
from visualization_msgs.msg import MarkerArray

from smolvla_executor.core.kinematics import KinematicChain
from smolvla_executor.visualization_node.arm_path import ArmPath
from smolvla_executor.visualization_node.markers import PathMarkers, VisualizationSettings
from smolvla_executor.visualization_node.predicted_path import PredictedPath
from smolvla_msgs.msg import ActionChunk


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
        self._predicted = PredictedPath(settings.fade, settings.timeout)
        warn = SparseLog(partial(log_at, self.get_logger(), Level.WARN))
        self._path = ArmPath(self._predicted, warn)
        self._markers = PathMarkers(settings)
        self._described = False
        take_description(
            self,
            settings.robot_description,
            self._describe,
            lambda problem: self.get_logger().error(f"{problem}; no path is drawn"),
        )
        self._paths = self.create_publisher(MarkerArray, "~/predicted_path", qos.scene_qos())
        self.create_subscription(
            ActionChunk, "smolvla/action_chunk", self._on_chunk, qos.chunk_qos()
        )
        self._joint_states = QuietSubscription(
            self, JointState, "joint_states", qos.joint_state_qos(1)
        )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(1.0 / settings.rate, self._publish, clock=steady)
        Tuning(self, VisualizationSettings, take=self._tune)

    def _describe(self, urdf: str) -> None:
        self._described = True
        self._path.clear()
        self._path.chain = KinematicChain(urdf, self._tip, self._frame)
        base = self._path.chain.base
        self.get_logger().info(f"path of '{self._tip}' in the frame '{base}'")

    def _tune(self, settings: VisualizationSettings, names: set[str]) -> None:
        """Draw by new values of the parameters."""
        self._predicted.fade, self._predicted.timeout = settings.fade, settings.timeout
        self._markers.style = settings
        self._timer.timer_period_ns = round(1e9 / settings.rate)

    def _on_chunk(self, message: ActionChunk) -> None:
        if self._path.chain is None and not self._described and not message.error:
            self.get_logger().warning(
                "no robot description yet, so no path is drawn: start "
                "robot_state_publisher, or set the parameter robot_description",
                once=True,
            )
        now = time.monotonic()
        self._follow(now)  # the seam is where the arm is now
        self._path.on_chunk(message, now)

    def _follow(self, now: float) -> None:
        """Update the path with the newest joint state."""
        message = self._joint_states.take()
        if message is not None:
            self._path.on_joint_state(message, now)

    def _publish(self) -> None:
        chain = self._path.chain
        if chain is None:
            return
        now = time.monotonic()
        self._follow(now)
        frame = self._frame_prefix + chain.base
        stamp = self.get_clock().now().to_msg()
        message = self._markers.message(self._path.picture(now), frame, stamp)
        if message is not None:
            self._paths.publish(message)


def main() -> int:
    """Run the node until it is interrupted; 78 when a parameter does not fit."""
    return run("visualization_node", VisualizationNode, settings_of(VisualizationSettings))


if __name__ == "__main__":
    raise SystemExit(main())
