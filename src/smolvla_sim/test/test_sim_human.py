# SPDX-License-Identifier: Apache-2.0
"""The simulated person: holds the leader where the arm is, and does the task once it follows."""

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from sensor_msgs.msg import JointState
from smolvla_core.ros import qos
from smolvla_sim.human.node import HumanNode
from smolvla_sim.node.messages import object_markers
from smolvla_sim.world.arm import JOINT_NAMES
from smolvla_sim.world.simulation import Simulation
from visualization_msgs.msg import MarkerArray

from smolvla_msgs.msg import ExecutorStatus


class Scene:
    """What the person sees: the arm, the objects, and whom the executor follows."""

    def __init__(self, graph):
        node = graph.node
        self._graph = graph
        simulation = Simulation()
        self.arm = simulation.positions
        self.leader = None
        self._arms = node.create_publisher(JointState, "joint_states", 10)
        objects = node.create_publisher(MarkerArray, "sim/objects", qos.scene_qos())
        self._statuses = node.create_publisher(
            ExecutorStatus, "executor_node/status", qos.status_qos()
        )
        markers = object_markers(Time(), "base_link", simulation.objects())
        node.create_timer(0.02, self._publish_arm)
        node.create_timer(0.05, lambda: objects.publish(markers))
        node.create_subscription(
            JointState, "leader/joint_states", self._on_leader, qos.joint_state_qos()
        )

    def _publish_arm(self):
        self._arms.publish(JointState(name=JOINT_NAMES, position=self.arm.tolist()))

    def _on_leader(self, message):
        assert tuple(message.name) == JOINT_NAMES
        self.leader = np.array(message.position)

    def follow(self, source, state=ExecutorStatus.RUNNING, instruction=""):
        self._statuses.publish(ExecutorStatus(source=source, state=state, instruction=instruction))

    def is_beside(self):
        return self.leader is not None and np.abs(self.leader - self.arm).max() < 1e-9

    def is_away(self):
        return np.abs(self.leader - self.arm).max() > 0.2


@pytest.fixture
def scene(graph):
    made = Scene(graph)
    graph.add(HumanNode(context=graph.context))
    return made


def test_the_leader_is_where_the_arm_is_until_it_is_followed(graph, scene):
    graph.until(scene.is_beside, what="the leader beside the arm")
    scene.follow("policy")
    scene.arm = scene.arm + 0.1
    graph.until(scene.is_beside, what="the leader goes with the arm")
    scene.follow("human", ExecutorStatus.APPROACHING)
    graph.during(0.3, scene.is_beside)
    scene.follow("human")
    graph.until(scene.is_away, what="the task")
    scene.follow("policy")
    graph.until(scene.is_beside, what="given back")


def test_an_instruction_that_nobody_understands_is_not_done(graph, scene):
    scene.follow("human", instruction="sing a song")
    graph.until(scene.is_beside, what="the leader beside the arm")
    graph.during(0.5, scene.is_beside)
    scene.follow("human", instruction="put the blue cube into the bowl")
    graph.until(scene.is_away, what="the task")
