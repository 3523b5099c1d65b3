# SPDX-License-Identifier: Apache-2.0
"""The real nodes as processes around the simulation, and what happens when one is killed."""

import os
import signal
import time

import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from sensor_msgs.msg import JointState
from smolvla_bringup.system.environment import middleware_defaults
from smolvla_bringup.system.node_list import simulation_nodes
from smolvla_bringup.system.options import Options
from smolvla_bringup.system.starter import Starter
from smolvla_core.ros import qos
from std_msgs.msg import Float32, String

from smolvla_msgs.msg import ExecutorStatus, PolicyStatus

TASK = "put the green cube into the bowl"


class Suite:
    """Listens to the running nodes; everything is awaited, nothing slept for."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self.node = rclpy.create_node("whole_suite_test", context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._executor.add_node(self.node)
        self.executor = ExecutorStatus(reason="none yet")
        self.policy = PolicyStatus(message="none yet")
        self.score = 0.0
        self.positions = None
        self.instruction = self.node.create_publisher(
            String, "task_instruction", qos.instruction_qos()
        )
        for kind, topic, name, profile in (
            (ExecutorStatus, "executor_node/status", "executor", qos.status_qos()),
            (PolicyStatus, "policy_node/status", "policy", qos.status_qos()),
        ):
            self.node.create_subscription(
                kind, topic, lambda message, name=name: setattr(self, name, message), profile
            )
        self.node.create_subscription(Float32, "sim/score", self._on_score, 10)
        self.node.create_subscription(JointState, "joint_states", self._on_joints, 10)

    def _on_score(self, message):
        self.score = message.data

    def _on_joints(self, message):
        self.positions = np.array(message.position)

    def until(self, condition, timeout=30.0, what=""):
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, (
                f"did not happen within {timeout} s: {what}; executor: {self.executor.reason}; "
                f"policy: {self.policy.message}"
            )
            self._executor.spin_once(timeout_sec=0.05)

    def instruct(self):
        # Discovery takes its time: hear the executor before the arm begins to move.
        self.until(lambda: "no instruction yet" in self.executor.reason, what="the executor")
        self.until(lambda: self.policy.state not in (PolicyStatus.LOADING, PolicyStatus.ERROR))
        self.until(lambda: self.instruction.get_subscription_count() > 0)
        self.instruction.publish(String(data=TASK))
        self.until(lambda: self.executor.instruction == TASK, what="the instruction arrives")

    def close(self):
        self._executor.shutdown()
        self.node.destroy_node()
        rclpy.shutdown(context=self.context)


@pytest.fixture
def suite():
    suite = Suite()
    yield suite
    suite.close()


def test_killed_policy_holds_the_arm_and_a_restarted_one_finishes_the_task(suite, tmp_path):
    # g is small, so that the kill comes before the second chunk: the first one, 50 actions of
    # some 90, cannot finish the task by itself.
    specs = simulation_nodes(Options(hardware="sim", policy="scripted", task=TASK, seed=2, g=0.2))
    thinking = [spec for spec in specs if spec.name == "policy_node"]
    acting = [spec for spec in specs if spec.name != "policy_node"]
    environment = middleware_defaults(os.environ)
    with Starter(acting, tmp_path / "acting", environment=environment):
        with Starter(thinking, tmp_path / "first", environment=environment) as first:
            suite.instruct()
            suite.until(lambda: suite.executor.tick > 5, what="motion")
            os.kill(first.pid("policy_node"), signal.SIGKILL)
            assert "SIGKILL" in first.wait(timeout=10.0).message()
        # On a crowded machine it may have dropped its plan for a stale joint state and wait.
        still = (ExecutorStatus.HOLDING, ExecutorStatus.WAITING)
        suite.until(
            lambda: (
                suite.executor.state in still
                and "is policy_node running?" in suite.executor.reason
            ),
            what="holding with a reason",
        )
        assert suite.score < 1.0
        tick, held = suite.executor.tick, suite.positions
        timed_out = suite.executor.requests_timed_out
        suite.until(lambda: suite.executor.requests_timed_out > timed_out, what="a retry")
        assert suite.executor.tick == tick
        np.testing.assert_allclose(suite.positions, held, atol=0.02)

        # The executor knows what to do; nobody has to say it again.
        with Starter(thinking, tmp_path / "second", environment=environment):
            suite.until(lambda: suite.executor.tick > tick, what="motion again")
            suite.until(lambda: suite.score == 1.0, timeout=60.0, what="success")
