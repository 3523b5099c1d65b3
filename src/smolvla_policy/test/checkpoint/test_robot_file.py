# SPDX-License-Identifier: Apache-2.0
"""The file beside LeRobot's that says units, joints, rate and cameras."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from smolvla_policy.backends.smolvla import create
from smolvla_policy.backends.smolvla_settings import SmolVLASettings
from smolvla_policy.checkpoint.robot import ROBOT, RobotFacts, read_robot, unlearned, write_robot

from smolvla_policy import CheckpointError, SmolVLAPolicy

JOINTS = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"]
FACTS = RobotFacts(
    units="degrees",
    joints=tuple(f"{joint}.pos" for joint in JOINTS),
    fps=12.0,
    cameras=("observation.images.top",),
    joint_signs=(1.0,) * 5 + (1.0,),
    gripper_range=(0.0, 1.25),
)


def options(folder, **changes):
    given = {"device": "cpu", "units": "auto", "threads": 1, **changes}
    return SmolVLASettings(checkpoint=str(folder), **given)


def test_what_is_written_is_read(tmp_path):
    write_robot(tmp_path, FACTS)
    assert read_robot(tmp_path) == FACTS
    write_robot(tmp_path, RobotFacts())
    assert not (tmp_path / ROBOT).exists()
    assert read_robot(tmp_path) == RobotFacts()


LEARNED = ("open the drawer", "close the drawer", "wipe the plate")


@pytest.mark.parametrize(
    ("instruction", "tasks", "nearest"),
    [
        ("open the drawers", LEARNED, "'open the drawer'"),
        ("wipe a plate", LEARNED, "'wipe the plate'"),
        ("Close the drawer", LEARNED, "'close the drawer'"),
        (" open the drawer \n", LEARNED, None),
        ("wipe the plate", ("wipe the plate\n",), None),
        ("", LEARNED, None),
        ("dance", (), None),
    ],
)
def test_a_sentence_that_was_not_learned_gets_the_nearest_ones(instruction, tasks, nearest):
    line = unlearned(instruction, tasks)
    assert "\n" not in line
    if nearest is None:
        assert line == ""
    else:
        assert line.partition(": ")[2].startswith(nearest)


def test_where_nothing_is_near_two_that_it_knows_are_named():
    line = unlearned("zzz", LEARNED)
    assert "'open the drawer'" in line
    assert "'close the drawer'" in line


def test_entries_of_a_later_version_are_passed_over(tmp_path):
    (tmp_path / ROBOT).write_text(json.dumps({"fps": 50, "wheels": 4}))
    assert read_robot(tmp_path) == RobotFacts(fps=50)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"units": "grad"}, "units is 'grad', not one of radians"),
        ({"fps": 0}, "fps is 0"),
        ({"fps": True}, "fps is True"),
        ({"fps": float("nan")}, "fps is nan"),
        ({"joints": "elbow"}, "joints is 'elbow', not a list"),
        ({"cameras": [1]}, "not a list of texts"),
        ({"joint_signs": [1, 0.5]}, "signs are 1 or -1"),
        ({"gripper_range": [0.5, 0.5]}, "not two different angles"),
    ],
)
def test_what_cannot_be_is_named(tmp_path, content, message):
    (tmp_path / ROBOT).write_text(json.dumps(content))
    with pytest.raises(CheckpointError, match=ROBOT) as caught:
        read_robot(tmp_path)
    assert message in str(caught.value)


def test_it_is_saved_with_the_checkpoint(copy, tmp_path):
    write_robot(copy.folder, FACTS)
    policy = SmolVLAPolicy.from_pretrained(copy.folder)
    assert policy.robot == FACTS
    policy.save_pretrained(tmp_path / "again")
    assert read_robot(tmp_path / "again") == FACTS


def test_the_node_takes_units_period_and_gripper_from_it(copy):
    write_robot(copy.folder, FACTS)
    backend = create(options(copy.folder))
    assert backend.period == pytest.approx(1 / 12)
    assert not backend.warnings
    assert f"units: degrees, because {ROBOT} of the checkpoint says so" in backend.notes[0]
    assert any("gripper: open is 1.25" in note for note in backend.notes)


def test_a_parameter_wins_over_it(copy):
    write_robot(copy.folder, FACTS)
    changes = {"units": "radians", "allow_units_mismatch": True, "period": 0.05}
    backend = create(options(copy.folder, **changes))
    assert backend.period == 0.05
    units, period = backend.warnings
    assert f"units is radians, but {ROBOT} of the checkpoint says degrees" in units
    assert "trained on data of 0.08333 s" in period


def test_without_it_the_period_is_a_guess_that_is_told(copy):
    backend = create(options(copy.folder))
    assert backend.period == pytest.approx(1 / 30)
    assert "a guess" in backend.warnings[0]


def test_units_that_the_statistics_contradict_are_refused(copy):
    write_robot(copy.folder, RobotFacts(units="radians"))
    with pytest.raises(ValueError, match="units are 'radians', but in the statistics"):
        create(options(copy.folder))


@pytest.mark.parametrize(
    "facts",
    [
        replace(FACTS, joints=(*FACTS.joints, "elbow_roll.pos"), joint_signs=(1.0,) * 7),
        replace(FACTS, joints=(), joint_signs=(1.0, -1.0, 1.0)),
    ],
)
def test_a_file_of_another_number_of_joints_is_not_used(copy, tmp_path, facts):
    write_robot(copy.folder, facts)
    backend = create(options(copy.folder))
    size = len(facts.joint_signs)
    assert f"{ROBOT} is not used: it is of {size} joints, the actions are of 6" in str(
        backend.notes
    )
    assert backend.warnings
    policy = SmolVLAPolicy.from_pretrained(copy.folder)
    policy.save_pretrained(tmp_path / "again")
    assert not (tmp_path / "again" / ROBOT).exists()
