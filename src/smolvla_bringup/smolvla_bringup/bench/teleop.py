# SPDX-License-Identifier: Apache-2.0
"""How fast an arm follows a leader arm: both emulated, through ros2_control and the executor.

A command is a joint state of the leader, unless the guard changed it. The delay is what lies
between the stamp of that, the begin of the control cycle that measured it, and the publication of
the first command that is equal to it.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.qos import QoSProfile
from sensor_msgs.msg import JointState
from smolvla_core.client import ClientError
from smolvla_core.console import DONE, NO, command_parser, could_not_run
from smolvla_core.latency import percentile
from smolvla_core.node_settings import ExecutorSettings
from smolvla_core.settings import Settings, add_arguments, from_arguments, same, setting
from smolvla_core.units.calibration import LEROBOT_JOINTS
from smolvla_policy.bench_inference import processor
from std_msgs.msg import Float64MultiArray

from smolvla_bringup.cli import Tool
from smolvla_bringup.system.environment import enter_own_graph
from smolvla_bringup.system.node_list import FOLLOWING_RATE, node_list
from smolvla_bringup.system.options import Options, SetupError
from smolvla_bringup.system.session import Session, SessionError
from smolvla_msgs.msg import ExecutorStatus

_LIMIT = 60.0  # [s] until the arm follows
_PERIOD = 0.2  # [s] between two polls for messages, which cost the machine that is measured
_CYCLES = 2.0  # that a leader's position may take to be a command
# Ends of each joint, and how fast it is moved between them: [ticks], [ticks/s].
_RANGE, _ENDS, _SPEED = (800, 3300), (1400, 2700), 600


@dataclass(frozen=True, kw_only=True)
class TeleopBenchSettings(Settings):
    """What is measured."""

    seconds: float = setting(30.0, "Measured time [s].", above=0)
    realtime_priority: int = same(ExecutorSettings, "realtime_priority", 0)


def _may_prioritize() -> bool:
    with contextlib.suppress(OSError):
        tried = subprocess.run(["chrt", "-f", "1", "true"], stderr=subprocess.DEVNULL)
        return tried.returncode == 0
    return False


class EmulatedArm:
    """Six servos with a calibration.

    Args:
        folder: for its files.
    """

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self.port, self.calibration, control = (
            folder / name for name in ("port", "arm.json", "control")
        )
        low, high = _RANGE
        rest = {"drive_mode": 0, "homing_offset": 0, "range_min": low, "range_max": high}
        joints = {joint: {"id": i, **rest} for i, joint in enumerate(LEROBOT_JOINTS, start=1)}
        self.calibration.write_text(json.dumps(joints))
        tools = ("so100_emulator", "so100_calibrate")
        emulator, calibrate = (Tool("", name).path() for name in tools)
        if emulator is None or calibrate is None:
            raise SetupError("so100_hardware is not built; run 'make build'")
        command = [emulator, "--link", str(self.port), "--control", str(control), "--gravity", "0"]
        # Servos answer however busy the machine is.
        prefix = ["chrt", "-f", "60"] if _may_prioritize() else []
        self._process = subprocess.Popen([*prefix, *command], stdout=subprocess.PIPE, text=True)
        self._control = socket.socket(socket.AF_UNIX)
        assert self._process.stdout is not None
        self._process.stdout.readline()  # it is ready
        self._control.connect(str(control))
        write = [calibrate, "--port", str(self.port), "--from-file", str(self.calibration)]
        subprocess.run(write, stdin=subprocess.DEVNULL, capture_output=True, check=True)

    def push(self, servo: int, ticks: int) -> None:
        """Move a joint by hand."""
        self._control.sendall(f"push {servo} {ticks} {_SPEED}\n".encode())
        self._control.recv(4096)

    def __enter__(self) -> EmulatedArm:
        """Return itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the servos."""
        self._control.close()
        self._process.kill()
        self._process.communicate()


@dataclass
class Heard:
    """What came on a topic: when [s], and (joints,) positions [rad]."""

    times: list[float]
    positions: list[NDArray[np.float64]]

    def add(self, at: float, positions: Sequence[float]) -> None:
        """Take a message."""
        self.times.append(at)
        self.positions.append(np.array(positions))


def follow(leader: Heard, commands: Heard) -> tuple[list[float], list[float]]:
    """Return delays [s] and errors [rad] of the commands that came while the leader moved.

    A delay is that of the first command which is where the leader was; one that it never was, as
    the guard limited it, has none. An error is how far a command is from the leader at that time.

    Args:
        leader: by the stamps of its joint states.
        commands: by their publications.
    """
    late: list[float] = []
    errors: list[float] = []
    stamps: dict[bytes, float] = {}
    seen = 0
    for published, command in zip(commands.times, commands.positions, strict=True):
        while seen < len(leader.times) and leader.times[seen] <= published:
            stamps[leader.positions[seen].tobytes()] = leader.times[seen]
            seen += 1
        if seen < 3 or (leader.positions[seen - 1] == leader.positions[seen - 3]).all():
            continue
        errors.append(float(np.abs(leader.positions[seen - 1] - command).max()))
        if (stamp := stamps.pop(command.tobytes(), None)) is not None:
            late.append(published - stamp)
    return late, errors


def measure(settings: TeleopBenchSettings, folder: Path) -> tuple[list[float], list[float]]:
    """Let the leader move and the arm follow; return what `follow` does.

    Raises:
        SetupError: the nodes cannot be started.
        ClientError: a node died, or the arm does not follow.
    """
    leader, commands = Heard([], []), Heard([], [])
    with contextlib.ExitStack() as stack:
        arm, hand = (stack.enter_context(EmulatedArm(folder / name)) for name in ("arm", "leader"))
        options = Options(
            policy="none",
            leader=str(hand.port),
            leader_calibration=str(hand.calibration),
            port=str(arm.port),
            calibration=str(arm.calibration),
        )
        given = {"realtime_priority": settings.realtime_priority}
        specs = [
            dataclasses.replace(spec, parameters={**spec.parameters, **given})
            if spec.name == "executor_node"
            else spec
            for spec in node_list(options, ("arm", "description", "leader", "policy"))
        ]
        session = Session(specs, folder / "log", "bench_teleop", period=_PERIOD)
        stack.enter_context(session)
        client = session.client

        def follows() -> bool:
            now = client.executor_status
            return now is not None and now.state == ExecutorStatus.RUNNING

        if not client.until(follows, _LIMIT):
            raise SessionError(f"the arm does not follow after {_LIMIT:g} s")
        joints = options.loaded_robot.joint_names

        def on_state(message: JointState) -> None:
            now = dict(zip(message.name, message.position, strict=True))
            stamp = message.header.stamp
            leader.add(stamp.sec + 1e-9 * stamp.nanosec, [now[joint] for joint in joints])

        def on_command(message: Float64MultiArray, info: Mapping[str, Any]) -> None:
            commands.add(1e-9 * info["source_timestamp"], message.data)

        every = QoSProfile(depth=200)
        node = client.node
        node.create_subscription(JointState, "leader/joint_states", on_state, every)
        node.create_subscription(Float64MultiArray, "arm_controller/commands", on_command, every)
        end, turn = time.monotonic() + settings.seconds, 0
        while time.monotonic() < end:
            for servo in range(1, 6):
                hand.push(servo, _ENDS[(turn + servo) % 2])
            turn += 1
            client.spin(1.5)
    return follow(leader, commands)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        "smolvla bench teleop",
        "Measure how fast an arm follows a leader arm, both emulated; needs ros2_control.",
        "smolvla bench teleop --seconds 20",
        f"0 done, 1 a p99 above {_CYCLES:g} control cycles, 2 it could not be done, 130 Ctrl-C",
    )
    add_arguments(made, TeleopBenchSettings)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    settings = from_arguments(TeleopBenchSettings, parser().parse_args(argv))
    try:
        enter_own_graph()
        with tempfile.TemporaryDirectory(prefix="smolvla_") as folder:
            late, errors = measure(settings, Path(folder))
    except (ClientError, SetupError) as error:
        return could_not_run("smolvla bench teleop", error)
    print(f"{processor()}, {os.cpu_count()} cores")
    print(f"{FOLLOWING_RATE:g} Hz, {len(errors)} commands while the leader moved")
    for name, unit, values in (
        ("delay", "ms", [1e3 * one for one in late]),
        ("delay", "control cycles", [FOLLOWING_RATE * one for one in late]),
        ("error", "rad", errors),
    ):
        p50, p99, worst = (percentile(sorted(values), share) for share in (0.5, 0.99, 1.0))
        print(f"  {name:<6} p50 {p50:6.3f}   p99 {p99:6.3f}   worst {worst:6.3f}   {unit}")
    return DONE if percentile(sorted(late), 0.99) * FOLLOWING_RATE <= _CYCLES else NO


if __name__ == "__main__":
    raise SystemExit(main())
