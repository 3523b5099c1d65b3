# SPDX-License-Identifier: Apache-2.0
"""An observation is of one instant, or says what is missing."""

from __future__ import annotations

import math
import re

import numpy as np
import pytest
from smolvla_core.backend import Observation
from smolvla_core.joints import JointOrder
from smolvla_core.node_settings import ObservationSettings
from smolvla_core.observation import Missing, ObservationBuffer

EPOCH = 1_700_000_000_000_000_000
JOINTS = ("pan", "lift")


def stamp(seconds: float) -> int:
    return EPOCH + round(seconds * 1e9)


def buffer(**changes: object) -> ObservationBuffer:
    return ObservationBuffer(("top", "wrist"), JOINTS, ObservationSettings(**changes))


def fill(observations: ObservationBuffer, now: float, states: bool = True) -> None:
    """Joint states each 10 ms with position = time, and two images 20 ms and 10 ms ago."""
    if states:
        for step in range(-10, 1):
            t = now + 0.01 * step
            observations.add_joint_state(JOINTS, [t, -t], stamp(t), t)
    observations.add_image("top", "image of top", stamp(now - 0.02), now)
    observations.add_image("wrist", "image of wrist", stamp(now - 0.01), now)


def message(observations: ObservationBuffer, now: float) -> str:
    missing = observations.snapshot(now)
    assert isinstance(missing, Missing)
    return missing.message


def test_the_joint_state_is_that_of_the_oldest_image() -> None:
    observations = buffer()
    fill(observations, now=5.005)
    matched = observations.snapshot(5.01)
    assert isinstance(matched, Observation)
    assert list(matched.images) == ["top", "wrist"]
    assert matched.images["top"] == "image of top"
    assert matched.stamp_ns == stamp(4.985)
    np.testing.assert_allclose(matched.positions, [4.985, -4.985], atol=1e-6)


def test_between_two_states_positions_are_interpolated() -> None:
    observations = buffer()
    observations.add_joint_state(JOINTS, [1.0, 0.0], stamp(5.00), 5.00)
    observations.add_joint_state(JOINTS, [2.0, 0.0], stamp(5.04), 5.04)
    fill(observations, now=5.03, states=False)
    matched = observations.snapshot(5.05)
    assert isinstance(matched, Observation)
    assert matched.positions[0] == pytest.approx(1.25)


def test_an_image_newer_than_all_states_takes_the_newest_within_the_skew() -> None:
    observations = buffer(max_skew=0.05)
    observations.add_joint_state(JOINTS, [1.0, 0.0], stamp(5.0), 5.0)
    fill(observations, now=5.06, states=False)
    matched = observations.snapshot(5.06)
    assert isinstance(matched, Observation)
    assert matched.positions[0] == 1.0
    fill(observations, now=5.08, states=False)
    assert "nearest to the images is 0.060 s away" in message(observations, 5.08)


def test_everything_that_is_missing_is_listed() -> None:
    text = message(buffer(), 1.0)
    assert "camera top: no image yet" in text
    assert "camera wrist: no image yet" in text
    assert "joint states: none yet" in text


def test_a_silent_camera_is_named_with_its_age_and_what_to_do() -> None:
    observations = buffer()
    fill(observations, now=5.0)
    observations.add_joint_state(JOINTS, [0.0, 0.0], stamp(5.75), 5.75)
    observations.add_image("wrist", "new", stamp(5.8), 5.8)
    text = message(observations, 5.8)
    assert "camera top: newest image is 0.80 s old" in text
    assert "check its cable" in text
    assert "wrist" not in text
    assert "joint" not in text


def test_a_driver_that_repeats_an_old_frame_is_stale() -> None:
    observations = buffer()
    fill(observations, now=5.0)
    for step in range(1, 8):
        now = 5.0 + 0.1 * step
        assert not observations.add_image("top", "old", stamp(4.98), now)
        observations.add_image("wrist", "new", stamp(now), now)
        observations.add_joint_state(JOINTS, [0.0, 0.0], stamp(now), now)
    assert "camera top: repeats one image (7 times, for 0.70 s)" in message(observations, 5.7)


def test_a_joint_driver_that_repeats_its_stamp_is_stale() -> None:
    observations = buffer()
    fill(observations, now=5.0)
    for step in range(1, 4):
        now = 5.0 + 0.1 * step
        assert observations.add_joint_state(JOINTS, [0.0, 0.0], stamp(5.0), now) != ""
    text = message(observations, 5.3)
    assert "joint states: newest is 0.30 s old" in text
    assert "stamp does not advance" in text


def test_cameras_too_far_apart_are_not_one_observation() -> None:
    observations = buffer(max_skew=0.05)
    observations.add_joint_state(JOINTS, [0.0, 0.0], stamp(5.0), 5.0)
    observations.add_image("top", "old", stamp(4.98), 5.0)
    observations.add_image("wrist", "new", stamp(5.09), 5.1)
    assert "cameras top and wrist are 0.110 s apart" in message(observations, 5.1)


def test_a_camera_that_lags_is_matched_by_older_images_of_the_others() -> None:
    observations = buffer(max_skew=0.05)
    for frame in range(6):
        now = 5.0 + frame / 30
        observations.add_joint_state(JOINTS, [now, 0.0], stamp(now), now)
        observations.add_image("wrist", f"wrist {frame}", stamp(now), now)
        if frame <= 2:  # then three images of this camera get lost
            observations.add_image("top", f"top {frame}", stamp(now), now)
    matched = observations.snapshot(5.0 + 5 / 30)
    assert isinstance(matched, Observation)
    assert matched.images == {"top": "top 2", "wrist": "wrist 2"}
    assert matched.positions[0] == pytest.approx(5.0 + 2 / 30)


def test_clocks_that_differ_are_recognized_and_reception_helps() -> None:
    observations = buffer()
    fill(observations, now=5.0)
    observations.add_image("top", "a", 12_000_000_000, 5.0)  # stamped with its uptime
    assert "use_sim_time:=true" in message(observations, 5.0)
    observations = buffer(match_by="reception")
    fill(observations, now=5.0)
    observations.add_image("top", "a", 12_000_000_000, 5.0)
    matched = observations.snapshot(5.0)
    assert isinstance(matched, Observation)
    assert matched.stamp_ns == 0
    np.testing.assert_allclose(matched.positions, [5.0, -5.0])


def test_stamps_of_zero_fall_back_to_reception() -> None:
    observations = buffer()
    for step in range(10):
        observations.add_joint_state(JOINTS, [float(step), 0.0], 0, 5.0 + 0.01 * step)
    observations.add_image("top", "a", 0, 5.05)
    observations.add_image("wrist", "b", stamp(5.0), 5.06)
    matched = observations.snapshot(5.09)
    assert isinstance(matched, Observation)
    assert matched.positions[0] == pytest.approx(5.0)
    assert observations.add_image("top", "again", 0, 5.1)


def test_a_source_whose_clock_was_set_back_is_accepted_anew() -> None:
    observations = buffer()
    fill(observations, now=500.0)
    for step in range(10):
        t = 3.0 + 0.01 * step
        observations.add_joint_state(JOINTS, [t, 0.0], stamp(t), 500.1 + t - 3.0)
    observations.add_image("top", "a", stamp(2.98), 500.2)
    observations.add_image("wrist", "b", stamp(2.99), 500.2)
    matched = observations.snapshot(500.2)
    assert isinstance(matched, Observation)
    assert matched.positions[0] == pytest.approx(3.0)


def test_an_image_that_was_overtaken_is_not_taken() -> None:
    observations = buffer()
    fill(observations, now=5.0)
    assert not observations.add_image("top", "late", stamp(4.95), 5.01)
    matched = observations.snapshot(5.01)
    assert isinstance(matched, Observation)
    assert matched.images["top"] == "image of top"


def test_joints_are_matched_by_name_and_a_missing_one_is_named() -> None:
    observations = buffer()
    fill(observations, now=5.0)
    assert (
        observations.add_joint_state(("x", "lift", "pan"), [9.0, 2.0, 1.0], stamp(5.02), 5.02)
        == ""
    )
    fill(observations, now=5.05, states=False)
    matched = observations.snapshot(5.06)
    assert isinstance(matched, Observation)
    np.testing.assert_array_equal(matched.positions, [1.0, 2.0])


def test_a_state_that_is_not_finite_is_refused() -> None:
    problem = buffer().add_joint_state(JOINTS, [0.0, math.nan], stamp(1.0), 1.0)
    assert "lift is not finite" in problem


def test_ages_are_infinite_before_the_first_message() -> None:
    observations = buffer()
    assert observations.camera_ages(1.0) == {"top": math.inf, "wrist": math.inf}
    assert observations.joint_state_age(1.0) == math.inf
    fill(observations, now=5.0)
    assert observations.camera_ages(5.5)["wrist"] == pytest.approx(0.5)
    assert observations.joint_state_age(5.5) == pytest.approx(0.5)


def test_an_unknown_camera_is_an_error() -> None:
    with pytest.raises(KeyError):
        buffer().add_image("side", "a", 0, 1.0)


def test_clocks_that_differ_a_little_are_to_be_synchronized() -> None:
    observations = buffer()
    fill(observations, now=5.0)
    observations.add_image("top", "a", stamp(9.0), 5.0)
    observations.add_image("wrist", "a", stamp(9.0), 5.0)
    assert "chrony), or set match_by:=reception" in message(observations, 5.0)


def test_joint_states_that_come_in_parts_are_merged() -> None:
    observations = ObservationBuffer(("top",), JOINTS, ObservationSettings())
    for step in range(30):
        t = 5.0 + 0.01 * step
        observations.add_joint_state(("pan",), [t], stamp(t), t, source="arm")
        if step % 3 == 0:
            observations.add_joint_state(("wheel",), [1.0], stamp(t), t, source="base")
            observations.add_joint_state(("lift", "x"), [-t, 0.0], stamp(t), t, source="hand")
    observations.add_image("top", "image", stamp(5.2), 5.29)
    matched = observations.snapshot(5.29)
    assert isinstance(matched, Observation)
    np.testing.assert_allclose(matched.positions, [5.2, -5.2], atol=1e-6)


def test_each_joint_has_an_age_of_its_own() -> None:
    observations = ObservationBuffer((), JOINTS, ObservationSettings(max_joint_state_age=0.2))
    observations.add_joint_state(("pan", "claw"), [0.1, 0.0], stamp(5.0), 5.0)
    assert "no lift among the joints pan, claw" in message(observations, 5.0)
    observations.add_joint_state(("lift",), [0.2], stamp(5.0), 5.0)
    assert isinstance(observations.snapshot(5.1), Observation)
    observations.add_joint_state(("pan",), [0.1], stamp(5.3), 5.3)
    assert "newest of lift is 0.30 s old" in message(observations, 5.3)
    assert observations.joint_state_age(5.3) == pytest.approx(0.3)


def test_columns_of_a_chunk_are_ordered_by_name() -> None:
    picked = JointOrder(("b", "a")).pick(("a", "b", "c"), [[1.0, 2.0, math.nan], [3.0, 4.0, 0.0]])
    np.testing.assert_array_equal(picked, [[2.0, 1.0], [4.0, 3.0]])


@pytest.mark.parametrize(
    ("names", "values", "expected"),
    [
        (("a", "b"), [1.0], "2 joint names came with 1 positions"),
        (("a", "a", "b"), [1.0, 2.0, 3.0], "a is named twice"),
        ((), [], "no a, b among the joints (none)"),
    ],
)
def test_messages_that_cannot_be_matched_are_explained(
    names: tuple[str, ...], values: list[float], expected: str
) -> None:
    with pytest.raises(ValueError, match=re.escape(expected)):
        JointOrder(("a", "b")).pick(names, values)
