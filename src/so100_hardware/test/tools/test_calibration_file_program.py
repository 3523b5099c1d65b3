# SPDX-License-Identifier: Apache-2.0
"""so100_calibrate between a file and the servos: --check and --from-file."""

import json

from tool_programs import give_calibration, run, servos_hold


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
