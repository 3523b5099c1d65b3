# SPDX-License-Identifier: Apache-2.0
"""The module that is trained: the policy's network, its losses, and the auxiliary heads."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from smolvla_policy.model.loss import denoising_errors, flow_matching_loss, sample_times
from smolvla_policy.model.network import ExpertCache
from smolvla_policy.policy import SmolVLAPolicy
from torch import Tensor, nn
from torch.nn import functional

from smolvla_learning.training.grounding import GroundingHead, ImageGrid, add_named, grounding_loss
from smolvla_learning.training.samples import Batch, draw_delays


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


class Learner(nn.Module):
    """Computes the loss of a batch.

    Args:
        policy: what is trained.
        augmentation: of the images.
        objects: how many objects the grounding labels have; 0 for no labels.
        flow_weight: of the flow-matching loss.
        grounding_weight: of the auxiliary grounding loss; 0 leaves it out.
        draws: noise draws for each observation; the prefix is computed once for all.
        rtc_delay: in each draw up to so many of the first actions are given, not learned.
    """

    def __init__(
        self,
        policy: SmolVLAPolicy,
        augmentation: Augmentation = Augmentation(),
        objects: int = 0,
        *,
        flow_weight: float = 1.0,
        grounding_weight: float = 0.0,
        draws: int = 1,
        rtc_delay: int = 0,
    ) -> None:
        super().__init__()
        self.network = policy.network
        self._flow_weight, self._grounding_weight = flow_weight, grounding_weight
        self._draws, self._rtc_delay = draws, rtc_delay
        self._augmentation = augmentation
        self._action_dim = policy.action_dim
        self._side = policy.config.image_side or policy.network.sizes.vision.image
        self._ends = policy.engine.image_start, policy.engine.image_end
        self._absent = int(policy.config.empty_cameras)
        sizes = policy.network.sizes
        unit = sizes.vision.patch * sizes.vision.shuffle
        self._token_side = self._side // unit
        self.heads = nn.ModuleList()
        if grounding_weight > 0 and objects:
            self.heads.extend(GroundingHead(sizes.text.hidden, objects) for _ in policy.cameras)

    def forward(self, batch: Batch, generator: torch.Generator) -> dict[str, Tensor]:
        """Compute the loss.

        Args:
            batch: on the network's device.
            generator: source of noise, times and augmentation, on the CPU.

        Returns:
            ``loss`` to be minimized; for the record ``flow_loss`` and, with labels,
            ``grounding_loss`` and per camera ``grounding_error/<index>`` (named object, median,
            shares of the image's side).
        """
        count = len(batch.tokens)
        pixels = torch.cat([self._pixels(images, generator) for images in batch.images])
        embedded = list(self.network.encode_images(pixels).split(count))
        start, end = self._ends
        prefix = self.network.embed_prefix(
            [*embedded, *[None] * self._absent],
            [None] * (len(embedded) + self._absent),
            batch.tokens,
            batch.token_valid,
            batch.state,
            image_start=self._ids(start),
            image_end=self._ids(end),
        )
        keys_values, stream = self.network.prefill(prefix)
        loss = stream.new_zeros(())
        found: dict[str, Tensor] = {}
        if self._flow_weight > 0:
            cache = self.network.expert_cache(keys_values, prefix).repeat(self._draws)
            flow = self._flow_loss(batch, cache, generator)
            found["flow_loss"] = flow.detach()
            loss = loss + self._flow_weight * flow
        if len(self.heads):
            grounding, errors = self._grounding(batch, stream, len(start), len(end))
            found["grounding_loss"] = grounding.detach()
            found.update(errors)
            loss = loss + self._grounding_weight * grounding
        found["loss"] = loss
        return found

    def _flow_loss(self, batch: Batch, cache: ExpertCache, generator: torch.Generator) -> Tensor:
        draws = self._draws
        actions = batch.actions.repeat_interleave(draws, 0)
        noise = torch.randn(actions.shape, generator=generator).to(actions.device)
        time = sample_times(len(actions), generator).to(actions.device)
        ignored = (batch.is_pad | ~batch.acts[:, None]).repeat_interleave(draws, 0)
        known = None
        if self._rtc_delay:
            count, chunk = actions.shape[:2]
            delays = draw_delays(self._rtc_delay, count, generator)[:, None]
            known = (torch.arange(chunk) < delays).to(actions.device)
            ignored = ignored | known
        errors = denoising_errors(self.network, cache, actions, noise, time, known)
        return flow_matching_loss(errors, action_dim=self._action_dim, is_pad=ignored)

    def _grounding(
        self, batch: Batch, stream: Tensor, before: int, behind: int
    ) -> tuple[Tensor, dict[str, Tensor]]:
        total = stream.new_zeros(())
        errors: dict[str, Tensor] = {}
        tokens = self._token_side**2
        for index, head in enumerate(self.heads):
            labels = batch.labels[index]
            if labels is None:
                continue
            at = index * (before + tokens + behind) + before
            logits, offsets = head(stream[:, at : at + tokens])
            height, width = batch.images[index].shape[1:3]
            grid = ImageGrid(self._token_side, width / self._side, height / self._side)
            loss, error = grounding_loss(logits, offsets, add_named(labels, batch.named), grid)
            total = total + loss
            errors[f"grounding_error/{index}"] = error.nanmedian()
        return total, errors

    def _pixels(self, images: Tensor, generator: torch.Generator) -> Tensor:
        """Bring fitted frames (batch, height, width, 3) to (batch, 3, side, side) in [-1, 1]."""
        values = images.permute(0, 3, 1, 2).float() / 255.0
        values = self._augmentation(values, generator)
        side = self._side
        height, width = values.shape[-2:]
        out = values.new_full((len(values), 3, side, side), -1.0)
        out[:, :, side - height :, side - width :] = values * 2.0 - 1.0
        return out

    def _ids(self, ids: tuple[int, ...]) -> Tensor | None:
        return torch.tensor(ids, device=self.network.device) if ids else None
