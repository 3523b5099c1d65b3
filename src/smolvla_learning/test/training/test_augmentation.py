# SPDX-License-Identifier: Apache-2.0
"""Augmentation changes images as asked, within bounds, the same for the same generator."""

from __future__ import annotations

import pytest
import torch
from smolvla_learning.training.learner import Augmentation

IMAGES = torch.rand(4, 3, 6, 8, generator=torch.Generator().manual_seed(0)) * 0.5 + 0.25


def augmented(seed: int = 0, **strength):
    return Augmentation(**strength)(IMAGES, torch.Generator().manual_seed(seed))


def test_nothing_asked_nothing_changed():
    assert torch.equal(augmented(), IMAGES)


@pytest.mark.parametrize("kind", ["brightness", "contrast", "color", "noise"])
def test_each_kind_changes_and_stays_in_range(kind):
    changed = augmented(**{kind: 0.5})
    assert not torch.equal(changed, IMAGES)
    assert changed.min() >= 0
    assert changed.max() <= 1
    assert torch.equal(changed, augmented(**{kind: 0.5}))
    assert not torch.equal(changed, augmented(seed=1, **{kind: 0.5}))


def test_brightness_keeps_the_ratios_of_an_image():
    ratio = augmented(brightness=0.05) / IMAGES
    assert torch.allclose(ratio.amin((1, 2, 3)), ratio.amax((1, 2, 3)), atol=1e-5)


def test_a_shift_moves_by_whole_pixels():
    for image, moved in zip(IMAGES, augmented(shift=1), strict=True):
        inner = moved[:, 1:-1, 1:-1]
        assert any(
            torch.equal(inner, image[:, 1 + down : 5 + down, 1 + right : 7 + right])
            for down in (-1, 0, 1)
            for right in (-1, 0, 1)
        )
