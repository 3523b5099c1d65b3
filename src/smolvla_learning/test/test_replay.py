# SPDX-License-Identifier: Apache-2.0
"""Recorded actions come in the robot's joints and in radians, or not at all."""

from dataclasses import replace

import numpy as np
import pytest
from robot_files import robot_file
from smolvla_core.robot import load_robot
from smolvla_learning.dataset import Dataset, DatasetWriter
from smolvla_learning.dataset.features import joint_features
from smolvla_learning.replay import main, other_robot, recorded_actions

SO100 = load_robot("so100")
JOINTS = [f"{joint.lerobot}.pos" for joint in SO100.joints]
ROWS = np.linspace([-50, -80, -40, 10, 5, 0], [50, 20, 70, 90, 25, 100], 40, dtype=np.float32)
DRIVEN = replace(SO100, joints=(replace(SO100.joints[0], increment=0.1), *SO100.joints[1:]))


def write(folder, rows=ROWS, names=JOINTS, **about):
    """Write a dataset of two episodes, the second the first backwards."""
    facts = {"about": {"action": about}} if about else {}
    with DatasetWriter.create(
        folder, fps=20, robot_type="so100_follower", features=joint_features(names), **facts
    ) as writer:
        for episode in (rows, rows[::-1]):
            for row in episode:
                writer.add_frame({"observation.state": row, "action": row}, "wave")
            writer.save_episode()
    return Dataset.open(folder)


def test_an_episode_is_converted_to_the_joints_of_the_robot(tmp_path):
    dataset = write(tmp_path / "d", units="degrees")
    robot = load_robot("so100")
    recorded = recorded_actions(dataset, 1, robot)
    assert (recorded.period, recorded.instruction) == (0.05, "wave")
    assert recorded.joint_names == robot.joint_names
    assert recorded.units == "degrees"
    closed, opened = robot.joints[-1].gripper_range
    np.testing.assert_allclose(recorded.actions[0, -1], opened)
    np.testing.assert_allclose(recorded.actions[-1, -1], closed)
    np.testing.assert_allclose(
        recorded.actions[:, :5], np.radians(ROWS[::-1, :5]), rtol=1e-3, atol=1e-3
    )


def test_columns_are_matched_by_name(tmp_path):
    dataset = write(tmp_path / "d", names=JOINTS[::-1], rows=ROWS[:, ::-1], units="degrees")
    recorded = recorded_actions(dataset, 0, load_robot("so100"))
    assert recorded.joint_names == load_robot("so100").joint_names[::-1]
    np.testing.assert_allclose(recorded.actions[0, -1], np.radians(-50), rtol=1e-3)


def test_units_that_a_dataset_does_not_say_are_seen_in_its_statistics_or_asked_for(tmp_path):
    robot = load_robot("so100")
    radians = np.radians(ROWS)
    radians[:, 5] = np.linspace(0.0, 1.5, len(ROWS))
    recorded = recorded_actions(write(tmp_path / "radians", rows=radians), 0, robot)
    assert recorded.units == "radians"
    np.testing.assert_allclose(recorded.actions, radians)
    silent = write(tmp_path / "silent")  # degrees, or shares of the ranges
    with pytest.raises(ValueError, match="give --units"):
        recorded_actions(silent, 0, robot)
    assert recorded_actions(silent, 0, robot, "degrees").units == "degrees"


def test_a_dataset_of_another_type_of_robot_is_warned_of(tmp_path):
    dataset = write(tmp_path / "d", units="degrees")
    assert "so100_follower" in other_robot(dataset, load_robot("so101"))
    assert other_robot(dataset, load_robot("so100")) == ""


@pytest.mark.parametrize(
    ("episode", "units", "robot", "reason"),
    [
        (2, "auto", load_robot("so100"), "episodes are 0 to 1"),
        (0, "radians", load_robot("so100"), "in degrees, not radians"),
        (0, "auto", load_robot("two_so101"), "choose another --robot"),
        (0, "auto", DRIVEN, "drives shoulder_pan by increments"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path, episode, units, robot, reason):
    dataset = write(tmp_path / "d", units="degrees")
    with pytest.raises(ValueError, match=reason):
        recorded_actions(dataset, episode, robot, units)


def test_a_joint_that_is_counted_the_other_way_round_moves_the_other_way(tmp_path):
    dataset = write(tmp_path / "d", units="degrees")
    robot = load_robot("so100")
    pan, *others = robot.joints
    turned = replace(robot, joints=(replace(pan, sign=-1), *others))
    actions = [recorded_actions(dataset, 0, each).actions for each in (robot, turned)]
    np.testing.assert_allclose(actions[0][:, 0], -actions[1][:, 0])
    np.testing.assert_allclose(actions[0][:, 1:], actions[1][:, 1:])


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ([], "--dataset"),
        (["--dataset", "nowhere/at_all"], "nowhere"),
        (["--units", "radians"], "in degrees"),
        (["--robot", robot_file(("a", "b"))], "choose another --robot"),
    ],
)
def test_the_program_says_in_one_line_why_it_cannot_begin(
    tmp_path, monkeypatch, capsys, options, reason
):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    write(tmp_path / "d", units="degrees")
    given = [] if not options or "--dataset" in options else ["--dataset", str(tmp_path / "d")]
    assert main([*given, *options]) == 2
    captured = capsys.readouterr().err
    assert reason in captured
    assert len(captured.splitlines()) == 1
