# SPDX-License-Identifier: Apache-2.0
"""Commands between actions are exact at the actions, and time does not drift."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from smolvla_executor.core.approach import Approach
from smolvla_executor.core.chunk_queue import Upsampler, interpolate


def action_cycles(upsampler: Upsampler, cycles: int) -> list[tuple[int, float]]:
    """(cycle, fraction) of each cycle in which an action begins."""
    begun = []
    for cycle in range(cycles):
        if upsampler.due:
            upsampler.begin()
            begun.append((cycle, upsampler.fraction))
        upsampler.advance()
    return begun


@pytest.mark.parametrize("period", [1 / 30, 0.033333333, 0.033333334])
def test_one_action_per_cycle_at_equal_rates(period: float) -> None:
    assert action_cycles(Upsampler(30.0, period), 100) == [(i, 0.0) for i in range(100)]


def test_thirty_actions_in_a_hundred_cycles_without_drift_over_hours() -> None:
    upsampler = Upsampler(100.0, 0.033333333)  # as a Duration in nanoseconds
    begun = action_cycles(upsampler, 360_000)
    assert len(begun) == 108_000
    for tick, (cycle, fraction) in enumerate(begun[-30:], start=len(begun) - 30):
        assert cycle == -(-tick * 10 // 3)
        assert fraction == pytest.approx(cycle * 0.3 - tick, abs=1e-9)
    assert all(fraction == 0.0 for _, fraction in begun[::3])


@given(
    rate=st.floats(1.0, 1000.0),
    ratio=st.floats(1.0, 50.0),
)
def test_the_number_of_actions_follows_the_time(rate: float, ratio: float) -> None:
    begun = action_cycles(Upsampler(rate, ratio / rate), 2000)
    assert abs(len(begun) - 2000 / ratio) <= 1.01


def test_interpolation_is_exact_at_the_action_and_linear_between() -> None:
    current, following = np.array([0.1 + 0.2, -1.0]), np.array([0.7, 1.0])
    np.testing.assert_array_equal(interpolate(current, following, 0.0), current)
    np.testing.assert_allclose(interpolate(current, following, 0.25), [0.4, -0.5])


def test_approach_ends_exactly_at_the_goal_and_keeps_its_speed() -> None:
    start, goal = np.array([0.0, 1.0]), np.array([1.3, 0.9])
    approach = Approach(start, goal, control_rate=100.0, max_speed=0.5, min_duration=0.2)
    commands = [start]
    while not approach.done:
        commands.append(approach.advance())
    np.testing.assert_array_equal(commands[-1], goal)
    speeds = np.abs(np.diff(commands, axis=0)) * 100.0
    assert 0.49 < speeds.max() <= 0.5 + 1e-9
    assert speeds[0].max() < 0.01
    assert speeds[-1].max() < 0.01
    np.testing.assert_array_equal(approach.advance(), goal)


def test_approach_over_no_distance_takes_the_shortest_duration() -> None:
    approach = Approach(np.zeros(2), np.zeros(2), 100.0, 0.5, 0.3)
    for _ in range(29):
        approach.advance()
    assert not approach.done
    approach.advance()
    assert approach.done
