# SPDX-License-Identifier: Apache-2.0
"""What became of an episode, in words."""

from __future__ import annotations

from smolvla_sim.world.tasks import Progress, Task

SUCCESS = "success"
LIFTED = "lifted only"
WRONG_CUBE = "wrong cube touched first"
TOUCHED = "right cube touched, not lifted"
NOTHING = "nothing touched"

FAILURES = (LIFTED, WRONG_CUBE, TOUCHED, NOTHING)
"""Kinds of failure, each episode one of them, the nearest to success first."""


def outcome(task: Task, score: float, progress: Progress) -> str:
    """Return `SUCCESS` or one of `FAILURES`.

    Args:
        task: what was asked for.
        score: at the end, 0 to 1.
        progress: what has happened.
    """
    if score >= 1.0:
        return SUCCESS
    if task.cube in progress.lifted:
        return LIFTED
    if progress.first_touched is None:
        return NOTHING
    return TOUCHED if progress.first_touched == task.cube else WRONG_CUBE
