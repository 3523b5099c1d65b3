# SPDX-License-Identifier: Apache-2.0
"""Nodes under test in one process: real rclpy, real topics, no sleeping."""

import functools
import os
import threading
import time

import cv2
import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from robot_files import robot_file
from sensor_msgs.msg import CompressedImage, Image, JointState
from smolvla_core.ros import converters, qos
from smolvla_core.ros.converters import image_message
from smolvla_executor.executor_node import node as executor_node
from smolvla_executor.executor_node.node import ExecutorNode
from smolvla_policy.backends.smolvla_settings import SmolVLASettings
from smolvla_policy.policy_node import node as policy_node
from smolvla_policy.policy_node.node import PolicyNode
from std_msgs.msg import Float64MultiArray, String
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from smolvla_msgs.msg import ActionChunk, ExecutorStatus, InferenceRequest, PolicyStatus

JOINTS = ["a", "b"]
PERIOD = 0.02
ROWS = 10
SUCCESS = TransitionCallbackReturn.SUCCESS
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)


class Graph:
    """Nodes in a context of their own, spun until something is true."""

    def __init__(self):
        self.context = rclpy.Context()
        rclpy.init(context=self.context)
        self._executor = SingleThreadedExecutor(context=self.context)
        self._nodes = []
        self._clients = {}  # by service: each new one would have to be discovered
        self.node = self.add(Node("observer", context=self.context))

    def add(self, node):
        self._nodes.append(node)
        self._executor.add_node(node)
        return node

    def remove(self, node):
        self._nodes.remove(node)
        self._executor.remove_node(node)
        node.destroy_node()

    def call(self, kind, name, request=None):
        """Call a service and return its response."""
        if name not in self._clients:
            self._clients[name] = self.node.create_client(kind, name)
        client = self._clients[name]
        self.until(client.service_is_ready, what=f"service {name}")
        future = client.call_async(request or kind.Request())
        self.until(future.done, what=f"answer of {name}")
        return future.result()

    def until(self, condition, timeout=30.0, what=""):
        """Spin until `condition()`; fail when it does not come true."""
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"did not happen within {timeout} s: {what}"
            self._executor.spin_once(timeout_sec=0.05)

    def during(self, seconds, condition):
        """Spin for `seconds` and fail as soon as `condition()` is false."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self._executor.spin_once(timeout_sec=0.02)
            assert condition()

    def close(self):
        for node in reversed(self._nodes):
            node.destroy_node()
        self._executor.shutdown()
        rclpy.try_shutdown(context=self.context)


class Robot:
    """An ideal arm and a policy whose every answer the test decides on."""

    def __init__(self, graph, active=True, instruction="pick up the cube", **parameters):
        self.graph = graph
        self.commands, self.requests, self.statuses, self.trajectories = [], [], [], []
        self.position = np.array([0.1, -0.1])
        self.answer = self.ramp
        self.waiting = False
        node = graph.node
        self.joint_states = node.create_publisher(JointState, "joint_states", 10)
        self.chunks = node.create_publisher(ActionChunk, "smolvla/action_chunk", qos.chunk_qos())
        node.create_subscription(
            Float64MultiArray, "arm_controller/commands", self._on_command, 100
        )
        node.create_subscription(
            JointTrajectory, "arm_controller/joint_trajectory", self.trajectories.append, 100
        )
        self.listen()
        node.create_subscription(
            ExecutorStatus, "executor_node/status", self.statuses.append, qos.status_qos()
        )
        self.feed = node.create_timer(0.01, self._publish_joint_state)
        defaults = {
            "robot": robot_file(JOINTS),
            "rate": 1 / PERIOD,
            "max_speed": [50.0],
            "max_step": [1.0],
            "request_timeout": 0.3,
            "state_timeout": 1.0,  # the machine may be busy
            "aggregate": "latest",
            "status_rate": 50.0,
            "approach_speed": 5.0,
        }
        overrides = [Parameter(name, value=v) for name, v in {**defaults, **parameters}.items()]
        self.executor = graph.add(
            ExecutorNode(context=graph.context, parameter_overrides=overrides)
        )
        if instruction:
            self.instruct(instruction)
        if active:
            assert self.executor.trigger_configure() == SUCCESS
            assert self.executor.trigger_activate() == SUCCESS

    @property
    def status(self):
        return self.statuses[-1] if self.statuses else ExecutorStatus(reason="none yet")

    def instruct(self, text, listeners=1):
        publisher = self.graph.node.create_publisher(String, "task_instruction", 10)
        self.graph.until(lambda: publisher.get_subscription_count() == listeners)
        publisher.publish(String(data=text))
        self.graph.until(lambda: self.status.instruction == text, what="the echo")
        self.graph.node.destroy_publisher(publisher)

    def listen(self):
        self.graph.node.create_subscription(
            InferenceRequest, "smolvla/inference_request", self._on_request, qos.request_qos()
        )

    def state(self, state):
        return lambda: self.status.state == state

    def call(self, name):
        return self.graph.call(Trigger, f"executor_node/{name}")

    def ramp(self, request):
        """Row i of tick t is 0.001 t: every command tells which tick it was."""
        ticks = np.arange(request.tick, request.tick + ROWS)
        return np.stack((ticks * 1e-3, -ticks * 1e-3), axis=1)

    def chunk(self, request, rows, error=""):
        return ActionChunk(
            executor=request.executor,
            request_id=request.request_id,
            first_tick=request.tick,
            joint_names=JOINTS,
            positions=converters.flatten(rows),
            period=converters.to_duration(PERIOD),
            instruction=request.instruction,
            error=error,
            waiting=bool(error) and self.waiting,
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

    def settled(self):
        """Let arrive what is on its way; return how many commands have come."""
        count, since = len(self.commands), time.monotonic()

        def quiet():
            nonlocal count, since
            if len(self.commands) > count:
                count, since = len(self.commands), time.monotonic()
            return time.monotonic() > since + 3 * PERIOD

        self.graph.until(quiet, what="no more commands")
        return count

    def executed_ticks(self):
        """Ticks of the commands after the approach, which ends at tick 0's action."""
        ticks = [round(command[0] * 1e3) for command in self.commands]
        exact = [t for t, c in zip(ticks, self.commands, strict=True) if c[0] == t * 1e-3]
        return exact


class FakeBackend:
    """Answers with what it was given, so that the test sees it; may be held up or broken."""

    name, description, device, dtype = "fake", "for tests", "cpu", "float32"
    cameras, joint_names = ("top", "wrist"), tuple(JOINTS)
    chunk_size, period, needs_objects = 3, 0.1, False

    def __init__(self):
        self.observations, self.requests = [], []
        self.gate = threading.Event()
        self.gate.set()
        self.error = None
        self.closed = False

    def infer(self, observation, request):
        self.observations.append(observation)
        self.requests.append(request)
        assert self.gate.wait(10)
        if self.error:
            raise self.error
        return observation.positions + np.arange(3)[:, None]

    def close(self):
        self.closed = True


class World:
    """Cameras, joints and an executor around a policy node with a fake backend."""

    pixels = PIXELS

    def __init__(self, graph, monkeypatch, active=True, create=None, **parameters):
        self.graph, node = graph, graph.node
        self.backend = FakeBackend()
        create = create or (lambda settings: self.backend)
        monkeypatch.setattr(policy_node, "create_backend", create)
        monkeypatch.setattr(policy_node, "backend_settings", lambda name: SmolVLASettings)
        transport = parameters.get("image_transport", "raw")
        kind, suffix = (Image, "") if transport == "raw" else (CompressedImage, "/compressed")
        self.cameras = {
            name: node.create_publisher(kind, f"camera/{name}/image_raw{suffix}", qos.image_qos())
            for name in FakeBackend.cameras
        }
        self.transport = transport
        self.silent = set()
        self.positions = [0.25, -0.5]
        self.joint_states = node.create_publisher(JointState, "joint_states", 10)
        self.instruction = ""
        self.requests = node.create_publisher(
            InferenceRequest, "smolvla/inference_request", qos.request_qos()
        )
        self.chunks, self.statuses = [], []
        node.create_subscription(
            ActionChunk, "smolvla/action_chunk", self.chunks.append, qos.chunk_qos()
        )
        node.create_subscription(
            PolicyStatus, "policy_node/status", self.statuses.append, qos.status_qos()
        )
        node.create_timer(0.02, self._publish)
        robot = robot_file(JOINTS)
        defaults = {
            "backend": "fake",
            "robot": robot,
            "max_image_age": 1.0,  # the machine may be busy
            "max_joint_state_age": 1.0,
            "max_skew": 1.0,
            "status_rate": 50.0,
        }
        overrides = [Parameter(name, value=v) for name, v in {**defaults, **parameters}.items()]
        self.policy = graph.add(PolicyNode(context=graph.context, parameter_overrides=overrides))
        self.next_id = 100
        if active:
            assert self.policy.trigger_configure() == SUCCESS
            assert self.policy.trigger_activate() == SUCCESS

    @property
    def status(self):
        return self.statuses[-1] if self.statuses else PolicyStatus(message="none yet")

    def _publish(self):
        stamp = self.graph.node.get_clock().now().to_msg()
        for name, publisher in self.cameras.items():
            if name in self.silent:
                continue
            if self.transport == "raw":
                message = image_message(PIXELS)
            else:
                _, png = cv2.imencode(".png", cv2.cvtColor(PIXELS, cv2.COLOR_RGB2BGR))
                message = CompressedImage(format="png", data=png.tobytes())
            message.header.stamp = stamp
            publisher.publish(message)
        if "joints" not in self.silent:
            message = JointState(name=JOINTS[::-1], position=self.positions[::-1])
            message.header.stamp = stamp
            self.joint_states.publish(message)

    def ready(self, instruction="pick up the cube"):
        self.instruction = instruction
        self.graph.until(lambda: self.status.state == PolicyStatus.READY, what="READY")
        return self

    def send(self, tick=7, executor="/executor_node#1"):
        self.graph.until(lambda: self.requests.get_subscription_count() > 0)
        self.next_id += 1
        self.requests.publish(
            InferenceRequest(
                executor=executor,
                request_id=self.next_id,
                tick=tick,
                instruction=self.instruction,
            )
        )
        return self.next_id

    def answer(self, request_id):
        found = []

        def arrived():
            found[:] = [chunk for chunk in self.chunks if chunk.request_id == request_id]
            return bool(found)

        self.graph.until(arrived, what=f"answer to {request_id}")
        return found[0]

    def ask(self, tick=7, **asker):
        return self.answer(self.send(tick, **asker))


@pytest.fixture
def programs(tmp_path_factory, monkeypatch):
    """Return a function that puts programs at the end of the PATH, or alone there."""

    def put(*names, alone=False):
        folder = tmp_path_factory.mktemp("programs")
        for name in names:
            (folder / name).write_text("#!/bin/sh\n")
            (folder / name).chmod(0o755)
        rest = "" if alone else os.environ["PATH"] + os.pathsep
        monkeypatch.setenv("PATH", f"{rest}{folder}")

    return put


@pytest.fixture
def graph(programs):
    programs("ros2", "smolvla")  # what nodes advise depends on what there is
    graph = Graph()
    yield graph
    graph.close()


@pytest.fixture
def make_robot(graph, monkeypatch):
    monkeypatch.setattr(executor_node, "DISCOVERY_TIME", 1e-3)
    return functools.partial(Robot, graph)


@pytest.fixture
def make_world(graph, monkeypatch):
    return functools.partial(World, graph, monkeypatch)
