# SPDX-License-Identifier: Apache-2.0
"""Speeds become targets that begin where the arm is, stay near it and within its limits."""

import math

import numpy as np
import pytest
from smolvla_core.joints import Part
from smolvla_core.node_settings import JogSettings
from smolvla_executor.core.jog import TIP, Jog, Motion
from smolvla_executor.core.kinematics import KinematicChain

SETTINGS = JogSettings(robot="so100")
JOINTS = SETTINGS.joints
DT = 1 / SETTINGS.rate
HOME = SETTINGS.body.home


def arm() -> KinematicChain:
    """A turret, three joints in a plane, a wrist that rolls: links of 10 cm."""
    axes = ("0 0 1", "0 -1 0", "0 -1 0", "0 -1 0", "1 0 0")
    joints = [
        f'<joint name="{name}" type="revolute"><parent link="{i}"/><child link="{i + 1}"/>'
        f'<origin xyz="{0.1 * bool(i)} 0 0"/><axis xyz="{axis}"/></joint>'
        for i, (name, axis) in enumerate(zip(JOINTS[:5], axes, strict=True))
    ]
    joints.append(
        f'<joint name="tip" type="fixed"><parent link="5"/><child link="tip"/>'
        f'<origin xyz="0.05 0 0" rpy="0 {math.pi / 2} 0"/></joint>'
    )
    links = [f'<link name="{name}"/>' for name in (*range(6), "tip")]
    return KinematicChain(f'<robot name="r">{"".join(links + joints)}</robot>', "tip")


class Arm:
    """An ideal arm that follows a `Jog`."""

    def __init__(self, positions=HOME, **settings):
        self.jog = Jog(JogSettings(robot="so100", **settings))
        self.jog.chain = self.chain = arm()
        self.positions = np.array(positions)
        self.now = 10.0
        self.blocked = False

    def cycle(self, motion=None, following=True, feed=True):
        self.now += DT
        if feed:
            self.measure()
        target = self.jog.cycle(motion, following, self.now)
        if target is not None and following and not self.blocked:
            self.positions = target
        return target

    def measure(self):
        self.jog.feedback.update(Part(np.arange(6), self.positions), self.now)

    @property
    def pose(self):
        return self.chain.poses(JOINTS, self.positions[None])[0]


def joints(**speeds):
    return Motion(np.array([speeds.get(name, 0.0) for name in JOINTS]), np.zeros(5))


def tip(**speeds):
    return Motion(np.zeros(6), np.array([speeds.get(name, 0.0) for name in TIP]))


STILL = joints()


def test_a_target_begins_where_the_arm_is_and_moves_as_fast_as_wanted():
    arm = Arm()
    np.testing.assert_allclose(arm.cycle(joints(elbow_flex=0.5)), HOME)
    for _ in range(30):
        arm.cycle(joints(elbow_flex=0.5))
    np.testing.assert_allclose(arm.positions - HOME, 0.5 * (np.arange(6) == 2), atol=1e-9)
    here = arm.positions
    arm.cycle(STILL)
    np.testing.assert_array_equal(arm.positions, here)


def test_until_the_arm_follows_the_target_is_where_it_is():
    arm = Arm()
    for moved in (0.0, 0.1, 0.2):
        arm.positions = HOME + moved
        np.testing.assert_allclose(
            arm.cycle(joints(elbow_flex=3.0), following=False), HOME + moved
        )


def test_an_arm_under_load_is_where_it_was_commanded_a_moment_ago():
    arm = Arm()
    command = HOME.copy()
    command[5] -= 0.2  # holds a thing
    arm.jog.on_command(Part(np.arange(6), command), arm.now)
    np.testing.assert_allclose(arm.cycle(STILL), command)
    arm = Arm()
    arm.jog.on_command(Part(np.arange(6), command), arm.now - 1.0)
    np.testing.assert_allclose(arm.cycle(STILL), HOME)


def test_a_target_does_not_run_away_from_an_arm_that_is_blocked():
    arm = Arm(max_lead=0.2)
    arm.blocked = True
    for _ in range(60):
        target = arm.cycle(joints(wrist_roll=-1.0, elbow_flex=0.5))
    np.testing.assert_allclose(target - HOME, [0, 0, 0.2, 0, -0.2, 0], atol=1e-9)


def test_a_gripper_presses_what_it_holds_and_opens_at_once():
    arm = Arm([0.0, 0.0, 0.0, 0.0, 0.0, 0.8], max_lead=0.2)
    arm.blocked = True
    for _ in range(60):
        target = arm.cycle(joints(gripper=-1.0))
    assert target[5] == SETTINGS.body.lower[5]
    assert arm.cycle(STILL)[5] == SETTINGS.body.lower[5]
    assert arm.cycle(joints(gripper=1.0))[5] == pytest.approx(0.6)


def test_joints_keep_their_limits_and_their_speed_whatever_is_wanted():
    rng = np.random.default_rng(0)
    arm, body = Arm(), SETTINGS.body
    arm.cycle(STILL)
    for _ in range(100):
        motion = Motion(rng.normal(size=6) * 5, rng.normal(size=5))
        for _ in range(5):
            before = arm.positions
            arm.cycle(motion)
            assert (arm.positions >= body.lower).all()
            assert (arm.positions <= body.upper).all()
            assert (np.abs(arm.positions - before) <= body.speed * DT + 1e-9).all()


def test_of_joints_that_would_be_too_fast_all_are_slower():
    arm = Arm(np.zeros(6))
    arm.cycle(STILL)
    arm.cycle(joints(shoulder_pan=30.0, elbow_flex=-10.0))
    np.testing.assert_allclose(arm.positions, DT * np.array([3, 0, -1, 0, 0, 0]), atol=1e-9)


@pytest.mark.parametrize("name", ["x", "y", "z"])
def test_the_tip_goes_straight_as_fast_as_wanted_and_keeps_its_direction(name):
    arm = Arm([0.2, 1.2, -1.7, -0.3, 0.0, 0.1])
    start = arm.pose
    arm.cycle(STILL)
    for _ in range(15):
        arm.cycle(tip(**{name: 0.1}))
    went = arm.pose[:3, 3] - start[:3, 3]
    np.testing.assert_allclose(went, 0.05 * np.eye(3)["xyz".index(name)], atol=2e-3)
    if name != "y":  # a turret turns the tip with it
        np.testing.assert_allclose(arm.pose[:3, 2], start[:3, 2], atol=0.03)


@pytest.mark.parametrize("down", [False, True])
def test_pitch_raises_the_tip_where_it_is_and_roll_turns_it(down):
    bent = [0.3, 0.9, -1.2, -0.6, 0.0, 0.1]
    if down:
        bent[3] = -math.pi / 2 - bent[1] - bent[2]
    arm = Arm(bent)
    start = arm.pose
    arm.cycle(STILL)
    for _ in range(15):
        arm.cycle(tip(pitch=0.4))
    np.testing.assert_allclose(arm.pose[:3, 3], start[:3, 3], atol=2e-3)
    # It swings outwards and up, 0.2 rad.
    outwards = np.array([math.cos(0.3), math.sin(0.3), 0.0])

    def height(pose):
        return math.atan2(pose[2, 2], pose[:3, 2] @ outwards)

    assert height(arm.pose) - height(start) == pytest.approx(0.2, abs=0.01)
    start, before = arm.pose, arm.positions
    for _ in range(15):
        arm.cycle(tip(roll=0.4))
    np.testing.assert_allclose(arm.pose[:3, 2:], start[:3, 2:], atol=2e-3)
    assert arm.positions[4] - before[4] == pytest.approx(0.2, abs=0.01)


def test_a_joint_at_its_limit_leaves_the_motion_to_the_others():
    wrist = SETTINGS.body.lower[3]
    arm = Arm([0.0, 1.2, -0.6, wrist, 0.0, 0.1])
    start = arm.pose
    arm.cycle(STILL)
    for _ in range(15):
        arm.cycle(tip(z=0.1))  # keeping its direction would need the wrist
    assert arm.positions[3] == wrist
    np.testing.assert_allclose(arm.pose[:3, 3] - start[:3, 3], [0, 0, 0.05], atol=3e-3)


def test_a_stretched_arm_stays_slow_and_finite():
    arm = Arm(np.zeros(6))
    arm.cycle(STILL)
    for _ in range(30):
        before = arm.positions
        arm.cycle(tip(x=0.1, pitch=0.5, roll=0.5))
        assert np.isfinite(arm.positions).all()
        assert (np.abs(arm.positions - before) <= SETTINGS.body.speed * DT + 1e-9).all()


def test_without_joint_states_there_is_no_target_and_then_a_new_one():
    arm = Arm()
    for _ in range(10):
        arm.cycle(joints(elbow_flex=0.5))
    silent = [arm.cycle(joints(elbow_flex=0.5), feed=False) for _ in range(30)]
    assert silent[-1] is None
    assert "old" in arm.jog.problem
    arm.positions = HOME
    np.testing.assert_allclose(arm.cycle(joints(elbow_flex=0.5)), HOME)
    assert arm.jog.problem == ""


def test_where_nobody_moves_the_arm_there_is_no_target_and_no_problem():
    arm = Arm()
    assert arm.cycle(None, feed=False) is None
    assert arm.jog.problem == ""
    assert arm.cycle(STILL, feed=False) is None
    assert arm.jog.problem
