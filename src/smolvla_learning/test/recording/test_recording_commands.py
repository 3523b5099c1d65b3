# SPDX-License-Identifier: Apache-2.0
"""Which command is active when, and what is not one."""

import math

import numpy as np
import pytest
from smolvla_core.observation import Missing
from smolvla_learning.recording.inputs import CommandBuffer


@pytest.fixture
def commands():
    return CommandBuffer(("a", "b"), 0.5, "commands on /c")


def test_the_last_command_is_in_force(commands):
    commands.add([1.0, 2.0], 10.0)
    commands.add([3.0, 4.0], 10.1)
    np.testing.assert_array_equal(commands.at(10.1), [3.0, 4.0])
    np.testing.assert_array_equal(commands.at(10.5), [3.0, 4.0])


def test_named_positions_are_put_in_order(commands):
    commands.add([2.0, 9.0, 1.0], 10.0, names=("b", "other", "a"))
    np.testing.assert_array_equal(commands.at(10.0), [1.0, 2.0])


def test_no_command_and_a_stale_one_name_the_source(commands):
    assert "commands on /c: none yet" in commands.at(10.0).message
    commands.add([1.0, 2.0], 10.0)
    text = commands.at(10.6).message
    assert "commands on /c" in text
    assert "0.60 s old, more than max_command_age (0.5 s)" in text


def test_without_an_age_limit_a_command_stays_in_force():
    commands = CommandBuffer(("a",), 0.0, "commands")
    commands.add([1.0], 10.0)
    np.testing.assert_array_equal(commands.at(10_000.0), [1.0])


@pytest.mark.parametrize(
    ("positions", "text"),
    [([1.0, math.nan], "b is not finite"), ([1.0], "2 joint names came with 1 positions")],
)
def test_a_bad_command_is_told_even_when_good_ones_follow(commands, positions, text):
    commands.add([1.0, 2.0], 10.0)
    assert text in commands.add(positions, 10.1)
    commands.add([3.0, 4.0], 10.2)
    assert text in commands.at(10.2).message
    np.testing.assert_array_equal(commands.at(10.2), [3.0, 4.0])


def test_a_bad_command_stays_until_a_good_one(commands):
    commands.add([1.0, math.inf], 10.0)
    for now in (10.0, 10.1):
        assert isinstance(commands.at(now), Missing)


def test_a_joint_that_is_not_named(commands):
    assert "none of the joints among x, y" in commands.add([1.0, 2.0], 10.0, names=("x", "y"))


def test_commands_that_come_in_parts_are_merged(commands):
    assert commands.add([1.0], 10.0, names=("a",)) == ""
    assert "none of b yet" in commands.at(10.1).message
    commands.add([2.0], 10.2, names=("b",))
    np.testing.assert_array_equal(commands.at(10.2), [1.0, 2.0])
    commands.add([3.0], 10.6, names=("b",))
    assert "newest is" in commands.at(10.6).message  # a's


def test_a_point_is_the_goal_at_once(commands):
    commands.add_trajectory(("b", "a"), [0.03], [[2.0, 1.0]], 10.0)
    np.testing.assert_array_equal(commands.at(10.0), [1.0, 2.0])
    np.testing.assert_array_equal(commands.at(10.1), [1.0, 2.0])


def test_a_trajectory_runs_between_its_points_and_ages_from_its_end(commands):
    commands.add_trajectory(("a", "b"), [0.0, 2.0], [[0.0, 10.0], [4.0, 10.0]], 10.0)
    np.testing.assert_allclose(commands.at(11.0), [2.0, 10.0])
    np.testing.assert_allclose(commands.at(12.4), [4.0, 10.0])
    assert "0.60 s old" in commands.at(12.6).message


@pytest.mark.parametrize(
    ("times", "points", "text"),
    [
        ([], [], "without points"),
        ([1.0, 1.0], [[0.0, 0.0], [1.0, 1.0]], "do not ascend"),
        ([1.0], [[]], "2 joint names came with 0 positions"),
        ([1.0, 2.0], [[0.0, 0.0], [1.0]], "shape"),
    ],
)
def test_a_trajectory_that_is_none(commands, times, points, text):
    assert text in commands.add_trajectory(("a", "b"), times, points, 10.0)
    assert text in commands.at(10.0).message
