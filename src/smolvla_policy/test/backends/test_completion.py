# SPDX-License-Identifier: Apache-2.0
"""What the checkpoint says fills open parameters; a parameter that is set wins and is logged."""

from __future__ import annotations

from dataclasses import replace

import pytest
from smolvla_core.robot import Joint, Robot
from smolvla_policy.backends.completion import complete
from smolvla_policy.backends.smolvla_settings import SmolVLASettings
from smolvla_policy.checkpoint.robot import RobotFacts


def robot(**changes):
    """A robot whose file leaves signs and the ends of its gripper open, but for `changes`."""
    joints = (
        Joint("waist", "waist", "joint", -1.0, 1.0),
        Joint("elbow", "elbow", "joint", -1.0, 1.0),
        Joint("claw", "claw", "gripper", 0.0, 2.0),
    )
    changed = tuple(replace(joint, **changes.get(joint.name, {})) for joint in joints)
    return Robot("test", "test", changed)


FACTS = RobotFacts(
    units="degrees",
    joints=("waist.pos", "elbow.pos", "claw.pos"),
    fps=12.5,
    joint_signs=(1.0, -1.0, 1.0),
    gripper_range=(0.1, 0.9),
)
OPEN = SmolVLASettings(seed=3)


def test_what_is_open_is_filled_in_and_told():
    made = complete(OPEN, robot(), FACTS)
    assert made.settings.period == pytest.approx(0.08)
    assert [joint.sign for joint in made.robot.joints] == [1, -1, None]
    assert made.robot.joints[2].gripper_range == (0.1, 0.9)
    assert made.settings.seed == 3
    assert "12.5 Hz" in made.period
    assert not made.warning
    assert len(made.notes) == 3


def test_what_is_said_wins_and_the_contradiction_is_told():
    given = robot(elbow={"sign": 1}, claw={"closed": 0.0, "open": 1.5})
    made = complete(replace(OPEN, period=0.04), given, FACTS)
    assert made.settings.period == 0.04
    assert made.robot.joints == (replace(given.joints[0], sign=1), *given.joints[1:])
    assert "2 times as fast" in made.warning
    assert "elbow: sign is 1, as the robot file says; the data were recorded with -1" in made.notes
    assert len(made.notes) == 3
    assert not complete(replace(OPEN, period=0.08), robot(), FACTS).warning


def test_a_guess_is_called_one():
    made = complete(OPEN, robot(), RobotFacts())
    assert made.settings.period == pytest.approx(1 / 30)
    assert "a guess" in made.period
    assert "Set period to 1/fps" in made.warning
    assert made.robot == robot()
    assert not made.notes


def test_what_is_usual_needs_no_note():
    usual = RobotFacts(joint_signs=(1.0, 1.0, 1.0), gripper_range=(0.0, 2.0))
    assert not complete(OPEN, robot(), usual).notes


def test_a_period_that_is_none():
    with pytest.raises(ValueError, match="period is"):
        complete(replace(OPEN, period=0.0004), robot(), FACTS)
