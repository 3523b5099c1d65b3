# SPDX-License-Identifier: Apache-2.0
"""Random changes of images that leave what they show where it is."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional


@dataclass(frozen=True)
class Augmentation:
    """How strongly images are changed; 0 leaves that property alone.

    Attributes:
        brightness: standard deviation of the logarithm of the factor on all values.
        contrast: standard deviation of the logarithm of the factor on the distance from gray.
        color: standard deviation of the logarithm of the factor on each color channel.
        noise: standard deviation of the noise on each value, in shares of the full range.
        shift: largest shift in pixels, right and down apart; labels are not moved with it, so
            it stays at about one pixel.
    """

    brightness: float = 0.0
    contrast: float = 0.0
    color: float = 0.0
    noise: float = 0.0
    shift: int = 0

    def __call__(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Change images.

        Args:
            images: (batch, 3, height, width) in [0, 1].
            generator: source of randomness on the CPU.

        Returns:
            The changed images, in [0, 1].
        """
        batch = images.shape[0]

        def draw(*shape: int) -> Tensor:
            return torch.randn(*shape, generator=generator).to(images.device)

        if self.brightness or self.color:
            factor = self.brightness * draw(batch, 1, 1, 1) + self.color * draw(batch, 3, 1, 1)
            images = images * factor.exp()
        if self.contrast:
            factor = (self.contrast * draw(batch, 1, 1, 1)).exp()
            images = (images - 0.5) * factor + 0.5
        if self.noise:
            images = images + self.noise * draw(*images.shape)
        if self.shift:
            images = self._shifted(images, generator)
        return images.clamp(0.0, 1.0)

    def _shifted(self, images: Tensor, generator: torch.Generator) -> Tensor:
        most = self.shift
        height, width = images.shape[-2:]
        padded = functional.pad(images, (most, most, most, most), mode="replicate")
        moves = torch.randint(0, 2 * most + 1, (len(images), 2), generator=generator).tolist()
        return torch.stack(
            [
                image[:, down : down + height, right : right + width]
                for image, (right, down) in zip(padded, moves, strict=True)
            ]
        )
