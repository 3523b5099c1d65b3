# SPDX-License-Identifier: Apache-2.0
"""so100_calibrate: the procedure in a terminal, and everything that can end it."""

import json
import os
import select
import signal
import termios
from pathlib import Path

import pytest
from tool_programs import (
    JOINTS,
    PATIENCE,
    Terminal,
    file_of,
    give_calibration,
    run,
    servos_hold,
)

MIDDLE = {1: 2100, 2: 1500, 3: 2500, 4: 2000, 5: 2000, 6: 2600}
# Less than half a turn from end to end: the hand is so fast that the tool may see only the ends,
# and more would look like a step over the end of the encoder.
LOW = {1: 1300, 2: 700, 3: 1500, 4: 1100, 5: 300, 6: 2500}
HIGH = {1: 3300, 2: 2700, 3: 3500, 4: 3000, 5: 3900, 6: 3900}


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

    emulator.command("reboot")
    result = run("so100_calibrate", "--check", "--port", emulator.port, "--id", "blue")
    assert result.returncode == 0, result.stdout
    assert "The servos hold this calibration." in result.stdout

    # Once more: the old file is kept.
    old = file.read_text()
    text = calibrate(emulator, "blue", low={**LOW, 4: 1200})
    assert f"{file}.bak" in text
    assert Path(f"{file}.bak").read_text() == old
    assert json.loads(file.read_text())["wrist_flex"]["range_min"] == 1200 - 2000 + 2047


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
    emulator.move(MIDDLE)
    terminal.enter()
    terminal.expect("both of its ends")
    terminal.expect("gripper +2047")
    terminal.enter()
    terminal.expect(
        r"both ends yet: shoulder_pan \(0 of about 220 degrees\), shoulder_lift .*wrist"
    )
    # To one end only is not enough either.
    emulator.move(HIGH)
    terminal.expect("gripper +2047 +3347 +3347")
    terminal.enter()
    terminal.expect(
        r"both ends yet: shoulder_pan \(105 of .*, wrist_flex \(88 of about 190 degrees"
    )
    emulator.move(LOW)
    terminal.expect("gripper +1947 ")
    terminal.enter()
    assert terminal.end() == 0, terminal.text


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


def test_calibrate_names_the_servo_that_is_missing(start):
    emulator = start("--silent", "4")
    result = run("so100_calibrate", "--port", emulator.port, "--id", "blue")
    assert result.returncode == 2
    assert "wrist_flex: servo 4: no answer; check its cable" in result.stderr
