# SPDX-License-Identifier: Apache-2.0
"""Following the arm along its chunks: rows passed, seams, and what is forgotten when."""

import numpy as np
import pytest
from smolvla_executor.visualization_node.predicted_path import MOST_REPLACED, Plan, PredictedPath

PERIOD = 0.1


def line(rows=11, first_tick=0, side=0.0, begin=0.0):
    """One joint that moves 0.1 rad a row; the gripper moves as many meters along x."""
    way = begin + 0.1 * np.arange(rows)
    points = np.column_stack([way, np.full(rows, side), np.zeros(rows)])
    return Plan(first_tick, PERIOD, np.column_stack([way, np.full(rows, side)]), points)


@pytest.fixture
def path():
    return PredictedPath(fade=1.0, timeout=2.0)


def at(path, way, now, side=0.0):
    path.on_joint_state(np.array([way, side]), np.array([way, side, 0.0]), now)
    return path


def test_the_whole_chunk_lies_ahead_at_first(path):
    path.on_chunk(line(), 10.0)
    picture = path.picture(10.0)
    np.testing.assert_allclose(picture.ahead[:, 0], 0.1 * np.arange(11))
    np.testing.assert_allclose(picture.ahead_times, 0.1 * np.arange(11))
    assert picture.horizon == pytest.approx(1.0)
    assert len(picture.executed) == len(picture.seams) == len(picture.replaced) == 0


def test_the_arm_passes_rows(path):
    path.on_chunk(line(), 10.0)
    at(path, 0.31, 10.3)
    picture = path.picture(10.3)
    assert path.row == 3
    np.testing.assert_allclose(picture.ahead[:, 0], 0.1 * np.arange(3, 11))
    np.testing.assert_allclose(picture.ahead_times, 0.1 * np.arange(8))


def test_where_the_gripper_was_fades(path):
    path.on_chunk(line(), 10.0)
    for step in range(4):
        at(path, 0.11 * step, 10.0 + 0.1 * step, side=0.01)
    picture = path.picture(10.3)
    np.testing.assert_allclose(picture.executed[:, 0], [0.0, 0.11, 0.22, 0.33])
    np.testing.assert_allclose(picture.executed[:, 1], 0.01)
    np.testing.assert_allclose(picture.executed_strengths, [0.7, 0.8, 0.9, 1.0])
    later = path.picture(11.15)
    np.testing.assert_allclose(later.executed[:, 0], [0.22, 0.33])
    np.testing.assert_allclose(later.executed_strengths, [0.05, 0.15])
    assert len(path.picture(11.4).executed) == 0
    assert len(path.picture(11.4).ahead) == 8


def test_a_standing_arm_makes_no_trail(path):
    path.on_chunk(line(), 10.0)
    for step in range(10):
        at(path, 0.0002 * (step % 2), 10.0 + 0.1 * step)
    assert len(path.picture(10.95).executed) == 1


def test_the_arm_never_goes_back_on_the_path(path):
    path.on_chunk(line(), 0.0)
    at(path, 0.5, 0.1)
    at(path, 0.1, 0.2)
    assert path.row == 5


def test_an_arm_that_lags_or_is_off_the_path_is_at_its_nearest_row(path):
    path.on_chunk(line(), 0.0)
    assert at(path, 0.33, 0.1, side=0.2).row == 3
    assert at(path, 0.38, 0.2, side=-0.3).row == 4


def test_a_path_that_comes_back_is_not_over_before_it_began(path):
    there = 0.1 * np.arange(6)
    way = np.concatenate([there, there[-2::-1]])
    rows = np.column_stack([way, np.zeros_like(way)])
    path.on_chunk(Plan(0, PERIOD, rows, np.column_stack([rows, way])), 0.0)
    assert at(path, 0.0, 0.1).row == 0
    for step, expected in [(0.2, 2), (0.5, 5), (0.3, 7), (0.0, 10)]:
        assert at(path, step, 0.2).row == expected


def test_an_end_that_is_a_little_nearer_than_the_beginning_is_not_meant(path):
    way = np.concatenate([0.1 * np.arange(6), 0.1 * np.arange(4, -1, -1) + 0.01])
    rows = np.column_stack([way, np.zeros_like(way)])
    path.on_chunk(Plan(0, PERIOD, rows, np.column_stack([rows, way])), 0.0)
    assert at(path, 0.008, 0.1).row == 0


def test_a_standstill_in_the_plan_does_not_hold_the_progress_up(path):
    way = np.concatenate([np.zeros(8), 0.1 * np.arange(1, 6)])
    rows = np.column_stack([way, np.zeros_like(way)])
    path.on_chunk(Plan(0, PERIOD, rows, np.column_stack([rows, way])), 0.0)
    assert at(path, 0.0, 0.1).row == 0
    assert at(path, 0.2, 0.2).row == 9


def test_slow_motion_is_followed_row_by_row(path):
    way = 0.002 * np.arange(60)
    rows = np.column_stack([way, np.zeros_like(way)])
    path.on_chunk(Plan(0, PERIOD, rows, np.column_stack([rows, way])), 0.0)
    for row in (10, 25, 40):
        assert at(path, way[row], 0.1).row == row


def test_a_newer_chunk_takes_over_where_the_arm_is_by_tick(path):
    path.on_chunk(line(first_tick=100), 0.0)
    at(path, 0.2, 0.2)
    at(path, 0.4, 0.4)
    # Asked for at tick 102; its rows 0 and 1 are over, and it runs 2 cm to the side.
    path.on_chunk(line(first_tick=102, begin=0.2, side=0.02), 0.4)
    picture = path.picture(0.4)
    assert path.row == 2
    np.testing.assert_allclose(picture.ahead[0], [0.4, 0.02, 0.0])
    (seam,) = picture.seams
    np.testing.assert_allclose(seam.point, [0.4, 0.02, 0.0])
    assert seam.jump == pytest.approx(0.02)
    (old,) = picture.replaced
    np.testing.assert_allclose(old.points[:, 0], 0.1 * np.arange(4, 11))
    assert seam.number == old.number
    # What was executed stays.
    np.testing.assert_allclose(picture.executed[:, 0], [0.2, 0.4])


def test_a_plan_for_another_place_is_begun_at_its_beginning(path):
    path.on_chunk(line(first_tick=0), 0.0)
    at(path, 0.4, 0.4)
    # By tick it would go on at row 4, which is far away; the executor takes row 0.
    path.on_chunk(line(first_tick=0, begin=0.4), 0.4)
    assert path.row == 0
    assert path.picture(0.4).seams[0].jump == pytest.approx(0.0)


def test_a_chunk_after_the_end_of_the_last_begins_at_row_0(path):
    path.on_chunk(line(first_tick=0, rows=5), 0.0)
    at(path, 0.4, 0.4)
    path.on_chunk(line(first_tick=5, begin=0.43), 0.5)
    picture = path.picture(0.5)
    assert path.row == 0
    assert picture.seams[0].jump == pytest.approx(0.03)
    assert picture.replaced == ()


def test_a_restarted_executor_counts_ticks_anew(path):
    path.on_chunk(line(first_tick=5000), 0.0)
    at(path, 0.4, 0.4)
    path.on_chunk(line(first_tick=0, begin=0.4), 0.5)
    assert path.row == 0
    assert len(path.picture(0.5).ahead) == 11


def test_replaced_paths_and_seams_fade_and_are_few(path):
    for count in range(10):
        path.on_chunk(line(first_tick=count, begin=0.1 * count), 0.01 * count)
    picture = path.picture(0.1)
    assert len(picture.replaced) == MOST_REPLACED
    numbers = [seam.number for seam in picture.seams]
    assert numbers == sorted(set(numbers))
    assert 0 < picture.replaced[0].strength < picture.replaced[-1].strength < 1
    later = path.picture(1.1)
    assert later.replaced == later.seams == ()


def test_nothing_is_left_when_the_arm_stops(path):
    path.on_chunk(line(), 0.0)
    at(path, 0.3, 1.0)
    at(path, 0.3, 2.9)
    assert len(path.picture(2.9).ahead) > 0
    at(path, 0.3, 3.1)
    picture = path.picture(3.1)
    assert len(picture.ahead) == 0
    assert len(picture.executed) <= 1  # no line
    # The next chunk has no seam with one that is forgotten.
    path.on_chunk(line(first_tick=3), 3.2)
    assert path.picture(3.2).seams == ()


def test_moving_on_keeps_the_path_longer_than_the_timeout(path):
    path.on_chunk(line(), 0.0)
    for step in range(1, 10):
        at(path, 0.1 * step, 1.5 * step)
    assert len(path.picture(14.0).ahead) == 2


def test_chunks_of_other_joints_begin_anew(path):
    path.on_chunk(line(), 0.0)
    other = Plan(0, PERIOD, np.zeros((4, 3)), np.ones((4, 3)))
    path.on_chunk(other, 0.1)
    picture = path.picture(0.1)
    assert picture.seams == ()
    assert len(picture.ahead) == 4


def test_without_a_chunk_there_is_nothing(path):
    at(path, 0.0, 0.0)
    picture = path.picture(0.0)
    assert len(picture.ahead) == len(picture.executed) == 0
    assert picture.seams == picture.replaced == ()
