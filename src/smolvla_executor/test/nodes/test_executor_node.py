# SPDX-License-Identifier: Apache-2.0
"""`executor_node` over real topics: what it publishes, when it holds, and what it says."""

import contextlib
import re
import threading
import time
from itertools import pairwise

import numpy as np
import pytest
from rclpy.executors import ExternalShutdownException
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from robot_files import robot_file
from sensor_msgs.msg import JointState
from smolvla_core.node_settings import ExecutorSettings
from smolvla_core.ros import qos
from smolvla_core.settings import settings_of
from smolvla_executor.core.executor import ExecutorCore
from smolvla_executor.executor_node.node import ExecutorNode
from std_msgs.msg import Float64MultiArray

from smolvla_msgs.msg import ExecutorStatus

SUCCESS = TransitionCallbackReturn.SUCCESS
JOINTS = ["a", "b"]
PERIOD = 0.02
ROWS = 10


def test_runs_every_tick_once_and_in_order(graph, make_robot):
    robot = make_robot()
    graph.until(lambda: robot.status.tick > 60, what="60 ticks")
    ticks = robot.executed_ticks()
    ticks = ticks[ticks.index(1) :]
    assert ticks == list(range(1, 1 + len(ticks)))
    assert robot.status.starved_cycles == 0
    assert robot.status.chunks_merged > 5


def test_nothing_is_commanded_without_joint_states(graph, make_robot):
    robot = make_robot()
    robot.feed.cancel()
    graph.until(lambda: len(robot.statuses) > 5)
    assert robot.commands == []
    assert robot.status.state == ExecutorStatus.WAITING
    assert "joint state" in robot.status.reason


def test_without_an_instruction_the_policy_is_not_bothered_and_the_user_told_once(
    graph, make_robot, capfd
):
    robot = make_robot(instruction="")
    command = 'smolvla instruct "'
    graph.until(lambda: command in robot.status.reason)
    assert robot.status.state == ExecutorStatus.WAITING
    graph.during(0.8, lambda: robot.requests == robot.commands == [])
    assert robot.status.instruction_source == ExecutorStatus.INSTRUCTION_NONE
    robot.instruct("grip\nthe pen")
    graph.until(lambda: robot.status.tick > 3, what="motion")
    assert robot.requests[0].instruction == robot.status.chunk_instruction == "grip\nthe pen"
    assert robot.status.instruction_source == ExecutorStatus.INSTRUCTION_TOPIC
    told = capfd.readouterr().err
    assert told.count(command) == 1
    assert told.count('instruction: "grip\\nthe pen"') == 1


def test_another_sentence_is_of_the_next_request_and_drops_no_plan(graph, make_robot):
    robot = make_robot()
    graph.until(lambda: robot.status.tick > 3, what="motion")
    robot.instruct("another")
    tick = robot.status.tick
    graph.until(lambda: robot.status.chunk_instruction == "another")
    graph.until(lambda: robot.status.tick > tick + ROWS)
    assert robot.status.starved_cycles == 0


def test_a_blank_sentence_holds_the_arm(graph, make_robot, capfd):
    robot = make_robot()
    graph.until(lambda: robot.status.tick > 3, what="motion")
    robot.instruct("")
    graph.until(robot.state(ExecutorStatus.HOLDING))
    assert "no instruction any more" in robot.status.reason
    asked = len(robot.requests)
    graph.during(0.1, lambda: len(robot.requests) == asked)
    robot.instruct("go on")
    tick = robot.status.tick
    graph.until(lambda: robot.status.tick > tick + 3, what="motion again")


def test_an_instruction_is_kept_over_the_transitions(graph, make_robot):
    robot = make_robot(active=False, instruction="grip the pen")
    executor = robot.executor
    for _ in range(2):
        assert executor.trigger_configure() == executor.trigger_activate() == SUCCESS
        graph.until(lambda: robot.status.tick > 3, what="motion")
        assert robot.requests[-1].instruction == "grip the pen"
        assert executor.trigger_deactivate() == executor.trigger_cleanup() == SUCCESS
        graph.until(lambda: "unconfigured" in robot.status.reason)
        assert robot.status.instruction == "grip the pen"


def test_says_who_else_commands_the_arm(graph, make_robot, capfd):
    robot = make_robot()
    text = []

    def said(words):
        text.append(capfd.readouterr().err)
        return words in "".join(text)

    graph.until(lambda: robot.status.tick > 60, what="a look around")
    assert not said("observer;")
    graph.node.create_publisher(Float64MultiArray, "arm_controller/commands", 10)
    words = "2 publishers on /arm_controller/commands: executor_node, observer; end all but one"
    graph.until(lambda: said(words), what="the warning")
    looks = robot.status.tick + 2 * round(1.0 / PERIOD)
    graph.until(lambda: robot.status.tick > looks, what="two more looks")
    said("")
    assert "".join(text).count(words) == 1


def second_joint_states(graph, joints, offset):
    """Another node's joint states, `offset` away from where the robot is told to be."""
    other = graph.add(Node("joint_state_publisher", namespace="/left", context=graph.context))
    publisher = other.create_publisher(JointState, "/joint_states", 10)
    positions = [0.1 + offset] * len(joints)
    other.create_timer(
        0.05, lambda: publisher.publish(JointState(name=joints, position=positions))
    )
    return other


def test_a_second_source_of_joint_states_stops_the_arm_and_is_named(graph, make_robot, capfd):
    robot = make_robot()
    graph.until(lambda: robot.status.tick > 10)
    other = second_joint_states(graph, JOINTS, -1.5)
    graph.until(robot.state(ExecutorStatus.FAULT), what="the fault")
    assert "left/joint_state_publisher" in robot.status.reason
    assert "observer" in robot.status.reason
    assert robot.status.level == 2
    count = robot.settled()
    graph.during(0.5, robot.state(ExecutorStatus.FAULT))
    assert len(robot.commands) == count
    graph.remove(other)
    graph.until(robot.state(ExecutorStatus.RUNNING), what="going on")
    lines = [line for line in capfd.readouterr().err.splitlines() if "FAULT" in line]
    assert len(lines) == 1
    assert lines[0].startswith("[ERROR]")


def test_a_source_of_other_joints_is_no_second_one(graph, make_robot):
    robot = make_robot()
    graph.until(lambda: robot.status.tick > 10)
    second_joint_states(graph, ["wheel", "drum"], -1.5)
    tick = robot.status.tick
    graph.until(lambda: robot.status.tick > tick + 60)
    assert ExecutorStatus.FAULT not in {status.state for status in robot.statuses}


def test_the_log_has_the_levels_of_the_status(graph, make_robot, capfd):
    robot = make_robot()
    graph.until(lambda: robot.status.tick > 60)
    robot.answer = lambda request: "camera 'left' is silent: check its cable"
    graph.until(robot.state(ExecutorStatus.HOLDING), what="hold")
    assert robot.status.level == 1
    robot.feed.cancel()
    graph.until(robot.state(ExecutorStatus.FAULT), what="fault")
    assert robot.status.level == 2
    text = capfd.readouterr().err
    assert re.search(r"\[WARN\].* HOLDING: no action is known: the policy refused: camera", text)
    assert re.search(r"\[ERROR\].* FAULT: the newest valid joint state is", text)
    assert re.search(r"\[INFO\].* RUNNING", text)


def test_waiting_for_the_user_is_told_once_and_as_no_fault(graph, make_robot, capfd):
    robot = make_robot(active=False)
    robot.waiting = True
    robot.answer = lambda request: "no instruction yet: publish one"
    assert robot.executor.trigger_configure() == robot.executor.trigger_activate() == SUCCESS
    graph.until(lambda: robot.status.requests_refused > 5, what="refusals")
    assert (robot.status.state, robot.status.level) == (ExecutorStatus.WAITING, 0)
    graph.until(lambda: robot.status.requests_refused > 15, what="refusals")
    lines = [line for line in capfd.readouterr().err.splitlines() if "no instruction" in line]
    assert len(lines) == 1
    assert lines[0].startswith("[INFO]")


@pytest.mark.parametrize(("share", "severity"), [(0.02, "INFO"), (1.0, "WARN")])
def test_what_the_guard_changes_is_a_warning_where_it_is_often(
    graph, make_robot, capfd, share, severity
):
    robot = make_robot(robot=robot_file(upper=[3.0, 0.2]))

    def beyond(request):
        rows = robot.ramp(request)
        rows[:, 1] = np.where(
            np.arange(request.tick, request.tick + ROWS) % 50 < 50 * share, 0.3, 0
        )
        return rows

    robot.answer = beyond
    graph.until(lambda: robot.status.guard_limited >= (60 if share == 1 else 2), what="the guard")
    lines = [line for line in capfd.readouterr().err.splitlines() if "guard: " in line]
    assert lines[-1].startswith(f"[{severity}]")
    assert "b: 0.300 rad limited to 0.200" in lines[-1]
    assert len(lines) <= 2


def test_a_dry_run_commands_nothing_and_every_status_says_so(graph, make_robot, capfd):
    robot = make_robot(dry_run=True)
    graph.until(lambda: robot.status.tick > 10)
    assert capfd.readouterr().err.count("DRY RUN: everything is computed") == 1
    active = [status for status in robot.statuses if status.dry_run]
    assert active
    assert all("DRY RUN" in status.reason for status in active)
    assert robot.commands == []


def test_holds_when_the_policy_dies_says_why_and_goes_on_when_it_is_back(graph, make_robot):
    robot = make_robot()
    graph.until(lambda: robot.status.tick > 20)
    robot.answer = None
    graph.until(robot.state(ExecutorStatus.HOLDING), what="hold")
    held = robot.commands[-1]
    graph.until(lambda: "is policy_node running" in robot.status.reason, what="the reason")
    np.testing.assert_array_equal(robot.commands[-1], held)
    assert robot.status.requests_timed_out > 0
    tick = robot.status.tick
    robot.answer = robot.ramp
    graph.until(lambda: robot.status.tick > tick + 20, what="going on")
    ticks = robot.executed_ticks()
    assert tick in ticks
    steps = {after - before for before, after in pairwise(ticks[1:])}
    assert steps <= {0, 1}


def test_two_executors_on_one_topic_execute_their_own_chunks_alone(graph, make_robot, monkeypatch):
    """Even with the same request ids and ticks, and an answer to both for each request."""
    monkeypatch.setattr(time, "time_ns", lambda: 1000)
    robot = make_robot()
    goals = {"/executor_node": 0.3, "/second": -0.3}
    robot.answer = lambda request: np.full((ROWS, 2), goals[request.executor.split("#")[0]])
    parameters = robot.executor.get_parameters(list(settings_of(ExecutorSettings)))
    second = ExecutorNode(
        context=graph.context,
        # rclpy takes an empty list for one of bytes.
        parameter_overrides=[parameter for parameter in parameters if parameter.value != []],
        cli_args=[
            *("--ros-args", "-r", "__node:=second"),
            *("-r", "arm_controller/commands:=second/commands"),
        ],
    )
    commands, statuses = [], []
    graph.node.create_subscription(
        Float64MultiArray, "second/commands", lambda m: commands.append(m.data[0]), 100
    )
    graph.node.create_subscription(
        ExecutorStatus, "second/status", statuses.append, qos.status_qos()
    )
    graph.add(second)
    assert second.trigger_configure() == second.trigger_activate() == SUCCESS
    robot.instruct("both of you", listeners=2)
    graph.until(
        lambda: robot.status.tick > 60 and statuses and statuses[-1].tick > 60, what="60 ticks"
    )
    ids = {(request.executor, request.request_id) for request in robot.requests}
    assert len({executor for executor, _ in ids}) == 2
    assert {number for executor, number in ids if executor.startswith("/second#")} & {
        number for executor, number in ids if executor.startswith("/executor_node#")
    }
    first = np.array(robot.commands)[:, 0]
    assert (np.diff(first) >= 0).all()  # from 0.1, where the arm stands, to 0.3
    assert (np.diff(commands) <= 0).all()
    assert (first[-1], commands[-1]) == (0.3, -0.3)


def test_a_chunk_that_names_no_executor_is_not_executed(graph, make_robot, capfd):
    robot = make_robot()
    answer, robot.answer = robot.answer, None

    def send():
        for request in robot.requests[-1:]:
            chunk = robot.chunk(request, answer(request))
            chunk.executor = ""
            robot.chunks.publish(chunk)

    graph.node.create_timer(0.02, send)
    graph.until(lambda: robot.status.requests_timed_out > 2, what="requests without an answer")
    assert robot.commands == []
    assert "the policy must echo InferenceRequest.executor" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.full((ROWS, 2), np.nan), "nan"),
        (np.full((ROWS, 2), 120.0), "units"),
    ],
)
def test_nonsense_is_refused_whole_and_the_arm_stays(graph, make_robot, rows, words):
    robot = make_robot()
    robot.answer = lambda request: rows
    graph.until(lambda: robot.status.chunks_invalid > 2)
    assert words in robot.status.reason
    assert robot.commands == []


def test_stale_joint_states_stop_the_commands_and_recovery_approaches_again(graph, make_robot):
    robot = make_robot(state_timeout=0.1)
    graph.until(lambda: robot.status.tick > 10)
    robot.feed.cancel()
    graph.until(robot.state(ExecutorStatus.FAULT), what="fault")
    count = len(robot.commands)
    graph.during(0.2, lambda: len(robot.commands) == count)
    assert "joint state" in robot.status.reason
    robot.position = np.array([0.5, 0.5])  # moved by hand meanwhile
    robot.feed.reset()
    graph.until(lambda: len(robot.commands) > count)
    assert np.abs(robot.commands[count] - [0.5, 0.5]).max() < 0.02
    graph.until(robot.state(ExecutorStatus.RUNNING))


def test_stop_and_start_services(graph, make_robot):
    robot = make_robot(wait_for_start=True)
    graph.until(robot.state(ExecutorStatus.IDLE))
    graph.until(lambda: "call ~/start" in robot.status.reason)
    assert robot.requests == []
    start = robot.call("start")
    assert (start.success, start.message) == (True, "started")
    graph.until(lambda: robot.status.tick > 5)
    stop = robot.call("stop")
    assert (stop.success, stop.message) == (True, "stopped")
    graph.until(robot.state(ExecutorStatus.IDLE))
    count = robot.settled()
    graph.during(0.1, lambda: len(robot.commands) == count)


def test_output_as_joint_trajectory(graph, make_robot):
    robot = make_robot(output="joint_trajectory")
    graph.until(lambda: len(robot.trajectories) > 5)
    assert robot.trajectories[-1].joint_names == JOINTS
    assert robot.commands == []


def test_ids_of_a_restarted_executor_are_new(graph, make_robot):
    robot = make_robot()
    graph.until(lambda: len(robot.requests) > 3)
    last = robot.requests[-1].request_id
    graph.remove(robot.executor)
    robot.requests.clear()
    again = make_robot()
    graph.until(lambda: len(again.requests) > 1)
    assert again.requests[0].request_id > last


def test_a_broken_control_loop_ends_the_node(graph, make_robot, monkeypatch):
    robot = make_robot()
    graph.until(lambda: robot.status.tick > 2)

    def broken(core, now):
        raise ZeroDivisionError

    monkeypatch.setattr(ExecutorCore, "cycle", broken)
    with contextlib.suppress(ExternalShutdownException):
        graph.until(lambda: not graph.context.ok(), what="the end")
    assert not graph.context.ok()
    assert robot.executor.failed


def test_no_camera_can_block_the_control_loop(graph, make_robot):
    robot = make_robot()
    graph.until(lambda: robot.status.tick > 2)
    topics = {subscription.topic_name for subscription in robot.executor.subscriptions}
    assert topics == {
        "/estop",
        "/joint_states",
        "/leader/joint_states",
        "/policy_node/status",
        "/smolvla/action_chunk",
        "/task_instruction",
    }


def test_destroying_the_node_ends_its_thread(graph, make_robot):
    robot = make_robot()
    graph.until(lambda: robot.status.tick > 2)
    graph.remove(robot.executor)
    assert not any(thread.name == "control" for thread in threading.enumerate())
