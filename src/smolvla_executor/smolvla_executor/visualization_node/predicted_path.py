# SPDX-License-Identifier: Apache-2.0
"""Where the gripper will go: the newest chunk as a path, and how far the arm has come on it.

How far is read from the joints alone: the nearest row ahead, never one behind. So nothing here
must know when the executor began a chunk, whether it approached it first or held in between, and
it works from a bag as well. Time only lets things fade.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smolvla_executor.core.chunk_queue import ALIGNMENTS

Array = NDArray[np.float64]

TOLERANCE = 0.02
"""Of rows that are as near to the arm as this [rad] the first is meant: a motion that comes back
to where it began is not over before it has begun."""
LEAST_STEP = 0.001
"""Where the gripper was is kept at this distance [m], so that a standing arm makes no trail."""
MOST_REPLACED = 3
MOST_SEAMS = 8


@dataclass(frozen=True)
class Plan:
    """A chunk and the gripper's path that it makes.

    Attributes:
        first_tick, period: as in `Chunk`.
        rows: (rows, joints) [rad].
        points: (rows, 3) [m]; the gripper at each row.
    """

    first_tick: int
    period: float
    rows: Array
    points: Array


@dataclass(frozen=True)
class Seam:
    """Where a newer chunk took over.

    Attributes:
        number: counts the seams; stays with this one.
        point: (3,) [m]; where the newer chunk goes on.
        jump: distance from there to where the older chunk would have gone on [m].
        strength: 1 when it is new, 0 when it is forgotten.
    """

    number: int
    point: Array
    jump: float
    strength: float


@dataclass(frozen=True)
class ReplacedPath:
    """What a chunk still had before it when a newer one took over.

    Attributes:
        number: counts the chunks; stays with this one.
        points: (rows, 3) [m].
        strength: 1 when it was replaced just now, 0 when it is forgotten.
    """

    number: int
    points: Array
    strength: float


@dataclass(frozen=True)
class PathPicture:
    """What is to be seen at one instant; parts may be empty.

    Attributes:
        ahead: (n, 3) [m]; the rows that are still to come, the present one first.
        ahead_times: (n,) how far away they are [s].
        horizon: how long the whole chunk is [s].
        executed: (m, 3) [m]; where the gripper was, the oldest first.
        executed_strengths: (m,) 1 now, 0 when it is forgotten.
        replaced, seams: see there; the oldest first.
    """

    ahead: Array
    ahead_times: Array
    horizon: float
    executed: Array
    executed_strengths: Array
    replaced: tuple[ReplacedPath, ...]
    seams: tuple[Seam, ...]


class PredictedPath:
    """Follows the arm along its chunks.

    Args:
        fade: what was executed, what was replaced and seams are forgotten after this [s].
        timeout: a path on which the arm does not move is forgotten after this without a newer
            chunk [s].

    Attributes:
        row: of the newest chunk, that the arm has reached.
    """

    def __init__(self, fade: float = 1.5, timeout: float = 3.0) -> None:
        self.fade = fade
        self.timeout = timeout
        self._align = ALIGNMENTS["pose"]  # the executor's default
        self._count = 0
        self._moved = 0.0  # when the arm came forward or the chunk came
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self._plan: Plan | None = None
        self.row = 0
        self._executed: deque[tuple[float, Array]] = deque()
        self._replaced: deque[tuple[float, int, Array]] = deque(maxlen=MOST_REPLACED)
        self._seams: deque[tuple[float, int, Array, float]] = deque(maxlen=MOST_SEAMS)

    def on_chunk(self, plan: Plan, now: float) -> None:
        """Go on with a newer chunk; `plan` has at least one row and is finite."""
        self._forget(now)
        old, old_row = self._plan, self.row
        self._count += 1
        self._plan, self.row, self._moved = plan, 0, now
        if old is None or old.rows.shape[1] != plan.rows.shape[1]:
            return
        over = old.first_tick + old_row - plan.first_tick
        if 0 <= over < len(plan.rows):
            self.row = self._align(plan.rows, over, old.rows[old_row])
        jump = float(np.linalg.norm(plan.points[self.row] - old.points[old_row]))
        self._seams.append((now, self._count, plan.points[self.row], jump))
        if old_row + 1 < len(old.rows):
            self._replaced.append((now, self._count, old.points[old_row:]))

    def on_joint_state(self, positions: Array, point: Array, now: float) -> None:
        """Follow the arm.

        Args:
            positions: (joints,) [rad], in the order of the newest chunk's columns.
            point: (3,) [m]; where the gripper is with these.
            now: any steady clock [s].
        """
        plan = self._plan
        if plan is None:
            return
        distances = np.linalg.norm(plan.rows[self.row :] - positions, axis=1)
        near = distances <= distances.min() + TOLERANCE
        nearer_follows = np.append(distances[1:] < distances[:-1], False)
        passed = int(np.argmax(near & ~nearer_follows))
        if passed:
            self.row += passed
            self._moved = now
        if not self._executed or np.linalg.norm(point - self._executed[-1][1]) >= LEAST_STEP:
            self._executed.append((now, point))

    def picture(self, now: float) -> PathPicture:
        """Return what is to be seen at `now`."""
        self._forget(now)
        ahead: Array = np.empty((0, 3))
        times: Array = np.empty(0)
        horizon = 0.0
        executed = [point for _, point in self._executed]
        strengths = [self._strength(time, now) for time, _ in self._executed]
        if self._plan is not None:
            ahead = self._plan.points[self.row :]
            times = self._plan.period * np.arange(len(ahead), dtype=np.float64)
            horizon = (len(self._plan.rows) - 1) * self._plan.period
        return PathPicture(
            ahead,
            times,
            horizon,
            np.array(executed).reshape(-1, 3),
            np.array(strengths),
            tuple(
                ReplacedPath(number, points, self._strength(time, now))
                for time, number, points in self._replaced
            ),
            tuple(
                Seam(number, point, jump, self._strength(time, now))
                for time, number, point, jump in self._seams
            ),
        )

    def _strength(self, time: float, now: float) -> float:
        return min(1.0, max(0.0, 1.0 - (now - time) / self.fade))

    def _forget(self, now: float) -> None:
        if now - self._moved > self.timeout:
            self._plan = None
        limit = now - self.fade
        while self._executed and self._executed[0][0] <= limit:
            self._executed.popleft()
        while self._replaced and self._replaced[0][0] <= limit:
            self._replaced.popleft()
        while self._seams and self._seams[0][0] <= limit:
            self._seams.popleft()
