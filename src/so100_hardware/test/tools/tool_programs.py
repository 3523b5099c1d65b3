# SPDX-License-Identifier: Apache-2.0
"""The tools as a user runs them, and the emulator that they talk to.

They are looked for in the folder SO100_BIN_DIR, else in build/cpp/release. What a terminal would
show comes from a pseudo-terminal; waiting is for an output that must come, never for a time.
"""

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import socket
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[4]
PLACES = [ROOT / "build/cpp/release", ROOT / "install/so100_hardware/lib/so100_hardware"]
JOINTS = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"]
PATIENCE = 60  # s; for a machine that is busy with other things


def program(name):
    """Return the path of a program, or skip the test where it was never built."""
    named = os.environ.get("SO100_BIN_DIR")
    for folder in [Path(named)] if named else PLACES:
        for place in (folder, folder / "tools", folder / "emulator"):
            if (place / name).is_file():
                return str(place / name)
    assert not named, f"there is no {name} in SO100_BIN_DIR, {named}"
    pytest.skip(f"{name} is not built; looked at {', '.join(map(str, PLACES))}")


class Emulator:
    """Servos on a pseudo-terminal. They stay where they are put: there is no gravity."""

    def __init__(self, folder: Path, *options: str):
        self.port = str(folder / "port")
        control = folder / "control"
        self.process = subprocess.Popen(
            [
                *(program("so100_emulator"), "--no-timing", "--gravity", "0"),
                *("--link", self.port, "--control", str(control)),
                *options,
            ],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline().startswith("/dev/"), "the emulator ended at once"
        self.control = socket.socket(socket.AF_UNIX)
        self.control.connect(str(control))

    def command(self, line):
        """Run a control command; return its data, if any."""
        self.control.sendall(line.encode() + b"\n")
        answer = ""
        while not answer.endswith("\n"):
            answer += self.control.recv(65536).decode()
        assert answer.startswith("ok"), answer
        return json.loads(answer[3:]) if answer[3:4] in ("[", "{") else None

    def move(self, ticks):
        """Take joints by hand to encoder angles, as fast as no hand can."""
        for servo, tick in ticks.items():
            self.command(f"push {servo} {tick} 100000")
        end = time.monotonic() + PATIENCE
        while any(
            servo["encoder"] != ticks.get(servo["id"], servo["encoder"])
            for servo in self.command("show")
        ):
            assert time.monotonic() < end, self.command("show")

    def torque(self):
        return [servo["torque"] for servo in self.command("show")]

    def stop(self):
        self.control.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(timeout=PATIENCE)


def run(name, *arguments, stdin=""):
    """Run a tool to its end with pipes in place of a terminal."""
    result = subprocess.run(
        [program(name), *map(str, arguments)],
        input=stdin,
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    assert "\x1b" not in result.stdout, "control characters in a pipe"
    return result


class Terminal:
    """A tool in a terminal."""

    def __init__(self, name, *arguments):
        self.master, slave = pty.openpty()
        # As wide as the tables need.
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
        self.process = subprocess.Popen(
            [program(name), *map(str, arguments)],
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            preexec_fn=lambda: os.close(os.open(os.ttyname(0), os.O_RDWR)),  # takes the terminal
        )
        os.close(slave)
        self.text = ""

    def expect(self, pattern):
        """Read until the pattern has come since the last call; return the match."""
        end = time.monotonic() + PATIENCE
        while (match := re.search(pattern, self.text, re.DOTALL)) is None:
            assert self.read(end - time.monotonic()), f"{pattern!r} did not come: {self.text!r}"
        self.text = self.text[match.end() :]
        return match

    def read(self, timeout):
        if not select.select([self.master], [], [], max(timeout, 0))[0]:
            return False
        with contextlib.suppress(OSError):  # the program has ended
            data = os.read(self.master, 65536).decode()
            self.text += data.replace("\r\n", "\n")
            return bool(data)
        return False

    def enter(self):
        os.write(self.master, b"\n")

    def interrupt(self):
        os.write(self.master, b"\x03")

    def end(self):
        """Wait for the end; return the exit code. `text` holds what came last."""
        while self.read(PATIENCE):
            pass
        os.close(self.master)
        return self.process.wait(timeout=PATIENCE)


def file_of(home, name):
    return home / f".cache/huggingface/lerobot/calibration/robots/so_follower/{name}.json"


def give_calibration(emulator, home, name="blue"):
    """Write a calibration to a file and to the servos."""
    joints = {
        joint: {
            "id": i,
            "drive_mode": 0,
            "homing_offset": 100 * i,
            "range_min": 0 if joint == "wrist_roll" else 900,
            "range_max": 4095 if joint == "wrist_roll" else 3100,
        }
        for i, joint in enumerate(JOINTS, start=1)
    }
    file = file_of(home, name)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(joints, indent=4))
    result = run("so100_calibrate", "--from-file", name, "--port", emulator.port)
    assert result.returncode == 0, result.stderr
    return file


def servos_hold(emulator, name="blue"):
    return run("so100_calibrate", "--check", "--id", name, "--port", emulator.port).returncode == 0
