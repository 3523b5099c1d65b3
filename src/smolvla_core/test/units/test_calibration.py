# SPDX-License-Identifier: Apache-2.0
"""LeRobot's calibration files: where they are found, what in them is refused, what is odd."""

from __future__ import annotations

import json
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from smolvla_core.robot import load_robot
from smolvla_core.units.calibration import (
    DOUBTFUL,
    LEROBOT_JOINTS,
    ODD,
    UNSAFE,
    CalibrationError,
    broken_rules,
    calibration_roots,
    find_calibration,
    load_calibration,
)
from smolvla_policy.backends.completion import choose_units
from smolvla_policy.backends.smolvla_settings import SmolVLASettings

# Written by LeRobot 0.4.4; the driver's tests read the same file.
LEROBOT = Path(__file__).parents[3] / "so100_hardware/test/units/lerobot_calibration.json"
VARIABLES = ("HF_LEROBOT_CALIBRATION", "HF_LEROBOT_HOME", "HF_HOME", "XDG_CACHE_HOME")


def content():
    return json.loads(LEROBOT.read_text())


@pytest.fixture
def home(tmp_path, monkeypatch):
    for variable in VARIABLES:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def put(root, folder="so_follower", name="my_arm", change=None, kind="robots"):
    path = root / kind / folder / f"{name}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    arm = content()
    if change:
        change(arm)
    path.write_text(json.dumps(arm))
    return path


def test_lerobots_own_file_is_read():
    loaded = load_calibration(LEROBOT)
    assert tuple(loaded.joints) == LEROBOT_JOINTS
    joint = loaded.joints["elbow_flex"]
    assert {key: getattr(joint, key) for key in content()["elbow_flex"]} == content()["elbow_flex"]


def test_an_id_is_found_where_lerobot_keeps_it(home):
    path = put(home / ".cache/huggingface/lerobot/calibration")
    assert find_calibration("my_arm").file == path
    assert find_calibration(str(path)).file == path
    assert find_calibration(
        "~/.cache/huggingface/lerobot/calibration/robots/so_follower/my_arm.json"
    )


def test_a_leaders_id_is_found_among_the_leaders_and_then_among_the_arms(home):
    root = home / ".cache/huggingface/lerobot/calibration"
    arm = put(root)
    assert find_calibration("my_arm", leader=True).file == arm
    leader = put(root, "so_leader", kind="teleoperators")
    assert find_calibration("my_arm", leader=True).file == leader
    assert find_calibration("my_arm").file == arm
    with pytest.raises(CalibrationError, match=r"so_leader/no_arm\.json"):
        find_calibration("no_arm", leader=True)


@pytest.mark.parametrize(
    ("variable", "rest"),
    [
        ("HF_LEROBOT_CALIBRATION", ""),
        ("HF_LEROBOT_HOME", "calibration"),
        ("HF_HOME", "lerobot/calibration"),
        ("XDG_CACHE_HOME", "huggingface/lerobot/calibration"),
    ],
)
def test_a_variable_wins_over_the_home_folder(home, tmp_path, monkeypatch, variable, rest):
    put(home / ".cache/huggingface/lerobot/calibration")
    monkeypatch.setenv(variable, str(tmp_path / "elsewhere"))
    path = put(tmp_path / "elsewhere" / rest, "so101_follower")
    assert find_calibration("my_arm").file == path
    assert calibration_roots()[0] == tmp_path / "elsewhere" / rest


def test_of_two_that_agree_the_newest_name_is_taken_and_reported(home):
    root = home / ".cache/huggingface/lerobot/calibration"
    put(root, "so100_follower")
    newest = put(root)
    loaded = find_calibration("my_arm")
    assert loaded.file == newest
    assert any("there twice with the same values" in note for note in loaded.notes)
    put(root, "so101_follower", change=lambda arm: arm["gripper"].update(range_min=7))
    with pytest.raises(CalibrationError, match="there twice and differs"):
        find_calibration("my_arm")


def test_a_link_is_no_second_file(home):
    root = home / ".cache/huggingface/lerobot/calibration"
    path = put(root)
    link = root / "robots/so101_follower/my_arm.json"
    link.parent.mkdir()
    link.symlink_to(path)
    assert not any("twice" in note for note in find_calibration("my_arm").notes)


def test_what_is_nowhere_names_all_places(home):
    with pytest.raises(CalibrationError, match=r"so_follower/x.json, .*so100_follower/x.json;"):
        find_calibration("x")
    with pytest.raises(CalibrationError, match="id is empty"):
        find_calibration(" ")
    with pytest.raises(CalibrationError, match="is a folder"):
        find_calibration(str(LEROBOT.parent))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            lambda arm: arm.pop("wrist_roll"),
            "without wrist_roll; is this the calibration",
        ),
        (
            lambda arm: arm.update(base_left=arm["gripper"]),
            r"gripper, base_left, but the arm's are .*another kind",
        ),
        (lambda arm: arm["gripper"].update(id=1), "'gripper': id 1 is that of 'shoulder_pan'"),
        (lambda arm: arm["gripper"].update(id=300), "ids are 0 to 253"),
        (lambda arm: arm["gripper"].update(drive_mode=2), "drive_mode is 2"),
        (lambda arm: arm["gripper"].update(homing_offset=-2048), "holds -2047 to 2047"),
        (lambda arm: arm["gripper"].update(range_max=4096), "positions are 0 to 4095"),
        (lambda arm: arm["gripper"].update(range_min=4000, range_max=12), "is not below"),
        (lambda arm: arm["gripper"].update(range_min=1.5), "must be a whole number, but is 1.5"),
        (lambda arm: arm["gripper"].update(range_min=True), "must be a whole number, but is true"),
        (lambda arm: arm["gripper"].pop("id"), "'gripper': the key 'id' is missing"),
        (lambda arm: arm["gripper"].update(speed=3), "unknown key 'speed'"),
        (lambda arm: arm.update(gripper=[6, 0]), r"must be an object .* but is \[6, 0\]"),
    ],
)
def test_what_cannot_be_is_refused_with_joint_and_key(tmp_path, change, message):
    path = put(tmp_path, change=change)
    with pytest.raises(CalibrationError, match=message) as error:
        load_calibration(path)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{\n "gripper": ', "not JSON, see line 2"),
        (b'{\n\n"grip\xff": 1}', "not JSON, see line 3"),
        ("[]", r"must be an object with a joint each, but is \[\]"),
        (LEROBOT.read_text().replace('"gripper"', '"wrist_roll"'), "'wrist_roll': is there twice"),
    ],
)
def test_text_that_is_no_calibration(tmp_path, text, message):
    path = tmp_path / "arm.json"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(CalibrationError, match=message):
        load_calibration(path)


def test_what_is_odd_is_reported(tmp_path):
    def change(arm):
        arm["shoulder_pan"].update(id=9, drive_mode=1)
        arm["elbow_flex"].update(range_min=2000, range_max=2100)

    notes = "\n".join(load_calibration(put(tmp_path, change=change)).notes)
    assert "id is 9, LeRobot gives it 1" in notes
    assert "'elbow_flex': the range is only 9 degrees wide" in notes
    assert "drive_mode 1 turns" in notes


def broken(level, **ranges):
    joints = dict(load_calibration(LEROBOT).joints)
    for joint, (low, high) in ranges.items():
        joints[joint] = replace(joints[joint], range_min=low, range_max=high)
    return broken_rules(joints, [level])


def test_a_range_over_the_end_of_the_encoder_is_unsafe():
    assert broken(UNSAFE) == []
    lines = broken(UNSAFE, shoulder_lift=(0, 4095), gripper=(31, 4060), wrist_flex=(5, 4090))
    assert [line.split(":")[0] for line in lines] == [
        "joint 'shoulder_lift'",
        "joint 'wrist_flex'",
        "joint 'gripper'",
    ]
    assert "360 degrees wide, but an SO-100's shoulder_lift turns about 200" in lines[0]
    # As wide as careless hands and other builds make it.
    assert not broken(UNSAFE, shoulder_pan=(500, 3600), elbow_flex=(600, 3400), gripper=(0, 3000))


@pytest.mark.parametrize("units", ["degrees", "normalized"])
def test_no_policy_moves_an_arm_with_it(tmp_path, units):
    arm = content()
    arm["elbow_flex"].update(range_min=14, range_max=4077)
    path = tmp_path / "arm.json"
    path.write_text(json.dumps(arm))
    settings = SmolVLASettings(units=units, calibration=str(path))
    with pytest.raises(ValueError, match="'elbow_flex': the range is 357 degrees wide"):
        choose_units(settings, load_robot("so100"), {})
    allowed = replace(settings, allow_units_mismatch=True)
    assert choose_units(allowed, load_robot("so100"), {}).regime == units


@pytest.mark.parametrize("ends", [(0, 4095), (77, 4011), (310, 3690)])
def test_wrist_roll_may_have_the_full_turn_or_a_measured_range(ends):
    assert not any(broken(level, wrist_roll=ends) for level in (UNSAFE, DOUBTFUL, ODD))


def test_a_joint_that_was_moved_to_one_end_only_is_reported():
    (line,) = broken(ODD, elbow_flex=(2047, 3120))
    assert "only 94 degrees wide, but an SO-100's elbow_flex turns about 200" in line
    assert len(broken(ODD, wrist_roll=(2047, 3900), shoulder_pan=(900, 2300))) == 2
    # Less than 18 degrees is another finding, and only that one.
    assert broken(ODD, wrist_flex=(2000, 2050)) == []
    assert "only 4 degrees wide" in broken(DOUBTFUL, wrist_flex=(2000, 2050))[0]


OLD = {"homing_offset": [-4, 1], "drive_mode": [0, 1], "motor_names": ["shoulder_pan", "gripper"]}


def prefixed(*prefixes, **more):
    return {prefix + joint: value for prefix in prefixes for joint, value in content().items()} | (
        more
    )


WHEEL = {"id": 7, "drive_mode": 0, "homing_offset": 0, "range_min": 0, "range_max": 4095}


@pytest.mark.parametrize(
    ("arm", "message"),
    [
        (OLD, "LeRobot before June 2025.*calibrate again: so100_calibrate --id"),
        (prefixed("arm_", base_left_wheel=WHEEL), "calibration of a LeKiwi.*, its_arm.json, and"),
        (prefixed("left_", "right_"), "the prefix left_ right_, .*its_left.json its_right.json"),
        (prefixed("so101_"), "the prefix so101_"),
    ],
)
def test_a_known_other_format_is_named_in_one_line(tmp_path, monkeypatch, arm, message):
    path = tmp_path / "my robot" / "its.json"
    path.parent.mkdir()
    path.write_text(json.dumps(arm))
    with pytest.raises(CalibrationError, match=message) as error:
        load_calibration(path)
    line = str(error.value)
    assert len(line.splitlines()) == 1
    assert line.startswith(f"{path}: ")
    if "python3" in line:  # what it says to do works
        monkeypatch.chdir(tmp_path)
        subprocess.run(line[line.index("python3") :], shell=True, check=True)
        written = sorted(tmp_path.glob("its_*.json"))
        assert written
        assert all(dict(load_calibration(one).joints) for one in written)
