# SPDX-License-Identifier: Apache-2.0
"""What is on the disk: each bad case is one row that says what to do."""

import json
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import rclpy
from robot_files import robot_file
from safetensors.numpy import load_file, save_file
from smolvla_core.robot import load_robot
from smolvla_core.units.calibration import LEROBOT_JOINTS
from smolvla_policy.checks import checkpoint_checks as checks
from smolvla_policy.checks.rows import Status

LEROBOT = Path(__file__).parents[3] / "so100_hardware/test/units/lerobot_calibration.json"
SO100 = load_robot("so100")


def contents_of(settings):
    rows, contents = checks.check_checkpoint(settings)
    assert contents is not None, rows
    return contents


def statistics(folder, change):
    for path in folder.glob("policy_*.safetensors"):
        tensors = load_file(path)
        change(tensors)
        save_file(tensors, path)


def test_a_good_checkpoint_is_good_in_every_row(settings):
    rows, contents = checks.check_checkpoint(settings)
    joint_rows, robot = checks.check_joint_names(SO100, contents)
    camera_rows, cameras = checks.check_cameras(settings, robot, contents)
    rows += joint_rows + camera_rows + checks.check_statistics(robot, contents)
    unit_rows, units = checks.check_units(settings, robot, contents)
    rows += unit_rows + checks.check_instruction("pick up the red cube", contents)
    assert {row.status for row in rows} == {Status.OK}
    assert list(cameras) == ["top", "wrist", "side"]
    assert units.regime == "degrees"
    assert "chunks of 8 actions" in rows[0].found


def test_what_it_was_trained_for_is_told(settings, folder):
    (folder / "robot.json").write_text(json.dumps({"rtc_delay": 3, "state_offset": 5}))
    rows, _ = checks.check_checkpoint(settings)
    assert "continue 3 actions (rtc_delay); trained for a state 5 actions ahead" in rows[0].found


def test_what_it_was_not_trained_for_is_to_be_mended(settings):
    rows, _ = checks.check_checkpoint(replace(settings, real_time_chunking="trained"))
    assert rows[0].status is Status.FIX
    assert "use 'guided' or 'auto'" in rows[0].advice


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"checkpoint": ""}, "none is named"),
        ({"checkpoint": "/nowhere/at/all"}, "neither an existing folder nor a hub id"),
        ({"stats": "so100"}, "no set of statistics 'so100'"),
    ],
)
def test_a_checkpoint_that_cannot_be_read(settings, change, message):
    (row,), contents = checks.check_checkpoint(replace(settings, **change))
    assert contents is None
    assert row.status is Status.FIX
    assert message in row.found


def test_unknown_fields_are_worth_a_look(settings, folder, edit):
    edit(folder / "config.json", lambda config: config.update(colour="blue"))
    (row,), _ = checks.check_checkpoint(settings)
    assert row.status is Status.WARN
    assert "colour" in row.advice


@pytest.mark.parametrize("prefix", ["", "left_"])
def test_the_order_of_joints_that_the_checkpoint_names_is_taken(settings, folder, edit, prefix):
    names = [f"main_{prefix}{joint}" for joint in LEROBOT_JOINTS]

    def name(config):
        config["output_features"]["action"]["names"] = names

    edit(folder / "config.json", name)
    topics = {f"axis{i}": {"lerobot": prefix + j} for i, j in enumerate(LEROBOT_JOINTS)}
    robot = load_robot(robot_file(list(topics)[::-1], changes=without_role(topics)))
    (row,), ordered = checks.check_joint_names(robot, contents_of(settings))
    assert (row.status, row.found[-18:]) == (Status.OK, "checkpoint's order")
    assert ordered.joint_names == tuple(topics)


def without_role(joints):
    """LeRobot's names tell the roles."""
    gripper = {name: entry["lerobot"].endswith("gripper") for name, entry in joints.items()}
    return {
        name: {**entry, "role": "gripper" if gripper[name] else "joint"}
        for name, entry in joints.items()
    }


def test_joints_of_other_names_than_in_the_recordings_are_worth_a_look(settings, folder):
    own = [f"{joint}.pos" for joint in LEROBOT_JOINTS]
    (folder / "robot.json").write_text(json.dumps({"joints": own}))
    robot = load_robot(robot_file([*LEROBOT_JOINTS[:5], "claw"]))
    (row,), _ = checks.check_joint_names(robot, contents_of(settings))
    assert row.status is Status.WARN
    assert "wrist_roll, claw, the checkpoint's shoulder_pan" in row.found


def test_velocities_are_told_from_positions(settings, folder):
    own = [f"arm_{joint}.pos" for joint in LEROBOT_JOINTS[:3]] + ["x.vel", "y.vel", "theta.vel"]
    (folder / "robot.json").write_text(json.dumps({"joints": own}))
    (row,), _ = checks.check_joint_names(SO100, contents_of(settings))
    assert row.status is Status.FIX
    assert "x.vel, y.vel, theta.vel are velocities" in row.found
    assert "x.vel: {role: velocity}" in row.found
    file = robot_file([*LEROBOT_JOINTS[:3], "x.vel", "y.vel", "theta.vel"])
    (row, still), robot = checks.check_joint_names(load_robot(file), contents_of(settings))
    assert (row.status, still.status) == (Status.OK, Status.WARN)
    assert "x.vel, y.vel, theta.vel are no positions" in still.found
    assert robot.joint_names == LEROBOT_JOINTS[:3]


@pytest.mark.parametrize(
    ("cameras", "message"),
    [
        (["top", "head:top"], "top and head are both for observation.images.top"),
        (["top", "wrist", "front:observation.images.front"], "front' is unknown"),
    ],
)
def test_cameras_that_are_not_the_checkpoints(settings, cameras, message):
    rows, matched = checks.check_cameras(
        replace(settings, cameras=cameras), SO100, contents_of(settings)
    )
    assert rows[0].status is Status.FIX
    assert message in rows[0].found
    assert "--cameras front:observation.images.top," in rows[0].advice
    # What is advised for the node is what ROS 2 reads.
    _, arguments = rows[0].advice.split(" for policy_node ")
    context = rclpy.Context()
    rclpy.init(args=["--ros-args", *shlex.split(arguments)], context=context)
    node = rclpy.create_node("policy_node", context=context)
    try:
        given = node.declare_parameter("cameras", [""]).value
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
    assert given == ["front:observation.images.top"]
    assert matched == {}


def bare(folder, edit, rename_map=None, **fields):
    """Keep no statistics of images, so that they do not tell the cameras."""

    def drop(tensors):
        for key in [key for key in tensors if "images" in key]:
            del tensors[key]

    statistics(folder, drop)
    edit(folder / "config.json", lambda config: config.update(fields))
    edit(
        folder / "policy_preprocessor.json",
        lambda c: c["steps"][0]["config"].update(rename_map=rename_map or {}),
    )


@pytest.mark.parametrize(
    ("cameras", "rename_map", "fields", "status", "found", "advice"),
    [
        # Nothing tells, and nothing speaks against the declared ones.
        ([], {}, {}, Status.OK, "side is observation.images.side", ""),
        # Declared beyond what there may have been: policy_node would wait for them.
        ([], {}, {"empty_cameras": 1}, Status.WARN, "side is", "may have been trained with fewer"),
        (["top"], {}, {}, Status.WARN, "left out: observation.images.wrist", "these?"),
        # The rename_map tells.
        ([], {"observation.images.desk": "observation.images.wrist"}, {}, Status.OK,
         "desk is observation.images.wrist; left out: observation.images.top, ", ""),
        (["side"], {"observation.images.desk": "observation.images.wrist"}, {}, Status.WARN,
         "side is observation.images.side", "trained with observation.images.wrist too"),
    ],
)  # fmt: skip
def test_cameras_that_are_used_and_left_out(
    settings, folder, edit, cameras, rename_map, fields, status, found, advice
):
    bare(folder, edit, rename_map, **fields)
    (row,), matched = checks.check_cameras(
        replace(settings, cameras=cameras), SO100, contents_of(settings)
    )
    assert row.status is status
    assert found in row.found
    assert advice in row.advice
    assert not any(name in row.found.partition("left out")[2] for name in matched.values())


def test_statistics_that_are_no_numbers(settings, folder):
    statistics(folder, lambda tensors: tensors["action.std"].__setitem__(2, np.nan))
    (row,) = checks.check_statistics(SO100, contents_of(settings))
    assert row.status is Status.FIX
    assert "holds NaN" in row.found
    assert "--stats" in row.advice


def test_a_constant_joint_is_told_by_name(settings, folder):
    statistics(folder, lambda t: t["action.std"].__setitem__(1, 0.0))
    state, action = checks.check_statistics(SO100, contents_of(settings))
    assert state.status is Status.OK
    assert action.status is Status.WARN
    assert "shoulder_lift was always" in action.found


def test_a_vlm_that_is_not_here(settings, folder):
    contents = contents_of(settings)
    assert checks.check_vlm(contents) == []
    (folder / "vlm" / "config.json").unlink()
    (row,) = checks.check_vlm(contents)
    assert row.status is Status.FIX
    assert f"into {folder}/vlm" in row.found


def test_a_joint_that_never_moved_is_told(settings, folder):
    statistics(folder, lambda t: t["observation.state.std"].__setitem__(4, 0.01))
    state, action = checks.check_statistics(SO100, contents_of(settings))
    assert (state.status, action.status) == (Status.WARN, Status.OK)
    assert state.found == "wrist_roll hardly moved in the data"


def test_contradicting_units_are_told_with_the_right_ones(settings):
    rows, units = checks.check_units(
        replace(settings, units="degrees_old"), SO100, contents_of(settings)
    )
    assert rows[0].status is Status.FIX
    assert "set units:=degrees" in rows[0].found
    assert units is None
    allowed = replace(settings, units="degrees_old", allow_units_mismatch=True)
    rows, units = checks.check_units(allowed, SO100, contents_of(settings))
    assert rows[0].status is Status.WARN
    assert "allowed by allow_units_mismatch" in rows[0].advice
    assert units.regime == "degrees_old"


def calibration(tmp_path, change=None):
    arm = json.loads(LEROBOT.read_text())
    if change:
        change(arm)
    path = tmp_path / "arm.json"
    path.write_text(json.dumps(arm))
    return str(path)


def test_calibration_by_itself(settings, tmp_path):
    (row,) = checks.check_calibration(settings, SO100)
    assert row.status is Status.SKIPPED
    settings = replace(settings, calibration=calibration(tmp_path))
    robot = load_robot(robot_file(LEROBOT_JOINTS, -1.0, 1.0))
    (row,) = checks.check_calibration(settings, robot)
    assert row.status is Status.OK, row


@pytest.mark.parametrize(
    ("change", "status", "message"),
    [
        (lambda arm: arm.pop("gripper"), Status.FIX, "another kind of robot"),
        (lambda arm: arm["gripper"].update(id=1), Status.FIX, "every servo needs an id"),
        (
            lambda arm: arm["elbow_flex"].update(range_min=0, range_max=4095),
            Status.FIX,
            "calibrate again (so100_calibrate)",
        ),
        (
            lambda arm: arm["wrist_flex"].update(range_min=2047, range_max=2990),
            Status.WARN,
            "only 83 degrees wide, but an SO-100's wrist_flex turns about 190",
        ),
        (lambda arm: arm["elbow_flex"].update(id=9), Status.WARN, "LeRobot gives it 3"),
        (
            lambda arm: arm["elbow_flex"].update(range_min=1500, range_max=2500),
            Status.WARN,
            "elbow_flex is calibrated to ±44 degrees, the robot file's limits are -100 to 90",
        ),
    ],
)
def test_the_calibration_of_another_arm(settings, tmp_path, change, status, message):
    settings = replace(settings, calibration=calibration(tmp_path, change))
    (row,) = checks.check_calibration(settings, SO100)
    assert row.status is status
    assert message in f"{row.found} {row.advice}".replace("\n", " ")


def test_another_arms_full_turn_can_be_allowed(settings, tmp_path):
    path = calibration(
        tmp_path, lambda arm: arm["shoulder_pan"].update(range_min=0, range_max=4095)
    )
    allowed = replace(settings, calibration=path, allow_units_mismatch=True)
    (row,) = checks.check_calibration(allowed, SO100)
    assert row.status is Status.WARN


def test_an_instruction_that_is_too_long(settings):
    contents = contents_of(settings)
    (row,) = checks.check_instruction("put it " * 20, contents)
    assert row.status is Status.FIX
    assert "of at most 16 tokens" in row.found
    assert "are cut off" in row.found
    (row,) = checks.check_instruction("", contents)
    assert row.status is Status.SKIPPED


def test_a_missing_tokenizer(settings, folder):
    contents = contents_of(settings)
    moved = folder.parent / "moved.json"
    for path in folder.rglob("tokenizer.json"):
        path.rename(moved)
    (row,) = checks.check_instruction("pick it up", contents)
    assert row.status is Status.FIX
    (row,) = checks.check_instruction("pick it up", contents, str(moved))
    assert row.status is Status.OK


def test_a_tokenizer_of_another_network(settings, tmp_path):
    contents = contents_of(settings)
    own, *_ = contents.folder.rglob("tokenizer.json")
    content = json.loads(own.read_text())
    vocabulary = content["model"]["vocab"]
    content["model"]["vocab"] = {token: 9000 + at for token, at in vocabulary.items()}
    for token in content["added_tokens"]:
        token["id"] += 9000
    other = tmp_path / "other.json"
    other.write_text(json.dumps(content))
    for task in ("pick it up", ""):
        (row,) = checks.check_instruction(task, contents, str(other))
        assert row.status is Status.FIX
        assert "network knows only" in row.found
