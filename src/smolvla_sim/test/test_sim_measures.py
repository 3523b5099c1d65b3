# SPDX-License-Identifier: Apache-2.0
"""What is measured in a run: seams, ages, intervals."""

from __future__ import annotations

import json
import math

import numpy as np
import pytest
from smolvla_sim.play.measures import (
    Trace,
    bootstrap_mean,
    bootstrap_ratio,
    clopper_pearson,
    mean,
    seam_jumps,
)

BEND = 0.02


def commands_with_a_bend(bent_at=6, count=12):
    """Two joints in steady motion; the second is faster by `BEND` from command `bent_at` on."""
    steps = np.full((count, 2), (0.05, -0.01))
    steps[bent_at:, 1] -= BEND
    return list(np.cumsum(steps, axis=0))


def test_a_steady_motion_has_no_jumps_whatever_its_speed():
    commands = list(np.arange(20)[:, None] * np.array([0.1, -0.3, 0.0]))
    jumps = seam_jumps(commands, [2, 7, 19], 2.0)
    assert jumps.shape == (3,)
    np.testing.assert_allclose(jumps, 0.0, atol=1e-9)


@pytest.mark.parametrize(
    ("merge", "cycles_per_action", "jump"),
    [
        (6, 1.0, BEND),
        (5, 1.0, 0.0),
        (5, 2.0, BEND),
        (5, 1.5, BEND),
        (4, 2.0000000001, 0.0),
        (4, 2.1, BEND),
        (7, 3.0, 0.0),
    ],
)
def test_a_jump_counts_within_one_action_from_the_merge_on(merge, cycles_per_action, jump):
    found = seam_jumps(commands_with_a_bend(), [merge], cycles_per_action)
    np.testing.assert_allclose(found, [np.degrees(jump)], atol=1e-9)


def test_of_the_joints_the_largest_jump_counts():
    commands = np.zeros((6, 3))
    commands[3:] = (0.1, -0.4, 0.2)
    np.testing.assert_allclose(seam_jumps(list(commands), [3], 1.0), [np.degrees(0.4)])


def test_merges_without_commands_around_them_are_no_seams():
    commands = commands_with_a_bend(count=8)
    assert len(seam_jumps(commands, [0, 1], 2.0)) == 0
    assert len(seam_jumps(commands, [8, 9], 2.0)) == 0
    assert len(seam_jumps(commands, [0, 2, 7, 8], 2.0)) == 2
    assert len(seam_jumps(commands[:2], [0, 1, 2], 1.0)) == 0
    assert len(seam_jumps([], [0], 1.0)) == 0


def test_measures_are_plain_data():
    trace = Trace(
        commands=commands_with_a_bend(),
        merges=[6],
        ages=[0.1, 1.0, 0.0334, 0.1001],
        cycles=9,
        starved=2,
        approaching=1,
        requests=4,
        refusals=3,
    )
    measures = trace.measures(1.0)
    assert measures == {
        "cycles": 9,
        "starved": 2,
        "approaching": 1,
        "requests": 4,
        "refusals": 3,
        "ages_ms": {"33": 1, "100": 2, "1000": 1},
        "seam_jumps_deg": [round(math.degrees(BEND), 3)],
    }
    assert json.loads(json.dumps(measures)) == measures


def binomial_tail(count, trials, share):
    """Probability of `count` or more successes."""
    return sum(
        math.comb(trials, k) * share**k * (1.0 - share) ** (trials - k)
        for k in range(count, trials + 1)
    )


@pytest.mark.parametrize(("successes", "trials"), [(1, 2), (3, 7), (19, 20), (78, 250)])
def test_the_ends_of_the_interval_leave_half_of_the_rest_on_each_side(successes, trials):
    low, high = clopper_pearson(successes, trials)
    assert binomial_tail(successes, trials, low) == pytest.approx(0.025, rel=1e-6)
    assert 1.0 - binomial_tail(successes + 1, trials, high) == pytest.approx(0.025, rel=1e-6)


@pytest.mark.parametrize("trials", [1, 20, 200])
def test_none_and_all_have_one_sided_intervals(trials):
    end = 0.025 ** (1 / trials)
    assert clopper_pearson(0, trials) == pytest.approx((0.0, 1.0 - end))
    assert clopper_pearson(trials, trials) == pytest.approx((end, 1.0))


def test_the_bootstrap_of_a_mean_is_near_the_normal_interval_and_repeatable():
    values = np.random.default_rng(1).normal(10.0, 2.0, 50)
    low, high = bootstrap_mean(values)
    assert (low, high) == bootstrap_mean(values)
    half = 1.96 * values.std() / np.sqrt(50)
    assert low == pytest.approx(values.mean() - half, abs=0.1 * half)
    assert high == pytest.approx(values.mean() + half, abs=0.1 * half)
    assert bootstrap_mean([4.0, 4.0, 4.0]) == (4.0, 4.0)
    assert all(math.isnan(end) for end in bootstrap_mean([]))


def test_the_bootstrap_of_a_ratio_draws_seeds_in_pairs():
    under = np.array([1.0, 5.0, 9.0, 2.0])
    assert bootstrap_ratio(2.0 * under, under) == pytest.approx((2.0, 2.0))
    low, high = bootstrap_ratio(under[::-1], under)
    assert low < 1.0 < high
    assert (low, high) == bootstrap_ratio(under[::-1], under)
    assert all(math.isnan(end) for end in bootstrap_ratio([], []))
    # No cubes at all under the line in many of the draws.
    assert bootstrap_ratio([4.0, 6.0, 5.0], [0.0, 0.0, 2.0])[1] == math.inf


def test_the_mean_of_nothing_is_not_a_number():
    assert mean([1.0, 4.0]) == 2.5
    assert math.isnan(mean([]))
