# SPDX-License-Identifier: Apache-2.0
"""Auxiliary heads that teach the prefix where things are; dropped at export.

Each image token answers, for every object and for the named one: is its center in my cell, and
where in the cell. A dense loss of this kind teaches a small network from scratch to find what a
sentence names, which the flow-matching loss alone takes very long to do: the arm's own motion
gives the target away. The labels come from a simulator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional

PREFIX = "grounding."
VALUES = 3
"""Numbers of an object in a label: u, v (0 to 1 over width and height of the image), visible."""


@dataclass(frozen=True)
class ImageGrid:
    """How an image's tokens tile the square that it is fitted into.

    Attributes:
        side: tokens along a side of the square.
        width: of the fitted image as a share of the square; it ends at the right edge.
        height: of the fitted image as a share of the square; it ends at the lower edge.
    """

    side: int
    width: float
    height: float


class GroundingHead(nn.Module):
    """Reads cells and offsets from image tokens.

    Args:
        hidden: width of the text model.
        objects: how many objects the labels have; one more channel is for the named one.
    """

    def __init__(self, hidden: int, objects: int) -> None:
        super().__init__()
        self.channels = objects + 1
        self.norm = nn.LayerNorm(hidden)
        self.inner = nn.Linear(hidden, hidden)
        self.outer = nn.Linear(hidden, 3 * self.channels)

    def forward(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Map image tokens to answers.

        Args:
            tokens: (batch, image tokens, hidden).

        Returns:
            Logits of the cells (batch, channels, image tokens), and offsets from the middle of
            the cell in cells (batch, channels, image tokens, 2). The last channel is the named
            object's.
        """
        batch, count, _ = tokens.shape
        answers = self.outer(functional.gelu(self.inner(self.norm(tokens.float()))))
        answers = answers.float().view(batch, count, self.channels, 3).transpose(1, 2)
        return answers[..., 0], answers[..., 1:]


def add_named(labels: Tensor, named: Tensor) -> Tensor:
    """Append the named object's label as a channel.

    Args:
        labels: (batch, objects, 3), see `VALUES`.
        named: (batch,) index of the named object; below 0 for none.

    Returns:
        (batch, objects + 1, 3).
    """
    chosen = labels[torch.arange(len(labels), device=labels.device), named.clamp(min=0)].clone()
    chosen[:, 2] *= named >= 0
    return torch.cat((labels, chosen[:, None]), dim=1)


def cells(labels: Tensor, grid: ImageGrid) -> tuple[Tensor, Tensor, Tensor]:
    """Turn positions in the image into cells.

    Args:
        labels: (batch, channels, 3), see `VALUES`.
        grid: of the camera.

    Returns:
        Index of the cell and (…, 2) offset from its middle in cells, right and down; and which
        labels count (visible).
    """
    u = (1.0 - grid.width + labels[..., 0] * grid.width) * grid.side
    v = (1.0 - grid.height + labels[..., 1] * grid.height) * grid.side
    column = u.floor().clamp(0, grid.side - 1)
    row = v.floor().clamp(0, grid.side - 1)
    offset = torch.stack((u - column - 0.5, v - row - 0.5), dim=-1)
    return (row * grid.side + column).long(), offset, labels[..., 2] > 0


def grounding_loss(
    logits: Tensor, offsets: Tensor, labels: Tensor, grid: ImageGrid
) -> tuple[Tensor, Tensor]:
    """Cross-entropy over the cells plus the error of the offset in the right cell.

    Args:
        logits: from `GroundingHead`.
        offsets: from `GroundingHead`.
        labels: (batch, channels, 3) from `add_named`.
        grid: of the camera.

    Returns:
        The loss, and the named object's error (batch,) in shares of the square's side, NaN
        where it is not visible.
    """
    cell, offset, counts = cells(labels, grid)
    nats = functional.cross_entropy(logits.flatten(0, 1), cell.flatten(), reduction="none")
    at = cell[..., None, None].expand(*cell.shape, 1, 2)
    there = offsets.gather(2, at)[:, :, 0]
    misses = functional.smooth_l1_loss(there, offset, reduction="none", beta=0.1).sum(-1)
    weight = counts.float()
    loss = ((nats.view_as(weight) + 2.0 * misses) * weight).sum() / weight.sum().clamp(min=1.0)
    with torch.no_grad():
        error = (
            positions(logits[:, -1:], offsets[:, -1:], grid)
            - positions_of(cell, offset, grid)[:, -1:]
        ).norm(dim=-1)[:, 0]
        error = torch.where(counts[:, -1], error, torch.nan)
    return loss, error


def positions(logits: Tensor, offsets: Tensor, grid: ImageGrid) -> Tensor:
    """Return the most likely positions (batch, channels, 2) in shares of the square's side."""
    best = logits.argmax(-1)
    at = best[..., None, None].expand(*best.shape, 1, 2)
    return positions_of(best, offsets.gather(2, at)[:, :, 0], grid)


def positions_of(cell: Tensor, offset: Tensor, grid: ImageGrid) -> Tensor:
    """Return (…, 2) positions, right and down, in shares of the square's side."""
    middle = torch.stack((cell % grid.side, cell // grid.side), dim=-1) + 0.5
    return (middle + offset) / grid.side


def named_object(sentence: str, objects: Sequence[str]) -> int:
    """Return the index of the object that a sentence names first, or -1.

    Args:
        sentence: the instruction.
        objects: names such as ``red_cube``; an underscore stands for a space.
    """
    text = sentence.lower()
    places = [(text.find(name.replace("_", " ")), index) for index, name in enumerate(objects)]
    found = [place for place in places if place[0] >= 0]
    return min(found)[1] if found else -1
