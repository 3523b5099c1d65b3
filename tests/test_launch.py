# SPDX-License-Identifier: Apache-2.0
"""so100.launch.py starts and stops the whole suite, with the simulation and with ros2_control."""

import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest
from ament_index_python import has_resource
from ament_index_python.packages import (
    PackageNotFoundError,
    get_package_prefix,
    get_package_share_directory,
)
from processes import Mark
from rclpy.duration import Duration
from sensor_msgs.msg import JointState
from smolvla_bringup.system.environment import installed
from smolvla_core.client import ClientError, SmolVLAClient
from smolvla_sim.settings import CHECKPOINT
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from smolvla_msgs.msg import ExecutorStatus, PolicyStatus

pytest.importorskip("launch_ros.actions", reason="launch_ros is not installed")

LIMIT = 90.0  # [s] for one thing to happen on a busy machine
JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
RANGES = ((760, 3320), (830, 3190), (910, 3080), (880, 3200), (0, 4095), (2040, 3470))  # [ticks]


def calibrated(ranges):
    """Return a calibration with these ranges, as JSON."""
    joints = {
        joint: {
            "id": number,
            "drive_mode": 0,
            "homing_offset": 0,
            "range_min": low,
            "range_max": high,
        }
        for number, (joint, (low, high)) in enumerate(zip(JOINTS, ranges, strict=True), start=1)
    }
    return json.dumps(joints)


def emulate(port, calibration, *options):
    """Start six emulated servos that hold a calibration; return the process."""
    program = Path(get_package_prefix("so100_hardware"), "lib/so100_hardware/so100_emulator")
    # Servos answer however busy the machine is; an emulator needs a priority for that.
    command = [program, "--link", port, *options]
    if (
        shutil.which("chrt")
        and subprocess.run(["chrt", "-f", "1", "true"], check=False).returncode == 0
    ):
        command = ["chrt", "-f", "1", *command]
    emulator = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert emulator.stdout.readline().startswith("/dev/")
    write = [program.with_name("so100_calibrate"), "--port", port, "--from-file", calibration]
    subprocess.run(write, stdin=subprocess.DEVNULL, check=True)
    return emulator


needs_ros2_control = pytest.mark.skipif(
    not all(
        installed(package)
        for package in (
            "controller_manager",
            "joint_state_broadcaster",
            "forward_command_controller",
            "robot_state_publisher",
        )
    ),
    reason="ros2_control is not installed",
)


class Launched:
    """A launch in a process of its own, and a node that listens to what it started."""

    def __init__(self, *arguments, namespace="", file=None, environment=None):
        try:
            share = Path(get_package_share_directory("smolvla_bringup"))
        except PackageNotFoundError:
            pytest.skip("the workspace is not sourced: . ./env.sh")
        file = file or share / "launch/so100.launch.py"
        self._mark = Mark()
        runner = Path(__file__).with_name("launch_runner.py")
        self._process = subprocess.Popen(
            [sys.executable, str(runner), str(file), *arguments],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env={**os.environ, **(environment or {}), **self._mark.variables},
            text=True,
            start_new_session=True,
        )
        self.output = ""
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()
        self._stack = contextlib.ExitStack()
        self.client = self._stack.enter_context(
            SmolVLAClient.connect("launch_test", namespace, on_wait=self._check)
        )
        self.node = node = self.client.node
        self.positions = None
        self.held = None  # where the arm shall stay
        self.strayed = 0.0  # how far a joint was from there at most
        self.commands = node.create_publisher(Float64MultiArray, "arm_controller/commands", 10)
        node.create_subscription(JointState, "joint_states", self._on_joints, 10)

    def _read(self):
        for line in self._process.stdout:
            self.output += line

    def _on_joints(self, message):
        positions = dict(zip(message.name, message.position, strict=True))
        self.positions = np.array([positions[joint] for joint in JOINTS])
        if self.held is not None:
            self.strayed = max(self.strayed, np.abs(self.positions - self.held).max())

    @property
    def executor(self):
        return self.client.executor_status or ExecutorStatus(reason="none yet")

    @property
    def policy(self):
        return self.client.policy_status or PolicyStatus(message="none yet")

    @property
    def tail(self):
        return "\n".join(self.output.splitlines()[-40:])

    def _check(self):
        assert self._process.poll() is None, f"the launch has ended before:\n{self.tail}"

    def until(self, condition, what):
        assert self.client.until(condition, LIMIT), f"did not happen: {what}\n{self.tail}"

    def pid(self, executable, argument=None):
        """Return the process that runs `executable`, with `argument`; 0 for none."""
        for pid in self._mark.living():
            with contextlib.suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                # A script is behind its interpreter.
                named = executable in [Path(word.decode()).name for word in words[:2]]
                if named and (argument is None or argument.encode() in words):
                    return pid
        return 0

    def end(self):
        """Wait for the launch to end; return its exit status."""
        code = self._process.wait(LIMIT)
        self._reader.join(LIMIT)
        assert not self._mark.living(), "processes are left"
        return code

    def interrupt(self):
        """Do what Ctrl-C does, without a terminal."""
        self._process.send_signal(signal.SIGINT)
        return self.end()

    def close(self):
        for pid in self._mark.living():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self._process.wait()
        self._stack.close()


@pytest.fixture
def launched():
    started = []

    def launch(*arguments, **options):
        started.append(Launched(*arguments, **options))
        return started[-1]

    yield launch
    for one in started:
        one.close()


def test_the_simulation_obeys_a_sentence_and_leaves_no_process(launched):
    suite = launched("hardware:=sim", "policy:=scripted", "view:=none")
    suite.until(lambda: "no instruction yet" in suite.executor.reason, "the executor waits")
    suite.until(lambda: suite.positions is not None, "joint states")
    suite.until(lambda: suite.policy.state == PolicyStatus.READY, "the policy is ready")
    start = suite.positions

    suite.client.instruct("put the red cube into the bowl")
    suite.until(lambda: np.abs(suite.positions - start).max() > 0.05, "the arm moves")
    assert suite.interrupt() == 0
    assert "Traceback" not in suite.output


@needs_ros2_control
def test_a_mock_arm_waits_for_its_camera_and_takes_commands(launched):
    suite = launched(
        "hardware:=mock", f"checkpoint:={CHECKPOINT}", "namespace:=left", namespace="left"
    )
    suite.until(lambda: suite.positions is not None, "joint states")
    suite.until(lambda: "camera top" in suite.policy.message, "the policy misses its camera")
    suite.until(lambda: suite.executor.state == ExecutorStatus.WAITING, "the executor waits")
    wanted = suite.positions + 0.1

    def there():
        suite.commands.publish(Float64MultiArray(data=wanted.tolist()))
        return np.allclose(suite.positions, wanted, atol=1e-3)

    suite.until(there, "arm_controller is active")
    assert suite.interrupt() == 0
    assert "Traceback" not in suite.output


@needs_ros2_control
def test_a_mock_arm_follows_trajectories(launched):
    if not installed("joint_trajectory_controller"):
        pytest.skip("joint_trajectory_controller is not installed")
    suite = launched("hardware:=mock", "policy:=none", "output:=joint_trajectory")
    suite.until(lambda: suite.positions is not None, "joint states")
    wanted = suite.positions + 0.1
    trajectories = suite.node.create_publisher(
        JointTrajectory, "arm_controller/joint_trajectory", 10
    )

    def there():
        point = JointTrajectoryPoint(positions=wanted.tolist())
        point.time_from_start.nanosec = 100_000_000
        trajectories.publish(JointTrajectory(joint_names=list(JOINTS), points=[point]))
        return np.allclose(suite.positions, wanted, atol=1e-3)

    suite.until(there, "arm_controller is active")
    assert suite.interrupt() == 0


@pytest.fixture
def heavy_arm(tmp_path):
    """Yield launch arguments for six emulated servos that feel gravity, and for two cameras."""
    if not has_resource("hardware_interface__pluginlib__plugin", "so100_hardware"):
        pytest.skip("so100_hardware was built without ros2_control")
    port, calibration, cameras = (tmp_path / name for name in ("port", "arm.json", "cameras.yaml"))
    calibration.write_text(calibrated(RANGES))
    size = "width: 96, height: 96, fps: 20"
    listed = "".join(
        f"  - {{name: {name}, driver: usb_cam, device: {device}, {size}}}\n"
        for name, device in (("top", "/dev/null"), ("wrist", "/dev/zero"))
    )
    cameras.write_text(f"base: so100\ncameras:\n{listed}")
    prefix = tmp_path / "prefix"
    driver = prefix / "lib/usb_cam/usb_cam_node_exe"
    driver.parent.mkdir(parents=True)
    script = Path(__file__).with_name("fake_camera.py")
    driver.write_text(f"#!{sys.executable}\n{script.read_text()}")
    driver.chmod(0o755)
    index = prefix / "share/ament_index/resource_index/packages"
    index.mkdir(parents=True)
    (index / "usb_cam").touch()
    slow = tmp_path / "slow.yaml"  # for a busy machine
    slow.write_text("controller_manager:\n  ros__parameters:\n    update_rate: 25\n")
    emulator = emulate(port, calibration, "--control", tmp_path / "control")
    yield (
        [
            "hardware:=real",
            f"port:={port}",
            f"calibration:={calibration}",
            f"robot:={cameras}",
            f"checkpoint:={CHECKPOINT}",
            f"params_file:={slow}",
            "view:=none",
        ],
        {"AMENT_PREFIX_PATH": os.pathsep.join([str(prefix), os.environ["AMENT_PREFIX_PATH"]])},
    )
    emulator.kill()
    emulator.communicate()


def order_servos(folder, line):
    """Send a command to the emulator of `heavy_arm`."""
    with socket.socket(socket.AF_UNIX) as control:
        control.connect(str(folder / "control"))
        control.sendall(f"{line}\n".encode())
        assert control.recv(4096).startswith(b"ok")


@needs_ros2_control
def test_the_driver_confirms_an_estop_and_nothing_jumps_after_it(launched, heavy_arm, tmp_path):
    arguments, environment = heavy_arm
    suite = launched(*arguments, environment=environment)
    suite.until(lambda: suite.positions is not None, "joint states")
    suite.until(lambda: suite.client.executor_status is not None, "the executor")
    start = suite.positions.copy()
    wanted = start.copy()
    wanted[0] += 1.0

    def command(positions):
        suite.commands.publish(Float64MultiArray(data=list(positions)))

    def moved():
        command(wanted)
        return suite.positions[0] - start[0] > 0.5

    suite.until(moved, "the arm moves")
    assert "the driver confirms: all 6 servos answered and hold" in suite.client.estop()
    suite.until(lambda: "servos answered" in suite.executor.reason, "the status says so")

    def strayed_in(seconds):
        suite.held, suite.strayed = suite.positions.copy(), 0.0
        end = suite.node.get_clock().now() + Duration(seconds=seconds)
        suite.until(lambda: suite.node.get_clock().now() > end, "time goes by")
        return suite.strayed

    strayed_in(1.0)  # it may run past the place and come back
    command(start)
    assert strayed_in(1.0) < 0.05, "it follows the controller's command"
    suite.client.reset_estop()
    assert strayed_in(1.0) < 0.05, "it jumps to the command that the controller repeats"
    begin = suite.positions.copy()

    def follows():
        command(begin + np.eye(6)[0] * 0.05)
        return abs(suite.positions[0] - begin[0] - 0.05) < 0.02

    suite.until(follows, "a command where the arm is")
    order_servos(tmp_path, "silent 3 on")
    with pytest.raises(ClientError, match=r"elbow_flex \(id 3\) did not answer; cut the power"):
        suite.client.estop()
    with pytest.raises(ClientError, match="elbow_flex"):
        suite.client.reset_estop()
    order_servos(tmp_path, "silent 3 off")
    suite.until(lambda: "the driver confirms" in suite.executor.reason, "all answer again")
    suite.client.reset_estop()
    assert suite.interrupt() == 0


@needs_ros2_control
def test_whatever_dies_the_arm_is_held_and_what_died_comes_back(launched, heavy_arm):
    arguments, environment = heavy_arm
    suite = launched(*arguments, environment=environment)
    suite.until(lambda: suite.positions is not None, "joint states")
    suite.until(lambda: suite.policy.state == PolicyStatus.READY, "the policy is ready")
    # Up from where it lies without torque.
    raised = suite.positions.copy()
    raised[1] += 0.5 if raised[1] < 0 else -0.5

    def up():
        suite.commands.publish(Float64MultiArray(data=raised.tolist()))
        return np.abs(suite.positions - raised).max() < 0.06

    suite.until(up, "the arm is raised")
    suite.held = suite.positions
    for executable in (
        "policy_node",
        "executor_node",
        "usb_cam_node_exe",
        "robot_state_publisher",
        "visualization_node",
    ):
        killed = suite.pid(executable)
        os.kill(killed, signal.SIGKILL)
        suite.until(lambda: suite.pid(executable) not in (0, killed), f"{executable} is back")  # noqa: B023
    suite.client.policy_status = None
    suite.until(lambda: suite.policy.state == PolicyStatus.READY, "the policy is ready again")
    assert np.degrees(suite.strayed) < 1.0
    assert suite.pid("ros2_control_node")
    assert suite.interrupt() == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["hardware:=toaster"], "Valid options are: ['real', 'mock', 'sim']"),
        (["hardwar:=sim"], "there is no argument 'hardwar'; did you mean 'hardware'?"),
        (["hardware:=sim", "checkpoint:=/nowhere"], "no such checkpoint /nowhere"),
        (["hardware:=real"], "a real arm needs its calibration"),
    ],
)
def test_bad_input_ends_with_one_line_before_anything_starts(launched, arguments, message):
    if arguments == ["hardware:=real"] and not installed("so100_hardware"):
        pytest.skip("so100_hardware is not built")
    suite = launched(*arguments)
    assert suite.end() == 1
    last = [line for line in suite.output.splitlines() if "[ERROR] [launch]" in line]
    if arguments == ["hardware:=real"] and "needs the package" in last[0]:
        pytest.skip("ros2_control is not installed")
    assert len(last) == 1
    assert message in last[0]
    assert "process started" not in suite.output


def test_a_node_that_cannot_start_ends_the_launch_with_its_reason(launched, tmp_path):
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text("policy_node:\n  ros__parameters:\n    device: quantum\n")
    suite = launched("hardware:=sim", f"params_file:={wrong}", "view:=none")
    assert suite.end() == 1
    last = [line for line in suite.output.splitlines() if "[ERROR] [launch]" in line][-1]
    assert "policy_node failed with exit status 78" in last
    assert "quantum" in last
