# SPDX-License-Identifier: Apache-2.0
"""Radians and checkpoint units convert into each other without loss or surprise."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from smolvla_policy.control.units import REGIMES, UnitParameters, joint_units

JOINTS = ("shoulder_pan", "elbow_flex", "gripper")


def test_degrees_are_degrees_and_the_gripper_runs_from_0_to_100() -> None:
    units = joint_units("degrees", JOINTS)
    state = units.to_policy([math.pi / 2, -math.pi, -0.174])
    assert state.dtype == np.float32
    np.testing.assert_allclose(state, [90.0, -180.0, 0.0], atol=1e-4)
    assert units.to_policy([0.0, 0.0, 1.75])[2] == pytest.approx(100.0)
    np.testing.assert_allclose(
        units.to_joints([[90.0, 45.0, 50.0]])[0, :2], [math.pi / 2, math.pi / 4]
    )
    assert units.to_joints([0.0, 0.0, 50.0])[2] == pytest.approx((1.75 - 0.174) / 2)


def test_radians_pass_through() -> None:
    np.testing.assert_array_equal(
        joint_units("radians", JOINTS).to_joints([0.1, 0.2, 0.3]), [0.1, 0.2, 0.3]
    )


def test_a_sign_turns_one_joint_both_ways() -> None:
    units = joint_units("degrees", JOINTS, UnitParameters(signs={"elbow_flex": -1}))
    np.testing.assert_allclose(units.to_policy([math.pi, math.pi, 0.0])[:2], [180.0, -180.0])
    np.testing.assert_allclose(units.to_joints([180.0, -180.0, 0.0])[:2], [math.pi, math.pi])


def test_a_reversed_gripper_is_told_by_its_range() -> None:
    units = joint_units("degrees", JOINTS, UnitParameters(gripper_range=(1.0, 0.0)))
    assert units.to_policy([0.0, 0.0, 1.0])[2] == pytest.approx(0.0)
    assert units.to_policy([0.0, 0.0, 0.25])[2] == pytest.approx(75.0)


def test_an_arm_without_a_gripper_has_only_degrees() -> None:
    assert joint_units("degrees", ("a",)).to_policy([math.pi])[0] == pytest.approx(180.0)


@given(
    regime=st.sampled_from(sorted(REGIMES)),
    positions=arrays(np.float64, (4, 3), elements=st.floats(-4.0, 4.0)),
)
def test_there_and_back_is_the_same_to_single_precision(
    regime: str, positions: np.ndarray
) -> None:
    units = joint_units(regime, JOINTS)
    np.testing.assert_allclose(units.to_joints(units.to_policy(positions)), positions, atol=2e-6)


def test_unknown_units_list_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"'ticks'.*radians, degrees"):
        joint_units("ticks", JOINTS)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        (UnitParameters(signs={"elbow": -1}), "signs are given for elbow"),
        (UnitParameters(signs={"elbow_flex": 2}), "must be 1 or -1"),
        (UnitParameters(signs={"gripper": -1}), "swap"),
        (UnitParameters(gripper_range=(1.0, 1.0)), "gripper_range"),
    ],
)
def test_parameters_that_do_not_fit_are_named(parameters: UnitParameters, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        joint_units("degrees", JOINTS, parameters)


def test_values_that_are_not_finite_are_refused_with_the_joint() -> None:
    units = joint_units("degrees", JOINTS)
    with pytest.raises(ValueError, match=r"joint state is not finite for elbow_flex"):
        units.to_policy([0.0, math.nan, 0.0])
    with pytest.raises(ValueError, match=r"policy's output is not finite for gripper"):
        units.to_joints([[0.0, 0.0, 0.0], [0.0, 0.0, math.inf]])


def test_a_wrong_number_of_joints_is_refused() -> None:
    with pytest.raises(ValueError, match="must end in 3"):
        joint_units("degrees", JOINTS).to_policy(np.zeros(6))
