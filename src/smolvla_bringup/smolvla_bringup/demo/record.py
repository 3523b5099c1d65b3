# SPDX-License-Identifier: Apache-2.0
"""What the demo saw, as plain data: no ROS, so that report and plot can be tested alone.

All times are seconds since the instruction was sent, by the listener's clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

SUCCESS_SCORE = 1.0
"""The score of a task that is done."""


@dataclass(frozen=True)
class Chunk:
    """A chunk as it arrived.

    Attributes:
        time: arrival [s].
        first_tick: tick of row 0.
        period: time between two rows [s].
        positions: (rows, joints) [rad]; 0 rows when the policy refused.
    """

    time: float
    first_tick: int
    period: float
    positions: NDArray[np.float64]


@dataclass(frozen=True)
class QueueSample:
    """The executor's tick and its queue depth [ticks] at one time [s]."""

    time: float
    tick: int
    depth: int


@dataclass
class Record:
    """One run.

    Attributes:
        joints: names, the columns of all positions.
        states: (time, measured positions [rad]).
        commands: (time, commanded positions [rad]).
        requests: times of inference requests.
        chunks: chunks in the order of arrival.
        queue: samples of the executor's status.
        scores: (time, task score 0..1).
        success_time: when the score first reached 1, or None.
        end_time: when the run ended.
    """

    joints: tuple[str, ...]
    states: list[tuple[float, tuple[float, ...]]] = field(default_factory=list)
    commands: list[tuple[float, tuple[float, ...]]] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    queue: list[QueueSample] = field(default_factory=list)
    scores: list[tuple[float, float]] = field(default_factory=list)
    success_time: float | None = None
    end_time: float = 0.0

    def add_score(self, time: float, score: float) -> None:
        """Note a task score; the first that reaches 1 is the success."""
        self.scores.append((time, score))
        if self.success_time is None and score >= SUCCESS_SCORE:
            self.success_time = time

    def tick_times(self, ticks: NDArray[np.int64], period: float) -> NDArray[np.float64]:
        """Return when `ticks` were executed [s], from the executor's status.

        A sample names the next tick: the ticks before it are over at its time, and it comes
        after the last sample that names it. In between the ticks are spread evenly; outside
        of all samples they follow with `period` [s]. Without samples all are NaN.
        """
        first: dict[int, float] = {}
        last: dict[int, float] = {}
        for sample in self.queue:
            first.setdefault(sample.tick, sample.time)
            last[sample.tick] = sample.time
        if not last:
            return np.full(len(ticks), np.nan)
        known = np.array(sorted(last))
        just_before = known - 1e-6
        at = [time for tick in known for time in (first[tick], last[tick])]
        inside = np.interp(ticks, np.column_stack((just_before, known)).ravel(), at)
        before = np.minimum(ticks - known[0], 0) * period
        after = np.maximum(ticks - known[-1], 0) * period
        return np.asarray(inside + before + after, dtype=np.float64)
