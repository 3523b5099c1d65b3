# SPDX-License-Identifier: Apache-2.0
"""What the checkpoint says fills what the parameters leave open; a parameter wins and is told."""

from __future__ import annotations

import pytest
from smolvla_policy.backends.parameter_defaults import complete
from smolvla_policy.checkpoint.robot import RobotFacts

JOINTS = ["waist", "elbow", "claw"]
FACTS = RobotFacts(
    units="degrees",
    joints=("waist.pos", "elbow.pos", "claw.pos"),
    fps=12.5,
    joint_signs=(1.0, -1.0, 1.0),
    gripper_range=(0.1, 0.9),
)
OPEN = {"joints": JOINTS, "period": 0.0, "joint_signs": [], "gripper_range": [], "seed": 3}


def test_what_is_open_is_filled_in_and_told():
    made = complete(OPEN, FACTS)
    assert made.options["period"] == pytest.approx(0.08)
    assert made.options["joint_signs"] == [1.0, -1.0, 1.0]
    assert made.options["gripper_range"] == [0.1, 0.9]
    assert made.options["seed"] == 3
    assert "12.5 Hz" in made.period
    assert not made.doubt
    assert len(made.remarks) == 2


def test_a_parameter_wins_and_the_contradiction_is_told():
    made = complete({**OPEN, "period": 0.04, "joint_signs": [1.0]}, FACTS)
    assert made.options["period"] == 0.04
    assert made.options["joint_signs"] == [1.0]
    assert "2 times as fast" in made.doubt
    assert any("recorded with 1, -1, 1" in remark for remark in made.remarks)
    assert not complete({**OPEN, "period": 0.08}, FACTS).doubt


def test_a_guess_is_called_one():
    made = complete(OPEN, RobotFacts())
    assert made.options["period"] == pytest.approx(1 / 30)
    assert "a guess" in made.period
    assert "Set period to 1/fps" in made.doubt
    assert made.options["joint_signs"] == [1.0]
    assert made.options["gripper_range"] == [-0.174, 1.75]
    assert not made.remarks


def test_what_is_usual_needs_no_remark():
    usual = RobotFacts(joint_signs=(1.0, 1.0, 1.0), gripper_range=(-0.174, 1.75))
    assert not complete(OPEN, usual).remarks


@pytest.mark.parametrize("period", [0.0004, 1.5, -0.1, float("nan")])
def test_a_period_that_is_none(period):
    with pytest.raises(ValueError, match="period is"):
        complete({**OPEN, "period": period}, FACTS)


def test_joints_in_another_order_are_refused_and_other_names_are_not():
    with pytest.raises(ValueError, match="the checkpoint's order is waist, elbow, claw"):
        complete({**OPEN, "joints": JOINTS[::-1]}, FACTS)
    complete({**OPEN, "joints": ["one", "two", "three"]}, FACTS)
