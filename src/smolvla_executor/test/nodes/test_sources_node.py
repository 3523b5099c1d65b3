# SPDX-License-Identifier: Apache-2.0
"""`executor_node` lets a human take over, goes home, replays and stops, over real ROS."""

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from robot_files import robot_file
from sensor_msgs.msg import JointState
from smolvla_core.client import ClientError, SmolVLAClient
from smolvla_executor.core.executor import ExecutorCore
from smolvla_executor.executor_node.outputs import Outputs
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from smolvla_msgs.action import RunTask
from smolvla_msgs.msg import ExecutorStatus

JOINTS = ["a", "b"]
HOME = {"a": {"home": 0.4}, "b": {"home": -0.2}}


class Leader:
    """A leader arm: stands where it is put."""

    def __init__(self, graph, topic="leader/joint_states"):
        self.position = np.array([0.3, 0.2])
        self._publisher = graph.node.create_publisher(JointState, topic, 10)
        self.feed = graph.node.create_timer(0.01, self._publish)

    def _publish(self):
        names, positions = JOINTS[::-1], self.position[::-1].tolist()
        self._publisher.publish(JointState(name=names, position=positions))


@pytest.fixture
def leader(graph):
    return Leader(graph)


@pytest.fixture
def robot(make_robot):
    return make_robot(robot=robot_file(JOINTS, changes=HOME), human_timeout=0.5)


@pytest.fixture
def client(graph):
    return SmolVLAClient(graph.node)


def running(robot, source):
    return lambda: robot.status.source == source and robot.status.state == ExecutorStatus.RUNNING


def test_a_human_takes_over_and_gives_back_while_the_policy_runs(graph, robot, leader, client):
    graph.until(running(robot, "policy"))
    assert robot.call("take_over").success
    graph.until(running(robot, "human"))
    np.testing.assert_allclose(robot.position, leader.position)
    leader.position = np.array([0.5, -0.1])
    graph.until(lambda: np.allclose(robot.position, leader.position))
    requests = len(robot.requests)
    client.give_back()
    graph.until(running(robot, "policy"))
    assert robot.requests[requests].must_go
    client.take_over()
    graph.until(running(robot, "human"))
    leader.feed.cancel()  # as of one that was killed
    graph.until(robot.state(ExecutorStatus.HOLDING))
    assert "human" in robot.status.reason
    np.testing.assert_allclose(robot.position, leader.position)


def test_a_leader_in_degrees_or_broken_holds_the_arm_and_says_why(graph, robot, leader):
    graph.until(running(robot, "policy"))
    robot.call("take_over")
    graph.until(running(robot, "human"))
    held = leader.position
    for position, words in (([20.0, 10.0], "calibration"), ([np.nan, 0.0], "not finite")):
        leader.position = np.array(position)
        graph.until(lambda words=words: words in robot.status.reason, what=words)
        assert robot.status.state == ExecutorStatus.HOLDING
        np.testing.assert_allclose(robot.position, held)


def test_targets_of_other_joints_are_told(graph, robot):
    graph.until(running(robot, "policy"))
    robot.call("take_over")
    publisher = graph.node.create_publisher(JointState, "leader/joint_states", 10)
    message = JointState(name=["shoulder.pos", "c"], position=[0.1, 0.2])
    timer = graph.node.create_timer(0.01, lambda: publisher.publish(message))
    graph.until(lambda: "they name shoulder.pos, c" in robot.status.reason)
    timer.cancel()


def test_an_arm_that_only_follows_needs_no_policy(graph, make_robot):
    leader = Leader(graph, "pad/targets")
    robot = make_robot(instruction="", source="human", human_topic="pad/targets")
    graph.until(running(robot, "human"))
    graph.until(lambda: np.allclose(robot.position, leader.position))
    assert robot.requests == []


def test_home_is_where_the_robot_file_says(graph, robot, client):
    graph.until(running(robot, "policy"))
    assert client.home().startswith("at home")
    np.testing.assert_allclose(robot.position, [0.4, -0.2])
    assert robot.status.state == ExecutorStatus.IDLE
    robot.call("take_over")
    with pytest.raises(ClientError, match="human"):
        client.home()


def test_home_ends_the_running_goal(graph, robot, client):
    home = graph.node.create_client(Trigger, "executor_node/home")
    sent = []

    def go_home(feedback):
        if not sent:
            sent.append(home.call_async(Trigger.Request()))

    result = client.run_task("pick", on_feedback=go_home)
    assert result.reason == RunTask.Result.PREEMPTED
    assert "home" in result.message
    graph.until(lambda: np.allclose(robot.position, [0.4, -0.2]))


def test_recorded_actions_are_executed_and_then_the_arm_goes_home(graph, make_robot, client):
    robot = make_robot(robot=robot_file(JOINTS, changes=HOME), wait_for_start=True)
    rows = 0.2 * np.sin(0.1 * np.arange(30)[:, None] + np.arange(2))
    result = client.replay(rows, JOINTS[::-1], 0.02, go_home=True)
    assert result.reason == RunTask.Result.SUCCEEDED
    np.testing.assert_allclose(robot.position, [0.4, -0.2])
    commands = np.array(robot.commands)
    first = max(i for i, row in enumerate(commands) if np.allclose(row, rows[0, ::-1]))
    np.testing.assert_allclose(commands[first : first + len(rows)], rows[:, ::-1])
    assert robot.requests == []


def test_recorded_actions_that_do_not_fit_are_refused(make_robot, client):
    robot = make_robot(wait_for_start=True)
    result = client.replay(np.full((5, 2), 45.0), JOINTS, 0.02)
    assert result.reason == RunTask.Result.FAULT
    assert "units" in result.message
    with pytest.raises(ClientError, match="rejected"):
        client.replay(np.zeros((5, 2)), ["a", "c"], 0.02)
    assert robot.commands == []


@pytest.mark.parametrize("by", ["service", "topic"])
def test_after_an_estop_no_command_goes_out_until_it_is_reset(
    graph, robot, client, monkeypatch, by
):
    reports = []
    graph.node.create_subscription(DiagnosticArray, "/diagnostics", reports.append, 10)
    button = graph.node.create_publisher(Bool, "estop", 10)
    graph.until(lambda: button.get_subscription_count() and reports)
    graph.until(running(robot, "policy"))
    events = []
    cycle, publish = ExecutorCore.cycle, Outputs.publish

    def watched(core, now):
        output = cycle(core, now)
        events.append(output.state == ExecutorStatus.STOPPED)
        return output

    def published(outputs, *command):
        events.append("command")
        publish(outputs, *command)

    monkeypatch.setattr(ExecutorCore, "cycle", watched)
    monkeypatch.setattr(Outputs, "publish", published)
    reports.clear()
    if by == "service":
        client.estop()
    else:
        button.publish(Bool(data=True))
    graph.until(robot.state(ExecutorStatus.STOPPED))
    graph.until(lambda: any(is_stopped(report) for report in reports), what="diagnostics")
    robot.settled()
    assert "command" not in events[events.index(True) :]
    assert "estop" in robot.status.reason
    for order in (client.start, client.take_over, client.home):
        with pytest.raises(ClientError, match="e-stop"):
            order()
    with pytest.raises(ClientError, match="rejected"):
        client.run_task("pick")
    if by == "topic":
        with pytest.raises(ClientError, match="release"):
            client.reset_estop()
        button.publish(Bool(data=False))
        graph.until(lambda: robot.call("reset_estop").success)
    else:
        client.reset_estop()
    graph.until(robot.state(ExecutorStatus.IDLE))
    client.start()
    graph.until(running(robot, "policy"))


def is_stopped(report):
    return any(
        status.name.endswith("execution")
        and status.level == DiagnosticStatus.ERROR
        and "e-stop" in status.message
        for status in report.status
    )


def test_an_estop_outlives_the_lifecycle(graph, make_robot, client):
    robot = make_robot(active=False)
    client.estop()
    graph.until(robot.state(ExecutorStatus.STOPPED))
    client.reset_estop()
    graph.until(robot.state(ExecutorStatus.IDLE))
    client.estop()
    assert robot.executor.trigger_configure() == robot.executor.trigger_activate()
    graph.until(robot.state(ExecutorStatus.STOPPED))
    robot.executor.trigger_deactivate()
    robot.executor.trigger_cleanup()
    robot.executor.trigger_configure()
    robot.executor.trigger_activate()
    graph.until(robot.state(ExecutorStatus.STOPPED))
    assert robot.commands == []
    client.reset_estop()
    client.start()
    graph.until(running(robot, "policy"))
