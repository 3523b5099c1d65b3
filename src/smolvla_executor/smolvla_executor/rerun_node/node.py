# SPDX-License-Identifier: Apache-2.0
"""`rerun_node`: shows a run in Rerun (https://rerun.io), or writes a file that Rerun shows.

It only listens: it commands nothing, and nothing waits for it.
"""

from __future__ import annotations

import functools
import math
import os
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from rclpy.qos import QoSProfile
from sensor_msgs.msg import CompressedImage, Image, JointState
from smolvla_core.level import Level
from smolvla_core.node_settings import RerunSettings
from smolvla_core.robot import FORWARD, TRAJECTORY, Output, StateTopic
from smolvla_core.ros import qos
from smolvla_core.ros.description import take_description
from smolvla_core.ros.diagnostics import EXECUTOR_STATES
from smolvla_core.ros.parameters import Tuning, read
from smolvla_core.ros.quiet_subscription import QuietSubscription
from smolvla_core.ros.run import run
from smolvla_core.ros.sparse_log import SparseLog, log_at
from smolvla_core.settings import settings_of
from std_msgs.msg import Float32, Float64MultiArray
from trajectory_msgs.msg import JointTrajectory
from visualization_msgs.msg import MarkerArray

from smolvla_executor.core.kinematics import KinematicChain
from smolvla_executor.rerun_node.installed import rerun_problem
from smolvla_executor.visualization_node.arm_path import ArmPath
from smolvla_executor.visualization_node.predicted_path import PredictedPath
from smolvla_msgs.msg import ActionChunk, ExecutorStatus, PolicyStatus

if TYPE_CHECKING:
    from smolvla_executor.rerun_node.screen import Screen

Messages = list[tuple[float, Any]]
"""Messages, and when each was received: seconds since the start of the node."""

_DEPTH = 500  # messages that may wait for one look
_FADE = 5.0  # [s] that the executed path is shown
_NICENESS = 10  # of 19; control loops come first


class RerunNode(Node):
    """Looks for messages `rate` times a second and shows them, each at its own time.

    Raises:
        ValueError: a parameter does not fit, or Rerun is not installed.
    """

    def __init__(self, **node_options: Any) -> None:
        self._screen: Screen | None = None  # `destroy_node` needs it
        super().__init__("rerun_node", **node_options)
        settings = read(self, RerunSettings)
        if problem := rerun_problem():
            raise ValueError(problem)
        # Not at the top: it imports Rerun.
        from smolvla_executor.rerun_node.screen import Screen, default_show

        robot = settings.body
        self._tip, self._frame_prefix = settings.tip_link, settings.frame_prefix
        cameras = settings.cameras or tuple(camera.name for camera in robot.cameras)
        self._joints = frozenset(robot.joint_names)
        self._begun = time.time_ns()
        self._warn = SparseLog(functools.partial(log_at, self.get_logger(), Level.WARN))
        self._path = ArmPath(PredictedPath(_FADE), self._warn)
        self._positions: dict[str, float] = {}
        self._text = self._score = ""
        self._looks: list[Callable[[], None]] = []
        show = settings.show or default_show()
        self._screen = screen = Screen(show, robot.joint_names, cameras, bool(robot.model))
        take_description(self, settings.robot_description, self._describe, self.get_logger().error)
        for state in robot.joint_states:
            self._look(
                JointState, state.topic, qos.joint_state_qos(_DEPTH),
                functools.partial(self._on_joint_states, state),
            )  # fmt: skip
        for output in robot.outputs:
            if output.type in (FORWARD, TRAJECTORY):
                kind = JointTrajectory if output.type == TRAJECTORY else Float64MultiArray
                self._look(
                    kind, output.topic, qos.command_qos(_DEPTH),
                    functools.partial(self._on_commands, output),
                )  # fmt: skip
        self._look(ActionChunk, "smolvla/action_chunk", qos.chunk_qos(), self._on_chunks)
        self._look(
            ExecutorStatus, "executor_node/status", qos.status_qos(_DEPTH), self._on_executor
        )
        self._look(PolicyStatus, "policy_node/status", qos.status_qos(_DEPTH), self._on_policy)
        self._look(Float32, "sim/score", qos.status_qos(), self._on_score)
        self._look(MarkerArray, "sim/objects", qos.scene_qos(), self._on_objects)
        for name in cameras:
            camera = robot.camera(name)
            compressed = camera.transport == "compressed"
            self._look(
                CompressedImage if compressed else Image,
                f"{camera.topic}/compressed" if compressed else camera.topic,
                qos.image_qos(),
                functools.partial(self._on_image, name),
            )
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self._timer = self.create_timer(1.0 / settings.rate, self._show, clock=steady)
        Tuning(self, RerunSettings, take=self._tune)
        self.get_logger().info(screen.where)

    def destroy_node(self) -> None:
        """Finish the recording."""
        if self._screen is not None:
            self._screen.close()
        super().destroy_node()

    def _look(
        self,
        kind: Any,
        topic: str,
        profile: QoSProfile,
        show: Callable[[Messages], None],
    ) -> None:
        subscription = QuietSubscription(self, kind, topic, profile)

        def look() -> None:
            # Of what came before the node did, only latched messages are there.
            taken = [
                (max(at - self._begun, 0) * 1e-9, message)
                for at, message in subscription.take_all()
            ]
            if taken:
                show(taken)

        self._looks.append(look)

    def _tune(self, settings: RerunSettings, names: set[str]) -> None:
        self._timer.timer_period_ns = round(1e9 / settings.rate)

    def _show(self) -> None:
        for look in self._looks:
            look()
        now = (time.time_ns() - self._begun) * 1e-9
        self._follow(now)
        self._shown.at(now)
        self._shown.pose(self._positions)
        self._shown.path(self._path.picture(now))
        self._shown.flush(now)

    @property
    def _shown(self) -> Screen:
        assert self._screen is not None
        return self._screen

    def _describe(self, urdf: str) -> None:
        """Show an arm; raise ValueError where that, or its path, is not possible."""
        self._path.clear()
        self._shown.describe(urdf)
        self._path.chain = KinematicChain(urdf, self._tip)

    def _on_joint_states(self, topic: StateTopic, messages: Messages) -> None:
        series = _Series()
        for at, message in messages:
            names = [topic.prefix + name for name in message.name]
            series.add(at, names, message.position)
        self._positions |= series.last
        self._plot(series, "measured")

    def _on_commands(self, output: Output, messages: Messages) -> None:
        series = _Series()
        for at, message in messages:
            if output.type == FORWARD:
                series.add(at, output.joints, message.data)
            elif message.points:
                names = [output.prefix + name for name in message.joint_names]
                series.add(at, names, message.points[-1].positions)
        self._plot(series, "commanded")

    def _plot(self, series: _Series, kind: str) -> None:
        for joint, (times, values) in series.by_joint.items():
            if joint in self._joints:
                self._shown.plot(f"joints/{joint}/{kind}", times, values)

    def _on_chunks(self, messages: Messages) -> None:
        self._follow(messages[-1][0])  # the seam is where the arm is now
        for at, message in messages:
            self._path.on_chunk(message, at)

    def _follow(self, now: float) -> None:
        """Update the path with the newest joint positions."""
        if self._positions:
            state = JointState(name=[*self._positions], position=[*self._positions.values()])
            self._path.on_joint_state(state, now)

    def _on_executor(self, messages: Messages) -> None:
        times = [at for at, _ in messages]
        self._shown.plot(
            "executor/queue/depth", times, [status.queue_depth for _, status in messages]
        )
        self._shown.plot(
            "executor/queue/next_request",
            times,
            [status.chunk_size_threshold * status.chunk_size for _, status in messages],
        )
        self._milliseconds(
            "executor/latency/answer", [(at, status.latency_last) for at, status in messages]
        )
        for at, status in messages:
            self._shown.at(at)
            self._shown.state(EXECUTOR_STATES.get(status.state, "?"), status.source)
            self._say(status)

    def _say(self, status: ExecutorStatus) -> None:
        lines = [f"### {status.instruction or 'No instruction yet'}", f"{status.reason}"]
        if self._score:
            lines.append(f"score {self._score}")
        text = "\n\n".join(lines)
        if text != self._text:
            self._text = text
            self._shown.text(text)

    def _on_policy(self, messages: Messages) -> None:
        self._milliseconds(
            "executor/latency/inference", [(at, status.inference_last) for at, status in messages]
        )

    def _milliseconds(self, entity: str, samples: Sequence[tuple[float, float]]) -> None:
        """Plot times [s]; what is not known yet is left out."""
        known = [(at, 1e3 * seconds) for at, seconds in samples if math.isfinite(seconds)]
        if known:
            self._shown.plot(entity, *map(list, zip(*known, strict=True)))

    def _on_score(self, messages: Messages) -> None:
        self._score = f"{messages[-1][1].data:.2f} of 1"

    def _on_objects(self, messages: Messages) -> None:
        at, newest = messages[-1]
        self._shown.at(at)
        for marker in newest.markers:
            frame = marker.header.frame_id.removeprefix(self._frame_prefix)
            self._shown.object(marker, frame)

    def _on_image(self, camera: str, messages: Messages) -> None:
        at, newest = messages[-1]
        self._shown.at(at)
        try:
            self._shown.camera(camera, newest)
        except ValueError as error:
            self._warn(f"camera {camera}: {error}")


class _Series:
    """Positions over time, by joint.

    Attributes:
        by_joint: name -> times [s] and positions [rad].
    """

    def __init__(self) -> None:
        self.by_joint: dict[str, tuple[list[float], list[float]]] = {}

    def add(self, at: float, names: Sequence[str], positions: Sequence[float]) -> None:
        """Take the positions of one message."""
        for name, position in zip(names, positions, strict=False):
            times, values = self.by_joint.setdefault(name, ([], []))
            times.append(at)
            values.append(position)

    @property
    def last(self) -> dict[str, float]:
        """The newest position of each joint [rad]."""
        return {name: values[-1] for name, (_, values) in self.by_joint.items()}


def main() -> int:
    """Run the node until it is interrupted; 78 when a parameter does not fit."""
    os.nice(_NICENESS)
    return run("rerun_node", RerunNode, settings_of(RerunSettings))


if __name__ == "__main__":
    raise SystemExit(main())
