# SPDX-License-Identifier: Apache-2.0
"""The queue of actions, indexed by tick.

A *tick* is the index of an executed action. It advances when an action is popped and at no
other time. A chunk that was asked for at tick t holds the actions for t, t+1, ...; when it
arrives, the rows whose ticks are over are trimmed. At standstill none are, in motion as many as
were executed meanwhile, or fewer where the plan has changed (see `alignment`): this needs
neither clocks nor a latency estimate.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smolvla_executor.core.aggregation import Aggregation
from smolvla_executor.core.alignment import ALIGNMENTS, Alignment
from smolvla_executor.core.chunk import Chunk


@dataclass(frozen=True)
class MergeResult:
    """What became of a chunk.

    Attributes:
        rows_trimmed: rows of the chunk that were left out at its beginning.
        rows_blended: rows combined with actions that were queued already.
        rows_appended: rows for ticks that had no action yet.
        rows_dropped: queued actions beyond the chunk's end, dropped.
        late: every row was trimmed; the queue is as it was.
        seam_jump: largest difference over the joints [rad] between the chunk's first
            remaining row and what was queued for that tick, or the last executed action
            when the queue was empty; 0 before the first action.
    """

    rows_trimmed: int
    rows_blended: int
    rows_appended: int
    rows_dropped: int
    late: bool
    seam_jump: float


class ChunkQueue:
    """Actions for consecutive ticks, the first of them `next_tick`.

    Args:
        joints: number of joints.
        aggregate: combines actions for the same tick (see `aggregation`).
        align: says where in a chunk to go on (see `alignment`).
    """

    def __init__(
        self, joints: int, aggregate: Aggregation, align: Alignment = ALIGNMENTS["tick"]
    ) -> None:
        self._joints = joints
        self._aggregate = aggregate
        self._align = align
        self._next_tick = 0
        self._last: NDArray[np.float64] | None = None
        self._clear()

    def reconfigure(self, aggregate: Aggregation, align: Alignment) -> None:
        """Merge the next chunks in another way; the queued actions stay."""
        self._aggregate = aggregate
        self._align = align

    def _clear(self) -> None:
        self._rows: NDArray[np.float64] = np.empty((0, self._joints))
        self._counts: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._head = 0

    def __len__(self) -> int:
        return len(self._rows) - self._head

    @property
    def next_tick(self) -> int:
        """The tick that the next `pop` executes."""
        return self._next_tick

    def pop(self) -> NDArray[np.float64]:
        """Take the action of `next_tick` (joints,) and advance by one tick.

        Raises:
            IndexError: the queue is empty.
        """
        action = self.peek(0).copy()
        self._head += 1
        self._next_tick += 1
        self._last = action
        return action.copy()

    def peek(self, index: int) -> NDArray[np.float64]:
        """Return the action of tick ``next_tick + index`` (joints,), read-only.

        Raises:
            IndexError: no action is known for that tick.
        """
        if not 0 <= index < len(self):
            raise IndexError(f"tick {self._next_tick + index} has no action")
        row: NDArray[np.float64] = self._rows[self._head + index]
        return row

    def committed(self) -> NDArray[np.float64]:
        """Return a copy of the queued actions (rows, joints) from `next_tick` on."""
        return self._rows[self._head :].copy()

    def clear(self) -> None:
        """Forget all actions; `next_tick` stays, so no tick is ever executed twice."""
        self._clear()

    def merge(self, chunk: Chunk) -> MergeResult:
        """Put a well-formed chunk (see `chunk.chunk_problem`) into the queue.

        Ticks known to both are aggregated, later ones appended. Queued actions beyond the
        chunk's end are dropped: they continue an older plan, and to run into them would be
        a second seam that nothing has blended. With chunks of one length it cannot occur.

        Raises:
            ValueError: ticks are missing between the queue's end and the chunk.
        """
        end = self._next_tick + len(self)
        if chunk.first_tick > end:
            raise ValueError(
                f"the chunk begins at tick {chunk.first_tick}, but actions are known only up "
                f"to tick {end - 1}: it does not answer a request of this executor"
            )
        positions = np.asarray(chunk.positions, dtype=np.float64)
        trimmed = min(max(0, self._next_tick - chunk.first_tick), len(positions))
        if 0 < trimmed < len(positions):
            following = self.peek(0) if len(self) else self._last
            assert following is not None
            trimmed = self._align(positions, trimmed, following)
        new = positions[trimmed:]
        if len(new) == 0:
            return MergeResult(trimmed, 0, 0, 0, True, 0.0)

        # Rows before a chunk that begins inside the queue stay as they are.
        start = self._head + max(0, chunk.first_tick - self._next_tick)
        kept = self._rows[self._head : start]
        old = self._rows[start : start + len(new)]
        counts = self._counts[start : start + len(new)]
        blended = len(old)
        dropped = len(self._rows) - start - blended

        before = old[0] if blended else (kept[-1] if len(kept) else self._last)
        seam = 0.0 if before is None else float(np.max(np.abs(before - new[0])))

        rows = np.concatenate((kept, self._aggregate(old, new[:blended], counts), new[blended:]))
        rows.setflags(write=False)
        self._counts = np.concatenate(
            (
                self._counts[self._head : start],
                counts + 1,
                np.ones(len(new) - blended, dtype=np.int64),
            )
        )
        self._rows = rows
        self._head = 0
        return MergeResult(trimmed, blended, len(new) - blended, dropped, False, seam)
