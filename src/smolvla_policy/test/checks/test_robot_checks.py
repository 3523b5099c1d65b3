# SPDX-License-Identifier: Apache-2.0
"""What was received of the robot: silence, age, size, names, limits and poses."""

import math

import numpy as np
import pytest
from robot_files import robot_file
from smolvla_core.robot import load_robot
from smolvla_core.units.calibration import LEROBOT_JOINTS
from smolvla_policy.backends.completion import choose_units
from smolvla_policy.checkpoint.contents import read_contents
from smolvla_policy.checks import robot_checks as checks
from smolvla_policy.checks.robot_checks import Received, ReceivedCamera, ReceivedJoints
from smolvla_policy.checks.rows import Status

ROBOT = load_robot("so100")
FEATURE = "observation.images.top"
TOPIC = "/camera/top/image_raw"
IMAGE = ("sensor_msgs/msg/Image",)


def camera(**changes):
    values = {
        "publishers": 1,
        "types": IMAGE,
        "images": 90,
        "rate": 30.0,
        "age": 0.02,
        "stamp_age": 0.01,
        "pixels": np.zeros((480, 640, 3), np.uint8),
        **changes,
    }
    return ReceivedCamera(TOPIC, **values)


def joints(**changes):
    values = {
        "publishers": 1,
        "messages": 300,
        "rate": 100.0,
        "names": LEROBOT_JOINTS,
        "positions": np.zeros(6),
        "stamp_age": 0.001,
        **changes,
    }
    return ReceivedJoints("/joint_states", **values)


def received(top=None, state=None, **changes):
    return Received(3.0, {"top": top or camera()}, state or joints(), **changes)


def camera_row(settings, top, **changes):
    config = read_contents(settings.checkpoint).config
    return checks.check_camera("top", FEATURE, received(top, **changes), config, settings)


def test_silence_is_one_row():
    quiet = received(ReceivedCamera(TOPIC), ReceivedJoints("/joint_states"))
    (row,) = checks.check_silence(quiet)
    assert row.status is Status.FIX
    assert row.found == "no /joint_states and no image received in 3 s"
    assert "start the arm" in row.advice
    assert "--offline" in row.advice
    assert checks.check_silence(received(ReceivedCamera(TOPIC))) == []


def test_a_good_camera_of_another_size(settings):
    row = camera_row(settings, camera())  # 4:3 as in training, and larger
    assert row.status is Status.OK
    assert "640x480, 30.0 Hz" in row.found


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({"age": 0.9}, Status.FIX, "max_image_age, 0.5 s"),
        ({"rate": 1.5}, Status.FIX, "max_image_age, 0.5 s"),
        ({"rate": math.nan, "images": 1}, Status.FIX, "once"),
        ({"rate": 6.0}, Status.WARN, "fewer than 10 a second"),
        ({"stamp_age": 2.0}, Status.WARN, "synchronize the machines' clocks"),
        ({"stamp_age": -0.3}, Status.WARN, "lie in the future"),
        ({"stamp_age": math.nan}, Status.WARN, "no stamps"),
        ({"pixels": None, "error": "encoding 'x' is not understood"}, Status.FIX, "encoding 'x'"),
        ({"pixels": np.zeros((720, 1280, 3), np.uint8)}, Status.WARN, "trained with 64x48"),
        ({"images": 0, "pixels": None}, Status.FIX, "published, but no image arrived"),
        (
            {"images": 0, "pixels": None, "types": ("std_msgs/msg/String",)},
            Status.FIX,
            "is std_msgs/msg/String, not sensor_msgs/msg/Image",
        ),
    ],
)
def test_what_can_be_wrong_with_a_camera(settings, changes, status, message):
    row = camera_row(settings, camera(**changes))
    assert row.status is status
    assert message in f"{row.found} {row.advice}"


def test_shapes_that_are_the_base_models_are_not_compared(settings):
    config = read_contents(settings.checkpoint).config
    wide = received(camera(pixels=np.zeros((720, 1280, 3), np.uint8)))
    row = checks.check_camera("top", FEATURE, wide, config, settings, own_shapes=False)
    assert row.status is Status.OK, row


def test_a_topic_that_nobody_publishes_names_those_that_somebody_does(settings):
    silent = camera(images=0, publishers=0, types=(), pixels=None)
    row = camera_row(settings, silent, image_topics=("/front/image_raw",))
    assert row.status is Status.FIX
    assert row.found == f"nobody publishes {TOPIC}"
    assert "/front/image_raw" in row.advice


@pytest.mark.parametrize(
    ("changes", "status", "message"),
    [
        ({}, Status.OK, "6 joints, 100.0 Hz"),
        ({"messages": 0, "publishers": 0}, Status.FIX, "nobody publishes /joint_states"),
        ({"messages": 0}, Status.FIX, "published, but nothing arrived"),
        ({"positions": None, "problem": "no gripper among"}, Status.FIX, "no gripper among"),
        ({"rate": 2.0}, Status.FIX, "max_joint_state_age, 0.25 s"),
        ({"rate": math.nan}, Status.FIX, "once"),
        ({"rate": 8.0}, Status.WARN, "fewer than 10"),
        ({"stamp_age": 1.0}, Status.WARN, "synchronize"),
    ],
)
def test_joint_states(settings, changes, status, message):
    row = checks.check_joint_states(joints(**changes), 3.0, settings)
    assert row.status is status
    assert message in f"{row.found} {row.advice}"


def test_an_arm_beyond_its_limits():
    robot = load_robot(robot_file(LEROBOT_JOINTS, -1.0, 1.0))
    assert checks.check_limits(np.zeros(6), robot).status is Status.OK
    row = checks.check_limits(np.array([0.0, -1.2, 0.0, 0.0, 0.0, 0.0]), robot)
    assert row.status is Status.WARN
    assert "shoulder_lift stands at -1.200 rad, its limits are -1.000 to 1.000" in row.found


def pose(settings, degrees):
    contents = read_contents(settings.checkpoint)
    chosen = choose_units(settings, ROBOT, contents.statistics)
    radians = np.radians(np.array(degrees, dtype=float))
    radians[5] = 0.5
    return checks.check_pose(radians, ROBOT, chosen, contents.statistics)


def test_a_pose_of_the_data(settings):
    assert pose(settings, [10, 30, 20, -20, -15, 0]).status is Status.OK


def test_a_pose_that_the_data_do_not_have(settings):
    # shoulder_pan went from -5.5 to 25.6 in the data, mean 10.0, deviation 5.2.
    near = pose(settings, [32, 30, 20, -20, -15, 0])
    assert near.status is Status.WARN
    assert "shoulder_pan stands at 32.0, the data's went -5.5 to 25.6 (degrees)" in near.found
    far = pose(settings, [80, 30, 20, -20, -15, 0])
    assert far.status is Status.FIX
    assert "Other units, another zero" in far.advice


def test_a_joint_that_never_moved_in_the_data_is_no_error_anywhere(settings):
    contents = read_contents(settings.checkpoint)
    chosen = choose_units(settings, ROBOT, contents.statistics)
    usual = chosen.units.to_policy(np.radians([20.0, 20, 20, 20, 20, 0]))
    state = {"mean": usual, "std": np.array([0.0, 10, 10, 10, 10, 40])}
    statistics = {"observation.state": state}
    for degrees, status in ((20.0, Status.OK), (21.0, Status.WARN), (-60.0, Status.WARN)):
        position = np.radians([degrees, 20, 20, 20, 20, 0])
        row = checks.check_pose(position, ROBOT, chosen, statistics)
        assert row.status is status, row


def test_a_pose_without_statistics_is_not_judged(settings):
    contents = read_contents(settings.checkpoint)
    chosen = choose_units(settings, ROBOT, contents.statistics)
    row = checks.check_pose(np.zeros(6), ROBOT, chosen, {})
    assert row.status is Status.SKIPPED


def test_mean_and_deviation_serve_where_there_are_no_extremes(settings):
    contents = read_contents(settings.checkpoint)
    chosen = choose_units(settings, ROBOT, contents.statistics)
    state = {"mean": np.zeros(6), "std": np.array([10.0, 10, 10, 10, 10, 40])}
    statistics = {"observation.state": state}
    for degrees, status in ((25.0, Status.OK), (45.0, Status.WARN), (55.0, Status.FIX)):
        position = np.radians([degrees, 0, 0, 0, 0, 0])
        row = checks.check_pose(position, ROBOT, chosen, statistics)
        assert row.status is status


def test_parts_that_do_not_belong_together():
    assert checks.check_observation(received()).status is Status.OK
    row = checks.check_observation(received(missing="cameras a and b are 3 s apart"))
    assert row.status is Status.FIX
    assert "3 s apart" in row.found
