# SPDX-License-Identifier: Apache-2.0
"""No command leaves the guard unchecked."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from robot_files import robot_file
from smolvla_core.node_settings import ExecutorSettings
from smolvla_core.robot import SHIPPED, load_robot
from smolvla_core.units.joint_units import joint_units
from smolvla_executor.core.chunk_queue import Chunk
from smolvla_executor.core.guard import Guard

JOINTS = ("pan", "gripper")


def guard(**limits: object) -> Guard:
    settings = {
        "robot": robot_file(JOINTS, (-1.0, -0.2), (1.0, 1.7)),
        "max_speed": 2.0,
        "approach_speed": 2.0,
        **limits,
    }
    return Guard(ExecutorSettings(rate=100.0, **settings))


def test_a_command_within_all_limits_passes_bit_for_bit() -> None:
    wanted = np.array([0.1 + 0.2, 0.5])
    command, limited = guard().limit(wanted, wanted - 0.01, wanted)
    np.testing.assert_array_equal(command, wanted)
    assert limited == ()


def test_position_limit_names_the_joint_and_is_counted() -> None:
    checked = guard()
    previous = np.array([0.99, 0.0])
    command, limited = checked.limit(np.array([1.2, 0.0]), previous, previous)
    assert command[0] == 1.0
    assert [(change.kind, change.joint) for change in limited] == [("position", "pan")]
    assert "pan: 1.200 rad limited to 1.000 (lower and upper of the robot file)" in str(limited[0])
    assert checked.limited_commands == 1


def test_speed_is_limited_per_cycle() -> None:
    command, limited = guard().limit(np.array([0.5, 0.0]), np.zeros(2), np.zeros(2))
    assert command[0] == pytest.approx(0.02)
    assert limited[0].kind == "step"
    assert "(max_speed, max_step, speed of the robot file)" in str(limited[0])


def test_the_smaller_of_step_and_speed_counts() -> None:
    command, _ = guard(max_step=0.005).limit(np.array([0.5, 0.0]), np.zeros(2), np.zeros(2))
    assert command[0] == pytest.approx(0.005)


def test_tracking_error_keeps_the_command_near_a_blocked_arm() -> None:
    checked = guard(max_tracking_error=0.1)
    blocked = np.zeros(2)
    command = blocked
    for _ in range(100):
        command, limited = checked.limit(np.array([0.8, 0.0]), command, blocked)
    assert command[0] == pytest.approx(0.1)
    assert limited[0].kind == "tracking"


def test_an_arm_outside_its_limits_is_led_back_slowly_and_never_farther_out() -> None:
    checked = guard()
    command = np.array([1.3, 0.0])
    for _ in range(20):
        following, _ = checked.limit(np.array([1.5, 0.0]), command, command)
        assert command[0] - 0.02 - 1e-12 <= following[0] <= command[0]
        command = following
    assert command[0] == 1.0


def test_a_command_that_is_not_finite_never_comes_out() -> None:
    with pytest.raises(ValueError, match="not finite"):
        guard().limit(np.array([np.nan, 0.0]), np.zeros(2), np.zeros(2))


def test_a_chunk_in_degrees_is_refused() -> None:
    problem = guard().chunk_problem(Chunk(1, 0, np.array([[0.0, 0.0], [-90.0, 3.0]]), 0.05))
    assert "pan at -90.00 rad in row 1" in problem
    assert "degrees" in problem


def test_a_chunk_a_little_beyond_the_limits_is_not_refused() -> None:
    assert guard().chunk_problem(Chunk(1, 0, np.array([[1.4, 0.0]]), 0.05)) == ""


def test_a_start_far_from_the_first_action_is_refused_with_both_positions() -> None:
    checked = guard(max_start_jump=0.5)
    assert checked.approach_problem(np.zeros(2), np.array([0.4, 0.0])) == ""
    problem = checked.approach_problem(np.zeros(2), np.array([0.6, 0.0]))
    assert "pan at 0.60 rad, but it stands at 0.00 rad" in problem


POSITIONS = arrays(np.float64, 2, elements=st.floats(-50, 50))


@given(wanted=st.lists(POSITIONS, min_size=1, max_size=20), measured=POSITIONS)
def test_any_wish_gives_bounded_speed_and_limits(
    wanted: list[np.ndarray], measured: np.ndarray
) -> None:
    checked = guard(max_tracking_error=0.3)
    inside = np.array([0.2, 0.2])
    command = inside
    for wish in wanted:
        following, _ = checked.limit(wish, command, measured)
        assert np.abs(following - command).max() <= 0.02 + 1e-12
        assert (following >= [-1.0, -0.2]).all()
        assert (following <= [1.0, 1.7]).all()
        command = following


REST = np.zeros(6)


def so100(robot="so100", **changes):
    return Guard(ExecutorSettings(robot=robot, **changes))


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("percent", [0.0, 100.0])
def test_a_gripper_fully_open_or_closed_is_not_limited(percent, name):
    joints = load_robot(name).joints
    units = joint_units("degrees", joints)
    wanted = units.to_joints([percent * (joint.role == "gripper") for joint in joints])
    checked = so100(name)
    command, limited = checked.limit(wanted, wanted, wanted)
    assert limited == ()
    assert checked.limited_commands == 0
    np.testing.assert_allclose(command, wanted, atol=1e-6)


@pytest.mark.parametrize("zeros", [[0.0], [0.0] * 6])
def test_a_tracking_error_of_zero_bounds_no_joint(zeros):
    far = np.full(6, 1.2)
    assert so100(max_tracking_error=zeros).limit(far, far, REST)[1] == ()


def test_a_tracking_error_of_zero_frees_its_joint_alone():
    far = np.full(6, 1.2)
    bounds = [0.0, 0.4, 0.0, 0.0, 0.0, 0.4]
    _, limited = so100(max_tracking_error=bounds).limit(far, far, REST)
    assert {one.joint for one in limited if one.kind == "tracking"} == {
        "shoulder_lift",
        "gripper",
    }


def test_rounding_counts_as_no_limit():
    upper = load_robot("so100").upper
    command, limited = so100().limit(upper + 1e-9, upper, upper)
    assert limited == ()
    assert (command <= upper).all()
    assert so100().limit(upper + 1e-3, upper, upper)[1]


def test_no_speed_is_above_the_robots():
    speed = load_robot("so100").speed
    np.testing.assert_allclose(so100().max_speed, speed)
    np.testing.assert_allclose(so100(max_speed=[0.7]).max_speed, np.full(6, 0.7))
    np.testing.assert_allclose(so100(max_speed=[9.0]).max_speed, speed)
    with pytest.raises(ValueError, match="max_speed has 2 numbers, but needs one, or one for"):
        so100(max_speed=[1.0, 2.0])
