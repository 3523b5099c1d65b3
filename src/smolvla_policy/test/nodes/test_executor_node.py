# SPDX-License-Identifier: Apache-2.0
"""`executor_node` over real topics: what it publishes, when it holds, and what it says."""

import contextlib
import threading
from itertools import pairwise

import numpy as np
import pytest
from rclpy.executors import ExternalShutdownException
from rclpy.parameter import Parameter
from sensor_msgs.msg import JointState
from smolvla_policy.nodes.executor_node import ExecutorNode
from smolvla_policy.ros import converters, qos
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from smolvla_msgs.msg import ActionChunk, ExecutorStatus, InferenceRequest

JOINTS = ["a", "b"]
PERIOD = 0.02
ROWS = 10


class Robot:
    """An ideal arm and a policy whose every answer the test decides on."""

    def __init__(self, graph, **parameters):
        self.graph = graph
        self.commands, self.requests, self.statuses, self.trajectories = [], [], [], []
        self.position = np.array([0.1, -0.1])
        self.answer = self.ramp
        node = graph.node
        self.joint_states = node.create_publisher(JointState, "joint_states", 10)
        self.chunks = node.create_publisher(ActionChunk, "smolvla/action_chunk", qos.chunk_qos())
        node.create_subscription(
            Float64MultiArray, "arm_controller/commands", self._on_command, 100
        )
        node.create_subscription(
            JointTrajectory, "arm_controller/joint_trajectory", self.trajectories.append, 100
        )
        node.create_subscription(
            InferenceRequest, "smolvla/inference_request", self._on_request, qos.request_qos()
        )
        node.create_subscription(
            ExecutorStatus, "executor_node/status", self.statuses.append, qos.status_qos()
        )
        self.feed = node.create_timer(0.01, self._publish_joint_state)
        defaults = {
            "joints": JOINTS,
            "rate": 1 / PERIOD,
            "lower_limits": [-3.0, -3.0],
            "upper_limits": [3.0, 3.0],
            "max_speed": [50.0],
            "max_step": [1.0],
            "request_timeout": 0.3,
            "aggregate": "latest",
            "status_rate": 50.0,
            "approach_speed": 5.0,
        }
        overrides = [Parameter(name, value=v) for name, v in {**defaults, **parameters}.items()]
        self.executor = graph.add(
            ExecutorNode(context=graph.context, parameter_overrides=overrides)
        )

    @property
    def status(self):
        return self.statuses[-1] if self.statuses else ExecutorStatus(reason="none yet")

    def state(self, state):
        return lambda: self.status.state == state

    def ramp(self, request):
        """Row i of tick t is 0.001 t: every command tells which tick it was."""
        ticks = np.arange(request.tick, request.tick + ROWS)
        return np.stack((ticks * 1e-3, -ticks * 1e-3), axis=1)

    def chunk(self, request, rows, error=""):
        return ActionChunk(
            request_id=request.request_id,
            first_tick=request.tick,
            joint_names=JOINTS,
            positions=converters.flatten(rows),
            period=converters.to_duration(PERIOD),
            error=error,
        )

    def _on_request(self, request):
        self.requests.append(request)
        rows = self.answer(request) if self.answer else None
        if isinstance(rows, str):
            self.chunks.publish(self.chunk(request, np.empty((0, 2)), error=rows))
        elif rows is not None:
            self.chunks.publish(self.chunk(request, rows))

    def _on_command(self, message):
        self.commands.append(np.array(message.data))
        self.position = self.commands[-1]

    def _publish_joint_state(self):
        # In another order than the executor's: joints are matched by name.
        self.joint_states.publish(
            JointState(name=JOINTS[::-1], position=[float(p) for p in self.position[::-1]])
        )

    def executed_ticks(self):
        """Ticks of the commands after the approach, which ends at tick 0's action."""
        ticks = [round(command[0] * 1e3) for command in self.commands]
        exact = [t for t, c in zip(ticks, self.commands, strict=True) if c[0] == t * 1e-3]
        return exact


def test_runs_every_tick_once_and_in_order(graph):
    robot = Robot(graph)
    graph.until(lambda: robot.status.tick > 60, what="60 ticks")
    ticks = robot.executed_ticks()
    ticks = ticks[ticks.index(1) :]
    assert ticks == list(range(1, 1 + len(ticks)))
    assert robot.status.starved_cycles == 0
    assert robot.status.chunks_merged > 5


def test_nothing_is_commanded_without_joint_states(graph):
    robot = Robot(graph)
    robot.feed.cancel()
    graph.until(lambda: len(robot.statuses) > 5)
    assert robot.commands == []
    assert robot.status.state == ExecutorStatus.WAITING
    assert "joint state" in robot.status.reason


def test_holds_when_the_policy_dies_says_why_and_goes_on_when_it_is_back(graph):
    robot = Robot(graph)
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


def test_loses_every_fifth_chunk_and_moves_on(graph):
    robot = Robot(graph, request_timeout=0.05)
    count = 0

    def lossy(request):
        nonlocal count
        count += 1
        return None if count % 5 == 0 else robot.ramp(request)

    robot.answer = lossy
    graph.until(lambda: robot.status.tick > 100, what="100 ticks")
    assert robot.status.requests_timed_out > 0
    ticks = robot.executed_ticks()
    ticks = ticks[ticks.index(1) :]
    assert sorted(set(ticks)) == list(range(1, max(ticks) + 1))


def test_a_refusal_is_told_and_does_not_stall(graph):
    robot = Robot(graph)
    robot.answer = lambda request: "camera 'top' is silent"
    graph.until(lambda: "camera 'top' is silent" in robot.status.reason)
    assert robot.commands == []
    robot.answer = robot.ramp
    graph.until(robot.state(ExecutorStatus.RUNNING))


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        (np.full((ROWS, 2), np.nan), "nan"),
        (np.full((ROWS, 2), 120.0), "units"),
    ],
)
def test_nonsense_is_refused_whole_and_the_arm_stays(graph, rows, words):
    robot = Robot(graph)
    robot.answer = lambda request: rows
    graph.until(lambda: robot.status.chunks_invalid > 2)
    assert words in robot.status.reason
    assert robot.commands == []


def test_stale_joint_states_stop_the_commands_and_recovery_approaches_again(graph):
    robot = Robot(graph, state_timeout=0.1)
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


def test_stop_and_start_services(graph):
    robot = Robot(graph, autostart=False)
    graph.until(robot.state(ExecutorStatus.IDLE))
    assert robot.requests == []

    def call(name):
        client = graph.node.create_client(Trigger, f"executor_node/{name}")
        graph.until(client.service_is_ready)
        future = client.call_async(Trigger.Request())
        graph.until(future.done)
        assert future.result().success
        return future.result().message

    assert call("start") == "started"
    graph.until(lambda: robot.status.tick > 5)
    assert call("stop") == "stopped"
    count = len(robot.commands)
    graph.until(robot.state(ExecutorStatus.IDLE))
    graph.during(0.1, lambda: len(robot.commands) <= count + 1)


def test_dry_run_computes_and_commands_nothing(graph):
    robot = Robot(graph, dry_run=True)
    graph.until(lambda: robot.status.tick > 20)
    assert robot.status.dry_run
    assert robot.commands == []


def test_output_as_joint_trajectory(graph):
    robot = Robot(graph, output="joint_trajectory")
    graph.until(lambda: len(robot.trajectories) > 5)
    assert robot.trajectories[-1].joint_names == JOINTS
    assert robot.commands == []


def test_ids_of_a_restarted_executor_are_new(graph):
    robot = Robot(graph)
    graph.until(lambda: len(robot.requests) > 3)
    last = robot.requests[-1].request_id
    graph.remove(robot.executor)
    robot.requests.clear()
    again = Robot(graph)
    graph.until(lambda: len(again.requests) > 1)
    assert again.requests[0].request_id > last


def test_a_wrong_parameter_is_named(graph):
    with pytest.raises(ValueError, match=r"guard\.lower"):
        Robot(graph, lower_limits=[0.0, 1.0, 2.0])


def test_a_broken_control_loop_ends_the_node(graph):
    robot = Robot(graph)
    graph.until(lambda: robot.status.tick > 2)

    def broken(now):
        raise ZeroDivisionError

    robot.executor._core.cycle = broken
    with contextlib.suppress(ExternalShutdownException):
        graph.until(lambda: not graph.context.ok(), what="the end")
    assert not graph.context.ok()
    assert robot.executor.failed


def test_no_camera_can_block_the_control_loop(graph):
    robot = Robot(graph)
    graph.until(lambda: robot.status.tick > 2)
    topics = {subscription.topic_name for subscription in robot.executor.subscriptions}
    assert topics == {"/joint_states", "/smolvla/action_chunk"}


def test_destroying_the_node_ends_its_thread(graph):
    robot = Robot(graph)
    graph.until(lambda: robot.status.tick > 2)
    graph.remove(robot.executor)
    assert not any(thread.name == "control" for thread in threading.enumerate())
