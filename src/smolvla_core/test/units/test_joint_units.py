# SPDX-License-Identifier: Apache-2.0
"""Radians and checkpoint units convert into each other without loss or surprise."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from smolvla_core.robot import Joint, load_robot
from smolvla_core.units.calibration import LEROBOT_JOINTS, JointCalibration
from smolvla_core.units.joint_units import REGIMES, joint_units

ARM = {joint.name: joint for joint in load_robot("so100").joints}


def arm(*names, **changes):
    """Joints of an SO-100; changes are `joint={field: value}`."""
    return [replace(ARM[name], **changes.get(name, {})) for name in names]


JOINTS = arm("shoulder_pan", "elbow_flex", "gripper")
LEROBOT_DEGREES = 360.0 / 4095.0
RADIANS_PER_TICK = 2.0 * math.pi / 4096.0
# Joint limits of the SO-100 and SO-101 [rad], the wider of both.
LIMITS = {
    one.name: (min(one.lower, other.lower), max(one.upper, other.upper))
    for one, other in zip(ARM.values(), load_robot("so101").joints, strict=True)
}
VECTORS = Path(__file__).parents[3] / "so100_hardware" / "test" / "units" / "lerobot_vectors.hpp"


def calibration(low=755, high=3327, drive_mode=0, prefix=""):
    return {
        prefix: {
            name: JointCalibration(i + 1, drive_mode, 0, low, high)
            for i, name in enumerate(LEROBOT_JOINTS)
        }
    }


def driver_radians(low, high, drive_mode, tick, gripper=None):
    """What `so100_hardware/conversions.cpp` publishes for a tick."""
    if gripper is None:
        return (tick - (low + high) / 2.0) * RADIANS_PER_TICK
    at_min, at_max = gripper if drive_mode == 0 else gripper[::-1]
    return at_min + (tick - low) * (at_max - at_min) / (high - low)


def vectors(kind):
    """Rows of the driver's table of what LeRobot computes: min, max, drive_mode, tick, value."""
    text = VECTORS.read_text()
    block = re.search(rf"kToUnit{kind}\[\] = \{{(.*?)\}};", text, re.DOTALL).group(1)
    rows = [[float(n) for n in row.split(",")] for row in re.findall(r"\{([^{}]+)\}", block)]
    assert len(rows) == 64
    return rows


@pytest.mark.parametrize(
    ("regime", "joint", "kind"),
    [
        ("degrees", "elbow_flex", "Degrees"),
        ("degrees", "gripper", "To100"),
        ("normalized", "elbow_flex", "M100"),
        ("normalized", "gripper", "To100"),
    ],
)
def test_a_tick_through_radians_is_the_number_that_lerobot_makes_of_it(regime, joint, kind):
    gripper_range = (-0.174, 1.75)
    for low, high, drive_mode, tick, value in vectors(kind):
        units = joint_units(regime, arm(joint), calibration(int(low), int(high), int(drive_mode)))
        ends = gripper_range if joint == "gripper" else None
        radians = driver_radians(low, high, drive_mode, tick, ends)
        assert units.to_policy([radians])[0] == pytest.approx(value, abs=2e-5)
        if low <= tick <= high:
            back = units.to_joints([value])[0]
            assert back == pytest.approx(radians, abs=1e-9)


@pytest.mark.parametrize(
    ("joint", "old", "degrees"),
    [
        # LeRobot's guide: new shoulder_lift = -(old - 90), new elbow_flex = old - 90.
        ("shoulder_lift", 119.94, -(119.94 - 90.0)),
        ("shoulder_lift", 190.0, -100.0),  # folded: the URDF's rest pose
        ("elbow_flex", 109.77, 109.77 - 90.0),
        ("elbow_flex", 0.0, -90.0),
        ("shoulder_pan", 33.0, 33.0),
        ("wrist_flex", 56.71, 56.71),
        ("wrist_roll", -27.42, -27.42),
    ],
)
def test_the_old_zero(joint, old, degrees):
    units = joint_units("degrees_old", arm(joint))
    assert math.degrees(units.to_joints([old])[0]) == pytest.approx(degrees)
    assert units.to_policy([math.radians(degrees)])[0] == pytest.approx(old, abs=1e-4)


def test_a_sign_turns_one_joint_about_its_zero_in_every_regime() -> None:
    turned = arm("shoulder_pan", "elbow_flex", "gripper", elbow_flex={"sign": -1})
    for regime in REGIMES:
        plain = joint_units(regime, JOINTS, calibration()).to_policy([0.3, -0.4, 0.5])
        other = joint_units(regime, turned, calibration()).to_policy([0.3, 0.4, 0.5])
        np.testing.assert_allclose(plain, other)


def test_drive_mode_turns_the_shares_of_the_body_and_nothing_else() -> None:
    for regime, turns in (("normalized", True), ("degrees", False), ("radians", False)):
        plain, turned = (
            joint_units(regime, JOINTS, calibration(drive_mode=mode)) for mode in (0, 1)
        )
        sign = -1.0 if turns else 1.0
        position = [0.4, -0.7, 0.9]
        np.testing.assert_allclose(
            turned.to_policy(position), plain.to_policy(position) * [sign, sign, 1.0]
        )


def test_the_gripper_runs_from_0_to_100_and_no_farther() -> None:
    for regime in ("degrees", "normalized"):
        units = joint_units(regime, JOINTS, calibration())
        assert units.to_policy([0, 0, -0.174])[2] == pytest.approx(0.0, abs=1e-5)
        assert units.to_policy([0, 0, 1.75])[2] == pytest.approx(100.0)
        assert units.to_policy([0, 0, 1.9])[2] == 100.0
        assert units.to_joints([0, 0, 50.0])[2] == pytest.approx((1.75 - 0.174) / 2)
        assert units.to_joints([0, 0, -8.0])[2] == pytest.approx(-0.174)


def test_shares_end_at_the_calibrated_range_and_degrees_do_not() -> None:
    half = (3327 - 755) / 2 * RADIANS_PER_TICK
    shares = joint_units("normalized", JOINTS, calibration())
    np.testing.assert_allclose(shares.to_policy([half, -half - 0.1, 0.0])[:2], [100.0, -100.0])
    np.testing.assert_allclose(shares.to_joints([130.0, -250.0, 0.0])[:2], [half, -half])
    degrees = joint_units("degrees", JOINTS, calibration())
    assert degrees.to_policy([3.0, 0.0, 0.0])[0] == pytest.approx(1954 * LEROBOT_DEGREES, abs=0.2)


def test_a_reversed_gripper_is_reported_by_its_range() -> None:
    units = joint_units("degrees", [*JOINTS[:2], replace(ARM["gripper"], closed=1.0, open=0.0)])
    assert units.to_policy([0.0, 0.0, 1.0])[2] == pytest.approx(0.0)
    assert units.to_policy([0.0, 0.0, 0.25])[2] == pytest.approx(75.0)


def test_another_arm_has_plain_degrees() -> None:
    joint = Joint("a", "a", "joint", -4.0, 4.0)
    assert joint_units("degrees", [joint]).to_policy([math.pi])[0] == pytest.approx(180.0)
    with pytest.raises(ValueError, match="a is none of their joints: say with lerobot"):
        joint_units("degrees_old", [joint])


@pytest.mark.parametrize("name", ["Jaw", "gripper_joint", "6"])
def test_a_gripper_is_one_by_its_role_whatever_its_name(name) -> None:
    for lerobot in ("gripper", name):
        jaw = Joint(name, lerobot, "gripper", -0.2, 1.9, closed=-0.1, open=1.5)
        for regime in ("degrees", "normalized", "degrees_old"):
            if regime == "degrees_old" and lerobot != "gripper":
                continue
            units = joint_units(regime, [jaw], calibration())
            np.testing.assert_allclose(units.to_joints([0.0]), [-0.1])
            np.testing.assert_allclose(units.to_joints([100.0]), [1.5])


def test_two_arms_have_a_calibration_each() -> None:
    joints = load_robot("two_so101").joints
    left, right = calibration(1000, 3000, prefix="left_"), calibration(500, 3500, prefix="right_")
    units = joint_units("normalized", joints, {**left, **right})
    ends = units.to_joints([100.0] * 12)
    pan, other = ends[0], ends[6]
    assert pan == pytest.approx(1000 * RADIANS_PER_TICK)
    assert other == pytest.approx(1500 * RADIANS_PER_TICK)
    with pytest.raises(ValueError, match="no calibration for right_shoulder_pan"):
        joint_units("normalized", joints, left)


def test_velocities_are_0_in_the_state_and_left_out_of_the_actions() -> None:
    pan, jaw = arm("shoulder_pan", "gripper")
    joints = [pan, Joint("x.vel", "x.vel", "velocity"), jaw]
    units = joint_units("degrees", joints)
    state = units.to_policy([[0.0, 1.75], [0.1, -0.174]])
    np.testing.assert_allclose(state[:, 1], 0.0)
    np.testing.assert_allclose(state[:, 2], [100.0, 0.0], atol=1e-5)
    np.testing.assert_allclose(units.to_joints([0.0, 55.0, 100.0]), [0.0, 1.75])


def test_the_joints_of_an_arm_with_a_prefix_are_known() -> None:
    names = [replace(joint, lerobot=f"left_{joint.lerobot}") for joint in ARM.values()]
    for regime in REGIMES:
        position = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6]
        np.testing.assert_array_equal(
            joint_units(regime, names, calibration(prefix="left_")).to_policy(position),
            joint_units(regime, arm(*ARM), calibration()).to_policy(position),
        )


def inside(joint):
    low, high = LIMITS[joint]
    return st.floats(low, high)


@given(
    regime=st.sampled_from(sorted(REGIMES)),
    position=st.tuples(*(inside(joint) for joint in LEROBOT_JOINTS)),
    signs=st.lists(st.sampled_from([1.0, -1.0]), min_size=5, max_size=5),
    ends=st.lists(
        st.tuples(st.integers(0, 700), st.integers(3395, 4095), st.integers(0, 1)),
        min_size=6,
        max_size=6,
    ),
)
def test_there_and_back_is_the_same_to_single_precision(regime, position, signs, ends) -> None:
    joints = {
        name: JointCalibration(i + 1, mode, 0, low, high)
        for i, (name, (low, high, mode)) in enumerate(zip(LEROBOT_JOINTS, ends, strict=True))
    }
    # Shares end with the range.
    position = [
        float(np.clip(p, -joints[name].half_range, joints[name].half_range))
        for name, p in zip(LEROBOT_JOINTS, position, strict=True)
    ]
    turned = {name: {"sign": int(sign)} for name, sign in zip(LEROBOT_JOINTS, signs, strict=False)}
    units = joint_units(regime, arm(*LEROBOT_JOINTS, **turned), {"": joints})
    state = units.to_policy(position)
    assert state.dtype == np.float32
    np.testing.assert_allclose(units.to_joints(state), position, atol=2e-6)
    rows = units.to_joints(np.stack([state, state]))
    np.testing.assert_array_equal(rows[0], rows[1])


@given(
    joint=st.sampled_from([j for j in LEROBOT_JOINTS if j != "gripper"]),
    share=st.floats(0.0, 1.0),
)
def test_the_limits_of_the_arm_lie_within_the_ranges_of_lerobots_units(joint, share) -> None:
    low, high = LIMITS[joint]
    radians = low + share * (high - low)
    reach = math.ceil(max(-low, high) / RADIANS_PER_TICK)
    ranges = calibration(2047 - reach, 2048 + reach)
    assert abs(joint_units("degrees", arm(joint)).to_policy([radians])[0]) <= 180.0
    # Old LeRobot stopped at ±270.
    assert abs(joint_units("degrees_old", arm(joint)).to_policy([radians])[0]) <= 270.0
    assert abs(joint_units("normalized", arm(joint), ranges).to_policy([radians])[0]) <= 100.0


@given(arrays(np.float64, (4, 3), elements=st.floats(-4.0, 4.0)))
def test_radians_pass_through(positions) -> None:
    units = joint_units("radians", JOINTS)
    np.testing.assert_array_equal(units.to_joints(positions), positions)
    np.testing.assert_array_equal(units.to_policy(positions), positions.astype(np.float32))


def test_unknown_units_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'ticks'.*radians, degrees, normalized, degrees_old"):
        joint_units("ticks", JOINTS)


def test_shares_of_a_range_need_the_range() -> None:
    with pytest.raises(ValueError, match="give the entry calibration of the robot file"):
        joint_units("normalized", JOINTS)
    part = {"gripper": JointCalibration(6, 0, 0, 0, 4095)}
    with pytest.raises(ValueError, match="no shoulder_pan for shoulder_pan; it has gripper"):
        joint_units("normalized", JOINTS, {"": part})


def test_values_that_are_not_finite_are_refused_with_the_joint() -> None:
    units = joint_units("degrees", JOINTS)
    with pytest.raises(ValueError, match=r"joint state is not finite for elbow_flex"):
        units.to_policy([0.0, math.nan, 0.0])
    with pytest.raises(ValueError, match=r"policy's output is not finite for gripper"):
        units.to_joints([[0.0, 0.0, 0.0], [0.0, 0.0, math.inf]])


def test_a_wrong_number_of_joints_is_refused() -> None:
    with pytest.raises(ValueError, match="must end in 3"):
        joint_units("degrees", JOINTS).to_policy(np.zeros(6))


def driven(**entries):
    """A joint that takes increments of 1 cm, and one whose actions have units of their own."""
    hand = Joint("z", "z", "joint", lower=-0.5, upper=0.5, increment=0.01, **entries)
    return hand, Joint("claw", "gripper", "gripper", lower=0.0, upper=1.0, actions=(1.0, -1.0))


def test_increments_are_added_up_from_the_position_before_them():
    units = joint_units("radians", driven())
    base = np.array([0.2, 0.9])
    rows = units.to_joints([[1.0, -1.0], [0.5, 0.0], [-1.0, 1.0]], base)
    np.testing.assert_allclose(rows, [[0.21, 1.0], [0.215, 0.5], [0.205, 0.0]])
    np.testing.assert_allclose(units.to_joints([0.5, 1.0], base), [0.205, 0.0])
    # The state is a position all the same.
    np.testing.assert_allclose(units.to_policy(base), [0.2, 0.9], rtol=1e-6)


def test_an_increment_beyond_1_counts_as_1_and_the_sum_stays_within_the_limits():
    """So that the way back begins at once, as it does with Meta-World's."""
    units = joint_units("radians", driven())
    rows = units.to_joints([[3.0, 0.0]] * 3 + [[-1.0, 0.0]], np.array([0.485, 0.0]))
    np.testing.assert_allclose(rows[:, 0], [0.495, 0.5, 0.5, 0.49])


def test_a_joint_that_is_counted_the_other_way_round_has_increments_the_other_way():
    units = joint_units("radians", driven(sign=-1))
    assert units.to_joints([1.0, 0.0], np.zeros(2))[0] == pytest.approx(-0.01)


@given(arrays(np.float64, (5, 2), elements=st.floats(-1.0, 1.0)))
def test_commanded_positions_are_the_actions_that_lead_to_them(actions):
    units, base = joint_units("radians", driven()), np.array([0.1, 0.5])
    back = units.to_actions(units.to_joints(actions, base), base)
    np.testing.assert_allclose(back, actions, atol=1e-6)


def test_increments_mean_nothing_without_the_position_before_them():
    units = joint_units("radians", driven())
    with pytest.raises(ValueError, match=r"the actions of z are increments .*mean nothing"):
        units.to_joints([[0.0, 0.0]])
    with pytest.raises(ValueError, match=r"the actions of z are increments"):
        units.to_actions([0.0, 0.0])
    with pytest.raises(ValueError, match=r"before the actions is not finite for z"):
        units.to_joints([[0.0, 0.0]], np.array([np.nan, 0.0]))


def test_positions_need_nothing_before_them_and_are_actions_in_the_units_of_the_state():
    units = joint_units("degrees", JOINTS)
    positions = [[0.1, 0.2, 0.3], [0.0, -0.1, 0.5]]
    np.testing.assert_array_equal(units.to_actions(positions), units.to_policy(positions))
