# SPDX-License-Identifier: Apache-2.0
"""The cells of the table: how chunks are executed, and how long the policy takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from smolvla_policy.control.aggregation import aggregation

G_SHARES = (0.3, 0.5, 0.7, 0.9)
AGGREGATES = ("latest", "weighted", "average", "conservative", "temporal_ensemble")
DELAYS = (0, 100, 300, 600)
CLAIM_DELAY = 300
"""The delay [ms] at which synchronous and asynchronous execution are judged."""
USUAL_G = 0.7
USUAL_AGGREGATE = "weighted"
USUAL_RESUME_JUMP = 0.2
NO_APPROACH = 10.0
"""A `Mode.resume_jump` that no joint reaches: the arm goes on at once, as with LeRobot."""


@dataclass(frozen=True)
class Mode:
    """How chunks are executed; fields as the parameters of `executor_node`.

    Attributes:
        g: share of a chunk below which the next one is asked for; 0: only when none is left.
        aggregate: how chunks are blended; without meaning for g = 0.
        actions_per_chunk: rows of a chunk that are used; 0 all.
        resume_jump: an action that ends a hold is approached slowly when it is farther than
            this from the held command [rad].
    """

    g: float
    aggregate: str = USUAL_AGGREGATE
    actions_per_chunk: int = 0
    resume_jump: float = USUAL_RESUME_JUMP

    @property
    def synchronous(self) -> bool:
        """Whether it thinks and acts in turns."""
        return self.g == 0.0

    @property
    def name(self) -> str:
        """E.g. ``sync, 5 actions`` or ``async g=0.7 weighted``."""
        if self.synchronous:
            if not self.actions_per_chunk:
                return "sync, whole chunk"
            return f"sync, {self.actions_per_chunk} actions"
        rows = f", {self.actions_per_chunk} actions" if self.actions_per_chunk else ""
        return f"async g={self.g:g} {self.aggregate}{rows}"


@dataclass(frozen=True)
class Cell:
    """A mode at a delay.

    Attributes:
        mode: how chunks are executed.
        delay_ms: simulated time from an observation to its chunk [ms].
    """

    mode: Mode
    delay_ms: int

    @property
    def key(self) -> dict[str, Any]:
        """Plain data that tells it from every other cell."""
        return {**asdict(self.mode), "delay_ms": self.delay_ms}


def modes(
    n_action_steps: int,
    chunk_size: int,
    g_shares: Sequence[float] = G_SHARES,
    aggregates: Sequence[str] = AGGREGATES,
) -> tuple[Mode, ...]:
    """Return the modes: a part of all combinations, as time is not for free.

    Synchronous with `n_action_steps` and with the whole chunk, both without an approach after
    a hold, which would slow down what others do not have; every share of `g_shares`
    with one way of blending, and every way of `aggregates` with one share: 0.7 and weighted,
    or what comes first where these are not among them.

    Raises:
        ValueError: a share is not within 0..1, or a way of blending unknown.
    """
    for g in g_shares:
        if not 0.0 < g <= 1.0:
            raise ValueError(f"g is {g:g}; asynchronous execution needs 0 < g <= 1")
    for name in aggregates:
        aggregation(name)
    found = [Mode(0.0, actions_per_chunk=n_action_steps, resume_jump=NO_APPROACH)]
    if n_action_steps < chunk_size:
        found.append(Mode(0.0, resume_jump=NO_APPROACH))
    if g_shares and aggregates:
        one_g = USUAL_G if USUAL_G in g_shares else g_shares[0]
        one_way = USUAL_AGGREGATE if USUAL_AGGREGATE in aggregates else aggregates[0]
        found += [Mode(g, one_way) for g in g_shares]
        found += [Mode(one_g, name) for name in aggregates if name != one_way]
    return tuple(found)


def cells(all_modes: Sequence[Mode], delays_ms: Sequence[int]) -> tuple[Cell, ...]:
    """Return every mode at every delay, delays slowest.

    Raises:
        ValueError: a delay is negative.
    """
    for delay in delays_ms:
        if delay < 0:
            raise ValueError(f"a delay is {delay} ms; it must be 0 or more")
    return tuple(Cell(mode, delay) for delay in delays_ms for mode in all_modes)
