# SPDX-License-Identifier: Apache-2.0
"""Warm-up and cosine, checked against values of LeRobot's schedule."""

from __future__ import annotations

import pytest
from smolvla_learning.training.trainer import OptimizerOptions, learning_rate

OPTIONS = OptimizerOptions()


@pytest.mark.parametrize(
    ("step", "want"),
    [
        (0, 1e-4 / 1001),
        (500, 1e-4 * (1 / 1001 + (1 - 1 / 1001) / 2)),
        (1000, 9.97331e-05),
        (15_000, (1e-4 + 2.5e-6) / 2),
        (30_000, 2.5e-6),
        (50_000, 2.5e-6),
    ],
)
def test_a_long_training(step, want):
    assert learning_rate(step, 100_000, OPTIONS) == pytest.approx(want, rel=1e-4)


def test_a_short_training_shrinks_warm_up_and_decay():
    # A tenth of the decay's steps: the warm-up takes 100 steps and the cosine ends at 3000.
    assert learning_rate(0, 3000, OPTIONS) == pytest.approx(1e-4 / 101)
    assert learning_rate(99, 3000, OPTIONS) < learning_rate(100, 3000, OPTIONS)
    assert learning_rate(100, 3000, OPTIONS) > learning_rate(101, 3000, OPTIONS)
    assert learning_rate(3000, 3000, OPTIONS) == pytest.approx(2.5e-6)
