# SPDX-License-Identifier: Apache-2.0
"""From datasets to batches: the numbers, the images and the tokens that a step needs, in order.

Nothing about it has to be saved: whoever knows how many samples were used knows what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from smolvla_policy.checkpoint.config import ACTION, STATE
from smolvla_policy.policy import SmolVLAPolicy
from torch import Tensor

from smolvla_learning.dataset import Dataset
from smolvla_learning.dataset.features import INTERVENTION
from smolvla_learning.training.grounding import PREFIX, VALUES, named_object

Indices = NDArray[np.int64]


def intervention_repeats(dataset: Dataset, weight: int) -> Indices | None:
    """Return (frames,) how often each frame comes up: `weight` where a human commanded, else 1.

    None where the dataset does not tell.
    """
    if weight == 1 or INTERVENTION not in dataset.features:
        return None
    corrected = dataset.column(INTERVENTION).reshape(-1).astype(bool)
    return np.where(corrected, weight, 1).astype(np.int64)


class SampleOrder:
    """Epochs of shuffled frames from one or several datasets.

    An epoch has as many samples as there are frames; one that is repeated counts so often. With
    shares, a dataset gets that part of
    each epoch; its frames then come up more or less than once.

    Args:
        lengths: frames of each dataset.
        shares: part of the samples that each dataset gets; None for its part of the frames.
        seed: of the shuffling.
        repeats: of each dataset (frames,) how often each frame comes up, or None for once.

    Raises:
        ValueError: no frames, or the shares do not fit.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        shares: Sequence[float] | None = None,
        seed: int = 0,
        repeats: Sequence[Indices | None] | None = None,
    ) -> None:
        if not lengths or min(lengths) < 1:
            raise ValueError(f"every dataset needs at least one frame, got {list(lengths)}")
        self._frames = [
            np.repeat(np.arange(length), 1 if times is None else times)
            for length, times in zip(lengths, repeats or [None] * len(lengths), strict=True)
        ]
        if shares is None:
            self.counts = [len(frames) for frames in self._frames]
        else:
            if len(shares) != len(lengths) or min(shares) <= 0:
                raise ValueError(
                    f"{len(lengths)} datasets need as many shares above 0, got {list(shares)}"
                )
            total = sum(map(len, self._frames))
            self.counts = [max(round(total * share / sum(shares)), 1) for share in shares]
        self.epoch_length = sum(self.counts)
        self._seed = seed
        self._epoch: tuple[int, Indices] = (-1, np.empty((0, 2), np.int64))

    def __call__(self, first: int, count: int) -> Indices:
        """Return the samples ``first`` to ``first + count``.

        Returns:
            (count, 2): dataset, and frame in it.
        """
        parts: list[Indices] = []
        while count > 0:
            epoch, at = divmod(first, self.epoch_length)
            part = self._shuffled(epoch)[at : at + count]
            parts.append(part)
            first += len(part)
            count -= len(part)
        return np.concatenate(parts)

    def _shuffled(self, epoch: int) -> Indices:
        if self._epoch[0] != epoch:
            rng = np.random.default_rng([self._seed, epoch])
            rows = []
            for source, (once, count) in enumerate(zip(self._frames, self.counts, strict=True)):
                # Every frame comes up equally often, give or take one.
                rounds = -(-count // len(once))
                frames = np.concatenate([rng.permutation(once) for _ in range(rounds)])[:count]
                rows.append(np.column_stack([np.full(count, source), frames]))
            self._epoch = (epoch, rng.permutation(np.concatenate(rows)))
        return self._epoch[1]


Floats = NDArray[np.float32]


@dataclass(frozen=True)
class Batch:
    """Samples of one step.

    Attributes:
        images: per camera (batch, fitted height, fitted width, 3) uint8 RGB.
        tokens: (batch, tokens) token ids.
        token_valid: (batch, tokens) Boolean, None if no token is padding.
        state: (batch, state_dim) normalized and padded.
        actions: (batch, chunk, action_dim) normalized and padded.
        is_pad: (batch, chunk) True behind the end of the episode.
        acts: (batch,) False where the actions teach nothing.
        labels: per camera (batch, objects, 3), or None; see `grounding.VALUES`.
        named: (batch,) index of the object that the sentence names, below 0 for none.
    """

    images: list[Tensor]
    tokens: Tensor
    token_valid: Tensor | None
    state: Tensor
    actions: Tensor
    is_pad: Tensor
    acts: Tensor
    labels: list[Tensor | None]
    named: Tensor

    def to(self, device: torch.device) -> Batch:
        """Return the batch on a device."""

        def move(tensor: Tensor) -> Tensor:
            return tensor.to(device, non_blocking=True)

        return replace(
            self,
            images=[move(image) for image in self.images],
            tokens=move(self.tokens),
            token_valid=None if self.token_valid is None else move(self.token_valid),
            state=move(self.state),
            actions=move(self.actions),
            is_pad=move(self.is_pad),
            acts=move(self.acts),
            labels=[None if label is None else move(label) for label in self.labels],
            named=move(self.named),
        )


class Source:
    """One dataset, ready to be sampled.

    Args:
        dataset: checked already, see `checks`.
        policy: whose units, sizes and tokenizer apply.
        images: per camera of the policy all its frames, see `frame_cache`.
        cameras: names of these cameras in the dataset, by which its labels go.
        acts: False for a dataset of scenes, whose actions teach nothing.
        grounded: whether labels are read.
    """

    def __init__(
        self,
        dataset: Dataset,
        policy: SmolVLAPolicy,
        images: Sequence[NDArray[np.uint8]],
        cameras: Sequence[str],
        *,
        acts: bool = True,
        grounded: bool = False,
    ) -> None:
        self.dataset = dataset
        self.acts = acts
        self.images = list(images)
        self.length = dataset.num_frames
        self._chunk = policy.chunk_size
        normalizers = policy.normalizers
        sizes = policy.network.sizes
        self._state_dim, self._normalize_state = sizes.state_dim, normalizers[STATE].normalize
        self._measured = dataset.column(STATE).astype(np.float32)
        self._commanded = dataset.column(ACTION).astype(np.float32)
        self._state = _padded(self._normalize_state(self._measured), self._state_dim)
        self._actions = _padded(normalizers[ACTION].normalize(self._commanded), sizes.action_dim)
        self._ends = np.empty(self.length, np.int64)
        for episode in dataset.episodes:
            self._ends[episode.from_index : episode.to_index] = episode.to_index
        self._task = dataset.column("task_index").astype(np.int64).reshape(-1)
        self.objects: tuple[str, ...] = ()
        self.labels: list[Floats | None] = [None] * len(cameras)
        if grounded:
            self._read_labels(cameras)

    def _read_labels(self, cameras: Sequence[str]) -> None:
        for index, camera in enumerate(cameras):
            name = PREFIX + camera.rpartition(".")[2]
            if name not in self.dataset.features:
                continue
            names = self.dataset.features[name].names or ()
            self.objects = tuple(label.rpartition(".")[0] for label in names[::VALUES])
            values = self.dataset.column(name).astype(np.float32)
            self.labels[index] = values.reshape(self.length, -1, VALUES)

    def chunk(self, frames: NDArray[np.int64]) -> tuple[Floats, NDArray[np.bool_]]:
        """Return (n, chunk, action_dim) actions from each frame on, and which are padding.

        Behind the end of the episode its last action is repeated, as in LeRobot.
        """
        wanted = frames[:, None] + np.arange(self._chunk)
        ends = self._ends[frames][:, None]
        return self._actions[np.minimum(wanted, ends - 1)], wanted >= ends

    def ahead(self, frames: Indices, offsets: Indices) -> Indices:
        """Return the frames that are so many later than (n,) `frames`, within their episodes."""
        return np.minimum(frames + offsets, self._ends[frames] - 1)

    def state(self, frames: NDArray[np.int64]) -> Floats:
        """Return the (n, state_dim) states of frames."""
        return self._state[frames]

    def rolled(self, frames: Indices, later: Indices) -> Floats:
        """Return the (n, state_dim) states of `frames`, moved by what is commanded until `later`.

        As at inference: what stops the arm meanwhile, such as an object in the gripper, is not
        known then, and the measured state of `later` would tell it.
        """
        motion = self._commanded[later] - self._commanded[frames]
        return _padded(self._normalize_state(self._measured[frames] + motion), self._state_dim)

    def task(self, frames: NDArray[np.int64]) -> list[str]:
        """Return the instructions of frames."""
        return [self.dataset.tasks[index] for index in self._task[frames]]


class Batches:
    """Puts batches together from several sources.

    Args:
        sources: in the order of `SampleOrder`.
        policy: whose tokenizer applies.
        state_offset: actions are of a moment up to so many frames later than the images, and the
            state is moved there, see `Source.rolled`.
    """

    def __init__(
        self, sources: Sequence[Source], policy: SmolVLAPolicy, state_offset: int = 0
    ) -> None:
        self.sources = list(sources)
        self._offset = state_offset
        self._tokenizer = policy.tokenizer
        self._ids: dict[str, list[int]] = {}
        self.objects = next((source.objects for source in sources if source.objects), ())
        self._cameras = len(policy.cameras)

    def __call__(self, rows: Indices, generator: torch.Generator | None = None) -> Batch:
        """Gather samples.

        Args:
            rows: (batch, 2) from `SampleOrder`.
            generator: source of the offsets; PyTorch's own if None.
        """
        # Samples of one source lie behind each other; their order within a batch is free.
        rows = rows[np.argsort(rows[:, 0], kind="stable")]
        groups = [
            (source, rows[rows[:, 0] == index, 1])
            for index, source in enumerate(self.sources)
            if (rows[:, 0] == index).any()
        ]
        later = [frames for _, frames in groups]
        if self._offset:
            later = [
                source.ahead(frames, self._offsets(len(frames), generator))
                for source, frames in groups
            ]
        moved = [(source, frames, to) for (source, frames), to in zip(groups, later, strict=True)]
        states = [
            source.rolled(frames, to) if self._offset else source.state(frames)
            for source, frames, to in moved
        ]
        chunks = [source.chunk(to) for source, _, to in moved]
        sentences = [text for source, frames in groups for text in source.task(frames)]
        tokens, valid = self._encode(sentences)
        return Batch(
            images=[
                _join([source.images[camera][frames] for source, frames in groups])
                for camera in range(self._cameras)
            ],
            tokens=tokens,
            token_valid=valid,
            state=_join(states),
            actions=_join([actions for actions, _ in chunks]),
            is_pad=_join([is_pad for _, is_pad in chunks]),
            acts=_join([np.full(len(frames), source.acts) for source, frames in groups]),
            labels=[self._labels(groups, camera) for camera in range(self._cameras)],
            named=torch.tensor([named_object(text, self.objects) for text in sentences]),
        )

    def _offsets(self, count: int, generator: torch.Generator | None) -> Indices:
        return draw_delays(self._offset, count, generator).numpy()

    def _labels(
        self, groups: Sequence[tuple[Source, NDArray[np.int64]]], camera: int
    ) -> Tensor | None:
        if all(source.labels[camera] is None for source in self.sources):
            return None
        parts: list[Floats] = []
        for source, frames in groups:
            labels = source.labels[camera]
            if labels is None:  # nothing is visible to a source without labels
                parts.append(np.zeros((len(frames), len(self.objects), VALUES), np.float32))
            else:
                parts.append(labels[frames])
        return _join(parts)

    def _encode(self, sentences: Sequence[str]) -> tuple[Tensor, Tensor | None]:
        for text in set(sentences) - self._ids.keys():
            self._ids[text] = self._tokenizer.encode(text)
        longest = max(len(self._ids[text]) for text in sentences)
        padded = [self._tokenizer.pad(self._ids[text], longest) for text in sentences]
        tokens = torch.tensor([ids for ids, _ in padded])
        valid = torch.tensor([real for _, real in padded])
        return tokens, None if bool(valid.all()) else valid


def draw_delays(longest: int, count: int, generator: torch.Generator | None) -> Tensor:
    """Draw delays from 0 to `longest` actions, short ones more often.

    With all equally often, what an arm does without delay would be learned in one of
    ``longest + 1`` samples. The authors of training-time real-time chunking weight delays so in
    simulation, too (arXiv 2512.05964).

    Returns:
        (count,) int64.
    """
    return ((longest + 1) * torch.rand(count, generator=generator) ** 2).long()


def _padded(values: Floats, width: int) -> Floats:
    return np.pad(values, ((0, 0), (0, width - values.shape[1])))


def _join(parts: Sequence[NDArray[np.generic]]) -> Tensor:
    return torch.from_numpy(np.concatenate(parts))
