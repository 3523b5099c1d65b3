# SPDX-License-Identifier: Apache-2.0
"""The real nodes as processes around the simulation, and what happens when one is killed."""

import os
import signal

import numpy as np
import pytest
from sensor_msgs.msg import JointState
from smolvla_bringup.system.environment import middleware_defaults
from smolvla_bringup.system.node_list import simulation_nodes
from smolvla_bringup.system.options import Options
from smolvla_bringup.system.starter import Starter
from smolvla_core.client import SmolVLAClient

from smolvla_msgs.msg import ExecutorStatus

TASK = "put the green cube into the bowl"


@pytest.fixture
def client():
    with SmolVLAClient.connect() as client:
        yield client


def until(client, condition, what, timeout=30.0):
    policy, executor = client.policy_status, client.executor_status
    assert client.until(condition, timeout), f"not within {timeout} s: {what}; {executor} {policy}"


def test_killed_policy_holds_the_arm_and_a_restarted_one_finishes_the_task(client, tmp_path):
    # g is small, so that the kill comes before the second chunk: the first one, 50 actions of
    # some 90, cannot finish the task by itself.
    specs = simulation_nodes(
        Options(hardware="sim", policy="scripted", task=TASK, seed=2, chunk_size_threshold=0.2)
    )
    thinking = [spec for spec in specs if spec.name == "policy_node"]
    acting = [spec for spec in specs if spec.name != "policy_node"]
    environment = middleware_defaults(os.environ)
    positions = []
    client.node.create_subscription(
        JointState, "joint_states", lambda message: positions.append(message.position), 10
    )

    def executor() -> ExecutorStatus:
        return client.executor_status

    with Starter(acting, tmp_path / "acting", environment=environment):
        with Starter(thinking, tmp_path / "first", environment=environment) as first:
            client.wait_until_ready(60.0, simulation=True)
            client.instruct(TASK)
            until(client, lambda: executor().tick > 5, "motion")
            os.kill(first.pid("policy_node"), signal.SIGKILL)
            assert "SIGKILL" in first.wait(timeout=10.0).message
        # On a crowded machine it may have dropped its plan for a stale joint state and wait.
        still = (ExecutorStatus.HOLDING, ExecutorStatus.WAITING)
        until(
            client,
            lambda: executor().state in still and "is policy_node running?" in executor().reason,
            "holding with a reason",
        )
        assert not client.succeeded
        tick, held = executor().tick, positions[-1]
        timed_out = executor().requests_timed_out
        until(client, lambda: executor().requests_timed_out > timed_out, "a retry")
        assert executor().tick == tick
        np.testing.assert_allclose(positions[-1], held, atol=0.02)

        # The executor knows what to do; nobody has to say it again.
        with Starter(thinking, tmp_path / "second", environment=environment):
            until(client, lambda: executor().tick > tick, "motion again")
            until(client, lambda: client.succeeded, "success", timeout=60.0)
