# SPDX-License-Identifier: Apache-2.0
"""Each output of the robot file gets its joints; an action gets goals, and not at every cycle."""

import sys

import numpy as np
import pytest
from rclpy.parameter import Parameter
from robot_files import robot_file
from smolvla_executor.executor_node.node import ExecutorNode
from smolvla_executor.executor_node.outputs import GOAL_RATE, GOAL_STEP, GoalPacer
from std_msgs.msg import Float64MultiArray

APART = [
    {"type": "forward", "topic": "reach/commands", "joints": ["a"]},
    {"type": "gripper_command", "topic": "hand/gripper_cmd", "joints": ["b"], "max_effort": 2.5},
]


def test_goals_are_sent_at_a_rate_and_where_the_position_differs():
    pacer, sent = GoalPacer(), []
    for cycle in range(300):  # 3 s at 100 Hz: 1 s at rest, 1 s of motion, 1 s at rest
        now, position = 50 + cycle / 100, min(max(cycle - 100, 0), 100) * 0.01
        if pacer.due(np.array([position]), now):
            sent.append((now, position))
    times, positions = np.array(sent).T
    assert len(sent) == pytest.approx(1 + GOAL_RATE, abs=1)
    assert np.diff(times).min() > 0.99 / GOAL_RATE
    assert (np.diff(positions) >= GOAL_STEP).all()
    assert positions[-1] == pytest.approx(1.0, abs=GOAL_STEP)


def test_an_action_without_its_package_is_one_line(graph, monkeypatch):
    monkeypatch.setitem(sys.modules, "control_msgs", None)
    file = robot_file(outputs=APART)
    node = graph.add(
        ExecutorNode(context=graph.context, parameter_overrides=[Parameter("robot", value=file)])
    )
    node.trigger_configure()
    assert "hand/gripper_cmd of the robot file is a gripper_command" in node.problem
    assert "control-msgs" in node.problem


def test_a_gripper_gets_goals_of_its_action(graph, make_robot):
    action = pytest.importorskip("control_msgs.action")
    from rclpy.action import ActionServer

    goals, commands = [], []

    def execute(handle):
        goals.append(handle.request.command)
        handle.succeed()
        return action.GripperCommand.Result(position=handle.request.command.position)

    server = ActionServer(graph.node, action.GripperCommand, "hand/gripper_cmd", execute)
    graph.node.create_subscription(Float64MultiArray, "reach/commands", commands.append, 10)
    robot = make_robot(robot=robot_file(outputs=APART))
    robot.answer = lambda request: np.tile([0.4, 0.6], (20, 1))

    def follow():
        if commands and goals:
            robot.position = np.array([commands[-1].data[0], goals[-1].position])

    graph.node.create_timer(0.01, follow)
    graph.until(lambda: goals and abs(goals[-1].position - 0.6) < 0.01, timeout=30)
    assert {len(command.data) for command in commands} == {1}
    assert goals[-1].max_effort == 2.5
    server.destroy()
