# SPDX-License-Identifier: Apache-2.0
"""The checkpoints that come with the simulation: small, plain SmolVLA, and they do the task."""

from __future__ import annotations

import pytest
from safetensors import safe_open
from smolvla_policy.policy import SmolVLAPolicy
from smolvla_sim.evaluate import evaluate
from smolvla_sim.play.policies import completed
from smolvla_sim.settings import CHECKPOINT, CHECKPOINT_30_HZ, EvaluationSettings


@pytest.fixture(scope="module", params=[CHECKPOINT, CHECKPOINT_30_HZ], ids=lambda path: path.name)
def checkpoint(request):
    return request.param


@pytest.fixture(scope="module")
def policy(checkpoint):
    return SmolVLAPolicy.from_pretrained(checkpoint)


def test_it_is_small_and_has_no_auxiliary_heads(checkpoint):
    assert sum(path.stat().st_size for path in checkpoint.rglob("*") if path.is_file()) < 25e6
    with safe_open(checkpoint / "model.safetensors", "np") as file:
        names = list(file.keys())
    assert all(name.startswith("model.") for name in names)


def test_it_says_what_it_needs(policy):
    assert policy.cameras == ("observation.images.top", "observation.images.wrist")
    assert (policy.state_dim, policy.action_dim) == (6, 6)
    assert policy.dtype == "float32"


def test_one_has_the_shape_that_lerobots_users_have():
    """Chunks of 50 at 30 Hz, all of it executed, and trained for a second of delay."""
    policy = SmolVLAPolicy.from_pretrained(CHECKPOINT_30_HZ)
    assert (policy.chunk_size, policy.config.n_action_steps, policy.robot.fps) == (50, 50, 30.0)
    assert (policy.robot.rtc_delay, policy.robot.state_offset) == (30, 30)


def test_it_touches_the_cube_that_the_sentence_names(checkpoint):
    settings, _ = completed(
        EvaluationSettings(
            checkpoint=str(checkpoint), kind="reach", episodes=3, seed=1000, workers=1
        )
    )
    results = evaluate(settings)
    assert len({result.task for result in results}) == 3
    # All three here; another processor rounds differently.
    assert sum(result.success for result in results) >= 2
