# SPDX-License-Identifier: Apache-2.0
"""A short history of joint states, to find the one that belongs to an image."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smolvla_core.joints.order import Part

NANOSECONDS = 1_000_000_000
SAMPLES = 1000
SPAN = 2.0
"""History kept [s]; at most `SAMPLES` states of each part."""


@dataclass(frozen=True)
class JointSample:
    """A joint state of some joints.

    Attributes:
        part: which joints, and their positions (part,) [rad].
        stamp_ns: acquisition by the clock of the source [ns], 0 for none.
        received: by a monotonic clock [s].
    """

    part: Part
    stamp_ns: int
    received: float

    def time_ns(self, by_stamp: bool) -> int:
        """Return when it was, by its stamp or its reception [ns]."""
        return self.stamp_ns if by_stamp else round(self.received * NANOSECONDS)


class JointHistory:
    """The joint states of the last `SPAN` seconds, merged from the parts that they come in.

    Each set of joints that comes in one message has a history of its own; a joint counts by the
    part that had it last.

    Args:
        joints: how many there are.
    """

    def __init__(self, joints: int) -> None:
        self._parts: dict[tuple[int, ...], deque[JointSample]] = {}
        self._received = np.full(joints, -math.inf)

    def newest(self, part: Part) -> JointSample | None:
        """The state of the same joints that came last."""
        samples = self._parts.get(tuple(part.joints))
        return samples[-1] if samples else None

    def ages(self, now: float) -> NDArray[np.float64]:
        """Return (joints,) the time since each was received [s]; infinite before the first."""
        return now - self._received

    @property
    def stamped(self) -> bool:
        """Whether the newest states, and so the sources, have stamps."""
        return all(samples[-1].stamp_ns > 0 for samples in self._used())

    def latest(self, by_stamp: bool) -> int:
        """Return the newest time at which all joints are known [ns]."""
        return min(samples[-1].time_ns(by_stamp) for samples in self._used())

    def add(self, sample: JointSample) -> None:
        """Take in a state that is newer than all before of the same joints."""
        samples = self._parts.setdefault(tuple(sample.part.joints), deque(maxlen=SAMPLES))
        newest = samples[-1] if samples else None
        if newest is not None and (
            sample.stamp_ns < newest.stamp_ns or (newest.stamp_ns == 0) != (sample.stamp_ns == 0)
        ):
            # The source's clock was set anew: older stamps do not compare with this one.
            samples.clear()
        samples.append(sample)
        while sample.received - samples[0].received > SPAN:
            samples.popleft()
        self._received[sample.part.joints] = sample.received

    def at(
        self, time_ns: int, by_stamp: bool, max_skew_ns: int
    ) -> tuple[NDArray[np.float64] | None, float]:
        """Return the positions (joints,) at a time, and how far off the nearest state is [s].

        Between two states that are both within `max_skew_ns` they are interpolated;
        otherwise the nearest state counts if it is within. None when one part has none.
        """
        positions = np.empty(len(self._received))
        farthest, complete = 0.0, True
        for samples in self._used():
            values, distance = _at(samples, time_ns, by_stamp, max_skew_ns)
            farthest = max(farthest, distance)
            if values is None:
                complete = False
            else:
                # The part that had a joint last comes last.
                positions[samples[-1].part.joints] = values
        return (positions if complete else None), farthest

    def _used(self) -> list[deque[JointSample]]:
        """Return the parts that had a joint last, in the order of their reception."""
        used = [
            samples
            for samples in self._parts.values()
            if (self._received[samples[-1].part.joints] == samples[-1].received).any()
        ]
        return sorted(used, key=lambda samples: samples[-1].received)


def _at(
    samples: deque[JointSample], time_ns: int, by_stamp: bool, max_skew_ns: int
) -> tuple[NDArray[np.float64] | None, float]:
    """Do the same for one part."""
    before: JointSample | None = None
    after: JointSample | None = None
    for sample in reversed(samples):
        if sample.time_ns(by_stamp) <= time_ns:
            before = sample
            break
        after = sample
    around = [sample for sample in (before, after) if sample is not None]
    distances = [abs(sample.time_ns(by_stamp) - time_ns) for sample in around]
    near = [s for s, gap in zip(around, distances, strict=True) if gap <= max_skew_ns]
    distance = min(distances) / NANOSECONDS
    if not near:
        return None, distance
    if len(near) == 1:
        return near[0].part.values.copy(), distance
    earlier, later = near
    start, end = earlier.time_ns(by_stamp), later.time_ns(by_stamp)
    share = (time_ns - start) / (end - start)
    first, last = earlier.part.values, later.part.values
    return first + share * (last - first), distance
