# SPDX-License-Identifier: Apache-2.0
"""What the executor's parameters mean for its guard, with the suite's own values."""

import numpy as np
import pytest
from smolvla_core.units.calibration import LEROBOT_JOINTS
from smolvla_core.units.joint_units import UnitParameters, joint_units
from smolvla_executor.core.guard import Guard
from smolvla_executor.executor_node.parameters import EXECUTOR_PARAMETERS, executor_config

REST = np.zeros(6)


def guard(**changes):
    values = {parameter.name: parameter.default for parameter in EXECUTOR_PARAMETERS}
    config = executor_config({**values, **changes}, first_request_id=1)
    return Guard(config.joints, config.guard, config.control_rate)


@pytest.mark.parametrize("percent", [0.0, 100.0])
def test_a_gripper_fully_open_or_closed_is_not_limited(percent):
    units = joint_units("degrees", LEROBOT_JOINTS, UnitParameters())
    wanted = units.to_joints(np.array([0.0] * 5 + [percent]))
    checked = guard()
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
    upper = np.array(next(p.default for p in EXECUTOR_PARAMETERS if p.name == "upper_limits"))
    command, limited = guard().limit(upper + 1e-9, upper, upper)
    assert limited == ()
    assert (command <= upper).all()
    assert guard().limit(upper + 1e-3, upper, upper)[1]
