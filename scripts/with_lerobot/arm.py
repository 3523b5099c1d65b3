# SPDX-License-Identifier: Apache-2.0
"""The arm: LeRobot's programs and ours on the same emulated servos, one calibration for both."""

from __future__ import annotations

import contextlib
import json
import os
import pty
import shutil
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from smolvla_learning.dataset import Dataset

from .dataset import NAME, SMALL, equal_frames, inspect, train_here
from .demonstrations import PATIENCE, program
from .steps import ROOT, Check, StepError, kill, last_line

PART = "arm"
PROGRAMS = ROOT / "install/so100_hardware/lib/so100_hardware"
JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
MIDDLES = (2100, 1950, 2200, 2010, 2080, 1900)
"""Encoder angles [ticks] at the first Enter."""
ENDS = ((-1290, 1310), (-1100, 1080), (-1060, 1090), (-1150, 1170), None, (-250, 1250))
"""How far each joint is moved from there; wrist_roll turns freely."""
FOLLOWER, LEADER, OURS = "judge_follower", "judge_leader", "judge_ours"
NEAR = 1.5
"""Degrees (or percent of the gripper) that a joint may stand from its goal: a servo's droop."""
FPS = 10
CAMERA_PORT = 15_555


class Emulator:
    """Six servos on a pseudo-terminal."""

    def __init__(self, check: Check, name: str) -> None:
        folder = check.work / "arm" / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        self.port = folder / "port"
        control = folder / "control"
        self._output = (folder / "emulator.log").open("w")
        self._process = subprocess.Popen(
            [
                *(PROGRAMS / "so100_emulator", "--link", self.port, "--control", control),
                *("--eeprom", folder / "eeprom.json", "--gravity", "0"),
            ],
            stdout=subprocess.PIPE,
            stderr=self._output,
            start_new_session=True,
        )
        assert self._process.stdout is not None
        if not self._process.stdout.readline():
            raise StepError(f"the emulator ended at once, see {folder / 'emulator.log'}")
        self._control = socket.socket(socket.AF_UNIX)
        self._control.connect(str(control))

    def control(self, command: str) -> Any:
        """Run a control command and return its data, None if it has none."""
        self._control.sendall(command.encode() + b"\n")
        answer = ""
        while not answer.endswith("\n"):
            answer += self._control.recv(65536).decode()
        if not answer.startswith("ok"):
            raise StepError(f"emulator, {command}: {answer.strip()}")
        return json.loads(answer[2:]) if answer[2:].strip() else None

    def move(self, servo: int, angle: int) -> None:
        """Take a joint to an encoder angle and wait until the client has seen it there."""
        self.place(servo, angle)
        # The client reads all joints in turn; three more reads of this one have its end.
        seen = self.requests(servo)
        self.wait(lambda: self.requests(servo) >= seen + 3, "be read")

    def place(self, servo: int, angle: int) -> None:
        """Take a joint to an encoder angle that nobody need see."""
        self.control(f"push {servo} {angle} 6000")
        self.wait(lambda: abs(self.control(f"show {servo}")[0]["encoder"] - angle) < 1, "move")

    def requests(self, servo: int) -> int:
        """Return how often a servo was asked."""
        return int(self.control("stats")["servos"][servo - 1]["requests"])

    def wait(self, reached: Any, what: str) -> None:
        """Wait until something is so."""
        end = time.monotonic() + PATIENCE
        while not reached():
            if time.monotonic() > end:
                raise StepError(f"a joint did not {what} in {PATIENCE:.0f} s")
            time.sleep(0.01)

    def close(self) -> None:
        """End the program."""
        with contextlib.suppress(OSError):
            self.control("quit")
        self._control.close()
        kill(self._process)
        self._output.close()


class Terminal:
    """A program that asks questions, in a terminal of its own."""

    def __init__(self, check: Check, name: str, command: Sequence[object], lerobot: bool):
        self._log = check.log(name)
        master, slave = pty.openpty()
        self._master = master
        self._process = subprocess.Popen(
            [str(word) for word in command],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            cwd=ROOT,
            env=check.environment(lerobot, {"TERM": "dumb"}),
            start_new_session=True,
        )
        os.close(slave)
        self._text = ""
        self._read = 0
        self._thread = threading.Thread(target=self._drain, daemon=True)
        self._thread.start()

    def _drain(self) -> None:
        with self._log.open("w") as log:
            while True:
                try:
                    data = os.read(self._master, 65536)
                except OSError:  # the program has ended
                    return
                if not data:
                    return
                text = data.decode(errors="replace")
                log.write(text)
                log.flush()
                self._text += text

    def expect(self, text: str) -> None:
        """Wait until the program has said something that it had not said before."""
        end = time.monotonic() + PATIENCE
        while (at := self._text.find(text, self._read)) < 0:
            if self._process.poll() is not None or time.monotonic() > end:
                raise StepError(
                    f"it printed not {text!r} but {last_line(self._text)!r}, see {self._log}"
                )
            time.sleep(0.02)
        self._read = at + len(text)

    def enter(self) -> None:
        """Press Enter."""
        os.write(self._master, b"\n")

    def __enter__(self) -> Terminal:
        """Let the block talk to the program."""
        return self

    def __exit__(self, failed: object, *_: object) -> None:
        """Wait for a good end, unless the block has failed; end the program if it still runs."""
        try:
            code = None if failed else self._process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            raise StepError(f"it did not end, see {self._log}") from None
        finally:
            kill(self._process)
            self._thread.join(5)
            os.close(self._master)
        if code:
            raise StepError(f"exit code {code}: {last_line(self._text)}, see {self._log}")


def calibrate(emulator: Emulator, tool: Terminal, before: str, between: str) -> None:
    """Be the person who calibrates.

    Args:
        emulator: the arm.
        tool: the program.
        before: what it says when it wants the middle pose.
        between: what it says when it wants the joints moved.
    """
    tool.expect(before)
    for servo, middle in enumerate(MIDDLES, 1):
        emulator.place(servo, middle)
    tool.enter()
    tool.expect(between)
    for servo, (middle, ends) in enumerate(zip(MIDDLES, ENDS, strict=True), 1):
        for end in ends or ():
            emulator.move(servo, middle + end)
        emulator.place(servo, middle)
    tool.enter()


def file_of(check: Check, kind: str, robot: str) -> Path:
    """Return LeRobot's calibration file of an arm."""
    return check.work / "lerobot_home" / "calibration" / kind / f"{robot}.json"


def device(role: str, kind: str, emulator: Emulator, name: str) -> list[str]:
    """Return the options that name an arm."""
    return [f"--{role}.type={kind}", f"--{role}.port={emulator.port}", f"--{role}.id={name}"]


def calibrate_there(check: Check, role: str, kind: str, emulator: Emulator, name: str) -> None:
    """Calibrate by ``lerobot-calibrate``."""
    command = [check.lerobot.parent / "lerobot-calibrate", *device(role, kind, emulator, name)]
    with Terminal(check, f"lerobot_calibrate_{name}", command, lerobot=True) as tool:
        calibrate(emulator, tool, "press ENTER", "Press ENTER to stop")


def accepted_here(check: Check, emulator: Emulator, name: str | Path) -> None:
    """Let our tool compare a calibration with the servos."""
    tool = PROGRAMS / "so100_calibrate"
    command = [tool, "--check", "--port", emulator.port, "--id", name]
    check.run(f"check_{Path(name).stem}", command)


def positions_here(check: Check, emulator: Emulator, name: str | Path) -> np.ndarray[Any, Any]:
    """Read the positions by our tool, in LeRobot's units."""
    tool = PROGRAMS / "so100_monitor"
    command = [tool, "--once", "--port", emulator.port, "--id", name]
    text = check.run("monitor", command)
    rows = {words[0]: words for line in text.splitlines() if (words := line.split())}
    at = rows["JOINT"].index("LEROBOT")
    return np.array([float(rows[joint][at]) for joint in JOINTS])


def positions_there(check: Check, emulator: Emulator, name: str) -> np.ndarray[Any, Any]:
    """Let LeRobot connect without calibrating and read the positions.

    Raises:
        StepError: it does not take the arm for calibrated.
    """
    answer = check.work / "arm" / "positions.json"
    check.in_lerobot("positions", "positions", emulator.port, name, answer)
    content = json.loads(answer.read_text())
    if not content["calibrated"]:
        raise StepError("LeRobot finds another calibration in the servos than in the file")
    return np.array([content["positions"][f"{joint}.pos"] for joint in JOINTS])


def pose(emulator: Emulator, share: float) -> None:
    """Take each joint to a share of its way from the middle to its upper end."""
    for servo, (middle, ends) in enumerate(zip(MIDDLES, ENDS, strict=True), 1):
        emulator.place(servo, middle + round(share * (ends or (0, 800))[1]))


def largest(difference: np.ndarray[Any, Any], allowed: float, what: str) -> float:
    """Return the largest absolute value.

    Raises:
        StepError: it is above what is allowed.
    """
    found = float(np.abs(difference).max())
    if not found <= allowed:
        raise StepError(f"{what} differ by {found:.2f}: {np.round(difference, 2).tolist()}")
    return found


def teleoperate(check: Check, follower: Emulator, leader: Emulator) -> str:
    """Let the follower follow the leader."""
    command = [
        check.lerobot.parent / "lerobot-teleoperate",
        *device("robot", "so101_follower", follower, FOLLOWER),
        *device("teleop", "so101_leader", leader, LEADER),
        *("--fps=30", "--teleop_time_s=8"),
    ]
    follower.control("release all")
    pose(leader, 0.2)
    with Terminal(check, "lerobot_teleoperate", command, lerobot=True) as running:
        running.expect("Teleop loop time")
        pose(leader, 0.6)
    there = positions_here(check, leader, file_of(check, "teleoperators/so_leader", LEADER))
    here = positions_here(check, follower, FOLLOWER)
    off = largest(here - there, NEAR, "leader and follower")
    return f"the follower ends {off:.2f} from the leader"


def record(check: Check, follower: Emulator, leader: Emulator, camera: bool) -> Path:
    """Record by ``lerobot-record`` and return the dataset."""
    kind = "camera" if camera else "no_camera"
    out = check.work / "datasets" / f"lerobot_{kind}"
    shutil.rmtree(out, ignore_errors=True)
    follower.control("release all")
    pose(leader, -0.3)
    settings = f"{{type: zmq, server_address: 127.0.0.1, port: {CAMERA_PORT}, fps: 30"
    settings += ", width: 96, height: 64, camera_name: top}"
    command = [
        check.lerobot.parent / "lerobot-record",
        *device("robot", "so101_follower", follower, FOLLOWER),
        *device("teleop", "so101_leader", leader, LEADER),
        *([f"--robot.cameras={{top: {settings}}}"] if camera else []),
        *(f"--dataset.repo_id={NAME}", f"--dataset.root={out}", "--dataset.no_stamp=true"),
        *("--dataset.single_task=wave", f"--dataset.fps={FPS}", "--dataset.num_episodes=2"),
        *("--dataset.episode_time_s=3", "--dataset.reset_time_s=1"),
        *("--dataset.push_to_hub=false", "--play_sounds=false"),
    ]
    with contextlib.ExitStack() as stack:
        if camera:
            script = Path(__file__).with_name("in_lerobot.py")
            server = [str(check.lerobot), str(script), "camera", str(CAMERA_PORT), "top"]
            stack.enter_context(program(check, "camera", server, signal.SIGTERM))
        running = stack.enter_context(Terminal(check, f"lerobot_record_{kind}", command, True))
        running.expect("Recording episode 0")
        pose(leader, 0.5)
        running.expect("Recording episode 1")
        pose(leader, -0.2)
    return out


def replay(check: Check, follower: Emulator, dataset: Path) -> str:
    """Let LeRobot replay the last episode and see where the arm ends."""
    opened = Dataset.open(dataset)
    last = opened.num_episodes - 1
    follower.control("release all")
    check.tool(
        "lerobot_replay",
        *("lerobot-replay", *device("robot", "so101_follower", follower, FOLLOWER)),
        *(f"--dataset.repo_id={NAME}", f"--dataset.root={dataset}"),
        *(f"--dataset.episode={last}", "--play_sounds=false"),
    )
    goal = opened.column("action")[-1]
    off = largest(positions_here(check, follower, FOLLOWER) - goal, NEAR, "end and last action")
    return f"{opened.episodes[last].length} actions; the arm ends {off:.2f} from the last one"


def run(check: Check) -> None:
    """Check the arm."""
    shutil.rmtree(check.work / "lerobot_home" / "calibration", ignore_errors=True)
    with contextlib.ExitStack() as stack:
        follower, leader, third = (
            Emulator(check, name) for name in ("follower", "leader", "third")
        )
        for emulator in (follower, leader, third):
            stack.callback(emulator.close)
        robots = "robots/so_follower"
        with check.step(PART, "lerobot-calibrate serves here") as notes:
            calibrate_there(check, "robot", "so101_follower", follower, FOLLOWER)
            calibrate_there(check, "teleop", "so101_leader", leader, LEADER)
            accepted_here(check, follower, FOLLOWER)
            accepted_here(check, leader, file_of(check, "teleoperators/so_leader", LEADER))
            notes.append("follower and leader, so100_calibrate --check: no difference")
        with check.step(PART, "so100_calibrate serves there") as notes:
            command = [PROGRAMS / "so100_calibrate", "--port", third.port, "--id", OURS]
            with Terminal(check, "so100_calibrate", command, lerobot=False) as tool:
                calibrate(third, tool, "ress Enter", "ress Enter")
            positions_there(check, third, OURS)
            mine, theirs = file_of(check, robots, OURS), file_of(check, robots, FOLLOWER)
            if mine.read_bytes() != theirs.read_bytes():
                raise StepError(f"the same movements gave two files: {mine} and {theirs}")
            notes.append("is_calibrated; the two files are equal byte by byte")
        with check.step(PART, "both read the same positions") as notes:
            pose(follower, 0.4)
            ours = positions_here(check, follower, FOLLOWER)
            theirs_read = positions_there(check, follower, FOLLOWER)
            off = largest(ours - theirs_read, 0.1, "positions")
            notes.append(f"within {off:.3f} degrees or percent")
        with check.step(PART, "so100_calibrate --from-file"):
            command = [PROGRAMS / "so100_calibrate", "--port", third.port]
            check.run("from_file", [*command, "--from-file", FOLLOWER])
            accepted_here(check, third, FOLLOWER)
        with check.step(PART, "lerobot-teleoperate") as notes:
            notes.append(teleoperate(check, follower, leader))
        with check.step(PART, "lerobot-record, no camera") as notes:
            dataset = record(check, follower, leader, camera=False)
            inspect(check, "inspect_lerobot_no_camera", dataset)
            notes.append(equal_frames(check, "lerobot_no_camera", dataset))
        with check.step(PART, "lerobot-record, a camera") as notes:
            dataset = record(check, follower, leader, camera=True)
            inspect(check, "inspect_lerobot_camera", dataset)
            notes.append(equal_frames(check, "lerobot_camera", dataset))
            train_here(check, "lerobot_camera_train", [dataset], "--architecture", SMALL)
            notes.append("2 training steps here")
        with check.step(PART, "lerobot-replay") as notes:
            notes.append(replay(check, follower, dataset))
