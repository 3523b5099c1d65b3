# SPDX-License-Identifier: Apache-2.0
"""Real-time chunking: weights, strength and where the denoising ends."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from smolvla_policy.model.sampler import (
    MAX_WEIGHT,
    SOLVERS,
    Guidance,
    flow_times,
    integrate,
    make_guidance,
    prefix_weights,
    pull,
)

CPU = torch.device("cpu")


def test_pull_of_ten_steps():
    # Read off LeRobot's formula with max_guidance_weight 10.
    want = [10.0, 9.11, 4.25, 2.762, 2.167, 2.0, 2.167, 2.762, 4.25, 9.11]
    assert [pull(t) for t in flow_times(10)] == pytest.approx(want, abs=0.005)


@pytest.mark.parametrize("time", [1.0, 1.0 - 1e-12, 1e-12, 0.01])
def test_pull_is_bounded(time):
    assert 0 < pull(time) <= MAX_WEIGHT


def test_rows_that_will_be_over_are_bound_and_rows_behind_are_free():
    weights = prefix_weights(16, decided=11, delay=5)
    assert (weights[:5] == 1.0).all()
    assert (np.diff(weights[4:12]) < 0).all()
    assert (weights[11:] == 0.0).all()


def test_the_decay_is_that_of_the_paper():
    share = np.array([3, 2, 1]) / 4
    want = share * (np.exp(share) - 1) / (np.e - 1)
    np.testing.assert_allclose(prefix_weights(8, 5, 2)[2:5], want, rtol=1e-6)


@pytest.mark.parametrize(
    ("decided", "delay", "ones", "positive"),
    [(0, 0, 0, 0), (0, 3, 0, 0), (3, 0, 0, 3), (3, 9, 3, 3), (99, 99, 8, 8), (4, -1, 0, 4)],
)
def test_odd_counts(decided, delay, ones, positive):
    weights = prefix_weights(8, decided, delay)
    assert int((weights == 1.0).sum()) == ones
    assert int((weights > 0.0).sum()) == positive


def straight_flow(noise, goal, guidance, solver):
    """Integrate the velocity of a model that is sure of `goal`, whatever it sees."""
    times = flow_times(10)
    return integrate(
        lambda x, step: (x - goal) / times[step], noise, 10, solver=solver, guidance=guidance
    )


@pytest.mark.parametrize("solver", SOLVERS)
def test_bound_rows_become_the_decided_ones_and_free_rows_the_model_s(solver):
    noise = torch.randn(1, 6, 3, generator=torch.Generator().manual_seed(0))
    goal, decided = torch.full((1, 6, 3), 2.0), np.full((1, 4, 2), -1.0, np.float32)
    actions = straight_flow(noise, goal, make_guidance(decided, 2, (1, 6, 3), CPU), solver)
    bound, soft, free = actions[0, :2, :2], actions[0, 2:4, :2], actions[0, 4:, :2]
    assert (bound + 1.0).abs().max() < 0.35
    assert (free - 2.0).abs().max() < 1e-5
    assert bool((soft[0] < soft[1]).all())
    assert bool((soft < 2.0).all())
    # What only fills up the network's width is nobody's decision.
    assert (actions[0, :, 2] - 2.0).abs().max() < 1e-5


@pytest.mark.parametrize("solver", SOLVERS)
def test_a_trained_network_reads_the_rows_that_will_be_over_at_every_step(solver):
    shape, seen = (1, 6, 3), []
    noise = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    decided = np.full((1, 4, 2), -1.0, np.float32)
    guidance = make_guidance(decided, 2, shape, CPU, trained=True)

    def velocity(actions, step):
        seen.append(actions[0, :2])
        return torch.ones(shape)

    actions = integrate(velocity, noise, 5, solver=solver, guidance=guidance)
    want = torch.tensor([[-1.0, -1.0, 0.0]] * 2)  # as in training, what fills up the width is 0
    assert len(seen) == 5
    assert all(torch.equal(rows, want) for rows in [*seen, actions[0, :2]])
    # Behind them it is not bound, though two more rows are decided.
    torch.testing.assert_close(actions[0, 2:], noise[0, 2:] - 1.0)


def test_no_weight_leaves_the_velocity_as_it_is():
    velocity, actions = torch.randn(2, 1, 4, 3).unbind(0)
    guidance = Guidance(torch.full((1, 4, 3), 9.0), torch.zeros(1, 4, 3))
    assert torch.equal(guidance.steer(velocity, actions, 0.5), velocity)


def guided_by(velocity, noise, target, weights, jacobian, solver="euler"):
    guidance = Guidance(target, weights, jacobian=jacobian)
    return integrate(velocity, noise, 10, solver=solver, guidance=guidance)


@pytest.fixture
def drawn():
    """Noise, target and the weights of three bound rows and three soft ones, of eight."""
    noise, target = torch.randn(2, 1, 8, 3, generator=torch.Generator().manual_seed(0))
    weights = torch.from_numpy(prefix_weights(8, 6, 3))[None, :, None].expand(1, 8, 3)
    return noise, target, weights


@pytest.mark.parametrize("solver", SOLVERS)
def test_without_a_jacobian_of_its_own_the_network_is_guided_as_by_the_identity(drawn, solver):
    times = flow_times(10)
    guided, true = (
        guided_by(lambda x, step: torch.full_like(x, times[step]), *drawn, jacobian, solver)
        for jacobian in (False, True)
    )
    assert torch.equal(true, guided)
    assert not true.requires_grad


def test_a_network_that_is_sure_is_not_moved_through_its_jacobian(drawn):
    noise, goal = drawn[0], torch.full((1, 8, 3), 2.0)
    times = flow_times(10)
    actions = guided_by(lambda x, step: (x - goal) / times[step], *drawn, jacobian=True)
    assert noise.shape == actions.shape
    torch.testing.assert_close(actions, goal)


def test_free_rows_follow_the_bound_ones_through_the_jacobian(drawn):
    """A linear velocity that couples rows: the correction in closed form."""
    noise, target, weights = drawn
    mixing = 0.3 * torch.randn(8, 8, generator=torch.Generator().manual_seed(1))
    time = 0.5
    jacobian = torch.eye(8) - time * mixing
    guidance = Guidance(target, weights, jacobian=True)
    actions = noise.clone().requires_grad_()
    got = guidance.steer(mixing @ actions, actions, time)
    missing = weights * (target - jacobian @ noise)
    want = mixing @ noise - pull(time) * jacobian.T @ missing
    torch.testing.assert_close(got, want)
    moved = (got - mixing @ noise)[0, 6:]
    assert moved.abs().min() > 1e-3


def test_targets_without_a_weight_do_not_matter_to_the_jacobian(drawn):
    noise, target, weights = drawn

    def velocity(x, step):
        return torch.sin(x.cumsum(1))

    free = integrate(velocity, noise, 10)
    other = torch.where(weights > 0.0, target, target + 9.0)
    bound, same = (guided_by(velocity, noise, one, weights, True) for one in (target, other))
    assert torch.equal(bound, same)
    assert not torch.equal(bound, free)
    unbound = guided_by(velocity, noise, target, torch.zeros_like(weights), True)
    torch.testing.assert_close(unbound, free)


def test_a_trained_network_needs_no_gradient(drawn):
    noise, target, _ = drawn
    seen = []

    def velocity(x, step):
        seen.append(x.requires_grad)
        return torch.ones_like(x)

    guidance = Guidance(target, torch.ones(1, 8, 3), trained=True, jacobian=True)
    assert torch.equal(integrate(velocity, noise, 4, guidance=guidance), target)
    assert seen == [False] * 4
