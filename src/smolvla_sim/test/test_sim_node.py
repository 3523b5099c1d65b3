# SPDX-License-Identifier: Apache-2.0
"""`sim_node` with real rclpy: topics, services, refusals and a clean end."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest
import rclpy
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from rclpy.parameter import Parameter
from robot_files import robot_file
from sensor_msgs.msg import CameraInfo, Image, JointState
from smolvla_core.ros import qos
from smolvla_sim.node.node import SimNode
from smolvla_sim.world.arm import JOINT_NAMES
from smolvla_sim.world.scene import OBJECTS
from smolvla_sim.world.simulation import HOME
from smolvla_sim.world.tasks import Reach
from std_msgs.msg import Bool, Float32, Float64MultiArray
from visualization_msgs.msg import MarkerArray

from smolvla_msgs.msg import ExecutorStatus
from smolvla_msgs.srv import ResetSim, SetTask

DOMAIN = 1 + os.getpid() % 100
# Reversed on purpose: commands are matched by the parameter, not by luck.
ORDER = list(JOINT_NAMES[::-1])


class Rig:
    """A sim_node and an observer that keeps the newest message of every topic."""

    def __init__(self, **parameters):
        self.context = rclpy.Context()
        rclpy.init(context=self.context, domain_id=DOMAIN)
        self.executor = SingleThreadedExecutor(context=self.context)
        overrides = [Parameter(name, value=value) for name, value in parameters.items()]
        self.sim = SimNode(context=self.context, parameter_overrides=overrides)
        self.observer = Node("observer", context=self.context)
        self.executor.add_node(self.sim)
        self.executor.add_node(self.observer)
        self.newest = {}
        self.commands = self.observer.create_publisher(
            Float64MultiArray, "arm_controller/commands", qos.command_qos()
        )

    def listen(self, kind, topic, profile=10):
        self.observer.create_subscription(
            kind, topic, lambda message: self.newest.update({topic: message}), profile
        )

    def until(self, condition, what, timeout=60.0):
        deadline = time.monotonic() + timeout
        while not condition():
            assert time.monotonic() < deadline, f"did not happen within {timeout} s: {what}"
            self.executor.spin_once(timeout_sec=0.05)

    def call(self, kind, name, request):
        client = self.observer.create_client(kind, name)
        self.until(client.service_is_ready, f"service {name}")
        future = client.call_async(request)
        self.until(future.done, f"answer of {name}")
        return future.result()

    def joints(self):
        message = self.newest["joint_states"]
        return np.array([message.position[message.name.index(name)] for name in JOINT_NAMES])

    def close(self):
        self.observer.destroy_node()
        self.sim.destroy_node()
        self.executor.shutdown()
        rclpy.try_shutdown(context=self.context)


@pytest.fixture(scope="module")
def rig():
    before = threading.active_count()
    rig = Rig(
        robot=robot_file(ORDER, model="so100"),
        cameras=["top", "wrist"],
        image_width=64,
        image_height=48,
        seed=3,
        frame_prefix="left/",
    )
    rig.listen(JointState, "joint_states")
    rig.listen(MarkerArray, "sim/objects", qos.scene_qos())
    rig.listen(Float32, "sim/score", qos.status_qos())
    rig.listen(Bool, "sim/success", qos.status_qos())
    for camera in ("top", "wrist"):
        rig.listen(Image, f"camera/{camera}/image_raw", qos.image_qos())
        rig.listen(CameraInfo, f"camera/{camera}/camera_info", qos.image_qos())
    rig.until(lambda: len(rig.newest) == 8, "one message of every topic")
    yield rig
    rig.close()
    assert threading.active_count() <= before, "a thread is left"


def test_joint_states(rig):
    message = rig.newest["joint_states"]
    assert list(message.name) == list(JOINT_NAMES)
    assert len(message.velocity) == len(message.effort) == 6
    assert message.header.stamp.sec > 0


def test_images_of_one_instant(rig):
    images = {camera: rig.newest[f"camera/{camera}/image_raw"] for camera in ("top", "wrist")}
    for camera, message in images.items():
        assert (message.width, message.height, message.encoding) == (64, 48, "rgb8")
        assert len(message.data) == 64 * 48 * 3
        assert np.std(message.data) > 5
        info = rig.newest[f"camera/{camera}/camera_info"]
        frame = f"left/{camera}_camera_optical_frame"
        assert message.header.frame_id == info.header.frame_id == frame
        assert info.k[0] > 0
        assert (info.width, info.height) == (64, 48)

    def same_stamp():
        first, second = (
            rig.newest[f"camera/{camera}/image_raw"].header.stamp for camera in ("top", "wrist")
        )
        return first == second

    rig.until(same_stamp, "two pictures with one stamp")


def test_objects(rig):
    markers = {marker.ns: marker for marker in rig.newest["sim/objects"].markers}
    assert set(markers) == set(OBJECTS)
    assert markers["red_cube"].header.frame_id == "left/base_link"
    assert markers["red_cube"].scale.x == pytest.approx(0.025)
    assert markers["red_cube"].pose.position.z == pytest.approx(0.0125, abs=2e-3)


def test_commands_follow_the_order_of_the_robots_file(rig):
    target = np.array(HOME)
    target[0] = 0.4
    rig.until(lambda: rig.commands.get_subscription_count() > 0, "the command subscription")
    rig.commands.publish(Float64MultiArray(data=target[::-1].tolist()))
    rig.until(lambda: abs(rig.joints()[0] - 0.4) < 0.02, "the arm at its command")


@pytest.mark.parametrize("bad", [[0.5] * 5, [0.5] * 7, [0.5] * 5 + [float("nan")]])
def test_bad_commands_are_refused(rig, bad):
    before = rig.joints()
    rig.commands.publish(Float64MultiArray(data=bad))
    due = time.monotonic() + 0.4
    rig.until(lambda: time.monotonic() > due, "time for a motion")
    np.testing.assert_allclose(rig.joints(), before, atol=0.03)


def test_rates_can_be_changed_while_it_runs(rig):
    begun = []
    rig.observer.create_subscription(JointState, "joint_states", begun.append, 10)

    def put(**values):
        given = [Parameter(name, value=value) for name, value in values.items()]
        return rig.sim.set_parameters_atomically(given)

    usual = rig.sim.get_parameter("joint_state_rate").value
    refused = put(camera_rate=7.0, joint_state_rate=900.0)
    assert "at most the physics rate" in refused.reason
    assert rig.sim.get_parameter("camera_rate").value == 30.0
    assert put(joint_state_rate=4.0, restock=False).successful
    begun.clear()
    rig.until(lambda: len(begun) >= 6, "slow joint states")
    # The first ones may have been on their way.
    stamps = [m.header.stamp.sec + m.header.stamp.nanosec * 1e-9 for m in begun[-2:]]
    assert stamps[1] - stamps[0] > 0.15
    assert "read-only" in put(robot="so101").reason
    assert put(joint_state_rate=usual).successful


def test_reset_gives_the_same_scene(rig):
    def places():
        markers = rig.newest["sim/objects"].markers
        return [(m.ns, m.pose.position.x, m.pose.position.y) for m in markers]

    def reset(seed):
        assert rig.call(ResetSim, "sim/reset", ResetSim.Request(seed=seed)).success
        rig.newest.pop("sim/objects")
        rig.until(lambda: "sim/objects" in rig.newest, "objects after the reset")
        return places()

    first = reset(11)
    assert reset(12) != first
    assert np.allclose([p[1:] for p in reset(11)], [p[1:] for p in first], atol=1e-3)


def test_set_task(rig):
    answer = rig.call(SetTask, "sim/set_task", SetTask.Request(task="pick up the blue cube"))
    assert answer.success
    answer = rig.call(SetTask, "sim/set_task", SetTask.Request(task="dance"))
    assert not answer.success
    assert "put the {color} cube into the bowl" in answer.message


def test_a_task_with_two_bowls_brings_the_second_one(rig):
    def objects():
        return {marker.ns for marker in rig.newest["sim/objects"].markers}

    task = "sort the red cube into the left bowl and the blue cube into the right bowl"
    assert rig.call(SetTask, "sim/set_task", SetTask.Request(task=task)).success
    rig.until(lambda: objects() == {*OBJECTS, "right_bowl"}, "the second bowl")
    assert rig.call(SetTask, "sim/set_task", SetTask.Request(task="touch the red cube")).success
    rig.until(lambda: objects() == set(OBJECTS), "one bowl again")


def test_a_success_is_published_and_logged_once(rig, monkeypatch, capfd):
    assert not rig.newest["sim/success"].data
    task = "touch the green cube"
    assert rig.call(SetTask, "sim/set_task", SetTask.Request(task=task)).success
    with monkeypatch.context() as done:
        for score in (1.0, 0.5, 1.0, 0.5):  # the hand is still in the way
            done.setattr(Reach, "grade", lambda *_, score=score: score)
            rig.until(lambda done=score == 1: rig.newest["sim/success"].data == done, str(score))
    assert capfd.readouterr().err.count(f"success: {task}\n") == 1
    rig.until(lambda: rig.newest["sim/score"].data == 0, "a fresh scene")
    monkeypatch.setattr(Reach, "grade", lambda *_: 1.0)
    rig.until(lambda: f"success: {task}\n" in capfd.readouterr().err, "the next success")


def test_only_what_is_asked_for_is_a_success(rig, monkeypatch):
    task = "touch the green cube"
    assert rig.call(SetTask, "sim/set_task", SetTask.Request(task=task)).success
    executor = rig.observer.create_publisher(
        ExecutorStatus, "executor_node/status", qos.status_qos()
    )
    monkeypatch.setattr(Reach, "grade", lambda *_: 1.0)
    for instruction, success in (
        ("", True),
        ("touch the blue cube", False),
        ("Touch the green cube.", True),
        ("tidy up", False),
        ("touch the green cube", True),
    ):
        executor.publish(ExecutorStatus(instruction=instruction))
        rig.until(lambda done=success: rig.newest["sim/success"].data == done, instruction)
    rig.observer.destroy_publisher(executor)


def test_it_judges_what_is_asked_for_in_the_scene_as_it_is(rig, monkeypatch):
    rig.sim.set_parameters([Parameter("follow_instruction", value=True)])
    executor = rig.observer.create_publisher(
        ExecutorStatus, "executor_node/status", qos.status_qos()
    )
    monkeypatch.setattr(Reach, "grade", lambda *_: 1.0)

    def places():
        return [marker.pose.position for marker in rig.newest["sim/objects"].markers]

    before = places()
    for instruction, success in (
        ("pick up the red cube", False),
        ("touch the blue cube", True),
        ("sort the red cube into the left bowl and the blue cube into the right bowl", False),
        ("touch the red cube", True),
    ):
        executor.publish(ExecutorStatus(instruction=instruction))
        rig.until(lambda done=success: rig.newest["sim/success"].data == done, instruction)
    # For another number of bowls the scene would have begun anew.
    assert len(places()) == len(before)
    rig.sim.set_parameters([Parameter("follow_instruction", value=False)])
    rig.observer.destroy_publisher(executor)


def test_a_late_listener_gets_the_score(rig):
    rig.newest.pop("sim/score")
    rig.listen(Float32, "sim/score", qos.status_qos())
    rig.until(lambda: "sim/score" in rig.newest, "the latched score")


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"robot": "so102"}, "so100, so101"),
        ({"task": "dance"}, "does not understand 'dance'"),
        ({"robot": robot_file()}, "simulation has so100"),
        ({"cameras": ["front"]}, "unknown camera 'front'"),
        ({"viewer": True}, "there is no display"),
    ],
)
def test_wrong_parameters_are_explained(parameters, message, monkeypatch):
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=DOMAIN)
    overrides = [Parameter(name, value=value) for name, value in parameters.items()]
    with pytest.raises(ValueError, match=message):
        SimNode(context=context, parameter_overrides=overrides)
    rclpy.try_shutdown(context=context)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_ends_cleanly(number):
    domain = 1 + DOMAIN % 100
    arguments = ["--ros-args", "-p", "image_width:=64", "-p", "image_height:=48"]
    process = subprocess.Popen(
        [sys.executable, "-c", "from smolvla_sim.node.node import main; main()", *arguments],
        env={
            **os.environ,
            "ROS_DOMAIN_ID": str(domain),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    context = rclpy.Context()
    rclpy.init(context=context, domain_id=domain)
    observer = Node("observer", context=context)
    executor = SingleThreadedExecutor(context=context)
    try:
        client = observer.create_client(ResetSim, "sim/reset")
        assert client.wait_for_service(timeout_sec=20.0)
        future = client.call_async(ResetSim.Request(seed=1))
        executor.add_node(observer)
        executor.spin_until_future_complete(future, timeout_sec=20.0)
        assert future.result().success
        process.send_signal(number)
        output, _ = process.communicate(timeout=60)
    finally:
        process.kill()
        observer.destroy_node()
        executor.shutdown()
        rclpy.try_shutdown(context=context)
    assert process.returncode == 0, output
    assert "Traceback" not in output
    assert "cameras: top, side, wrist" in output
