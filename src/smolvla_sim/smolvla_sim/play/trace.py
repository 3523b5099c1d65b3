# SPDX-License-Identifier: Apache-2.0
"""What happened in a run, and the measures that are taken from it.

Filled by the benchmark in simulated time and, from topics, by the one with real nodes, so that
both measure the same.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass
class Trace:
    """One run.

    Attributes:
        commands: (joints,) commands in their order [rad].
        merges: index of the first command after each merge of a chunk.
        ages: of each executed action: the time between the observation that the newest chunk
            with a say in it was made from, and its execution [s].
        cycles: control cycles from the first executed action on.
        starved: those of them that had no action to execute.
        approaching: those of them that led to the first action after a pause.
        requests: how often the policy was asked.
        refusals: how often it refused.
    """

    commands: list[NDArray[np.float64]] = field(default_factory=list)
    merges: list[int] = field(default_factory=list)
    ages: list[float] = field(default_factory=list)
    cycles: int = 0
    starved: int = 0
    approaching: int = 0
    requests: int = 0
    refusals: int = 0

    def measures(self, cycles_per_action: float) -> dict[str, Any]:
        """Return plain data for the file of results.

        Args:
            cycles_per_action: commands from one action to the next.
        """
        jumps = seam_jumps(self.commands, self.merges, cycles_per_action)
        return {
            "cycles": self.cycles,
            "starved": self.starved,
            "approaching": self.approaching,
            "requests": self.requests,
            "refusals": self.refusals,
            # Counted by the millisecond: small, and percentiles over all seeds stay exact.
            "ages_ms": {
                str(ms): count
                for ms, count in sorted(Counter(round(1e3 * age) for age in self.ages).items())
            },
            "seam_jumps_deg": [round(float(jump), 3) for jump in jumps],
        }


def seam_jumps(
    commands: Sequence[NDArray[np.float64]], merges: Sequence[int], cycles_per_action: float
) -> NDArray[np.float64]:
    """Return the jump at each seam between two chunks, (seams,) [degrees].

    A jump is how much the command's step from one control cycle to the next differs from the
    step before it: 0 in a steady motion, whatever its speed. Of the joints the largest counts,
    and of the cycles those of one action's length from the merge on, as the new chunk begins to
    tell somewhere in there.

    Args:
        commands: (joints,) each, in their order [rad].
        merges: index of the first command after each merge.
        cycles_per_action: commands from one action to the next.
    """
    if len(commands) < 3:
        return np.empty(0)
    bends = np.abs(np.diff(np.asarray(commands), n=2, axis=0)).max(axis=1)
    span = max(1, math.ceil(cycles_per_action - 1e-9))
    # bends[i] is the one at command i + 2; before that there is no step to compare with.
    jumps = [
        bends[start : start + span].max()
        for start in (index - 2 for index in merges)
        if 0 <= start < len(bends)
    ]
    return np.degrees(np.array(jumps))


def counted(counts: Mapping[str, int]) -> NDArray[np.float64]:
    """Return each value as often as it was counted, from value as text -> how often."""
    values = np.array([float(value) for value in counts])
    return np.repeat(values, np.array(list(counts.values()), dtype=np.int64))


def percentiles(values: NDArray[np.float64], shares: Sequence[float]) -> tuple[float, ...]:
    """Return nearest-rank percentiles of (n,) values; NaN for none.

    Args:
        values: in any order.
        shares: between 0 and 1.
    """
    if len(values) == 0:
        return tuple(math.nan for _ in shares)
    ordered = np.sort(values)
    return tuple(float(ordered[max(0, math.ceil(s * len(ordered)) - 1)]) for s in shares)
