# SPDX-License-Identifier: Apache-2.0
"""Labels to cells and back, and what the auxiliary loss rewards."""

from __future__ import annotations

import pytest
import torch
from smolvla_learning.training.grounding import (
    ImageGrid,
    add_named,
    cells,
    grounding_loss,
    named_object,
    positions,
)

# A 4:3 image in a square of 4 x 4 tokens: a quarter of padding on top.
GRID = ImageGrid(side=4, width=1.0, height=0.75)


def test_cells_know_the_padding_above_the_image():
    labels = torch.tensor([[0.0, 0.0, 1.0], [0.99, 0.99, 1.0], [0.5, 0.5, 0.0]])
    cell, offset, counts = cells(labels, GRID)
    assert cell.tolist() == [4, 15, 10]
    assert counts.tolist() == [True, True, False]
    assert torch.allclose(offset[0], torch.tensor([-0.5, -0.5]))


def answers_for(labels: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Return logits and offsets that say exactly what the labels say."""
    cell, offset, _ = cells(labels, GRID)
    logits = torch.full((*cell.shape, 16), -20.0).scatter(-1, cell[..., None], 20.0)
    return logits, offset[:, :, None].expand(-1, -1, 16, -1).clone()


def test_right_answers_cost_nothing_and_give_the_position():
    labels = torch.rand(3, 2, 3, generator=torch.Generator().manual_seed(0))
    labels[..., 2] = 1.0
    logits, offsets = answers_for(labels)
    loss, error = grounding_loss(logits, offsets, labels, GRID)
    assert loss < 1e-6
    assert error.max() < 1e-6
    at = positions(logits, offsets, GRID)
    want = torch.stack((labels[..., 0], 0.25 + 0.75 * labels[..., 1]), dim=-1)
    assert torch.allclose(at, want, atol=1e-6)


def test_invisible_objects_cost_nothing():
    labels = torch.tensor([[[0.5, 0.5, 0.0], [0.2, 0.2, 0.0]]])
    logits, offsets = torch.randn(1, 2, 16), torch.randn(1, 2, 16, 2)
    loss, error = grounding_loss(logits, offsets, labels, GRID)
    assert loss == 0
    assert error.isnan().all()


def test_the_wrong_cell_and_the_wrong_offset_cost():
    labels = torch.tensor([[[0.1, 0.1, 1.0]]])
    logits, offsets = answers_for(labels)
    wrong, _ = grounding_loss(logits.flip(-1), offsets, labels, GRID)
    off, error = grounding_loss(logits, offsets + 0.5, labels, GRID)
    assert wrong > 10
    assert off > 0.5
    assert error.item() == pytest.approx(0.5 * 2**0.5 / 4, rel=1e-4)


def test_the_named_object_is_the_last_channel():
    labels = torch.arange(12.0).view(2, 2, 3) + 1
    more = add_named(labels, torch.tensor([1, -1]))
    assert torch.equal(more[0, 2], labels[0, 1])
    assert more[1, 2, 2] == 0


@pytest.mark.parametrize(
    ("sentence", "want"),
    [
        ("touch the blue cube", 1),
        ("Put the Red Cube into the bowl", 0),
        ("stack the blue cube on the red cube", 1),
        ("wave", -1),
    ],
)
def test_what_a_sentence_names_first(sentence, want):
    assert named_object(sentence, ("red_cube", "blue_cube", "bowl")) == want
