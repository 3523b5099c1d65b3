# SPDX-License-Identifier: Apache-2.0
"""The network of the judge ``classifier``: convolutions for each camera, the sentence in them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from smolvla_learning.plans.classifier import WEIGHTS, About

_CHANNELS = (24, 48, 64, 64)


class JudgeNetwork(nn.Module):
    """Pictures and a sentence to the logit of "done".

    The sentence scales and shifts the features of each place (FiLM, arXiv 1709.07871), so that it
    can look for one color; the largest answer of all places counts.

    Args:
        sentences: how many.
        cameras: how many.
    """

    def __init__(self, sentences: int, cameras: int) -> None:
        super().__init__()
        self.towers = nn.ModuleList([_tower() for _ in range(cameras)])
        features = _CHANNELS[-1]
        self.film = nn.Embedding(sentences, 2 * cameras * features)
        self.mixed = nn.ModuleList(
            [nn.Conv2d(features, features, 3, padding=1) for _ in range(cameras)]
        )
        self.head = nn.Sequential(
            nn.Linear(2 * cameras * features, 64), nn.ReLU(), nn.Linear(64, 1)
        )

    def forward(self, pictures: Tensor, sentences: Tensor) -> Tensor:
        """Return logits.

        Args:
            pictures: (batch, cameras, 3, height, width), 0 to 1.
            sentences: (batch,) indices.

        Returns:
            (batch,).
        """
        film = self.film(sentences).view(len(sentences), len(self.towers), 2, -1, 1, 1)
        pooled = []
        for index, (tower, mix) in enumerate(zip(self.towers, self.mixed, strict=True)):
            seen = tower(2.0 * pictures[:, index] - 1.0)
            scale, shift = film[:, index].unbind(1)
            seen = torch.relu(mix(torch.relu((1.0 + scale) * seen + shift)))
            pooled += [seen.amax((2, 3)), seen.mean((2, 3))]
        logits: Tensor = self.head(torch.cat(pooled, 1)).squeeze(1)
        return logits

    @torch.inference_mode()
    def probabilities(
        self, pictures: NDArray[np.uint8], sentences: Sequence[int]
    ) -> NDArray[np.float32]:
        """Return (n,) probabilities of "done" for pictures (n, cameras, height, width, 3)."""
        self.eval()
        device = self.film.weight.device
        found = []
        for begin in range(0, len(pictures), 256):
            part = slice(begin, begin + 256)
            logits = self(
                as_input(torch.from_numpy(pictures[part]).to(device)),
                torch.as_tensor(sentences[part], device=device),
            )
            found.append(torch.sigmoid(logits).float().cpu().numpy())
        return np.concatenate(found) if found else np.empty(0, np.float32)


def as_input(pictures: Tensor) -> Tensor:
    """Return uint8 pictures (n, cameras, height, width, 3) as `JudgeNetwork` takes them."""
    return pictures.movedim(-1, -3).float() / 255.0


def _tower() -> nn.Sequential:
    layers: list[nn.Module] = []
    before = 3
    for channels in _CHANNELS:
        layers += [
            nn.Conv2d(before, channels, 3, stride=2, padding=1),
            nn.GroupNorm(8, channels),
            nn.ReLU(),
        ]
        before = channels
    return nn.Sequential(*layers)


def save(network: JudgeNetwork, folder: Path) -> None:
    """Write the weights."""
    weights = {name: value.cpu().contiguous() for name, value in network.state_dict().items()}
    save_file(weights, folder / WEIGHTS)


def load(folder: Path, about: About) -> JudgeNetwork:
    """Read the network of a folder.

    Raises:
        ValueError: its weights are missing or are of another network.
    """
    network = JudgeNetwork(len(about.sentences), len(about.cameras))
    try:
        network.load_state_dict(load_file(folder / WEIGHTS))
    except (OSError, SafetensorError, RuntimeError) as error:
        reason = (str(error).splitlines() or [""])[0]
        raise ValueError(f"{folder / WEIGHTS} cannot be read ({reason}); train again") from error
    return network.eval()
