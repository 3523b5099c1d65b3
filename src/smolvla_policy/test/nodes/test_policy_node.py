# SPDX-License-Identifier: Apache-2.0
"""`policy_node` over real topics: what it answers, what it refuses, and that it keeps hearing."""

import io
import math
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image as PilImage
from rclpy.parameter import Parameter
from sensor_msgs.msg import CompressedImage, Image, JointState
from smolvla_policy.nodes import policy_node
from smolvla_policy.nodes.policy_node import PolicyNode
from smolvla_policy.ros import converters, qos
from smolvla_policy.ros.images import encode_image
from std_msgs.msg import String

from smolvla_msgs.msg import ActionChunk, InferenceRequest, PolicyStatus

JOINTS = ("a", "b")
PIXELS = np.random.default_rng(0).integers(0, 256, (4, 6, 3), dtype=np.uint8)


class FakeBackend:
    """Answers with what it was given, so that the test sees it; may be held up or broken."""

    name, description, device, dtype = "fake", "for tests", "cpu", "float32"
    cameras, joint_names = ("top", "wrist"), JOINTS
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

    def __init__(self, graph, monkeypatch, **parameters):
        self.graph, node = graph, graph.node
        self.backend = FakeBackend()
        monkeypatch.setattr(policy_node, "create_backend", lambda name, options: self.backend)
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
        self.instructions = node.create_publisher(String, "task_instruction", 10)
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
        defaults = {"backend": "fake", "max_image_age": 0.2, "status_rate": 50.0}
        overrides = [Parameter(name, value=v) for name, v in {**defaults, **parameters}.items()]
        self.policy = graph.add(PolicyNode(context=graph.context, parameter_overrides=overrides))
        self.next_id = 100

    @property
    def status(self):
        return self.statuses[-1] if self.statuses else PolicyStatus(message="none yet")

    def _publish(self):
        stamp = self.graph.node.get_clock().now().to_msg()
        for name, publisher in self.cameras.items():
            if name in self.silent:
                continue
            if self.transport == "raw":
                message = encode_image(PIXELS)
            else:
                buffer = io.BytesIO()
                PilImage.fromarray(PIXELS).save(buffer, "PNG")
                message = CompressedImage(format="png", data=buffer.getvalue())
            message.header.stamp = stamp
            publisher.publish(message)
        if "joints" not in self.silent:
            message = JointState(name=JOINTS[::-1], position=self.positions[::-1])
            message.header.stamp = stamp
            self.joint_states.publish(message)

    def instruct(self, text):
        self.graph.until(lambda: self.instructions.get_subscription_count() > 0)
        self.instructions.publish(String(data=text))
        self.graph.until(lambda: self.status.instruction == text)

    def ready(self, instruction="pick up the cube"):
        self.instruct(instruction)
        self.graph.until(lambda: self.status.state == PolicyStatus.READY, what="READY")
        return self

    def send(self, tick=7):
        self.graph.until(lambda: self.requests.get_subscription_count() > 0)
        self.next_id += 1
        self.requests.publish(InferenceRequest(request_id=self.next_id, tick=tick))
        return self.next_id

    def answer(self, request_id):
        found = []

        def arrived():
            found[:] = [chunk for chunk in self.chunks if chunk.request_id == request_id]
            return bool(found)

        self.graph.until(arrived, what=f"answer to {request_id}")
        return found[0]

    def ask(self, tick=7):
        return self.answer(self.send(tick))


@pytest.fixture
def world(graph, monkeypatch):
    return World(graph, monkeypatch)


def test_a_chunk_carries_everything_that_its_users_need(world):
    chunk = world.ready().ask(tick=42)
    assert chunk.error == ""
    assert (chunk.first_tick, chunk.joint_names) == (42, list(JOINTS))
    np.testing.assert_array_equal(chunk.positions, [0.25, -0.5, 1.25, 0.5, 2.25, 1.5])
    assert math.isclose(converters.from_duration(chunk.period), 0.1)
    assert converters.from_duration(chunk.inference_time) > 0
    assert (chunk.instruction, chunk.policy) == ("pick up the cube", "fake: for tests")
    now = world.graph.node.get_clock().now().nanoseconds
    stamp = chunk.header.stamp.sec * 10**9 + chunk.header.stamp.nanosec
    assert 0 < now - stamp < 2e9
    observation = world.backend.observations[-1]
    assert list(observation.images) == ["top", "wrist"]
    np.testing.assert_array_equal(observation.images["wrist"], PIXELS)


def test_inference_delay_counts_from_the_request_on(graph, monkeypatch):
    world = World(graph, monkeypatch, inference_delay=0.15).ready()
    chunk = world.ask()
    assert chunk.error == ""
    assert 0.15 <= converters.from_duration(chunk.inference_time) < 1.0


def test_compressed_images(graph, monkeypatch):
    world = World(graph, monkeypatch, image_transport="compressed").ready()
    assert world.ask().error == ""
    np.testing.assert_array_equal(world.backend.observations[-1].images["top"], PIXELS)


def test_the_instruction_may_change_while_running(world):
    assert world.ready("first").ask().instruction == "first"
    world.instruct("second")
    assert world.ask().instruction == "second"


def test_without_an_instruction_it_says_how_to_give_one(world):
    world.graph.until(lambda: "no instruction" in world.status.message)
    chunk = world.ask()
    assert len(chunk.positions) == 0
    assert "ros2 topic pub" in chunk.error
    assert world.backend.requests == []


@pytest.mark.parametrize(
    ("silent", "words"), [("wrist", "camera wrist"), ("joints", "joint states")]
)
def test_no_chunk_from_what_has_gone_stale(world, silent, words):
    world.ready()
    assert world.ask().error == ""
    world.silent.add(silent)
    world.graph.until(lambda: words in world.status.message, what="status names it")
    seen = len(world.backend.observations)
    chunk = world.ask()
    assert words in chunk.error
    assert len(chunk.positions) == 0
    assert len(world.backend.observations) == seen
    world.silent.clear()
    world.graph.until(lambda: world.status.state == PolicyStatus.READY)
    assert world.ask().error == ""


def test_receiving_goes_on_while_it_thinks(world):
    world.ready().backend.gate.clear()
    request = world.send()
    world.graph.until(lambda: world.status.state == PolicyStatus.INFERRING)
    # For three times the age at which images are stale, they stay fresh.
    world.graph.during(0.6, lambda: max(world.status.camera_ages) < 0.2)
    assert not world.chunks
    world.backend.gate.set()
    assert world.answer(request).error == ""


def test_the_newest_request_replaces_a_waiting_one(world):
    world.ready().backend.gate.clear()
    first = world.send()
    world.graph.until(lambda: world.status.state == PolicyStatus.INFERRING)
    second = world.send()
    world.graph.until(lambda: world.status.requests == 2)
    third = world.send()
    assert f"replaced by request {third}" in world.answer(second).error
    world.backend.gate.set()
    assert world.answer(first).error == world.answer(third).error == ""


def test_a_failed_inference_is_answered_and_the_next_works(world):
    world.ready().backend.error = RuntimeError("out of memory")
    assert "out of memory" in world.ask().error
    world.graph.until(lambda: world.status.inference_errors == 1)
    world.backend.error = None
    assert world.ask().error == ""


def test_a_broken_request_is_answered_with_words(world):
    world.ready()
    world.requests.publish(
        InferenceRequest(request_id=1, joint_names=["a", "x"], committed=[0.0, 1.0])
    )
    assert "inference request: no b among the joints a, x" in world.answer(1).error


def test_a_broken_image_is_named(world):
    world.ready()
    world.silent.add("top")
    broken = encode_image(PIXELS)
    broken.encoding = "16UC1"

    def publish():
        broken.header.stamp = world.graph.node.get_clock().now().to_msg()
        world.cameras["top"].publish(broken)

    world.graph.node.create_timer(0.02, publish)
    while "camera top: image encoding '16UC1'" not in (error := world.ask().error):
        assert error == ""  # the good images that came before


def test_a_checkpoint_that_cannot_load_ends_the_process_with_words():
    command = [sys.executable, "-m", "smolvla_policy.nodes.policy_node", "--ros-args"]
    command += ["-p", "checkpoint:=/nowhere/checkpoint"]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 1
    assert "backend 'smolvla'" in ended.stderr
    assert "/nowhere/checkpoint" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_destroying_the_node_frees_the_backend(world):
    world.ready()
    world.graph.remove(world.policy)
    assert world.backend.closed
    assert not any(thread.name == "inference" for thread in threading.enumerate())
