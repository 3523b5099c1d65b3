# SPDX-License-Identifier: Apache-2.0
"""`SmolVLAClient` with a real executor node: what a script that uses it sees, and the arm does."""

import signal
import subprocess
import sys

import numpy as np
import pytest
from smolvla_core.client import ClientError, SmolVLAClient
from smolvla_core.ros import qos
from std_msgs.msg import Bool, Float32, String
from std_srvs.srv import Trigger

from smolvla_msgs.action import RunTask
from smolvla_msgs.msg import ExecutorStatus, PolicyStatus
from smolvla_msgs.srv import ResetSim, SetTask


@pytest.fixture
def robot(make_robot):
    return make_robot(wait_for_start=True, instruction="", feedback_rate=50.0)


@pytest.fixture
def client(graph):
    return SmolVLAClient(graph.node)  # the graph's executor serves the nodes under test, too


def publish_policy(graph, **fields):
    publisher = graph.node.create_publisher(PolicyStatus, "policy_node/status", qos.status_qos())
    publisher.publish(PolicyStatus(**fields))


def test_an_instruction_is_there_when_instruct_returns_and_moves_the_arm_after_start(
    robot, client
):
    client.instruct("fold the towel")
    assert client.executor_status.instruction == "fold the towel"
    client.start()
    assert client.until(lambda: robot.status.tick > 3, 10.0)
    assert robot.requests[-1].instruction == "fold the towel"
    client.stop()
    assert client.until(lambda: client.executor_status.state == ExecutorStatus.IDLE, 10.0)
    client.instruct("  ")
    assert client.executor_status.instruction == ""


def test_an_instruction_that_nobody_takes_is_an_error(graph, make_robot, client):
    with pytest.raises(ClientError, match="nobody listens to /task_instruction"):
        client.instruct("wave", timeout=0.2)
    heard = []
    graph.node.create_subscription(
        String, "task_instruction", lambda message: heard.append(message.data), 10
    )
    client.instruct("wave")  # without an executor: who listens has it
    client.spin(0.1)
    assert heard == ["wave"]
    statuses = graph.node.create_publisher(
        ExecutorStatus, "executor_node/status", qos.status_qos()
    )
    statuses.publish(ExecutorStatus(instruction="wave", reason="is stuck"))
    graph.node.create_service(Trigger, "executor_node/start", lambda _, response: response)
    client.until(lambda: client.executor_status, 10.0)
    client.until(lambda: client.has_service("executor_node/start"), 10.0)
    with pytest.raises(ClientError, match=r"has not taken the instruction after 0\.3 s: is stuck"):
        client.instruct("bow", timeout=0.3)


def test_ready_is_when_policy_and_executor_and_joint_states_are_there(graph, robot, client):
    with pytest.raises(ClientError, match=r"not ready after 0\.1 s: policy_node: no status yet"):
        client.wait_until_ready(0.1)
    publish_policy(graph, state=PolicyStatus.LOADING, message="loads layer 3")
    client.until(lambda: client.policy_status, 10.0)
    assert client.unready() == {"policy_node": "loads layer 3"}
    publish_policy(graph, state=PolicyStatus.READY)
    client.wait_until_ready(10.0)
    assert "sim_node" in client.unready(simulation=True)
    robot.feed.cancel()
    assert client.unready() == {}  # it was there
    publish_policy(graph, state=PolicyStatus.ERROR, message="no such folder")
    client.until(lambda: client.policy_status.state == PolicyStatus.ERROR, 10.0)
    with pytest.raises(ClientError, match="policy_node cannot start: no such folder"):
        client.wait_until_ready(10.0)


def test_a_robot_without_joint_states_is_not_ready(graph, make_robot, client):
    robot = make_robot(active=False)
    client.until(lambda: client.executor_status, 10.0)
    assert client.unready()["executor_node"] == client.executor_status.reason
    robot.feed.cancel()
    robot.executor.trigger_configure()
    robot.executor.trigger_activate()
    client.until(lambda: "joint state" in client.unready().get("executor_node", ""), 10.0)
    assert "joint state" in client.unready()["executor_node"]


def test_a_task_ends_with_success_or_with_its_time(graph, make_robot, client):
    make_robot(wait_for_start=True, success_topic="judge", feedback_rate=50.0)
    result = client.run_task("sort the screws", time_limit=0.3)
    assert result.reason == RunTask.Result.TIME_LIMIT
    assert result.elapsed >= 0.3
    judge = graph.node.create_publisher(Bool, "judge", 10)
    feedback = []

    def judged(now):
        feedback.append(now)
        if now.chunks > 1:
            judge.publish(Bool(data=len(feedback) % 2 == 0))

    result = client.run_task("sort the screws", on_feedback=judged)
    assert result.reason == RunTask.Result.SUCCEEDED
    assert feedback[-1].elapsed > 0
    assert np.isfinite(feedback[-1].latency)


def test_a_task_that_cannot_begin_is_an_error(make_robot, client):
    make_robot(active=False)
    with pytest.raises(ClientError, match="executor_node rejected the goal"):
        client.run_task("sort the screws")


def test_an_exception_cancels_the_task_and_is_raised(robot, client):
    def impatient(_):
        if robot.status.tick > 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        client.run_task("sort the screws", on_feedback=impatient)
    client.until(lambda: client.executor_status.state == ExecutorStatus.IDLE, 10.0)
    assert "canceled" in client.executor_status.reason


def test_what_on_wait_raises_ends_the_wait(graph):
    def stop():
        raise InterruptedError("enough")

    client = SmolVLAClient(graph.node, on_wait=stop)
    with pytest.raises(InterruptedError, match="enough"):
        client.wait_until_ready(60.0)


def test_an_executor_that_was_killed_is_not_waited_for(tmp_path):
    """Though another one is started in its place, so that the server seems to be there."""
    command = [sys.executable, "-m", "smolvla_executor.executor_node.node", "--ros-args"]
    command += ["-p", "autostart:=true", "-p", "task_stall_timeout:=60.0"]
    with (
        SmolVLAClient.connect() as client,
        subprocess.Popen(command, stderr=subprocess.DEVNULL) as first,
    ):
        second = []

        def kill(_):
            if not second:
                first.kill()
                second.append(subprocess.Popen(command, stderr=subprocess.DEVNULL))

        try:
            with pytest.raises(ClientError, match=r"was it killed|is gone"):
                client.run_task("wipe the table", on_feedback=kill, silence=1.5)
        finally:
            first.kill()
            for other in second:
                other.send_signal(signal.SIGINT)
                other.wait(30)


def test_one_look_takes_all_messages_that_are_there(graph):
    """However fast they come, what a client knows is not older than its last look."""
    looks = []
    client = SmolVLAClient(graph.node, on_wait=lambda: looks.append(client.score), period=0.2)
    scores = graph.node.create_publisher(Float32, "sim/score", 10)
    assert client.until(lambda: scores.get_subscription_count() > 0, 10.0)
    looks.clear()
    for count in range(1, 9):
        scores.publish(Float32(data=0.125 * count - 0.0625))
    assert client.until(lambda: client.score == 0.9375, 10.0)
    assert len(looks) < 4


class FakeSimulation:
    """Answers as sim_node does; knows one task."""

    def __init__(self, node):
        self.seeds = []
        self.scores = node.create_publisher(Float32, "sim/score", 10)
        node.create_service(ResetSim, "sim/reset", self._reset)
        node.create_service(SetTask, "sim/set_task", self._set_task)

    def _reset(self, request, response):
        self.seeds.append(request.seed)
        response.success = True
        return response

    def _set_task(self, request, response):
        response.success = request.task == "stack the cups"
        response.message = "I judge: stack the cups"
        return response


def test_a_simulation_is_reset_and_judges(graph, client):
    simulation = FakeSimulation(graph.node)
    client.reset(41)
    assert simulation.seeds == [41]
    client.set_task("stack the cups")
    with pytest.raises(ClientError, match=r"/sim/set_task refused: I judge: stack the cups"):
        client.set_task("dance")

    def shown(score):
        simulation.scores.publish(Float32(data=score))
        client.spin(0.05)
        return client.score, client.succeeded

    client.until(lambda: simulation.scores.get_subscription_count() > 0, 10.0)
    assert shown(0.5) == (0.5, False)
    assert shown(1.0) == (1.0, True)
    client.set_task("stack the cups")
    assert shown(1.0) == (None, False)  # the task before was done: it may still say so
    assert shown(0.0) == (0.0, False)
    assert shown(1.0) == (1.0, True)


def test_a_client_of_its_own_in_a_namespace():
    with SmolVLAClient.connect(namespace="left") as client:
        assert client.node.resolve_topic_name("task_instruction") == "/left/task_instruction"
        with pytest.raises(ClientError, match="nobody listens to /left/task_instruction"):
            client.instruct("wave", timeout=0.1)
    wrong = SmolVLAClient.connect(namespace="an arm")
    with pytest.raises(ClientError, match=r"^Invalid namespace: .*: '/an arm'$"):
        wrong.__enter__()
