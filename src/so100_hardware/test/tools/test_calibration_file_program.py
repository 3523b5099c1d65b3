# SPDX-License-Identifier: Apache-2.0
"""so100_calibrate between a file and the servos: --check and --from-file."""

import json
from pathlib import Path

import pytest
from smolvla_core.units.calibration import (
    UNSAFE,
    CalibrationError,
    broken_rules,
    load_calibration,
)
from tool_programs import JOINTS, give_calibration, run, servos_hold


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


def arm(**changes):
    joints = {
        joint: {
            "id": i,
            "drive_mode": 0,
            "homing_offset": -7 * i,
            "range_min": 760,
            "range_max": 3290 - 150 * i,
        }
        for i, joint in enumerate(JOINTS, start=1)
    }
    for joint, change in changes.items():
        joints[joint].update(change)
    return joints


@pytest.mark.parametrize(
    "content",
    [
        arm(elbow_flex={"range_min": 0, "range_max": 4095}),
        arm(gripper={"range_min": 20, "range_max": 4000}, shoulder_pan={"range_max": 4090}),
        arm(wrist_flex={"drive_mode": 3, "homing_offset": 2500}),
        arm(gripper={"id": 5}, wrist_roll={"range_min": 4000, "range_max": 90}),
        {**arm(), "gripper": 3, "wrist_roll": {"id": 5.5, "speed": 1}},
        {joint: value for joint, value in arm().items() if joint != "wrist_flex"},
        {"joint_1": arm()["gripper"], "joint_2": arm(gripper={"id": 2})["gripper"]},
        {f"right/{joint}": value for joint, value in arm().items()},
        {f"arm_{joint}": value for joint, value in arm().items()} | {"base_left_wheel": {}},
        {"homing_offset": [1], "drive_mode": [0], "start_pos": [2], "motor_names": ["gripper"]},
        [],
    ],
)
def test_both_languages_refuse_a_file_with_the_same_lines(tmp_path, content):
    file = tmp_path / "this arm.json"
    file.write_text(json.dumps(content))
    try:
        loaded = load_calibration(file)
        lines = [f"{file}: {text}" for text in broken_rules(loaded.joints, [UNSAFE])]
    except CalibrationError as error:
        lines = str(error).splitlines()
    assert lines
    for option in (("--from-file", file), ("--check", "--id", file)):
        result = run("so100_calibrate", "--port", Path("/dev/null"), *option)
        assert result.returncode == 2
        assert result.stderr.splitlines() == [f"so100_calibrate: {line}" for line in lines]


def test_both_languages_take_a_file_with_the_same_notes(start, tmp_path):
    file = tmp_path / "odd.json"
    file.write_text(
        json.dumps(
            arm(
                shoulder_pan={"range_max": 2047},
                elbow_flex={"range_max": 800},
                wrist_flex={"id": 8, "drive_mode": 1},
                wrist_roll={"range_min": 140, "range_max": 3990},
            )
        )
    )
    notes = load_calibration(file).notes
    assert len(notes) == 4
    emulator = start("--ids", "1,2,3,8,5,6")
    result = run("so100_calibrate", "--port", emulator.port, "--from-file", file)
    assert result.returncode == 0
    lines = [line for line in result.stdout.splitlines() if line.startswith("Note: ")]
    assert lines == [f"Note: {note}" for note in notes]
