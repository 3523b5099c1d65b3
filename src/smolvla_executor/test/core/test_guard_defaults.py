# SPDX-License-Identifier: Apache-2.0
"""What the executor's parameters mean for its guard, with the suite's own values."""

import numpy as np
import pytest
from smolvla_core.node_settings import ExecutorSettings
from smolvla_core.robot import SHIPPED, load_robot
from smolvla_core.units.joint_units import joint_units
from smolvla_executor.core.guard import Guard

REST = np.zeros(6)


def guard(robot="so100", **changes):
    return Guard(ExecutorSettings(robot=robot, **changes))


@pytest.mark.parametrize("name", SHIPPED)
@pytest.mark.parametrize("percent", [0.0, 100.0])
def test_a_gripper_fully_open_or_closed_is_not_limited(percent, name):
    joints = load_robot(name).joints
    units = joint_units("degrees", joints)
    wanted = units.to_joints([percent * (joint.role == "gripper") for joint in joints])
    checked = guard(name)
    command, limited = checked.limit(wanted, wanted, wanted)
    assert limited == ()
    assert checked.limited_commands == 0
    np.testing.assert_allclose(command, wanted, atol=1e-6)


@pytest.mark.parametrize("zeros", [[0.0], [0.0] * 6])
def test_a_tracking_error_of_zero_bounds_no_joint(zeros):
    far = np.full(6, 1.2)
    assert guard(max_tracking_error=zeros).limit(far, far, REST)[1] == ()


def test_a_tracking_error_of_zero_frees_its_joint_alone():
    far = np.full(6, 1.2)
    bounds = [0.0, 0.4, 0.0, 0.0, 0.0, 0.4]
    _, limited = guard(max_tracking_error=bounds).limit(far, far, REST)
    assert {one.joint for one in limited if one.kind == "tracking"} == {
        "shoulder_lift",
        "gripper",
    }


def test_rounding_counts_as_no_limit():
    upper = load_robot("so100").upper
    command, limited = guard().limit(upper + 1e-9, upper, upper)
    assert limited == ()
    assert (command <= upper).all()
    assert guard().limit(upper + 1e-3, upper, upper)[1]


def test_no_speed_is_above_the_robots():
    speed = load_robot("so100").speed
    np.testing.assert_allclose(guard().max_speed, speed)
    np.testing.assert_allclose(guard(max_speed=[0.7]).max_speed, np.full(6, 0.7))
    np.testing.assert_allclose(guard(max_speed=[9.0]).max_speed, speed)
    with pytest.raises(ValueError, match="max_speed has 2 numbers, but needs one, or one for"):
        guard(max_speed=[1.0, 2.0])
