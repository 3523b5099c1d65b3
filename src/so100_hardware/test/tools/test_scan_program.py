# SPDX-License-Identifier: Apache-2.0
"""so100_scan, and what all tools share: help, arguments, a port that is taken."""

import re

import pytest
from tool_programs import JOINTS, Terminal, run


@pytest.mark.parametrize("name", ["so100_scan", "so100_setup", "so100_calibrate", "so100_monitor"])
def test_help_and_wrong_arguments(name):
    result = run(name, "--help")
    assert result.returncode == 0
    assert f"Usage: {name} [OPTIONS]\n" in result.stdout
    assert f"Example: {name} --" in result.stdout
    assert "Returns 0:" in result.stdout
    result = run(name, "--prot", "x")
    assert result.returncode == 2
    assert result.stderr == (
        f"{name}: unknown argument '--prot'; did you mean '--port'? (see --help)\n"
    )


def test_a_taken_port_is_said(start):
    emulator = start()
    holder = Terminal("so100_monitor", "--port", emulator.port)
    holder.expect("gripper")
    result = run("so100_monitor", "--once", "--port", emulator.port)
    assert result.returncode == 2
    assert "is in use by another program" in result.stderr
    holder.interrupt()
    assert holder.end() == 0


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
    warnings = [line for line in result.stdout.splitlines() if line.startswith("Warning: ")]
    assert [re.sub(r"supply \d\.\d", "supply 5.0", line) for line in warnings] == [
        "Warning: several servos have the id 2; connect them one at a time and give each its own "
        "with so100_setup",
        "Warning: the servos have different firmware: 3.10 (id 1, 3, 4), 3.9 (id 6); LeRobot "
        "refuses such an arm, update it with Feetech's program FD",
        "Warning: shoulder_pan (id 1), elbow_flex (id 3), wrist_flex (id 4), gripper (id 6): "
        "supply 5.0 V, servo minimum 6.0 V; switch the power supply on and check its voltage, "
        "plug and cable",
        f"Warning: {emulator.port}: not there: wrist_roll (id 5); check its cable and the one "
        "before it, and its id (so100_setup); for servos with other ids name them with --ids",
    ]


def test_scan_knows_which_servos_must_be_there(start):
    emulator = start("--ids", "1,2,4,5,6")
    scan = ("so100_scan", "--port", emulator.port, "--baud", 1000000)
    result = run(*scan)
    assert result.returncode == 1
    assert "not there: elbow_flex (id 3);" in result.stdout
    assert run(*scan, "--ids", "4-6,1").returncode == 0
    result = run(*scan, "--ids", "1,2,9")
    assert result.returncode == 1
    assert "not there: servo 9;" in result.stdout
    result = run(*scan, "--ids", "six")
    assert result.returncode == 2
    assert "--ids: must be like 1-6 or 1,2,5, but is 'six'" in result.stderr


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_new_servos_in_a_chain_are_not_taken_for_none(start, seed):
    # All have the id of the factory; what is left of their answers differs from time to time.
    emulator = start("--ids", "1,1,1", "--seed", str(seed))
    arguments = ("--port", emulator.port, "--baud", 1000000)
    scan = run("so100_scan", *arguments, "--ids", 1)
    setup = run("so100_setup", *arguments, "--joint", "gripper")
    assert scan.returncode == 1
    assert setup.returncode != 0
    for said in (scan.stdout, setup.stderr):
        assert "no servo answered" not in said
        assert re.search("one at a time|connect it alone|connect only the one", said)


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
