# SPDX-License-Identifier: Apache-2.0
"""teleop.launch.py: an arm follows a leader arm, both emulated, through ros2_control."""

import json
import os
import signal
import socket
from pathlib import Path

import numpy as np
import pytest
from ament_index_python import has_resource
from ament_index_python.packages import get_package_share_directory
from sensor_msgs.msg import JointState
from smolvla_core.ros import qos
from test_launch import JOINTS, RANGES, calibrated, emulate, launched, needs_ros2_control  # noqa: F401

from smolvla_msgs.msg import ExecutorStatus

# Other ends of the joints, so other ticks at the same angles.
LEADER_RANGES = ((800, 3300), (850, 3200), (950, 3100), (900, 3250), (0, 4095), (1900, 3100))


class LeaderArm:
    """Six emulated servos that the test moves by hand."""

    def __init__(self, folder):
        self.port, self.calibration = folder / "leader", folder / "leader.json"
        self._control = folder / "control"
        self.calibration.write_text(calibrated(LEADER_RANGES))
        self.plug()

    def plug(self):
        options = ("--control", self._control, "--gravity", "0")
        self._emulator = emulate(self.port, self.calibration, *options)

    def unplug(self):
        self._emulator.kill()
        self._emulator.communicate()

    def order(self, command):
        with socket.socket(socket.AF_UNIX) as control:
            control.connect(str(self._control))
            control.sendall(f"{command}\n".encode())
            answer = control.recv(65536).decode()
        assert answer.startswith("ok"), answer
        return json.loads(answer[2:].strip() or "null")


@pytest.fixture
def leader(tmp_path):
    if not has_resource("hardware_interface__pluginlib__plugin", "so100_hardware"):
        pytest.skip("so100_hardware was built without ros2_control")
    arm = LeaderArm(tmp_path)
    yield arm
    arm.unplug()


@pytest.fixture
def teleop(launched, leader, tmp_path):  # noqa: F811
    """Yield a function that launches leader and follower."""
    port, calibration = tmp_path / "follower", tmp_path / "follower.json"
    calibration.write_text(calibrated(RANGES))
    emulator = emulate(port, calibration, "--gravity", "0")
    slow = tmp_path / "slow.yaml"  # for a busy machine
    slow.write_text("/**/controller_manager:\n  ros__parameters:\n    update_rate: 25\n")

    def launch(leader_calibration):
        share = Path(get_package_share_directory("smolvla_bringup"))
        suite = launched(
            f"leader:={leader.port}",
            f"leader_calibration:={leader_calibration}",
            f"port:={port}",
            f"calibration:={calibration}",
            f"params_file:={slow}",
            "rate:=25.0",
            "view:=none",
            file=share / "launch/teleop.launch.py",
        )
        suite.leader = None

        def on_leader(message):
            positions = dict(zip(message.name, message.position, strict=True))
            suite.leader = np.array([positions[joint] for joint in JOINTS])

        suite.node.create_subscription(
            JointState, "leader/joint_states", on_leader, qos.joint_state_qos()
        )
        return suite

    yield launch
    emulator.kill()
    emulator.communicate()


def apart(suite):
    return np.abs(suite.positions - suite.leader).max()


@needs_ros2_control
def test_the_arm_follows_the_leader_and_holds_while_it_is_away(teleop, leader):
    suite = teleop(leader.calibration)
    suite.until(lambda: "ready: the arm follows /leader/joint_states" in suite.output, "ready")
    for servo, ticks in ((1, 2400), (3, 1700), (6, 2800)):
        leader.order(f"push {servo} {ticks}")
    # What a servo lags its goal by at rest is 16 ticks at most.
    suite.until(lambda: suite.leader[0] > 0.4 and apart(suite) < 0.05, "the arm is there")
    assert [servo["torque"] for servo in leader.order("show all")] == [0] * 6

    def away_and_back(what):
        suite.until(lambda: suite.executor.state == ExecutorStatus.HOLDING, f"it holds: {what}")
        assert "the newest valid target of the human is" in suite.executor.reason
        suite.until(lambda: suite.executor.state == ExecutorStatus.RUNNING, f"it follows: {what}")

    suite.held = suite.positions
    killed = suite.pid("ros2_control_node", "__ns:=/leader")
    os.kill(killed, signal.SIGKILL)
    away_and_back("its driver was killed")
    assert suite.strayed < 0.05
    suite.held = None

    leader.unplug()
    suite.until(lambda: suite.executor.state == ExecutorStatus.HOLDING, "it holds: unplugged")
    leader.plug()
    suite.until(lambda: suite.executor.state == ExecutorStatus.RUNNING, "it follows: plugged in")
    suite.until(lambda: apart(suite) < 0.05, "the arm is where the leader is")
    assert suite.interrupt() == 0
    assert "Traceback" not in suite.output


@needs_ros2_control
def test_a_leader_that_holds_another_calibration_is_not_followed(teleop, leader, tmp_path):
    other = tmp_path / "other.json"
    other.write_text(calibrated(RANGES))
    suite = teleop(other)
    suite.until(lambda: "shoulder_pan (id 1): range_min is" in suite.output, "it is named")
    suite.until(lambda: "no valid target of the human" in suite.executor.reason, "it waits")
    assert suite.leader is None
    assert suite.interrupt() == 0
