# SPDX-License-Identifier: Apache-2.0
"""Settings of the nodes that contradict each other are refused under their own names."""

import math

import pytest
from robot_files import robot_file
from smolvla_core.node_settings import ExecutorSettings, RecordSettings
from smolvla_core.settings import SettingError


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"robot": "so200"}, "robot cannot be used: there is no robot 'so200'"),
        ({"max_step": (0.1, 0.2, 0.3)}, "max_step has 3 numbers, but needs one, or one for each"),
        ({"max_step": (1.0, math.inf)}, "max_step[1] is inf, but must be a finite number"),
        ({"max_speed": (3.0, 0.0)}, "max_speed[1] is 0.0, but must be 0.001 or more"),
        ({"max_tracking_error": -0.1}, "max_tracking_error[0] is -0.1, but must be 0 or more"),
        ({"chunk_size_threshold": 1.25}, "chunk_size_threshold is 1.25, but must be from -1 up"),
        ({"aggregate": "mean"}, "aggregate is mean, which is not one of auto, latest"),
        ({"rate": 0.0}, "rate is 0.0, but must be from 1 up to 1000"),
    ],
)
def test_what_an_executor_cannot_go_by_is_named(changes, message):
    with pytest.raises(SettingError) as caught:
        ExecutorSettings(**changes)
    assert message in str(caught.value)


def test_a_camera_of_a_recording_has_a_name_for_a_feature():
    with pytest.raises(SettingError, match="cameras holds 'left-eye'"):
        RecordSettings(cameras=("left-eye",))


def test_a_mistake_in_a_robot_file_names_the_file_once(tmp_path):
    file = tmp_path / "arm.yaml"
    file.write_text("base: so100\njoints: {elbow_flex: {speed: 0}}")
    with pytest.raises(SettingError, match="elbow_flex: speed: it is 0") as caught:
        ExecutorSettings(robot=str(file))
    assert str(caught.value).count(str(file)) == 1


def test_increments_are_not_recorded():
    robot = robot_file(["x"], changes={"x": {"increment": 0.01}})
    with pytest.raises(SettingError, match=r"robot drives x by increments .*not recorded"):
        RecordSettings(robot=robot)
