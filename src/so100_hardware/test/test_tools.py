# SPDX-License-Identifier: Apache-2.0
"""The tools themselves, run as a user runs them, against the emulator.

They are looked for in the folder SO100_BIN_DIR, else in build/cpp/release. What a terminal would
show comes from a pseudo-terminal; waiting is for an output that must come, never for a time.
"""

import contextlib
import csv
import fcntl
import io
import json
import os
import pty
import re
import select
import signal
import socket
import struct
import subprocess
import termios
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PLACES = [ROOT / "build/cpp/release", ROOT / "install/so100_hardware/lib/so100_hardware"]
JOINTS = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"]
PATIENCE = 60  # s; for a machine that is busy with other things
MIDDLE = {1: 2100, 2: 1500, 3: 2500, 4: 2000, 5: 2000, 6: 2600}
LOW = {1: 1000, 2: 600, 3: 1500, 4: 1100, 5: 300, 6: 2500}
HIGH = {1: 3300, 2: 2700, 3: 3500, 4: 3000, 5: 3900, 6: 3900}


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
                *(program("so100_emulator"), "--realtime", "--no-timing", "--gravity", "0"),
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

    def tell(self, line):
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
            self.tell(f"push {servo} {tick} 100000")
        end = time.monotonic() + PATIENCE
        while any(
            servo["encoder"] != ticks.get(servo["id"], servo["encoder"])
            for servo in self.tell("show")
        ):
            assert time.monotonic() < end, self.tell("show")

    def torque(self):
        return [servo["torque"] for servo in self.tell("show")]

    def stop(self):
        self.control.close()
        if self.process.poll() is None:
            self.process.terminate()
        self.process.wait(timeout=PATIENCE)


@pytest.fixture
def start(tmp_path):
    """Start emulators with options; the last one is stopped before the next."""
    running = []

    def start_one(*options):
        while running:
            running.pop().stop()
        running.append(Emulator(tmp_path, *options))
        return running[-1]

    yield start_one
    while running:
        running.pop().stop()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Give each test a home folder without calibrations."""
    for name in ("HF_LEROBOT_CALIBRATION", "HF_LEROBOT_HOME", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


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


def calibrate(emulator, name, low=LOW):
    """Run the whole procedure in a terminal, as a user does; return what was printed last."""
    terminal = Terminal("so100_calibrate", "--port", emulator.port, "--id", name)
    terminal.expect("middle of its range, then press Enter")
    emulator.move(MIDDLE)
    terminal.enter()
    terminal.expect("both of its ends, then press Enter")
    for ends, column in ((low, 0), (HIGH, 2)):
        emulator.move(ends)
        for servo, tick in ends.items():
            # What Present_Position shows: the middle reads 2047.
            shown = str(tick - MIDDLE[servo] + 2047)
            if servo != 5:
                row = [r"\d+", r"\d+", r"\d+"]
                row[column] = shown
                terminal.expect(rf"{JOINTS[servo - 1]} +{' +'.join(row)} ")
    terminal.enter()
    assert terminal.end() == 0, terminal.text
    return terminal.text


def file_of(home, name):
    return home / f".cache/huggingface/lerobot/calibration/robots/so_follower/{name}.json"


@pytest.mark.parametrize("name", ["so100_scan", "so100_setup", "so100_calibrate", "so100_monitor"])
def test_help_and_wrong_arguments(name):
    result = run(name, "--help")
    assert result.returncode == 0
    assert result.stdout.startswith(f"Usage: {name} [options]\n")
    assert "Returns 0:" in result.stdout
    result = run(name, "--prot", "x")
    assert result.returncode == 2
    assert result.stderr == f"{name}: unknown argument '--prot' (see --help)\n"


def test_scan_lists_the_arm(start):
    emulator = start()
    result = run("so100_scan", "--port", emulator.port, "--baud", 1000000)
    assert result.returncode == 0, result.stdout + result.stderr
    lines = [line.split() for line in result.stdout.splitlines()]
    assert lines[0] == [
        *("PORT", "BAUD", "ID", "JOINT", "MODEL"),
        *("FIRMWARE", "VOLT", "TEMP", "POSITION", "STATUS"),
    ]
    assert [line[2:8] for line in lines[1:]] == [
        [str(i + 1), joint, "STS3215", "3.10", "12.0", "25"] for i, joint in enumerate(JOINTS)
    ]


def test_scan_says_what_is_wrong_and_what_to_do(start):
    emulator = start("--double", "2", "--silent", "5", "--voltage", "5", "--firmware", "6=3.9")
    result = run("so100_scan", "--port", emulator.port, "--baud", 1000000)
    assert result.returncode == 1
    assert f"Note: {emulator.port}: not there: wrist_roll (id 5)" in result.stdout
    warnings = [line for line in result.stdout.splitlines() if line.startswith("Warning: ")]
    assert [re.sub(r"supply \d\.\d", "supply 5.0", line) for line in warnings] == [
        "Warning: several servos have the id 2; connect them one at a time and give each its own "
        "with so100_setup",
        "Warning: the servos have different firmware: 3.10 (id 1, 3, 4), 3.9 (id 6); LeRobot "
        "refuses such an arm, update it with Feetech's program FD",
        "Warning: shoulder_pan (id 1), elbow_flex (id 3), wrist_flex (id 4), gripper (id 6): "
        "supply 5.0 V, servo minimum 6.0 V; switch the power supply on and check its voltage, "
        "plug and cable",
    ]


def test_scan_finds_servos_at_another_baud_rate(start):
    emulator = start("--ids", "3", "--baud", "115200")
    result = run("so100_scan", "--port", emulator.port, "--baud", 115200)
    assert result.returncode == 1
    assert re.search(r" 115200 +3 +elbow_flex", result.stdout)
    assert "Warning: not at 1000000 baud: id 3; " in result.stdout


def test_scan_without_servos_or_port(start, tmp_path):
    emulator = start("--silent", "all")
    result = run("so100_scan", "--port", emulator.port, "--baud", 500000)
    assert result.returncode == 1
    assert "no servo answered; check the power supply" in result.stdout
    result = run("so100_scan", "--port", tmp_path / "absent")
    assert result.returncode == 2
    assert f"so100_scan: {tmp_path}/absent does not exist" in result.stderr
    result = run("so100_scan", "--port", emulator.port, "--baud", 31250)
    assert result.returncode == 2
    assert "cannot run at 31250 baud" in result.stderr


def test_a_taken_port_is_said(start):
    emulator = start()
    holder = Terminal("so100_monitor", "--port", emulator.port)
    holder.expect("gripper")
    result = run("so100_monitor", "--once", "--port", emulator.port)
    assert result.returncode == 2
    assert "is in use by another program" in result.stderr
    holder.interrupt()
    assert holder.end() == 0


def test_setup_gives_id_and_baud_rate_for_good(start):
    emulator = start("--ids", "1", "--baud", "500000")
    setup = ("so100_setup", "--port", emulator.port, "--joint", "gripper", "--baud")
    result = run(*setup, 500000)
    assert result.returncode == 0, result.stderr
    assert result.stdout == (
        "gripper (id 6): id 1 -> 6, 500000 -> 1000000 baud, written and read back\n"
    )
    emulator.tell("reboot")
    result = run("so100_scan", "--port", emulator.port, "--baud", 1000000)
    assert re.search(r" 1000000 +6 +gripper", result.stdout), "EEPROM was written while locked"
    result = run(*setup, 1000000)
    assert result.returncode == 0
    assert "already set up at 1000000 baud, nothing written" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ids", "1,4"), "several servos answer (id 1, 4); connect only the one to set up"),
        (("--ids", "1", "--double", "1"), "several servos answer (id 1); connect only the one"),
        (("--ids", "1", "--model-number", "2825"), "model STS3250 is no STS3215"),
        (("--ids", "1", "--voltage", "4.5"), "V, servo minimum 6.0 V; switch the power supply on"),
    ],
)
def test_setup_refuses(start, options, message):
    emulator = start(*options)
    result = run(
        *("so100_setup", "--port", emulator.port, "--id", 6, "--baud", 1000000),
    )
    assert result.returncode == 1
    assert message in result.stderr
    assert result.stderr.endswith("Nothing was written\n")
    assert emulator.tell("show")[0]["id"] == 1


def test_setup_guides_through_the_arm(start):
    # Two new servos, both with the id of the factory; one is connected at a time.
    emulator = start("--ids", "1,1", "--silent", "all")
    terminal = Terminal("so100_setup", "--all", "--port", emulator.port, "--baud", "1000000")
    terminal.expect("servo of gripper to the board, then press Enter")
    terminal.enter()
    terminal.expect("no servo answered on")
    terminal.expect("servo of gripper to the board, then press Enter")
    emulator.tell("silent #1 off")
    terminal.enter()
    terminal.expect(r"gripper \(id 6\): id 1 -> 6")
    terminal.expect("servo of wrist_roll to the board, then press Enter")
    emulator.tell("silent #1 on")
    emulator.tell("silent #2 off")
    terminal.enter()
    terminal.expect(r"wrist_roll \(id 5\): id 1 -> 5")
    terminal.expect("servo of wrist_flex")
    terminal.interrupt()
    assert terminal.end() == 2
    assert "interrupted; servos already set up keep their ids" in terminal.text
    assert [servo["id"] for servo in emulator.tell("show")] == [6, 5]


def test_calibration_is_written_to_file_and_servos(start, home):
    emulator = start()
    text = calibrate(emulator, "blue")
    file = file_of(home, "blue")
    assert str(file) in text
    expected = {}
    for i, joint in enumerate(JOINTS, start=1):
        low, high = (tick[i] - MIDDLE[i] + 2047 for tick in (LOW, HIGH))
        whole = joint == "wrist_roll"
        expected[joint] = {
            "id": i,
            "drive_mode": 0,
            "homing_offset": MIDDLE[i] - 2047,
            "range_min": 0 if whole else low,
            "range_max": 4095 if whole else high,
        }
    expected["gripper"]["range_min"] = 2500 - 2600 + 2047
    assert file.read_text() == json.dumps(expected, indent=4)  # as LeRobot writes it
    assert emulator.torque() == [0] * 6

    emulator.tell("reboot")
    result = run("so100_calibrate", "--check", "--port", emulator.port, "--id", "blue")
    assert result.returncode == 0, result.stdout
    assert "The servos hold this calibration." in result.stdout

    # Once more: the old file is kept.
    old = file.read_text()
    text = calibrate(emulator, "blue", low={**LOW, 4: 1200})
    assert f"{file}.bak" in text
    assert Path(f"{file}.bak").read_text() == old
    assert json.loads(file.read_text())["wrist_flex"]["range_min"] == 1200 - 2000 + 2047


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


@pytest.mark.parametrize("when", ["before", "during"])
@pytest.mark.parametrize("how", ["Ctrl-C", "SIGTERM"])
def test_an_interrupt_leaves_everything_as_it_was(start, home, when, how):
    emulator = start()
    file = give_calibration(emulator, home)
    old = file.read_bytes()
    terminal = Terminal("so100_calibrate", "--port", emulator.port, "--id", "blue")
    terminal.expect("middle of its range, then press Enter")
    if when == "during":
        terminal.enter()
        terminal.expect("both of its ends")
        emulator.move(LOW)
        terminal.expect("gripper")
    if how == "Ctrl-C":
        terminal.interrupt()
    else:
        terminal.process.send_signal(signal.SIGTERM)
    assert terminal.end() == 2
    assert "interrupted; the servos have got back what they had, no file was written" in (
        terminal.text
    )
    assert file.read_bytes() == old
    assert [entry.name for entry in file.parent.iterdir()] == [file.name]
    assert servos_hold(emulator)
    assert emulator.torque() == [0] * 6


def test_without_a_terminal_the_end_of_the_input_ends_it(start, home):
    emulator = start()
    give_calibration(emulator, home)
    result = run("so100_calibrate", "--port", emulator.port, "--id", "new", stdin="\n")
    assert result.returncode == 2
    assert "the input has ended; the servos have got back what they had" in result.stderr
    assert not file_of(home, "new").exists()
    assert servos_hold(emulator)


def test_joints_that_were_not_moved_are_asked_for(start, home):
    emulator = start()
    terminal = Terminal("so100_calibrate", "--port", emulator.port, "--id", "blue")
    terminal.expect("middle of its range")
    terminal.enter()
    terminal.expect("both of its ends")
    terminal.expect("gripper +2047")
    terminal.enter()
    terminal.expect(
        "Not moved yet: shoulder_pan, shoulder_lift, elbow_flex, wrist_flex, gripper. Move it"
    )
    terminal.interrupt()
    assert terminal.end() == 2


def test_an_arm_that_holds_itself_is_not_dropped_without_a_word(start, home):
    emulator = start()
    switch_torque_on(emulator.port, servo=2)
    assert emulator.torque()[1] == 1
    terminal = Terminal("so100_calibrate", "--port", emulator.port, "--id", "blue")
    terminal.expect("The torque is on. Hold the arm, then press Enter to switch it off")
    assert emulator.torque()[1] == 1
    terminal.enter()
    terminal.expect("middle of its range")
    assert emulator.torque()[1] == 0
    terminal.interrupt()
    assert terminal.end() == 2


def switch_torque_on(path, servo):
    """Write Torque_Enable, register 40, without any of the code under test."""
    body = [servo, 4, 3, 40, 1]
    port = os.open(path, os.O_RDWR | os.O_NOCTTY)
    settings = termios.tcgetattr(port)
    settings[:4] = [0, 0, termios.CS8 | termios.CREAD | termios.CLOCAL, 0]
    settings[4:6] = [termios.B1000000] * 2
    termios.tcsetattr(port, termios.TCSANOW, settings)
    os.write(port, bytes([0xFF, 0xFF, *body, ~sum(body) & 0xFF]))
    assert select.select([port], [], [], PATIENCE)[0], "no acknowledgement"
    os.close(port)


def test_check_names_every_difference(start, home):
    emulator = start()
    file = give_calibration(emulator, home)
    joints = json.loads(file.read_text())
    joints["elbow_flex"]["homing_offset"] = -5
    joints["gripper"]["range_max"] = 3000
    file.write_text(json.dumps(joints))
    check = ("so100_calibrate", "--check", "--id", "blue", "--port", emulator.port)
    result = run(*check)
    assert result.returncode == 1
    assert result.stdout == (
        f"Calibration: {file}\n"
        "elbow_flex (id 3): homing_offset is -5 in the file, 300 in the servo\n"
        "gripper (id 6): range_max is 3000 in the file, 3100 in the servo\n"
        "The servos hold another calibration. Write the file's with --from-file, or calibrate "
        "again.\n"
    )
    result = run("so100_calibrate", "--from-file", file, "--port", emulator.port)
    assert result.returncode == 0
    assert "Written to the servos and read back: 2 of 6 had other values." in result.stdout
    assert run(*check).returncode == 0
    result = run("so100_calibrate", "--from-file", file, "--port", emulator.port)
    assert "nothing was written" in result.stdout


def test_bad_files_are_refused_before_anything_is_written(start, home):
    emulator = start()
    file = give_calibration(emulator, home)
    good = file.read_text()
    for text, message in (
        (good.replace('"range_min": 900', '"range_min": 3100', 1), "is not below range_max 3100"),
        (good.replace('"homing_offset": 200', '"homing_offset": 2048'), "the servo holds -2047"),
        (good.replace('"id": 4', '"id": 3'), "id 3 is that of 'elbow_flex' too"),
        (good[:-10], "not JSON"),
    ):
        (home / "bad.json").write_text(text)
        result = run("so100_calibrate", "--from-file", home / "bad.json", "--port", emulator.port)
        assert result.returncode == 2
        assert f"so100_calibrate: {home}/bad.json: " in result.stderr
        assert message in result.stderr
    result = run("so100_calibrate", "--from-file", "red", "--port", emulator.port)
    assert result.returncode == 2
    assert "no calibration 'red' found; looked for " in result.stderr
    assert servos_hold(emulator)


def test_calibrate_names_the_servo_that_is_missing(start):
    emulator = start("--silent", "4")
    result = run("so100_calibrate", "--port", emulator.port, "--id", "blue")
    assert result.returncode == 2
    assert "wrist_flex: servo 4: no answer; check its cable" in result.stderr


def test_monitor_once_and_with_a_calibration(start, home):
    emulator = start()
    give_calibration(emulator, home)
    emulator.move({1: 3024, 6: 3100 + 600})
    once = ("so100_monitor", "--once", "--port", emulator.port)
    assert run(*once).returncode == 0
    rows = {
        line.split()[0]: line.split()
        for line in run(*once, "--id", "blue").stdout.split("\n")
        if line
    }
    assert rows["JOINT"][:5] == ["JOINT", "ID", "TICK", "RAD", "LEROBOT"]
    # Offset 100, middle 2000: 924 ticks above the middle; the gripper is at its upper end.
    assert rows["shoulder_pan"][1:5] == ["1", "2924", "1.417", "81.2"]
    assert rows["gripper"][1:5] == ["6", "3100", "1.750", "100.0"]


def test_monitor_reports_silent_and_faulty_servos(start):
    emulator = start("--silent", "3", "--overload", "6")
    result = run("so100_monitor", "--once", "--port", emulator.port)
    assert result.returncode == 1
    assert re.search(r"elbow_flex +3 +- .* 100\.0 +0\.0 +no answer", result.stdout)
    assert re.search(r"gripper +6 .* overload", result.stdout)


def test_monitor_csv(start):
    emulator = start("--silent", "3")
    result = run("so100_monitor", "--csv", "--count", 2, "--rate", 200, "--port", emulator.port)
    assert result.returncode == 0
    rows = list(csv.DictReader(io.StringIO(result.stdout)))
    assert [row["joint"] for row in rows] == JOINTS * 2
    assert float(rows[6]["time_s"]) > float(rows[0]["time_s"])
    assert {row["voltage_v"] for row in rows if row["joint"] != "elbow_flex"} == {"12.0"}
    silent = rows[2]
    assert (silent["fresh"], silent["position_tick"], silent["voltage_v"]) == ("0", "", "")
    assert int(silent["lost"]) == int(silent["requests"]) > 0


def test_monitor_counts_lost_and_damaged_answers(start):
    emulator = start("--drop", "30", "--corrupt", "30", "--seed", "5")
    result = run("so100_monitor", "--csv", "--count", 20, "--rate", 500, "--port", emulator.port)
    last = list(csv.DictReader(io.StringIO(result.stdout)))[-6:]
    assert sum(int(row["lost"]) for row in last) > 10
    assert sum(int(row["damaged"]) for row in last) > 10


def test_monitor_live_follows_and_ends_when_unplugged(start):
    emulator = start()
    emulator.move({1: 1000})
    terminal = Terminal("so100_monitor", "--port", emulator.port, "--rate", "100")
    terminal.expect(r"shoulder_pan +1 +1000 ")
    emulator.move({1: 1234})
    terminal.expect(r"shoulder_pan +1 +1234 ")
    emulator.tell("unplug")
    assert terminal.end() == 2
    assert "is gone; plug the USB cable in again" in terminal.text


def test_monitor_into_a_pipe_that_closes(start):
    emulator = start()
    monitor = subprocess.Popen(
        [program("so100_monitor"), "--csv", "--rate", "200", "--port", emulator.port],
        stdout=subprocess.PIPE,
    )
    monitor.stdout.readline()
    monitor.stdout.close()
    assert monitor.wait(timeout=PATIENCE) == 0
