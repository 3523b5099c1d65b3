# SPDX-License-Identifier: Apache-2.0
"""so100_monitor: table, CSV, and what ends it."""

import csv
import io
import re
import subprocess

from tool_programs import JOINTS, PATIENCE, Terminal, give_calibration, program, run


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


def test_monitor_of_some_servos_of_a_calibrated_arm(start, home):
    emulator = start()
    file = give_calibration(emulator, home)
    emulator.command("silent 2 on")
    once = ("so100_monitor", "--once", "--port", emulator.port, "--id", str(file))
    result = run(*once, "--ids", "6,1")
    assert result.returncode == 0
    lines = [line.split()[:2] for line in result.stdout.splitlines()]
    assert lines[1:3] == [["gripper", "6"], ["shoulder_pan", "1"]]
    assert "RAD" in result.stdout.splitlines()[0].split()


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
    emulator.command("unplug")
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
