# SPDX-License-Identifier: Apache-2.0
"""Chunks of actions, the queue that they are merged into, and the commands between actions.

A *tick* is the index of an executed action. It advances when an action is popped and at no
other time. A chunk that was asked for at tick t holds the actions for t, t+1, ...; when it
arrives, the rows whose ticks are over are trimmed. At standstill none are, in motion as many as
were executed meanwhile, or fewer where the plan has changed (see `Alignment`): this needs
neither clocks nor a latency estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from smolvla_core.node_settings import ExecutorSettings


@dataclass(frozen=True)
class Chunk:
    """The policy's answer to one request.

    Attributes:
        request_id: the request it answers.
        first_tick: the tick of row 0, as asked for; row i belongs to tick first_tick + i.
        positions: (rows, joints) [rad].
        period: time between two rows [s].
        continues, chunk_size, state_offset: see ``smolvla_msgs/ActionChunk``.
    """

    request_id: int
    first_tick: int
    positions: NDArray[np.float64]
    period: float
    continues: str = ""
    chunk_size: int = 0
    state_offset: int = 0


def chunk_problem(chunk: Chunk, joints: tuple[str, ...]) -> str:
    """Say why a chunk cannot be executed at all.

    Args:
        chunk: any chunk, as it came over the network.
        joints: names of the columns that the executor expects.

    Returns:
        A message for the user, empty when the chunk is well formed: two dimensions, at least
        one row, one column per joint, finite numbers, a positive period.
    """
    positions = np.asarray(chunk.positions)
    if positions.dtype.kind not in "fiu":
        return f"the chunk holds {positions.dtype} instead of numbers"
    if positions.ndim != 2 or positions.shape[1] != len(joints):
        return (
            f"the chunk has shape {positions.shape}, but must be (rows, {len(joints)}) "
            f"for the joints {', '.join(joints)}"
        )
    if positions.shape[0] == 0:
        return "the chunk has no rows"
    if not math.isfinite(chunk.period) or chunk.period <= 0:
        return f"the chunk's period is {chunk.period} s, but must be greater than 0"
    finite = np.isfinite(positions)
    if not finite.all():
        row, column = np.argwhere(~finite)[0]
        return (
            f"the chunk holds {positions[row, column]} for {joints[column]} in row {row} "
            f"({finite.size - np.count_nonzero(finite)} such values): check the policy's "
            "statistics and number type"
        )
    return ""


Rows = NDArray[np.float64]
Aggregation = Callable[[Rows, Rows, NDArray[np.int64]], Rows]
"""(old (rows, joints), new (rows, joints), counts (rows,)) -> (rows, joints).

``counts`` says how many chunks the old value of each row was made of.
"""

ENSEMBLE_DECAY = 0.01
"""m of ACT's temporal ensemble (Zhao et al. 2023, arXiv 2304.13705, section IV-B)."""


def _blend(share: float) -> Aggregation:
    # old + share * (new - old) returns old bit for bit where both agree; a sum of two
    # products would not.
    def blend(old: Rows, new: Rows, counts: NDArray[np.int64]) -> Rows:
        return old + share * (new - old)

    return blend


def _latest(old: Rows, new: Rows, counts: NDArray[np.int64]) -> Rows:
    return new.copy()


def _temporal_ensemble(old: Rows, new: Rows, counts: NDArray[np.int64]) -> Rows:
    """Average all predictions of a tick with the weights exp(-m i), i = 0 for the oldest.

    The mean of the first k predictions and k are enough to add the next one: its share is
    w_k / (w_0 + ... + w_k).
    """
    newest = np.exp(-ENSEMBLE_DECAY * counts)
    total = (1.0 - newest * math.exp(-ENSEMBLE_DECAY)) / (1.0 - math.exp(-ENSEMBLE_DECAY))
    return old + (newest / total)[:, None] * (new - old)


AGGREGATIONS: dict[str, Aggregation] = {
    "latest": _latest,
    "weighted": _blend(0.7),
    "average": _blend(0.5),
    "conservative": _blend(0.3),
    "temporal_ensemble": _temporal_ensemble,
}
"""By the names of `node_settings.AGGREGATIONS`, less `auto`. The shares of the new chunk in
`weighted`, `average` and `conservative` are those of LeRobot's functions of these names."""


def chosen_aggregation(name: str, continues: str) -> str:
    """Turn `auto` into the name of an aggregation.

    A chunk that continues the queued actions agrees with them already; blended with what was
    planned before it would be neither plan.

    Args:
        name: parameter ``aggregate``.
        continues: of the chunk.
    """
    if name != "auto":
        return name
    return "weighted" if continues in ("", "off") else "latest"


Alignment = Callable[[Rows, int, NDArray[np.float64]], int]
"""(chunk (rows, joints), rows whose ticks are over, next action (joints,)) -> rows to trim.

Rows whose ticks are over are trimmed. That is right as long as the arm did meanwhile what the
chunk thought it would. Where the plan changed, as after a new instruction, it did not: going on at
the row of the present tick skips the beginning of the new motion, and the arm rushes to catch up
with a plan that it never began.
"""

LEAST_GAIN = 0.03
"""A row other than that of the present tick must be nearer by this much [rad], or noise would
shift motions that agree."""


def _by_tick(positions: Rows, over: int, following: NDArray[np.float64]) -> int:
    return over


def _by_pose(positions: Rows, over: int, following: NDArray[np.float64]) -> int:
    distances = np.linalg.norm(positions[: over + 1] - following, axis=1)
    nearest = int(np.argmin(distances))
    return nearest if distances[nearest] < distances[over] - LEAST_GAIN else over


ALIGNMENTS: dict[str, Alignment] = {"tick": _by_tick, "pose": _by_pose}
"""By name. `tick` trims exactly the rows whose ticks are over. `pose` trims up to so many, down to
the row nearest to what would be executed next."""


@dataclass(frozen=True)
class MergeResult:
    """What became of a chunk.

    Attributes:
        rows_trimmed: rows of the chunk that were left out at its beginning.
        late: every row was trimmed; the queue is as it was.
        seam_jump: largest difference over the joints [rad] between the chunk's first
            remaining row and what was queued for that tick, or the last executed action
            when the queue was empty; 0 before the first action.
    """

    rows_trimmed: int
    late: bool
    seam_jump: float


class ChunkQueue:
    """Actions for consecutive ticks, the first of them `next_tick`.

    Args:
        joints: number of joints.
        settings: how the actions of one tick are combined, and where in a chunk to go on.
    """

    def __init__(self, joints: int, settings: ExecutorSettings) -> None:
        self._joints = joints
        self.reconfigure(settings)
        self._next_tick = 0
        self._last: NDArray[np.float64] | None = None
        self.clear()

    def reconfigure(self, settings: ExecutorSettings) -> None:
        """Merge the next chunks in another way; the queued actions stay."""
        self._aggregate = settings.aggregate
        self._align = ALIGNMENTS[settings.alignment]

    def clear(self) -> None:
        """Forget all actions; `next_tick` stays, so no tick is ever executed twice."""
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

    def merge(self, chunk: Chunk) -> MergeResult:
        """Put a well-formed chunk (see `chunk_problem`) into the queue.

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
            return MergeResult(trimmed, True, 0.0)

        # Rows before a chunk that begins inside the queue stay as they are.
        start = self._head + max(0, chunk.first_tick - self._next_tick)
        kept = self._rows[self._head : start]
        old = self._rows[start : start + len(new)]
        counts = self._counts[start : start + len(new)]
        blended = len(old)

        before = old[0] if blended else (kept[-1] if len(kept) else self._last)
        seam = 0.0 if before is None else float(np.max(np.abs(before - new[0])))

        aggregate = AGGREGATIONS[chosen_aggregation(self._aggregate, chunk.continues)]
        rows = np.concatenate((kept, aggregate(old, new[:blended], counts), new[blended:]))
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
        return MergeResult(trimmed, False, seam)


MAX_DENOMINATOR = 10_000


class Upsampler:
    """Says in which control cycle an action begins and how far it has gone.

    Counting is in integers: an action lasts ``cycles`` = n/d control cycles, a phase grows by
    d each cycle and an action begins when it reaches n. So nothing drifts, however long it
    runs, and at rates that divide each other the fraction is exactly 0 at every action.
    The rate and the period are first rounded to a ratio with a denominator of at most
    `MAX_DENOMINATOR` (relative error below 1e-8), which makes the 33333333 ns of a message
    the thirtieth of a second that was meant.

    A cycle that came late delays the actions that follow; it never makes them jump.

    Args:
        control_rate: control cycles per second [Hz].
        period: time between two actions [s].

    Raises:
        ValueError: there are fewer control cycles than actions.
    """

    def __init__(self, control_rate: float, period: float) -> None:
        cycles = Fraction(control_rate * period).limit_denominator(MAX_DENOMINATOR)
        if cycles < 1:
            raise ValueError(
                f"actions are {period:.6g} s apart, but control runs at {control_rate:g} Hz "
                f"only: raise the control rate to {1 / period:.4g} Hz or more"
            )
        self.period = period
        self._length = cycles.numerator
        self._step = cycles.denominator
        self._phase = self._length

    @property
    def due(self) -> bool:
        """Whether the next action begins in this cycle."""
        return self._phase >= self._length

    @property
    def fraction(self) -> float:
        """How much of the current action's period is over, in [0, 1)."""
        return self._phase / self._length

    def begin(self) -> None:
        """Begin the action that is due."""
        self._phase -= self._length

    def advance(self) -> None:
        """End this control cycle."""
        self._phase += self._step


def interpolate(
    current: NDArray[np.float64], following: NDArray[np.float64], fraction: float
) -> NDArray[np.float64]:
    """Go from one action (joints,) to the next; bit for bit `current` at fraction 0."""
    if fraction == 0.0:
        return current.copy()
    return current + fraction * (following - current)
