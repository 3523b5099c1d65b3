# SPDX-License-Identifier: Apache-2.0
"""The line that closes a start: logged when all is up, with what to type next, and once."""

import math

import pytest
from node_rig import JOINTS
from rclpy.lifecycle import TransitionCallbackReturn
from sensor_msgs.msg import JointState
from smolvla_core.ros import qos
from smolvla_executor.executor_node import ready

from smolvla_msgs.msg import ExecutorStatus, PolicyStatus

SUCCESS = TransitionCallbackReturn.SUCCESS
INSTRUCT = 'ready: smolvla instruct "put the red cube into the bowl"'


class Policy:
    """The status of a policy; what the test has not said otherwise is well."""

    def __init__(self, graph, capfd):
        self._graph, self._capfd = graph, capfd
        self._publisher = graph.node.create_publisher(
            PolicyStatus, "policy_node/status", qos.status_qos()
        )
        self.log = ""

    def publish(self, state=PolicyStatus.WAITING, **fields):
        """Publish until the executor has received it; return what was logged since."""
        before = self.read()
        message = PolicyStatus(state=state, **{"joint_state_age": 0.01, **fields})
        self._graph.until(lambda: self._publisher.get_subscription_count() > 0)
        for _ in range(3):
            self._publisher.publish(message)
            self._graph.during(0.1, lambda: True)
        return self.read()[len(before) :]

    def read(self):
        self.log += self._capfd.readouterr().err
        return self.log


@pytest.fixture
def policy(graph, capfd):
    return Policy(graph, capfd)


def up(graph, robot):
    graph.until(lambda: robot.statuses and robot.status.joint_state_age < 1.0, what="joint states")


def test_it_is_said_once_when_policy_arm_and_cameras_are_up(graph, make_robot, policy):
    robot = make_robot(instruction="")
    up(graph, robot)
    silent = {"cameras": ["top", "hand"], "camera_ages": [0.1, math.inf]}
    for state, fields in (
        (PolicyStatus.LOADING, {}),
        (PolicyStatus.ERROR, {}),
        (PolicyStatus.INACTIVE, {}),
        (PolicyStatus.WAITING, silent),
        (PolicyStatus.WAITING, {"joint_state_age": math.inf}),
    ):
        assert "ready" not in policy.publish(state, **fields)
    assert INSTRUCT in policy.publish()
    assert "ready" not in policy.publish(PolicyStatus.INFERRING)
    assert "ready" not in policy.publish(PolicyStatus.WAITING, **silent)


def test_it_is_said_again_after_the_policy_was_away(graph, make_robot, policy):
    robot = make_robot(instruction="")
    up(graph, robot)
    assert INSTRUCT in policy.publish()
    robot.instruct("stack the cups")
    policy.publish(PolicyStatus.LOADING)
    assert 'ready: the instruction is "stack the cups"' in policy.publish(PolicyStatus.READY)


def test_without_an_arm_nothing_is_ready(graph, make_robot, policy):
    robot = make_robot(instruction="")
    robot.feed.cancel()
    graph.until(robot.state(ExecutorStatus.WAITING), what="WAITING")
    assert "ready" not in policy.publish()
    robot.feed.reset()
    up(graph, robot)
    assert INSTRUCT in policy.publish()


def test_what_is_missing_is_said_once_after_a_while(graph, make_robot, policy, monkeypatch):
    monkeypatch.setattr(ready, "PATIENCE", 0.0)
    robot = make_robot(instruction="")
    up(graph, robot)
    silent = {"cameras": ["hand"], "camera_ages": [math.inf], "message": "camera hand: no image"}
    assert policy.publish(**silent).count("not ready yet: camera hand: no image") == 1
    assert "ready" not in policy.publish(**silent)
    assert INSTRUCT in policy.publish()


def test_an_arm_whose_controller_does_not_listen_is_not_ready(
    graph, make_robot, policy, monkeypatch
):
    monkeypatch.setattr(ready, "PATIENCE", 0.0)
    robot = make_robot(instruction="", output="joint_trajectory")
    up(graph, robot)
    listening = next(
        subscription
        for subscription in graph.node.subscriptions
        if subscription.topic_name == "/arm_controller/joint_trajectory"
    )
    graph.node.destroy_subscription(listening)
    graph.until(lambda: not graph.node.count_subscribers("/arm_controller/joint_trajectory"))
    log = policy.publish()
    assert "not ready yet: nobody listens on /arm_controller/joint_trajectory: is the" in log
    assert INSTRUCT not in log


def test_a_dry_run_and_an_executor_that_waits_say_so(graph, make_robot, policy):
    up(graph, make_robot(instruction="", dry_run=True, wait_for_start=True))
    assert "ready (DRY RUN: the arm gets no commands): smolvla task" in policy.publish()


def test_without_smolvla_on_the_path_it_is_said_with_ros2(graph, make_robot, policy, programs):
    programs("ros2", alone=True)
    up(graph, make_robot(instruction="", dry_run=True, wait_for_start=True))
    log = policy.publish()
    assert "ready (DRY RUN: the arm gets no commands): ros2 action send_goal /smolvla/run" in log
    assert "ros2 service call /executor_node/start std_srvs/srv/Trigger" in log


def test_what_was_not_started_says_how_to_activate_it(graph, make_robot, policy):
    robot = make_robot(instruction="", active=False, autostart=False)
    log = policy.publish(PolicyStatus.UNCONFIGURED)
    assert "ready to be activated: for node in /policy_node /executor_node; do ros2 life" in log
    assert "ready" not in policy.publish(PolicyStatus.UNCONFIGURED)
    assert robot.executor.trigger_configure() == SUCCESS
    assert robot.executor.trigger_activate() == SUCCESS
    up(graph, robot)
    assert INSTRUCT in policy.publish()


def test_where_a_human_alone_moves_the_arm_no_policy_is_waited_for(graph, make_robot, policy):
    robot = make_robot(instruction="", source="human")
    up(graph, robot)
    graph.until(robot.state(ExecutorStatus.WAITING), what="WAITING")
    graph.during(1.2, lambda: "ready" not in policy.read())
    leader = graph.node.create_publisher(JointState, "leader/joint_states", 10)
    target = JointState(name=JOINTS, position=[0.0, 0.0])
    graph.node.create_timer(0.02, lambda: leader.publish(target))
    graph.until(lambda: "ready: the arm follows /leader/joint_states" in policy.read())


def test_an_autostarted_node_gives_no_order_to_activate(graph, make_robot, policy):
    make_robot(instruction="", active=False, autostart=True)
    assert "activate" not in policy.publish(PolicyStatus.UNCONFIGURED)
