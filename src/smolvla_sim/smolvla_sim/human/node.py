# SPDX-License-Identifier: Apache-2.0
"""`human_node`: a simulated person with a leader arm, to teleoperate without either.

The person holds the leader where the arm is until the executor follows it, then does the task with
it as the scripted expert would.
"""

from __future__ import annotations

import functools
import sys
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from sensor_msgs.msg import JointState
from smolvla_core.backend import SceneObject
from smolvla_core.level import Level
from smolvla_core.ros import qos
from smolvla_core.ros.converters import scene_objects
from smolvla_core.ros.joint_states import subscribe_joint_states
from smolvla_core.ros.parameters import read
from smolvla_core.ros.run import run
from smolvla_core.ros.sparse_log import SparseLog, log_at
from smolvla_core.settings import settings_of
from visualization_msgs.msg import MarkerArray

from smolvla_msgs.msg import ExecutorStatus
from smolvla_sim.expert.expert import ScriptedExpert
from smolvla_sim.human.settings import HumanSettings
from smolvla_sim.world.arm import JOINT_NAMES

PERIOD = 0.01
"""Between two joint states of the leader [s]."""
_ROWS, _USED = 100, 50  # of a plan; the rest is where the next one begins


class HumanNode(Node):
    """Publishes the joint states of a leader arm."""

    def __init__(self, **node_options: Any) -> None:
        super().__init__("human_node", **node_options)
        settings = read(self, HumanSettings)
        robot = settings.body
        self._task = settings.task
        self._expert = ScriptedExpert(robot.model, period=PERIOD)
        names = {joint.kind: joint.name for joint in robot.moving}
        self._names = [names[kind] for kind in JOINT_NAMES]
        self._arm: dict[str, float] = {}
        self._objects: Mapping[str, SceneObject] = {}
        self._status = ExecutorStatus()
        self._plan: NDArray[np.float64] = np.empty((0, len(self._names)))
        self._leader: NDArray[np.float64] | None = None
        self._warn = SparseLog(functools.partial(log_at, self.get_logger(), Level.WARN))
        self._states = self.create_publisher(JointState, "leader/joint_states", 10)
        subscribe_joint_states(self, robot.joint_states, self._on_joint_states)
        self.create_subscription(MarkerArray, "sim/objects", self._on_objects, qos.scene_qos())
        self.create_subscription(
            ExecutorStatus, "executor_node/status", self._on_status, qos.status_qos()
        )
        self.create_timer(PERIOD, self._move)

    def _on_joint_states(self, names: list[str], message: JointState, source: str) -> None:
        self._arm.update(zip(names, message.position, strict=False))

    def _on_objects(self, message: MarkerArray) -> None:
        self._objects = scene_objects(message)

    def _on_status(self, status: ExecutorStatus) -> None:
        self._status = status

    def _move(self) -> None:
        if not self._arm.keys() >= set(self._names):
            return
        if self._status.source != "human" or self._leader is None:
            self._leader = self._measured
            self._plan = self._plan[:0]
        elif self._status.state == ExecutorStatus.RUNNING:
            try:
                self._leader = self._next()
            except ValueError as problem:
                self._warn(f"the leader rests: {problem}")
        message = JointState(name=self._names, position=self._leader.tolist())
        message.header.stamp = self.get_clock().now().to_msg()
        self._states.publish(message)

    @property
    def _measured(self) -> NDArray[np.float64]:
        return np.array([self._arm[name] for name in self._names])

    def _next(self) -> NDArray[np.float64]:
        """Return the next position of the leader (6,) [rad]."""
        assert self._leader is not None
        if len(self._plan) <= _ROWS - _USED:
            self._plan = self._expert.plan(
                self._measured,
                self._objects,
                self._status.instruction or self._task,
                _ROWS,
                committed=self._plan if len(self._plan) else self._leader[None],
            )
        position, self._plan = self._plan[0], self._plan[1:]
        return np.asarray(position)


def main() -> None:
    """Run the node; the console script `human_node`."""
    sys.exit(run("human_node", HumanNode, settings_of(HumanSettings)))
