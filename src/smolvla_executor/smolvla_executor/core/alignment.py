# SPDX-License-Identifier: Apache-2.0
"""Where in a new chunk the execution goes on.

A chunk that was asked for at tick t is meant for t, t+1, ...: the rows whose ticks are over are
trimmed. That is right as long as the arm did meanwhile what the chunk thought it would. Where the
plan changed, as after a new instruction, it did not: the arm was somewhere else all the time, and
going on at the row of the present tick skips the beginning of the new motion. The arm then rushes
to catch up with a plan that it never began.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Alignment = Callable[[NDArray[np.float64], int, NDArray[np.float64]], int]
"""(chunk (rows, joints), rows whose ticks are over, next action (joints,)) -> rows to trim."""

LEAST_GAIN = 0.03
"""A row other than that of the present tick must be nearer by this much [rad], or noise would
shift motions that agree."""


def _by_tick(positions: NDArray[np.float64], over: int, following: NDArray[np.float64]) -> int:
    return over


def _by_pose(positions: NDArray[np.float64], over: int, following: NDArray[np.float64]) -> int:
    distances = np.linalg.norm(positions[: over + 1] - following, axis=1)
    nearest = int(np.argmin(distances))
    return nearest if distances[nearest] < distances[over] - LEAST_GAIN else over


ALIGNMENTS: dict[str, Alignment] = {"tick": _by_tick, "pose": _by_pose}
"""By name. `tick` trims exactly the rows whose ticks are over. `pose` trims up to so many, down to
the row nearest to what would be executed next."""


def alignment(name: str) -> Alignment:
    """Return the alignment called `name`.

    Raises:
        ValueError: there is none of that name; the text lists those there are.
    """
    try:
        return ALIGNMENTS[name]
    except KeyError:
        known = ", ".join(ALIGNMENTS)
        raise ValueError(f"unknown alignment {name!r}: choose one of {known}") from None
