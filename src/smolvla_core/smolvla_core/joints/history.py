# SPDX-License-Identifier: Apache-2.0
"""A short history of joint states, to find the one that belongs to an image."""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

NANOSECONDS = 1_000_000_000
SAMPLES = 1000
SPAN = 2.0
"""History kept [s]; at most `SAMPLES` states."""


@dataclass(frozen=True)
class JointSample:
    """A joint state.

    Attributes:
        positions: (joints,) [rad].
        stamp_ns: acquisition by the clock of the source [ns], 0 for none.
        received: by a monotonic clock [s].
    """

    positions: NDArray[np.float64]
    stamp_ns: int
    received: float

    def time_ns(self, by_stamp: bool) -> int:
        """Return when it was, by its stamp or its reception [ns]."""
        return self.stamp_ns if by_stamp else round(self.received * NANOSECONDS)


class JointHistory:
    """The joint states of the last `SPAN` seconds."""

    def __init__(self) -> None:
        self._samples: deque[JointSample] = deque(maxlen=SAMPLES)

    @property
    def newest(self) -> JointSample | None:
        """The state that came last."""
        return self._samples[-1] if self._samples else None

    @property
    def stamped(self) -> bool:
        """Whether the newest state, and so the source, has a stamp."""
        return bool(self._samples) and self._samples[-1].stamp_ns > 0

    def add(self, sample: JointSample) -> None:
        """Take in a state that is newer than all before."""
        newest = self.newest
        if newest is not None and (
            sample.stamp_ns < newest.stamp_ns or (newest.stamp_ns == 0) != (sample.stamp_ns == 0)
        ):
            # The source's clock was set anew: older stamps do not compare with this one.
            self._samples.clear()
        self._samples.append(sample)
        while sample.received - self._samples[0].received > SPAN:
            self._samples.popleft()

    def at(
        self, time_ns: int, by_stamp: bool, max_skew_ns: int
    ) -> tuple[NDArray[np.float64] | None, float]:
        """Return the positions (joints,) at a time, and how far off the nearest state is [s].

        Between two states that are both within `max_skew_ns` they are interpolated;
        otherwise the nearest state counts if it is within. None when it is not.
        """
        before: JointSample | None = None
        after: JointSample | None = None
        for sample in reversed(self._samples):
            if sample.time_ns(by_stamp) <= time_ns:
                before = sample
                break
            after = sample
        near = [
            sample
            for sample in (before, after)
            if sample is not None and abs(sample.time_ns(by_stamp) - time_ns) <= max_skew_ns
        ]
        distance = min(
            abs(sample.time_ns(by_stamp) - time_ns)
            for sample in (before, after)
            if sample is not None
        )
        if not near:
            return None, distance / NANOSECONDS
        if len(near) == 1:
            return near[0].positions.copy(), distance / NANOSECONDS
        earlier, later = near
        start, end = earlier.time_ns(by_stamp), later.time_ns(by_stamp)
        share = (time_ns - start) / (end - start)
        positions = earlier.positions + share * (later.positions - earlier.positions)
        return positions, distance / NANOSECONDS
