# SPDX-License-Identifier: Apache-2.0
"""The checkpoint that comes with the simulation: small, plain SmolVLA, and it does the task."""

from __future__ import annotations

import pytest
from safetensors import safe_open
from smolvla_policy.policy import SmolVLAPolicy
from smolvla_sim.evaluate import evaluate
from smolvla_sim.play.policies import completed
from smolvla_sim.settings import CHECKPOINT, EvaluationSettings


@pytest.fixture(scope="module")
def policy():
    return SmolVLAPolicy.from_pretrained(CHECKPOINT)


def test_it_is_small_and_has_no_auxiliary_heads():
    assert sum(path.stat().st_size for path in CHECKPOINT.rglob("*") if path.is_file()) < 25e6
    with safe_open(CHECKPOINT / "model.safetensors", "np") as file:
        names = list(file.keys())
    assert all(name.startswith("model.") for name in names)


def test_it_says_what_it_needs(policy):
    assert policy.cameras == ("observation.images.top", "observation.images.wrist")
    assert (policy.state_dim, policy.action_dim) == (6, 6)
    assert policy.dtype == "float32"


def test_it_touches_the_cube_that_the_sentence_names():
    settings, _ = completed(EvaluationSettings(kind="reach", episodes=3, seed=1000, workers=1))
    results = evaluate(settings)
    assert len({result.task for result in results}) == 3
    # All three here; another processor rounds differently.
    assert sum(result.success for result in results) >= 2
