# SPDX-License-Identifier: Apache-2.0
"""Settings of the nodes that contradict each other are refused under their own names."""

import math

import pytest
from smolvla_core.node_settings import ExecutorSettings, PolicySettings, RecordSettings
from smolvla_core.settings import SettingError

ARM = {"joints": ("pan", "claw"), "lower_limits": (-1.0, 0.0), "upper_limits": (1.0, 0.5)}
ARM |= {"max_speed": 2.0}


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"joints": ("pan", "pan")}, "joints is ['pan', 'pan'], but must name joints, each of"),
        ({"joints": ()}, "joints is [], but must name joints"),
        (
            {"max_step": (0.1, 0.2, 0.3)},
            "max_step has 3 numbers, but needs one, or one for each of",
        ),
        ({"lower_limits": (2.0, 0.0)}, "upper_limits leave no room for pan: 2.0 to 1.0 rad"),
        ({"upper_limits": (1.0, math.inf)}, "upper_limits[1] is inf, but must be a finite number"),
        ({"max_speed": (3.0, 0.0)}, "max_speed[1] is 0.0, but must be 0.001 or more"),
        ({"max_tracking_error": -0.1}, "max_tracking_error[0] is -0.1, but must be 0 or more"),
        ({"chunk_size_threshold": 1.25}, "chunk_size_threshold is 1.25, but must be from 0 up to"),
        ({"aggregate": "mean"}, "aggregate is mean, which is not one of latest, weighted"),
        ({"rate": 0.0}, "rate is 0.0, but must be from 1 up to 1000"),
    ],
)
def test_what_an_executor_cannot_go_by_is_named(changes, message):
    with pytest.raises(SettingError) as caught:
        ExecutorSettings(**{**ARM, **changes})
    assert message in str(caught.value)


def test_one_number_serves_all_joints():
    settings = ExecutorSettings(**ARM)
    assert settings.per_joint("max_speed") == (2.0, 2.0)
    assert settings.per_joint("upper_limits") == (1.0, 0.5)


def test_a_camera_of_a_recording_has_a_name_for_a_feature():
    with pytest.raises(SettingError, match="cameras holds 'left-eye'"):
        RecordSettings(cameras=("left-eye",))


def test_topics_of_images():
    settings = PolicySettings(camera_topic="eyes/{name}", image_transport="compressed")
    assert settings.image_topic("left") == "eyes/left/compressed"
    assert RecordSettings().image_topic("top") == "camera/top/image_raw"
