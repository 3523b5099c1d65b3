# SPDX-License-Identifier: Apache-2.0
"""Solvers of the flow, on flows whose solution is known."""

from __future__ import annotations

import math

import pytest
import torch
from smolvla_policy.model.sampler import SOLVERS, flow_times, integrate

NOISE = torch.linspace(0.5, 2.0, 8, dtype=torch.float64).reshape(1, 4, 2)


def error(solver, steps):
    """Largest error where dx/dt = 2 t x, so that x(0) = x(1) / e."""
    times = flow_times(steps)
    got = integrate(lambda x, step: 2 * times[step] * x, NOISE, steps, solver=solver)
    return float((got - NOISE / math.e).abs().max())


@pytest.mark.parametrize(("solver", "order"), [("euler", 1), ("ab2", 2)])
def test_the_error_falls_with_the_order_of_the_solver(solver, order):
    for steps in (20, 40, 80):
        found = math.log2(error(solver, steps) / error(solver, 2 * steps))
        assert found == pytest.approx(order, abs=0.15)


@pytest.mark.parametrize("solver", SOLVERS)
@pytest.mark.parametrize("steps", [1, 3, 10])
def test_a_straight_flow_needs_one_evaluation_a_step_and_is_exact(solver, steps):
    calls, goal = [], torch.full_like(NOISE, -1.0)

    def velocity(actions, step):
        calls.append(step)
        return NOISE - goal

    got = integrate(velocity, NOISE, steps, solver=solver)
    assert calls == list(range(steps))
    assert float((got - goal).abs().max()) < 1e-12


def test_the_observer_sees_each_step_lead_to_the_next():
    seen = []

    def observe(step, velocity, actions):
        seen.append((step, velocity, actions))

    got = integrate(lambda x, step: x, NOISE, 4, solver="ab2", observe=observe)
    assert [step for step, _, _ in seen] == [0, 1, 2, 3]
    before = NOISE
    for _, velocity, actions in seen:
        assert torch.allclose(before - velocity / 4, actions)
        before = actions
    assert torch.equal(got, before)
