# SPDX-License-Identifier: Apache-2.0
"""LeRobot's calibration files: where they are found, what in them is refused, what is odd."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from smolvla_policy.checkpoint.calibration import (
    CalibrationError,
    calibration_roots,
    find_calibration,
    load_calibration,
    parse_calibration,
)
from smolvla_policy.control.joint_calibration import LEROBOT_JOINTS, range_doubts

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


def put(root, folder="so_follower", name="my_arm", change=None):
    path = root / "robots" / folder / f"{name}.json"
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
    assert joint.middle == (joint.range_min + joint.range_max) / 2


def test_an_id_is_found_where_lerobot_keeps_it(home):
    path = put(home / ".cache/huggingface/lerobot/calibration")
    assert find_calibration("my_arm").file == path
    assert find_calibration(str(path)).file == path
    assert find_calibration(
        "~/.cache/huggingface/lerobot/calibration/robots/so_follower/my_arm.json"
    )


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


def test_of_two_that_agree_the_newest_name_is_taken_and_told(home):
    root = home / ".cache/huggingface/lerobot/calibration"
    put(root, "so100_follower")
    newest = put(root)
    loaded = find_calibration("my_arm")
    assert loaded.file == newest
    assert any("there twice with the same values" in remark for remark in loaded.remarks)
    put(root, "so101_follower", change=lambda arm: arm["gripper"].update(range_min=7))
    with pytest.raises(CalibrationError, match="there twice and differs"):
        find_calibration("my_arm")


def test_a_link_is_no_second_file(home):
    root = home / ".cache/huggingface/lerobot/calibration"
    path = put(root)
    link = root / "robots/so101_follower/my_arm.json"
    link.parent.mkdir()
    link.symlink_to(path)
    assert not any("twice" in remark for remark in find_calibration("my_arm").remarks)


def test_what_is_nowhere_names_all_places(home):
    with pytest.raises(CalibrationError, match=r"so_follower/x.json, .*so100_follower/x.json;"):
        find_calibration("x")
    with pytest.raises(CalibrationError, match="id is empty"):
        find_calibration(" ")
    with pytest.raises(CalibrationError, match="is a folder"):
        find_calibration(str(LEROBOT.parent))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (
            lambda arm: arm.pop("wrist_roll"),
            "wrist_roll is missing; is this the calibration",
        ),
        (lambda arm: arm.update(base_left=arm["gripper"]), "'base_left': the arm has no such"),
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
def test_what_cannot_be_is_refused_with_joint_and_key(tmp_path, change, words):
    arm = content()
    change(arm)
    path = tmp_path / "arm.json"
    path.write_text(json.dumps(arm))
    with pytest.raises(CalibrationError, match=words) as error:
        load_calibration(path)
    assert str(error.value).startswith(str(path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('{\n "gripper": ', "not JSON, see line 2"),
        ("[]", r"must be an object with a joint each, but is \[\]"),
        (LEROBOT.read_text().replace('"gripper"', '"wrist_roll"'), "'wrist_roll': is there twice"),
    ],
)
def test_text_that_is_no_calibration(text, words):
    with pytest.raises(CalibrationError, match=words):
        parse_calibration(text, Path("arm.json"))


def test_what_is_odd_is_told(tmp_path):
    arm = content()
    arm["wrist_roll"].update(range_min=100)
    arm["shoulder_pan"].update(id=9, drive_mode=1)
    arm["elbow_flex"].update(range_min=2000, range_max=2100)
    remarks = "\n".join(parse_calibration(json.dumps(arm), Path("arm.json")).remarks)
    assert "LeRobot gives this joint the full turn" in remarks
    assert "id is 9, LeRobot gives it 1" in remarks
    assert "only 100 ticks (8 degrees) wide" in remarks
    assert "drive_mode 1 turns" in remarks


def test_ranges_that_the_arm_cannot_have(tmp_path):
    arm = content()
    assert range_doubts(load_calibration(LEROBOT).joints) == []
    arm["shoulder_lift"].update(range_min=0, range_max=4095)
    arm["wrist_flex"].update(range_min=2000, range_max=2050)
    doubts = range_doubts(parse_calibration(json.dumps(arm), Path("a")).joints)
    assert len(doubts) == 2
    assert "'shoulder_lift': the range is 360 degrees wide" in doubts[0]
    assert "'wrist_flex': the range is only 4 degrees wide" in doubts[1]


def test_a_copy_elsewhere_is_a_path(tmp_path):
    path = tmp_path / "other.json"
    shutil.copy(LEROBOT, path)
    assert find_calibration(f"{tmp_path}/other.json").file == path
