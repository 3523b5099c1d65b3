# SPDX-License-Identifier: Apache-2.0
"""What statistics say about the units, what they leave open, and what they contradict."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smolvla_core.robot import Joint, load_robot
from smolvla_core.units.calibration import LEROBOT_JOINTS, JointCalibration
from smolvla_core.units.implied import implied_units, units_problem
from smolvla_core.units.joint_units import REGIMES, joint_units

# The action's mean and deviation of lerobot/smolvla_base's three sets.
BASE = {
    "so100": (
        [1.60, 119.94, 109.77, 56.71, -27.42, 12.00],
        [26.39, 52.41, 49.85, 37.00, 59.36, 19.04],
    ),
    "so100-blue": (
        [1.42, 125.72, 125.42, 63.78, -106.54, 3.35],
        [14.08, 39.43, 18.24, 23.49, 38.11, 5.05],
    ),
    "so100-red": (
        [2.44, 124.94, 123.56, 66.99, -103.88, 2.89],
        [14.30, 42.77, 18.88, 21.65, 33.53, 4.48],
    ),
}
CALIBRATION = {
    name: JointCalibration(i + 1, 0, 0, 800 + 10 * i, 3100 + 37 * i)
    for i, name in enumerate(LEROBOT_JOINTS)
}
REST = (-0.3, -1.72, 1.6, 1.1, -0.2, 0.0)
"""Near the pose that an arm rests in, where most recordings begin [rad]."""


def statistics(rows):
    rows = np.asarray(rows, dtype=np.float32)
    feature = {name: getattr(rows, name)(axis=0) for name in ("min", "max", "mean", "std")}
    return {"observation.state": feature, "action": dict(feature)}


def recording(seed=0, spread=(0.8, 0.5, 0.5, 0.4, 0.9, 0.5)):
    """Some poses of a recording [rad]."""
    random = np.random.default_rng(seed)
    rows = random.uniform(-1.0, 1.0, (200, 6)) * spread + [0.0, -0.4, 0.4, 0.5, 0.0, 0.6]
    return np.vstack([REST, rows])


def ticks(rows):
    """The poses as a servo measures them: whole ticks of the calibrated ranges."""
    middle = [(joint.range_min + joint.range_max) / 2 for joint in CALIBRATION.values()]
    return np.rint(np.asarray(rows) * 4096 / (2 * np.pi) + middle), middle


@pytest.mark.parametrize("name", BASE)
def test_the_base_checkpoint_has_the_old_zero(name):
    mean, std = BASE[name]
    only_actions = {"action": {"mean": mean, "std": std}}
    implied = implied_units(only_actions)
    assert implied.regime == "degrees_old"
    assert f"the mean of shoulder_lift (action) is {mean[1]:.4g}" in implied.reason
    assert units_problem("degrees_old", only_actions) == ""
    problem = units_problem("degrees", only_actions)
    assert "units are 'degrees', but in the statistics the mean of shoulder_lift (action) is " in (
        problem
    )
    assert "set units:=degrees_old" in problem
    assert "allow_units_mismatch:=true" in problem


def test_radians_are_known_by_their_size():
    found = statistics(recording())
    assert implied_units(found).regime == "radians"
    assert "no number exceeds" in units_problem("degrees", found)
    assert "set units:=radians" in units_problem("degrees", found)


def test_degrees_beyond_100_are_no_shares():
    rows = np.rad2deg(recording())
    rows[0, 4] = 131.0
    assert implied_units(statistics(rows)).regime == "degrees"
    assert "maximum of wrist_roll" in units_problem("normalized", statistics(rows))


def test_degrees_within_100_are_ambiguous():
    # Continuous, so that no servo's ticks show; and nothing is beyond 100.
    implied = implied_units(statistics(np.rad2deg(recording())))
    assert implied.regime == ""
    assert "units:=degrees (" in implied.reason
    assert "units:=normalized (" in implied.reason
    # Whoever knows may say it.
    for regime in ("degrees", "normalized"):
        assert units_problem(regime, statistics(np.rad2deg(recording()))) == ""


def test_lerobots_degrees_are_whole_ticks():
    raw, middle = ticks(recording())
    degrees = (raw - middle) * 360 / 4095
    implied = implied_units(statistics(degrees))
    assert implied.regime == "degrees"
    assert "whole ticks of 360/4095 degrees" in implied.reason
    assert "whole ticks" in units_problem("normalized", statistics(degrees))


def test_old_degrees_are_whole_ticks_of_another_size():
    raw, _ = ticks(recording(spread=(0.8, 0.3, 0.3, 0.4, 0.9, 0.5))[1:])
    old = (raw - 2048) * 180 / 2048 + [0, 90, 90, 0, 0, 0]
    implied = implied_units(statistics(old))
    assert implied.regime == "degrees_old"
    assert "360/4096" in implied.reason


def test_shares_are_known_by_where_they_are_cut_off():
    raw, _ = ticks(recording())
    low = np.array([joint.range_min for joint in CALIBRATION.values()])
    width = np.array([joint.width for joint in CALIBRATION.values()])
    shares = (raw - low) / width * 200 - 100
    shares[0, [1, 2]] = [-100.0, 100.0]
    implied = implied_units(statistics(shares))
    assert implied.regime == "normalized"
    assert "shoulder_lift, elbow_flex are exactly ±100" in implied.reason
    assert "set units:=normalized" in units_problem("degrees", statistics(shares))


def test_shares_of_this_arms_ranges_are_known_by_its_calibration():
    raw, _ = ticks(recording()[1:])
    low = np.array([joint.range_min for joint in CALIBRATION.values()])
    width = np.array([joint.width for joint in CALIBRATION.values()])
    found = statistics((raw - low) / width * 200 - 100)
    assert implied_units(found).regime == ""
    assert implied_units(found, calibrations={"": CALIBRATION}).regime == "normalized"
    other = {name: JointCalibration(1, 0, 0, 801, 3333) for name in CALIBRATION}
    assert implied_units(found, calibrations={"": other}).regime == ""


def test_a_single_exact_100_is_no_proof():
    rows = np.rad2deg(recording())
    rows[0, 1] = -100.0
    assert implied_units(statistics(rows)).regime == ""


def test_radians_of_another_zero_fit_nothing():
    rows = recording() + np.array([0.0, 3.3, 0.0, 0.0, 0.0, 0.0])
    rows = np.vstack([rows, [0, 3.4, -3.0, 0, 0, 0]])
    implied = implied_units(statistics(rows))
    assert implied.regime == ""
    assert "fit no known units" in implied.reason
    assert "units:=" in implied.reason


def test_without_statistics_nothing_is_implied_and_nothing_contradicted():
    for nothing in ({}, {"action": {}}, {"action": {"mean": [1.0, 2.0]}}):
        assert implied_units(nothing).regime == ""
        assert "no statistics" in implied_units(nothing).reason
        assert units_problem("degrees", nothing) == ""


def test_an_arm_with_a_prefix_is_judged_alike():
    mean, std = BASE["so100"]
    names = load_robot("two_so101").joints[:6]
    assert implied_units({"action": {"mean": mean, "std": std}}, names).regime == "degrees_old"


def test_of_another_arm_the_old_zero_is_not_known():
    found = {"action": {"mean": [200.0, 3.0], "std": [30.0, 20.0]}}
    implied = implied_units(found, [Joint(name, name, "joint") for name in ("base", "arm")])
    assert implied.regime == "degrees"
    assert "degrees_old" not in implied.reason


def test_mean_and_deviation_alone_separate_radians_from_the_rest():
    means = {
        "mean": [0.4, -2.4, 11.1, 78.4, 2.7, 23.5],
        "std": [36.8, 17.4, 19.0, 11.4, 37.0, 15.0],
    }
    assert "radians" not in implied_units({"action": means}).reason.split("units:=", 1)[1]


@settings(max_examples=60)
@given(
    regime=st.sampled_from(sorted(REGIMES)),
    seed=st.integers(0, 10_000),
    exact=st.booleans(),
)
def test_what_was_recorded_in_a_regime_is_never_taken_for_another(regime, seed, exact):
    random = np.random.default_rng(seed)
    rows = recording(seed, random.uniform(0.2, 1.0, 6))
    if exact:
        raw, middle = ticks(rows)
        rows = (raw - middle) * 2 * np.pi / 4096
    units = joint_units(regime, load_robot("so100").joints, {"": CALIBRATION})
    found = statistics(units.to_policy(rows))
    assert units_problem(regime, found) == ""
    assert implied_units(found).regime in ("", regime)
    assert implied_units(found, calibrations={"": CALIBRATION}).regime in ("", regime)


def test_ends_at_100_are_on_the_grid_of_degrees_and_prove_nothing_about_it():
    # 100 degrees are 2275 half ticks of LeRobot's.
    low, high = [*[-100.0] * 5, 0.0], [100.0] * 6
    found = {"action": {"min": low, "max": high, "mean": [0.0] * 6, "std": [30.0] * 6}}
    assert implied_units(found).regime == "normalized"


def test_whole_numbers_are_no_ticks():
    rows = np.rint(np.rad2deg(recording()) / 4) * 4  # every fourth degree is a half tick
    assert implied_units(statistics(rows)).regime == ""
    raw, middle = ticks(recording())
    degrees = (raw - middle) * 360 / 4095
    degrees[0, [1, 2]] = [-100.0, 100.0]  # both traces at once
    assert implied_units(statistics(degrees)).regime == ""


def test_a_deviation_alone_rules_radians_out():
    found = {"action": {"mean": [0.0, 0.0, 0.0, 0.0, 0.0, 1.0], "std": [20.0] * 5 + [1.0]}}
    implied = implied_units(found)
    assert "units:=degrees (" in implied.reason
    assert "units:=radians" not in implied.reason
    assert "standard deviation of shoulder_pan (action) is 20" in units_problem("radians", found)


def test_reach_counts_more_than_a_trace():
    rows = np.rad2deg(recording())
    rows[0, [1, 2, 4]] = [-100.0, 100.0, 131.0]
    assert implied_units(statistics(rows)).regime == "degrees"


def test_actions_that_are_no_positions_say_nothing_about_the_units():
    hand = {"min": [0.4, 0.0], "max": [0.9, 1.0], "mean": [0.6, 0.5], "std": [0.1, 0.3]}
    force = {"min": [-90.0, -1.0], "max": [90.0, 1.0], "mean": [0.0, 0.1], "std": [9.0, 0.9]}
    statistics = {"observation.state": hand, "action": force}

    def joints(**entries):
        return [Joint("z", "z", "joint", 0.0, 1.0, **entries), load_robot("so100").joints[-1]]

    assert implied_units(statistics, joints()).regime != "radians"
    driven = joints(increment=0.01)
    driven[1] = Joint("claw", "gripper", "gripper", 0.0, 1.0, actions=(1.0, -1.0))
    assert implied_units(statistics, driven).regime == "radians"
    assert units_problem("radians", statistics, driven) == ""
