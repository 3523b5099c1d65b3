# SPDX-License-Identifier: Apache-2.0
"""A chunk of actions: joint positions for consecutive ticks."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Chunk:
    """The policy's answer to one request.

    Attributes:
        request_id: the request it answers.
        first_tick: the tick of row 0, as asked for; row i belongs to tick first_tick + i.
        positions: (rows, joints) [rad].
        period: time between two rows [s].
    """

    request_id: int
    first_tick: int
    positions: NDArray[np.float64]
    period: float


def chunk_problem(chunk: Chunk, joints: tuple[str, ...]) -> str:
    """Say why a chunk cannot be executed at all.

    Args:
        chunk: any chunk, as it came over the network.
        joints: names of the columns that the executor expects.

    Returns:
        Words for the user, empty when the chunk is well formed: two dimensions, at least
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
