# SPDX-License-Identifier: Apache-2.0
"""so100_setup gives servos their ids."""

import re

import pytest
from tool_programs import Terminal, run


def test_setup_gives_id_and_baud_rate_for_good(start):
    emulator = start("--ids", "1", "--baud", "500000")
    setup = ("so100_setup", "--port", emulator.port, "--joint", "gripper", "--baud")
    result = run(*setup, 500000)
    assert result.returncode == 0, result.stderr
    assert result.stdout == (
        "gripper (id 6): id 1 -> 6, 500000 -> 1000000 baud, written and read back\n"
    )
    emulator.command("reboot")
    result = run("so100_scan", "--port", emulator.port, "--baud", 1000000)
    assert re.search(r" 1000000 +6 +gripper", result.stdout), "EEPROM was written while locked"
    result = run(*setup, 1000000)
    assert result.returncode == 0
    assert "already set up at 1000000 baud, nothing written" in result.stdout


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--ids", "1,4"), "several servos answer (id 1, 4); connect only the one to set up"),
        (
            ("--ids", "1", "--double", "1", "--seed", "3"),
            "several servos answer (id 1); connect only the one",
        ),
        (("--ids", "1", "--model-number", "1284"), "model SCS0009 has other registers"),
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
    assert emulator.command("show")[0]["id"] == 1


def test_setup_takes_an_sts3250(start):
    emulator = start("--ids", "1", "--model-number", "2825")
    result = run("so100_setup", "--port", emulator.port, "--id", 4, "--baud", 1000000)
    assert result.returncode == 0, result.stderr
    assert emulator.command("show")[0]["id"] == 4


def test_setup_guides_through_the_arm(start):
    # Two new servos, both with the id of the factory; one is connected at a time.
    emulator = start("--ids", "1,1", "--silent", "all")
    terminal = Terminal("so100_setup", "--all", "--port", emulator.port, "--baud", "1000000")
    terminal.expect("servo of gripper to the board, then press Enter")
    terminal.enter()
    terminal.expect("no servo answered on")
    terminal.expect("servo of gripper to the board, then press Enter")
    emulator.command("silent #1 off")
    terminal.enter()
    terminal.expect(r"gripper \(id 6\): id 1 -> 6")
    terminal.expect("servo of wrist_roll to the board, then press Enter")
    emulator.command("silent #1 on")
    emulator.command("silent #2 off")
    terminal.enter()
    terminal.expect(r"wrist_roll \(id 5\): id 1 -> 5")
    terminal.expect("servo of wrist_flex")
    terminal.interrupt()
    assert terminal.end() == 2
    assert "interrupted; servos already set up keep their ids" in terminal.text
    assert [servo["id"] for servo in emulator.command("show")] == [6, 5]


def test_enter_pressed_twice_gives_no_servo_a_second_id(start):
    emulator = start("--ids", "1")
    terminal = Terminal("so100_setup", "--all", "--port", emulator.port, "--baud", "1000000")
    terminal.expect("servo of gripper to the board, then press Enter")
    terminal.enter()
    terminal.enter()
    terminal.expect(r"gripper \(id 6\): id 1 -> 6")
    terminal.expect(
        r"gripper \(id 6\) is still connected; connect the servo of wrist_roll \(id 5\)"
    )
    terminal.expect("servo of wrist_roll to the board, then press Enter")
    terminal.interrupt()
    assert terminal.end() == 2
    assert emulator.command("show")[0]["id"] == 6
