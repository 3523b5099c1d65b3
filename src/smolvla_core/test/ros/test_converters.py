# SPDX-License-Identifier: Apache-2.0
"""Messages keep every bit, find joints by name, and refuse what does not fit."""

import math

import numpy as np
import pytest
from smolvla_core.joints import JointOrder
from smolvla_core.ros.converters import (
    chunk_positions,
    chunk_to_joint_trajectory,
    flatten,
    from_duration,
    request_command,
    request_committed,
    scene_objects,
    to_duration,
)
from visualization_msgs.msg import Marker, MarkerArray

from smolvla_msgs.msg import ActionChunk, InferenceRequest

ROWS = np.random.default_rng(1).standard_normal((4, 3))
JOINTS = ["a", "b", "c"]


def chunk(**fields) -> ActionChunk:
    defaults = {"joint_names": JOINTS, "positions": flatten(ROWS), "period": to_duration(0.1)}
    return ActionChunk(**{**defaults, **fields})


def test_positions_survive_bit_for_bit():
    np.testing.assert_array_equal(chunk_positions(chunk(), JointOrder(JOINTS)), ROWS)


def test_joints_are_matched_by_name():
    np.testing.assert_array_equal(
        chunk_positions(chunk(), JointOrder(["c", "a"])), ROWS[:, [2, 0]]
    )


def test_a_ragged_chunk_is_refused():
    with pytest.raises(ValueError, match=r"11 numbers.*rows of 3"):
        chunk_positions(chunk(positions=flatten(ROWS)[:-1]), JointOrder(JOINTS))


def test_no_committed_rows_is_an_empty_matrix():
    assert request_committed(InferenceRequest(), JointOrder(JOINTS)).shape == (0, 3)


def test_the_newest_command_comes_in_the_policys_order_or_not_at_all():
    order = JointOrder(JOINTS[::-1])
    assert request_command(InferenceRequest(joint_names=JOINTS), order) is None
    request = InferenceRequest(joint_names=JOINTS, command=[0.1, 0.2, 0.3])
    np.testing.assert_array_equal(request_command(request, order), [0.3, 0.2, 0.1])
    for command in ([0.1, 0.2], [0.1] * 6, [0.1, math.nan, 0.3]):
        request = InferenceRequest(joint_names=JOINTS, command=command)
        with pytest.raises(ValueError, match="command"):
            request_command(request, order)


@pytest.mark.parametrize("seconds", [0.0, 1.0 / 30.0, 1.999999999, 86400.123456789])
def test_durations_round_to_nanoseconds(seconds):
    assert math.isclose(from_duration(to_duration(seconds)), seconds, abs_tol=1e-9)


def test_joint_trajectory_has_a_point_per_row_at_its_time():
    message = chunk()
    message.header.stamp.sec = 7
    trajectory = chunk_to_joint_trajectory(message)
    assert trajectory.joint_names == JOINTS
    assert trajectory.header.stamp.sec == 7
    times = [from_duration(point.time_from_start) for point in trajectory.points]
    np.testing.assert_allclose(times, [0.0, 0.1, 0.2, 0.3], atol=1e-9)
    np.testing.assert_array_equal([list(point.positions) for point in trajectory.points], ROWS)


def test_scene_objects_by_namespace_and_not_a_number_refused():
    marker = Marker(ns="red_cube")
    marker.pose.position.x = 0.25
    marker.pose.orientation.w = 1.0
    marker.scale.z = 0.025
    objects = scene_objects(MarkerArray(markers=[marker]))
    np.testing.assert_array_equal(objects["red_cube"].position, [0.25, 0, 0])
    np.testing.assert_array_equal(objects["red_cube"].quaternion, [0, 0, 0, 1])
    assert objects["red_cube"].size[2] == 0.025
    marker.pose.position.y = math.nan
    with pytest.raises(ValueError, match="red_cube"):
        scene_objects(MarkerArray(markers=[marker]))
