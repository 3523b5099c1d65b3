# SPDX-License-Identifier: Apache-2.0
"""The order in which a training sees its frames: a function of the seed alone.

Nothing about it has to be saved: whoever knows how many samples were used knows what follows.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]


class SampleOrder:
    """Epochs of shuffled frames from one or several datasets.

    An epoch has as many samples as there are frames. With shares, a dataset gets that part of
    each epoch; its frames then come up more or less than once.

    Args:
        lengths: frames of each dataset.
        shares: part of the samples that each dataset gets; None for its part of the frames.
        seed: of the shuffling.

    Raises:
        ValueError: no frames, or the shares do not fit.
    """

    def __init__(
        self, lengths: Sequence[int], shares: Sequence[float] | None = None, seed: int = 0
    ) -> None:
        if not lengths or min(lengths) < 1:
            raise ValueError(f"every dataset needs at least one frame, got {list(lengths)}")
        if shares is None:
            self.counts = list(lengths)
        else:
            if len(shares) != len(lengths) or min(shares) <= 0:
                raise ValueError(
                    f"{len(lengths)} datasets need as many shares above 0, got {list(shares)}"
                )
            total = sum(lengths)
            self.counts = [max(round(total * share / sum(shares)), 1) for share in shares]
        self.epoch_length = sum(self.counts)
        self._lengths = list(lengths)
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
            for source, (length, count) in enumerate(zip(self._lengths, self.counts, strict=True)):
                # Every frame comes up equally often, give or take one.
                rounds = -(-count // length)
                frames = np.concatenate([rng.permutation(length) for _ in range(rounds)])[:count]
                rows.append(np.column_stack([np.full(count, source), frames]))
            self._epoch = (epoch, rng.permutation(np.concatenate(rows)))
        return self._epoch[1]
