# SPDX-License-Identifier: Apache-2.0
"""`policy_node` over real topics: what it answers, what it refuses, and that it keeps hearing."""

import math
import os
import subprocess
import sys
import threading

import cv2
import numpy as np
import pytest
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from sensor_msgs.msg import CompressedImage, JointState
from smolvla_core.ros import converters
from smolvla_core.ros.converters import image_message

from smolvla_msgs.msg import InferenceRequest, PolicyStatus

JOINTS = ("a", "b")
SUCCESS = TransitionCallbackReturn.SUCCESS


@pytest.fixture
def world(make_world):
    return make_world()


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
    np.testing.assert_array_equal(observation.images["wrist"], world.pixels)


def test_inference_delay_counts_from_the_request_on(make_world):
    world = make_world(inference_delay=0.15).ready()
    chunk = world.ask()
    assert chunk.error == ""
    assert 0.15 <= converters.from_duration(chunk.inference_time) < 1.0


def test_compressed_images(make_world):
    world = make_world(image_transport="compressed").ready()
    assert world.ask().error == ""
    np.testing.assert_array_equal(world.backend.observations[-1].images["top"], world.pixels)


def test_the_instruction_may_change_while_running(world):
    assert world.ready("first").ask().instruction == "first"
    assert world.ready("second").ask().instruction == "second"
    world.graph.until(lambda: world.status.instruction == "second")


def test_a_sentence_that_was_not_learned_gets_one_warning(world, capfd):
    world.backend.tasks = ("pick up the pear", "peel the pear")
    for sentence in ("pick up a pear", "pick up a pear", "peel the pear"):
        assert world.ready(sentence).ask().error == ""
    log = capfd.readouterr().err
    assert log.count("never learned 'pick up a pear'; nearest: 'pick up the pear'") == 1
    assert "never learned 'peel" not in log


@pytest.mark.parametrize("instruction", ["", " \n"])
def test_a_request_without_an_instruction_is_refused_with_words(world, instruction):
    chunk = world.ready(instruction).ask()
    assert len(chunk.positions) == 0
    assert "must fill in InferenceRequest.instruction" in chunk.error
    assert world.backend.requests == []
    assert world.ready("pick").ask().error == ""


def test_sentences_are_for_the_executor_alone(world):
    world.ready()
    assert world.graph.node.count_subscribers("task_instruction") == 0


@pytest.mark.parametrize(
    ("silent", "message"), [("wrist", "camera wrist"), ("joints", "joint states")]
)
def test_no_chunk_from_what_has_gone_stale(world, silent, message):
    world.ready()
    assert world.ask().error == ""
    world.silent.add(silent)
    world.graph.until(lambda: message in world.status.message, what="status names it")
    seen = len(world.backend.observations)
    chunk = world.ask()
    assert message in chunk.error
    assert len(chunk.positions) == 0
    assert len(world.backend.observations) == seen
    world.silent.clear()
    world.graph.until(lambda: world.status.state == PolicyStatus.READY)
    assert world.ask().error == ""


def test_the_log_of_a_refusal_is_as_bad_as_its_cause(world, capfd):
    world.ready()
    assert world.ask(executor="/stranger#1").error
    world.silent.add("wrist")
    world.graph.until(lambda: "wrist" in world.status.message, what="a stale camera")
    for _ in range(3):
        refusal = world.ask()
        assert "camera wrist: newest image" in refusal.error
        assert not refusal.waiting
    world.graph.until(lambda: world.status.level == 2, what="the level")
    lines = [line for line in capfd.readouterr().err.splitlines() if "no chunk" in line]
    assert [line.split()[0] for line in lines] == ["[WARN]", "[ERROR]"]
    assert "stranger" in lines[0]
    assert "camera wrist: newest image" in lines[1]


def test_no_chunk_is_made_from_joint_states_that_contradict_each_other(world):
    world.ready()
    other = world.graph.add(Node("gui", namespace="/demo", context=world.graph.context))
    publisher = other.create_publisher(JointState, "/joint_states", 10)
    other.create_timer(
        0.05, lambda: publisher.publish(JointState(name=["a", "b"], position=[1.4, -0.5]))
    )
    world.graph.until(lambda: "demo/gui" in world.status.message, what="the name")
    assert "observer" in world.status.message
    assert "contradict" in world.ask().error


def test_joint_states_of_other_joints_beside_ours_are_nothing_to_tell(world, capfd):
    world.ready()
    others = world.graph.node.create_publisher(JointState, "joint_states", 10)
    for _ in range(5):
        others.publish(JointState(name=["wheel"], position=[3.0]))
        assert world.ask().error == ""
    assert "wheel" not in capfd.readouterr().err


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
        InferenceRequest(
            executor="/executor_node#1",
            request_id=1,
            joint_names=["a", "x"],
            committed=[0.0, 1.0],
            instruction="pick",
        )
    )
    assert "inference request: no b among the joints a, x" in world.answer(1).error


def test_a_restarted_executor_is_answered_and_a_stranger_is_not(world):
    world.ready()
    for executor in ("/executor_node#1", "/executor_node#2", "/executor_node"):
        chunk = world.ask(executor=executor)
        assert (chunk.error, chunk.executor) == ("", executor)
    seen = len(world.backend.observations)
    for executor, named in (
        ("/other/executor_node#1", "the request is of /other/executor_node"),
        ("", "nobody: InferenceRequest.executor is empty"),
    ):
        chunk = world.ask(executor=executor)
        assert len(chunk.positions) == 0
        assert chunk.executor == executor
        assert chunk.error.startswith("policy_node serves /executor_node (parameter executor)")
        assert chunk.error.endswith(named)
    assert len(world.backend.observations) == seen


def test_the_parameter_names_the_executor_that_is_answered(make_world):
    world = make_world(executor="/right/arm").ready()
    assert world.ask(executor="/right/arm#5").error == ""
    assert "serves /right/arm" in world.ask().error


def test_of_two_executors_of_one_name_the_one_that_was_started_last_is_answered(world):
    world.ready()
    assert world.ask(executor="/executor_node#1").error == ""
    assert world.ask(executor="/executor_node#2").error == ""
    refused = world.ask(executor="/executor_node#1")
    assert len(refused.positions) == 0
    assert "another executor named /executor_node was started after this one" in refused.error
    assert world.ask(executor="/executor_node#2").error == ""


def show(world, picture):
    """Let the camera top send `picture` alone from now on."""
    world.silent.add("top")

    def publish():
        picture.header.stamp = world.graph.node.get_clock().now().to_msg()
        world.cameras["top"].publish(picture)

    world.graph.node.create_timer(0.02, publish)


def test_an_image_without_color_is_refused_with_camera_and_topic(world):
    world.ready()
    depth = image_message(world.pixels)
    depth.encoding = "16UC1"
    show(world, depth)
    refusal = "camera top: /camera/top/image_raw: encoding '16UC1' (6x4) is depth"
    while refusal not in (error := world.ask().error):
        assert error == ""  # the good images that came before


def test_gray_pictures_are_told_once_and_used(make_world, capfd):
    world = make_world(active=False, image_transport="compressed")
    _, jpeg = cv2.imencode(".jpg", np.full((12, 16), 77, np.uint8))
    show(world, CompressedImage(format="bgr8; jpeg compressed mono8", data=jpeg.tobytes()))
    assert world.policy.trigger_configure() == world.policy.trigger_activate() == SUCCESS
    world.ready()
    for _ in range(3):
        assert world.ask().error == ""
    image = world.backend.observations[-1].images["top"]
    np.testing.assert_array_equal(image, np.full((12, 16, 3), 77))
    lines = [line for line in capfd.readouterr().err.splitlines() if "are gray" in line]
    assert len(lines) == 1
    assert "camera top: /camera/top/image_raw/compressed: the pictures are gray" in lines[0]


def test_a_checkpoint_that_cannot_load_ends_the_process_with_words():
    command = [sys.executable, "-m", "smolvla_policy.policy_node.node", "--ros-args"]
    command += ["-p", "checkpoint:=/nowhere/checkpoint", "-p", "autostart:=true"]
    command += ["-p", "niceness:=0"]  # beside other programs it took a minute to import PyTorch
    ended = subprocess.run(command, capture_output=True, text=True, timeout=180, check=False)
    assert ended.returncode == os.EX_CONFIG
    assert "backend 'smolvla'" in ended.stderr
    assert "/nowhere/checkpoint" in ended.stderr
    assert "Traceback" not in ended.stderr


def test_destroying_the_node_frees_the_backend(world):
    world.ready()
    world.graph.remove(world.policy)
    assert world.backend.closed
    assert not any(thread.name == "inference" for thread in threading.enumerate())
