# SPDX-License-Identifier: Apache-2.0
"""Deadlines are absolute; late cycles are counted and never caught up in a burst."""

from __future__ import annotations

import math

import pytest
from smolvla_executor.core.tick_clock import CycleStatistics, TickClock


class FakeTime:
    def __init__(self) -> None:
        self.now = 50.0
        self.slept: list[float] = []
        self.share = 1.0  # of a sleep that is really slept

    def clock(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += max(1e-6, seconds * self.share)


def test_work_between_two_cycles_does_not_shift_them() -> None:
    time = FakeTime()
    clock = TickClock(0.01, time.clock, time.sleep)
    for cycle in range(1, 1001):
        assert clock.wait() == pytest.approx(50.0 + 0.01 * cycle, abs=1e-9)
        time.now += 0.004


def test_a_late_cycle_is_served_at_once_and_the_next_is_on_time() -> None:
    time = FakeTime()
    clock = TickClock(0.01, time.clock, time.sleep)
    clock.wait()
    time.now += 0.016
    assert clock.wait() == pytest.approx(50.026)
    assert clock.wait() == pytest.approx(50.03)


def test_missed_deadlines_are_skipped_not_caught_up() -> None:
    time = FakeTime()
    clock = TickClock(0.01, time.clock, time.sleep)
    clock.wait()
    time.now += 0.055
    begun = [clock.wait() for _ in range(3)]
    assert begun == pytest.approx([50.065, 50.07, 50.08])


def test_a_sleep_that_returns_early_is_repeated() -> None:
    time = FakeTime()
    time.share = 0.5
    clock = TickClock(0.01, time.clock, time.sleep)
    assert clock.wait() >= 50.01
    assert len(time.slept) > 1


def test_a_period_of_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="period"):
        TickClock(0.0, lambda: 0.0, lambda _: None)


def test_statistics_of_an_even_rate_show_no_overrun() -> None:
    statistics = CycleStatistics(0.01)
    assert all(math.isnan(value) for value in statistics.percentiles())
    for cycle in range(500):
        statistics.record(0.01 * cycle)
    assert statistics.percentiles() == pytest.approx((0.01, 0.01, 0.01))
    assert statistics.overruns == 0


def test_each_cycle_more_than_half_a_period_late_is_one_overrun() -> None:
    statistics = CycleStatistics(0.01)
    for begun in (0.0, 0.01, 0.026, 0.03, 0.04, 0.085, 0.09, 0.1, 0.109, 0.12):
        statistics.record(begun)
    assert statistics.overruns == 2
    assert statistics.percentiles()[2] == pytest.approx(0.045)


def test_a_timer_that_catches_up_in_a_burst_does_not_count_overruns_for_ever() -> None:
    statistics = CycleStatistics(0.01)
    for begun in (0.0, 0.031, 0.032, 0.033):
        statistics.record(begun)
    for cycle in range(100):
        statistics.record(0.04 + 0.01 * cycle)
    assert statistics.overruns == 1


def test_a_late_first_cycle_does_not_excuse_the_ones_that_follow() -> None:
    statistics = CycleStatistics(0.01)
    for begun in (0.009, 0.01, 0.02, 0.03, 0.04, 0.056):
        statistics.record(begun)
    assert statistics.overruns == 1


def test_the_window_slides_and_reset_forgets() -> None:
    statistics = CycleStatistics(0.01)
    statistics.record(0.0)
    statistics.record(1.0)
    for cycle in range(1001):
        statistics.record(1.0 + 0.01 * (cycle + 1))
    assert statistics.percentiles()[2] == pytest.approx(0.01)
    assert statistics.overruns == 1
    statistics.reset()
    assert statistics.overruns == 0
