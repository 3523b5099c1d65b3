# SPDX-License-Identifier: Apache-2.0
"""The action run_task over real topics: what a caller sees, and what the arm does."""

import contextlib
import signal
import subprocess
import sys

import numpy as np
import pytest
from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.executors import ExternalShutdownException
from rclpy.parameter import Parameter
from smolvla_executor.core import task
from smolvla_executor.core.executor import ExecutorCore
from smolvla_executor.executor_node.outputs import Outputs
from std_msgs.msg import Bool

from smolvla_msgs.action import RunTask
from smolvla_msgs.msg import ExecutorStatus

RESULT = RunTask.Result


class Caller:
    """Sends goals and keeps what comes back."""

    def __init__(self, graph):
        self.graph = graph
        self.client = ActionClient(graph.node, RunTask, "smolvla/run_task")
        self.feedback = []

    def send(self, instruction="pick", time_limit=0.0):
        self.graph.until(self.client.server_is_ready, what="the action server")
        goal = RunTask.Goal(instruction=instruction, time_limit=time_limit)
        sent = self.client.send_goal_async(
            goal, feedback_callback=lambda message: self.feedback.append(message.feedback)
        )
        self.graph.until(sent.done, what="acceptance")
        handle = sent.result()
        handle.outcome = handle.get_result_async() if handle.accepted else None
        return handle

    def result(self, handle):
        self.graph.until(handle.outcome.done, what="the result")
        answer = handle.outcome.result()
        return answer.status, answer.result

    def cancel(self, handle):
        canceled = handle.cancel_goal_async()
        self.graph.until(canceled.done, what="the cancel")
        return len(canceled.result().goals_canceling)

    def close(self):
        self.client.destroy()


@pytest.fixture
def caller(graph):
    caller = Caller(graph)
    yield caller
    caller.close()


@pytest.fixture
def robot(make_robot):
    return make_robot(wait_for_start=True, feedback_rate=50.0)


def test_a_goal_moves_the_arm_and_tells_how_it_goes(graph, robot, caller):
    handle = caller.send("pick up the cube")
    assert handle.accepted
    graph.until(lambda: robot.status.tick > 5, what="motion")
    assert robot.requests[-1].instruction == "pick up the cube"
    graph.until(lambda: robot.status.chunk_instruction == "pick up the cube")
    assert robot.status.instruction_source == ExecutorStatus.INSTRUCTION_GOAL
    graph.until(lambda: caller.feedback and caller.feedback[-1].chunks > 1)
    newest = caller.feedback[-1]
    assert newest.elapsed > 0
    assert newest.queue_depth > 0
    assert np.isfinite(newest.latency)
    assert not handle.outcome.done()


def test_cancel_ends_the_commands_within_one_cycle(graph, robot, caller, monkeypatch):
    handle = caller.send()
    graph.until(lambda: robot.status.tick > 5, what="motion")
    published = []
    stop = ExecutorCore.stop

    def stopping(core, now, reason):
        published.clear()
        return stop(core, now, reason)

    monkeypatch.setattr(ExecutorCore, "stop", stopping)
    monkeypatch.setattr(Outputs, "publish", lambda *command: published.append(command))
    assert caller.cancel(handle) == 1
    status, result = caller.result(handle)
    assert (status, result.reason) == (GoalStatus.STATUS_CANCELED, RESULT.CANCELED)
    assert result.chunks > 0
    assert result.elapsed > 0
    graph.until(robot.state(ExecutorStatus.IDLE))
    assert "task ended: canceled; send another goal or call ~/start" in robot.status.reason
    assert published == []


def test_the_time_limit_is_no_success(graph, robot, caller):
    status, result = caller.result(caller.send(time_limit=0.3))
    assert (status, result.reason) == (GoalStatus.STATUS_ABORTED, RESULT.TIME_LIMIT)
    assert 0.3 <= result.elapsed < 1.0
    assert "0.3 s" in result.message
    graph.until(robot.state(ExecutorStatus.IDLE))


class Judge:
    """Says on a topic whether the task is done."""

    def __init__(self, graph):
        self.graph = graph
        self.topic = graph.node.create_publisher(Bool, "camera_judge/done", 10)

    def says(self, *verdicts):
        self.graph.until(lambda: self.topic.get_subscription_count() > 0)
        for verdict in verdicts:
            self.topic.publish(Bool(data=verdict))


def test_a_success_told_after_the_goal_began_ends_it(graph, make_robot, caller, monkeypatch):
    monkeypatch.setattr(task, "REPEATED", 60.0)  # the machine may be busy
    robot = make_robot(wait_for_start=True, success_topic="camera_judge/done")
    judge = Judge(graph)
    handle = caller.send()
    graph.until(lambda: robot.status.tick > 3, what="motion")
    judge.says(False, True)
    status, result = caller.result(handle)
    assert (status, result.reason) == (GoalStatus.STATUS_SUCCEEDED, RESULT.SUCCEEDED)
    assert "/camera_judge/done" in result.message
    graph.until(robot.state(ExecutorStatus.IDLE))
    count = robot.settled()
    # A judge that goes on saying so is not heard by the next goal.
    judge.says(True)
    handle = caller.send()
    graph.until(lambda: robot.status.tick > 3 and len(robot.commands) > count)
    judge.says(True)
    tick = robot.status.tick
    graph.until(lambda: robot.status.tick > tick + 3, what="it goes on")
    assert not handle.outcome.done()
    judge.says(False, True)
    status, result = caller.result(handle)
    assert result.reason == RESULT.SUCCEEDED


@pytest.mark.parametrize("stop", ["", "from the start", "set in motion"])
def test_a_success_stops_what_the_topic_asked_for_where_a_parameter_says_so(
    graph, make_robot, stop
):
    from_start = stop == "from the start"
    robot = make_robot(success_topic="camera_judge/done", stop_on_success=from_start)
    judge = Judge(graph)
    graph.until(lambda: robot.status.tick > 3, what="motion")
    if stop and not from_start:
        given = [Parameter("stop_on_success", value=True)]
        assert robot.executor.set_parameters_atomically(given).successful
    judge.says(True)
    if stop:
        graph.until(robot.state(ExecutorStatus.IDLE))
        assert "/camera_judge/done said so" in robot.status.reason
        assert "call ~/start (smolvla order start) to go on" in robot.status.reason
        assert robot.call("start").success
    tick = robot.status.tick
    graph.until(lambda: robot.status.tick > tick + 3, what="motion")


def test_a_newer_goal_replaces_the_running_one(graph, robot, caller):
    first = caller.send("first")
    graph.until(lambda: robot.status.tick > 3, what="motion")
    second = caller.send("second")
    status, result = caller.result(first)
    assert (status, result.reason) == (GoalStatus.STATUS_ABORTED, RESULT.PREEMPTED)
    graph.until(lambda: robot.status.chunk_instruction == "second")
    tick = robot.status.tick
    graph.until(lambda: robot.status.tick > tick + 3, what="motion again")
    assert not second.outcome.done()


def test_a_policy_that_refuses_stalls_it_with_its_words(graph, make_robot, caller):
    robot = make_robot(wait_for_start=True, task_stall_timeout=0.4)
    robot.answer = lambda request: "camera top is dark"
    status, result = caller.result(caller.send())
    assert (status, result.reason) == (GoalStatus.STATUS_ABORTED, RESULT.FAULT)
    assert "camera top is dark" in result.message
    assert robot.commands == []


def test_of_goal_and_topic_the_newest_is_asked_for(graph, robot, caller):
    caller.send("first")
    graph.until(lambda: robot.requests[-1:] and robot.requests[-1].instruction == "first")
    robot.instruct("meanwhile")
    assert robot.status.instruction_source == ExecutorStatus.INSTRUCTION_TOPIC
    graph.until(lambda: robot.requests[-1].instruction == "meanwhile")
    assert any(robot.requests[-1].goal_id)
    caller.send("second")
    graph.until(lambda: robot.requests[-1].instruction == "second")


def test_after_a_goal_requests_are_for_the_topics(graph, robot, caller):
    handle = caller.send("first")
    graph.until(lambda: robot.status.tick > 3, what="motion")
    assert bytes(robot.requests[-1].goal_id) == bytes(handle.goal_id.uuid)
    caller.cancel(handle)
    caller.result(handle)
    graph.until(robot.state(ExecutorStatus.IDLE))
    robot.call("start")
    graph.until(lambda: robot.requests[-1].instruction != "first", what="the topic's turn")
    assert robot.requests[-1].instruction == "pick up the cube"
    assert not any(robot.requests[-1].goal_id)


def test_a_goal_ends_when_the_node_is_deactivated_or_stopped(graph, robot, caller):
    handle = caller.send()
    graph.until(lambda: robot.status.tick > 3, what="motion")
    robot.call("stop")
    status, result = caller.result(handle)
    assert (status, result.reason) == (GoalStatus.STATUS_ABORTED, RESULT.FAULT)
    assert "~/stop" in result.message
    handle = caller.send()  # also after ~/stop
    graph.until(lambda: robot.status.tick > 3, what="motion")
    robot.executor.trigger_deactivate()
    status, result = caller.result(handle)
    assert (status, result.reason) == (GoalStatus.STATUS_ABORTED, RESULT.FAULT)
    assert "deactivated" in result.message


def test_goals_that_make_no_sense_are_rejected(graph, robot, caller):
    assert not caller.send(" ").accepted
    assert robot.requests == []


def test_goals_are_rejected_while_the_node_is_not_active(graph, make_robot, caller):
    robot = make_robot(active=False)
    assert not caller.send().accepted
    robot.executor.trigger_configure()
    assert not caller.send().accepted


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_who_sent_a_goal_hears_that_the_process_ends(graph, caller, number):
    command = [sys.executable, "-m", "smolvla_executor.executor_node.node", "--ros-args"]
    command += ["-p", "autostart:=true", "-p", "task_stall_timeout:=60.0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        try:
            handle = caller.send("wipe the table")
            process.send_signal(number)
            process.send_signal(number)  # the terminal's beside the launch's
            status, result = caller.result(handle)
            assert process.wait(10) == 0
        finally:
            process.kill()
        told = process.stderr.read()
    assert (status, result.reason) == (GoalStatus.STATUS_ABORTED, RESULT.FAULT)
    assert result.message == "executor_node was ended"
    assert "Traceback" not in told


def test_who_sent_a_goal_gets_the_error_of_the_control_loop(graph, robot, caller, monkeypatch):
    handle = caller.send()
    graph.until(lambda: robot.status.tick > 3, what="motion")

    def broken(core, now):
        raise ZeroDivisionError("no seconds")

    monkeypatch.setattr(ExecutorCore, "cycle", broken)
    with contextlib.suppress(ExternalShutdownException):
        status, result = caller.result(handle)
        graph.until(lambda: not graph.context.ok(), what="the end")
    assert (status, result.reason) == (GoalStatus.STATUS_ABORTED, RESULT.FAULT)
    assert "control loop ended: ZeroDivisionError: no seconds" in result.message
    assert not graph.context.ok()


def test_destroying_the_node_leaves_no_goal_behind(graph, robot, caller):
    caller.send()
    graph.until(lambda: robot.status.tick > 3, what="motion")
    graph.remove(robot.executor)
    # A goal's coroutine belongs to no node; one that waited for ever would be looked at for ever.
    graph.until(lambda: all(node is not None for _, _, node in graph._executor._tasks))


def test_a_running_goal_goes_by_a_new_patience_and_a_new_rate(graph, make_robot, caller):
    robot = make_robot(wait_for_start=True, task_stall_timeout=600.0, feedback_rate=0.1)
    robot.answer = None
    handle = caller.send()
    graph.until(lambda: robot.requests, what="a request")

    def put(**values):
        given = [Parameter(name, value=value) for name, value in values.items()]
        assert robot.executor.set_parameters_atomically(given).successful

    count = len(caller.feedback)
    put(feedback_rate=50.0)
    graph.until(lambda: len(caller.feedback) > count + 5, what="more feedback")
    assert not handle.outcome.done()
    put(task_stall_timeout=0.2)
    status, result = caller.result(handle)
    assert (status, result.reason) == (GoalStatus.STATUS_ABORTED, RESULT.FAULT)
    assert "no action for" in result.message
