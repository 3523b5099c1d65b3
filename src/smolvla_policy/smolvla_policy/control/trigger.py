# SPDX-License-Identifier: Apache-2.0
"""When to ask for the next chunk."""

from __future__ import annotations


class Trigger:
    """The threshold of asynchronous inference (SmolVLA, arXiv 2506.01844, algorithm 1).

    Args:
        share: g. 0 asks when the queue is empty (synchronous), between 0 and 1 when less
            than that share of a chunk is left, 1 after every executed action.

    Raises:
        ValueError: `share` is not within [0, 1].
    """

    def __init__(self, share: float) -> None:
        if not 0.0 <= share <= 1.0:
            raise ValueError(f"trigger_share (g) must be within [0, 1], but is {share}")
        self.share = share

    def wants(self, queued: int, chunk_size: int) -> bool:
        """Say whether `queued` actions of a chunk of `chunk_size` rows are too few.

        Args:
            queued: actions that are known; the first of them begins right now and is therefore
                not counted among those that are left.
            chunk_size: rows of the newest chunk.
        """
        return queued == 0 or queued - 1 < self.share * chunk_size
