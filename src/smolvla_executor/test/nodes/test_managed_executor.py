# SPDX-License-Identifier: Apache-2.0
"""`executor_node` as a managed node: what each transition does to the arm."""

import os
import subprocess
import sys
import threading

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rcl_interfaces.msg import ParameterDescriptor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter
from smolvla_core.node_settings import ExecutorSettings
from smolvla_core.settings import settings_of
from smolvla_executor.executor_node.execution import Execution

from smolvla_msgs.msg import ExecutorStatus

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


def change(graph, label):
    request = ChangeState.Request(transition=Transition(label=label))
    return graph.call(ChangeState, "executor_node/change_state", request).success


def state(graph):
    return graph.call(GetState, "executor_node/get_state").current_state.label


def test_each_transition_through_the_services_of_ros(graph, make_robot):
    robot = make_robot(active=False)
    assert state(graph) == "unconfigured"
    graph.until(lambda: "configure" in robot.status.reason)
    assert change(graph, "configure")
    graph.until(lambda: "inactive: ros2 lifecycle set" in robot.status.reason)
    assert robot.status.state == ExecutorStatus.IDLE
    assert (robot.requests, robot.commands) == ([], [])
    assert change(graph, "activate")
    graph.until(lambda: robot.status.tick > 5, what="motion")
    assert change(graph, "deactivate")
    graph.until(lambda: "inactive" in robot.status.reason)
    count = robot.settled()
    graph.during(0.1, lambda: len(robot.commands) == count)
    assert robot.status.queue_depth == 0
    assert change(graph, "activate")
    graph.until(lambda: len(robot.commands) > count, what="motion again")
    assert change(graph, "deactivate")
    assert change(graph, "cleanup")
    assert state(graph) == "unconfigured"
    graph.until(lambda: "unconfigured" in robot.status.reason)
    assert not any(thread.name == "control" for thread in threading.enumerate())
    topics = {subscription.topic_name for subscription in robot.executor.subscriptions}
    assert "/joint_states" not in topics
    assert change(graph, "shutdown")
    assert state(graph) == "finalized"
    graph.until(lambda: "shut down" in robot.status.reason)


@pytest.mark.parametrize("steps", [[], ["configure"], ["configure", "activate"]])
def test_shutdown_from_every_state_stops_everything(graph, make_robot, steps):
    robot = make_robot(active=False)
    for step in steps:
        assert change(graph, step)
    if "activate" in steps:
        graph.until(lambda: robot.commands, what="motion")
    assert change(graph, "shutdown")
    assert not any(thread.name == "control" for thread in threading.enumerate())
    count = robot.settled()
    graph.during(0.05, lambda: len(robot.commands) == count)


def test_after_a_failed_configuration_other_parameters_are_tried(graph, make_robot):
    robot = make_robot(active=False, max_step=[0.1, 1.0, 2.0])
    assert not change(graph, "configure")
    assert state(graph) == "unconfigured"
    graph.until(lambda: "max_step has 3 numbers" in robot.status.reason)
    result = robot.executor.set_parameters([Parameter("max_step", value=[1.0, 1.0])])
    assert result[0].successful
    assert change(graph, "configure")
    assert change(graph, "activate")
    graph.until(lambda: robot.status.tick > 2, what="motion")


def test_what_builds_something_is_refused_with_words_while_it_is_configured(graph, make_robot):
    robot = make_robot()
    result = robot.executor.set_parameters([Parameter("period_window", value=60)])[0]
    assert not result.successful
    assert "deactivate and clean up /executor_node first" in result.reason
    assert robot.executor.get_parameter("period_window").value == 1000
    use_sim_time = robot.executor.set_parameters([Parameter("use_sim_time", value=False)])[0]
    assert use_sim_time.successful
    change(graph, "deactivate")
    change(graph, "cleanup")
    mode = robot.executor.set_parameters([Parameter("aggregate", value="mean")])[0]
    assert "not one of auto, latest" in mode.reason
    assert robot.executor.set_parameters([Parameter("rate", value=5e6)])[0].successful is False
    new = [Parameter("period_window", value=60), Parameter("chunk_size_threshold", value=0.2)]
    assert all(result.successful for result in robot.executor.set_parameters(new))
    change(graph, "configure")
    graph.until(lambda: robot.status.chunk_size_threshold == 0.2)


def test_what_can_be_set_is_described_so(graph, make_robot):
    robot = make_robot(active=False)
    fixed = {"autostart"}
    for name in settings_of(ExecutorSettings):
        descriptor = robot.executor.describe_parameter(name)
        assert isinstance(descriptor, ParameterDescriptor)
        assert descriptor.read_only == (name in fixed)


def test_services_of_an_inactive_node_say_what_to_do(graph, make_robot):
    robot = make_robot(active=False)
    answer = robot.call("start")
    assert not answer.success
    assert "ros2 lifecycle set /executor_node configure" in answer.message
    change(graph, "configure")
    answer = robot.call("start")
    assert not answer.success
    assert "ros2 lifecycle set /executor_node activate" in answer.message


def test_a_broken_transition_leads_back_to_unconfigured(graph, make_robot, monkeypatch):
    robot = make_robot()

    def broken(*_):
        raise RuntimeError("out of order")

    monkeypatch.setattr(Execution, "stop", broken)
    assert robot.executor.trigger_deactivate() == TransitionCallbackReturn.ERROR
    assert state(graph) == "unconfigured"
    graph.until(lambda: "out of order" in robot.status.reason)
    count = robot.settled()
    graph.during(0.05, lambda: len(robot.commands) == count)
    assert robot.executor.trigger_configure() == SUCCESS


def test_a_deactivated_node_is_silent_even_if_its_core_goes_on(graph, make_robot, monkeypatch):
    robot = make_robot()
    graph.until(lambda: robot.status.tick > 2, what="motion")
    monkeypatch.setattr(Execution, "stop", lambda *_: None)
    assert robot.executor.trigger_deactivate() == SUCCESS
    count, tick = robot.settled(), robot.status.tick
    graph.until(lambda: robot.status.tick > tick + 3, what="the core goes on")
    assert len(robot.commands) == count


def test_says_that_nobody_listens_and_asks_at_once_when_somebody_does(graph, make_robot):
    robot = make_robot(active=False, request_timeout=180.0)
    heard = [s for s in graph.node.subscriptions if s.topic_name == "/smolvla/inference_request"]
    graph.node.destroy_subscription(heard[0])
    change(graph, "configure")
    change(graph, "activate")
    words = "nobody listens on /smolvla/inference_request"
    graph.until(lambda: words in robot.status.reason, what="the words")
    robot.listen()
    graph.until(lambda: robot.status.tick > 2, what="motion")


def test_autostart_and_the_diagnostics_topic(graph, make_robot):
    robot = make_robot(active=False, autostart=True)
    received = []
    graph.node.create_subscription(DiagnosticArray, "/diagnostics", received.append, 10)
    graph.until(lambda: robot.statuses)
    robot.executor.start_up()
    graph.until(lambda: robot.status.tick > 2, what="motion")
    assert not [status.reason for status in robot.statuses if "lifecycle" in status.reason]
    graph.until(lambda: received, what="diagnostics")
    reports = {report.name: report for report in received[-1].status}
    assert set(reports) == {
        f"executor_node: {name}"
        for name in ("execution", "control loop", "queue", "guard", "joint states")
    }
    assert {report.hardware_id for report in reports.values()} == {"arm"}
    assert reports["executor_node: joint states"].level == DiagnosticStatus.OK


def test_a_process_that_cannot_autostart_ends_with_one_line_why():
    command = [sys.executable, "-m", "smolvla_executor.executor_node.node", "--ros-args"]
    command += ["-p", "autostart:=true", "-p", "max_speed:=[1.0,2.0]"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert ended.returncode == os.EX_CONFIG
    assert len(ended.stderr.strip().splitlines()) == 1
    assert "max_speed has 2 numbers, but needs one, or one for each" in ended.stderr


def test_without_ros2_no_command_of_ros2_is_advised(graph, make_robot, programs):
    programs(alone=True)
    robot = make_robot(active=False)
    answer = robot.call("start")
    assert "unconfigured: configure and activate it" in answer.message
    assert "ros2" not in answer.message
    assert "ros2" not in robot.executor.reconfigure_first("rate")
