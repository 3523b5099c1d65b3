# SPDX-License-Identifier: Apache-2.0
"""The newest images and the joint state that belongs to them, or a message on what is missing.

    buffer = ObservationBuffer(cameras=("top", "wrist"), joints=(...))
    buffer.add_image("top", message, stamp_ns, now)             # any object; decoded later
    problem = buffer.add_joint_state(names, positions, stamp_ns, now)
    matched = buffer.snapshot(now)
    if isinstance(matched, Missing): print(matched.message)

`now` is the time of reception [s] of a monotonic clock; `stamp_ns` is the time of acquisition
by the clock of the source [ns], 0 when the source gives none.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smolvla_core.backend import Observation
from smolvla_core.joints import JointOrder, JointSources, Part
from smolvla_core.node_settings import ObservationSettings

NANOSECONDS = 1_000_000_000
IMAGE_HISTORY = 16
"""Images kept of each camera: where one camera lags, the others look back that far."""
STATE_HISTORY = 1000
STATE_SPAN = 2.0
"""Joint states kept [s], at most `STATE_HISTORY` of each part."""
SIMULATED = 1e8
"""Stamps that are so far apart [s] are of simulated time, from 0 on, and of the wall clock."""
GRAY = (
    "the pictures are gray, their one channel is taken for red, green and blue; where the camera "
    "has color, set its driver or transport to send it"
)
"""Warning, once, about a camera that sends no color."""


@dataclass(frozen=True)
class Missing:
    """Why there is no observation: each thing that is silent, stale or does not match."""

    problems: tuple[str, ...]

    @property
    def message(self) -> str:
        """All problems in one line."""
        return "; ".join(self.problems)


@dataclass(frozen=True)
class _Image:
    payload: Any
    stamp_ns: int
    received: float

    def time_ns(self, by_stamp: bool) -> int:
        """When it was taken, or received [ns]; integers, as floats have no room since 1970."""
        return self.stamp_ns if by_stamp else round(self.received * NANOSECONDS)


@dataclass(frozen=True)
class _JointSample:
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


class _JointHistory:
    """The joint states of the last `STATE_SPAN` seconds, merged from the parts that they come in.

    Each set of joints that comes in one message has a history of its own; a joint counts by the
    part that had it last.

    Args:
        joints: how many there are.
    """

    def __init__(self, joints: int) -> None:
        self._parts: dict[tuple[int, ...], deque[_JointSample]] = {}
        self._received = np.full(joints, -math.inf)

    def newest(self, part: Part) -> _JointSample | None:
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

    def add(self, sample: _JointSample) -> None:
        """Take in a state that is newer than all before of the same joints."""
        samples = self._parts.setdefault(tuple(sample.part.joints), deque(maxlen=STATE_HISTORY))
        newest = samples[-1] if samples else None
        if newest is not None and (
            sample.stamp_ns < newest.stamp_ns or (newest.stamp_ns == 0) != (sample.stamp_ns == 0)
        ):
            # The source's clock was set anew: older stamps do not compare with this one.
            samples.clear()
        samples.append(sample)
        while sample.received - samples[0].received > STATE_SPAN:
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

    def _used(self) -> list[deque[_JointSample]]:
        """Return the parts that had a joint last, in the order of their reception."""
        used = [
            samples
            for samples in self._parts.values()
            if (self._received[samples[-1].part.joints] == samples[-1].received).any()
        ]
        return sorted(used, key=lambda samples: samples[-1].received)


def _at(
    samples: deque[_JointSample], time_ns: int, by_stamp: bool, max_skew_ns: int
) -> tuple[NDArray[np.float64] | None, float]:
    """Do the same for one part."""
    before: _JointSample | None = None
    after: _JointSample | None = None
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


class ObservationBuffer:
    """A short history of each camera's images and of the joint states.

    An observation is of the newest instant that every camera has seen: of the camera that
    lags its newest image, of the others those nearest to it. So one lost image costs an
    observation a frame of freshness, not the observation.

    A source that repeats its stamp, as a driver does that sends an old frame again, counts
    as silent since the stamp last advanced.

    Args:
        cameras: names, all of them needed.
        joints: names, the order of `Observation.positions`.
        settings: ages and skew.

    Raises:
        ValueError: a name appears twice.
    """

    def __init__(
        self,
        cameras: Sequence[str],
        joints: Sequence[str],
        settings: ObservationSettings | None = None,
    ) -> None:
        self.cameras = tuple(cameras)
        if len(set(self.cameras)) != len(self.cameras):
            raise ValueError(f"the list of cameras names one twice: {', '.join(self.cameras)}")
        self._settings = settings or ObservationSettings()
        self._joints = tuple(joints)
        self._order = JointOrder(joints)
        self._images: dict[str, deque[_Image]] = {
            camera: deque(maxlen=IMAGE_HISTORY) for camera in self.cameras
        }
        self._repeats: dict[str, int] = dict.fromkeys(self.cameras, 0)
        self._states = _JointHistory(len(self._order.joints))
        self._received: dict[str, None] = {}  # names of joints, in the order they came in
        self._sources = JointSources(tuple(joints))
        self._state_problem = ""

    def reconfigure(self, settings: ObservationSettings) -> None:
        """Go by other ages and skews from now on."""
        self._settings = settings

    def add_image(self, camera: str, image: object, stamp_ns: int, now: float) -> bool:
        """Take a camera's image. Returns False when it is no news: repeated or out of order.

        Raises:
            KeyError: `camera` is not one of `cameras`.
        """
        self._repeats[camera] += 1
        images = self._images[camera]
        if images and not _advances(images[-1].stamp_ns, stamp_ns):
            return False
        if images and images[-1].stamp_ns > stamp_ns > 0:
            images.clear()  # the clock was set anew: older stamps mean nothing now
        self._repeats[camera] = 0
        images.append(_Image(image, stamp_ns, now))
        return True

    def add_joint_state(
        self,
        names: Sequence[str],
        positions: ArrayLike,
        stamp_ns: int,
        now: float,
        source: str = "",
    ) -> str:
        """Take a joint state of `source`, if known, matched by name.

        It may hold some of the joints only, and others besides.

        Returns:
            The reason why it is not used; empty when it is, or holds none of the joints.
        """
        try:
            part = self._order.some(names, positions)
        except ValueError as error:
            self._state_problem = str(error)
            return self._state_problem
        self._received.update(dict.fromkeys(names))
        if not part.joints.size:
            return ""
        self._sources.update(part, source, now)
        newest = self._states.newest(part)
        if newest is not None and not _advances(newest.stamp_ns, stamp_ns):
            self._state_problem = "its stamp does not advance"
            return self._state_problem
        self._state_problem = ""
        self._states.add(_JointSample(part, stamp_ns, now))
        return ""

    def camera_ages(self, now: float) -> dict[str, float]:
        """Return the time since each camera's newest image [s]; infinite before the first."""
        return {
            camera: now - images[-1].received if images else math.inf
            for camera, images in self._images.items()
        }

    def joint_state_age(self, now: float) -> float:
        """Return the time since all joints were received [s]; infinite before the first."""
        return float(self._states.ages(now).max(initial=-math.inf))

    def snapshot(self, now: float) -> Observation | Missing:
        """Return the newest observation whose parts belong together, or what is missing.

        Its instant is that of its oldest image; its images are what was given to `add_image`, its
        instruction is empty.
        """
        ages = self.camera_ages(now)
        problems = [self._camera_problem(camera, age) for camera, age in ages.items()]
        problems.append(self._joints_problem(self._states.ages(now)))
        problems.append(self._sources.problem(now))
        problems = [problem for problem in problems if problem]
        if problems:
            return Missing(tuple(problems))
        return self._match()

    def _camera_problem(self, camera: str, age: float) -> str:
        if math.isinf(age):
            return (
                f"camera {camera}: no image yet: is its driver running, its topic the right one?"
            )
        if age <= self._settings.max_image_age:
            return ""
        if self._repeats[camera]:
            return (
                f"camera {camera}: repeats one image ({self._repeats[camera]} times, for "
                f"{age:.2f} s): restart its driver"
            )
        return (
            f"camera {camera}: newest image is {age:.2f} s old, more than "
            f"max_image_age ({self._settings.max_image_age:g} s): check its cable, its driver and "
            "the network"
        )

    def _joints_problem(self, ages: NDArray[np.float64]) -> str:
        reason = f" ({self._state_problem})" if self._state_problem else ""
        late = ages > self._settings.max_joint_state_age
        if not late.any():
            return ""
        age = float(ages.max())
        joints = self._order.joints
        named = ", ".join(joint for joint, is_late in zip(joints, late, strict=True) if is_late)
        if math.isinf(age):
            if not self._received:
                return (
                    f"joint states: none yet{reason}: is the arm's driver or the simulation "
                    "running?"
                )
            return (
                f"joint states: no {named} among the joints {', '.join(self._received)}{reason}: "
                "their names, and the topics, are the robot file's joints and joint_states"
            )
        of = "" if late.all() else f" of {named}"
        return (
            f"joint states: newest{of} is {age:.2f} s old, more than "
            f"max_joint_state_age ({self._settings.max_joint_state_age:g} s){reason}: check the "
            "arm's driver and its bus"
        )

    def _match(self) -> Observation | Missing:
        by_stamp = (
            self._settings.match_by == "stamp"
            and self._states.stamped
            and all(image.stamp_ns > 0 for kept in self._images.values() for image in kept)
        )
        lagging = min((kept[-1].time_ns(by_stamp) for kept in self._images.values()), default=0)
        images = {
            camera: min(reversed(kept), key=lambda image: abs(image.time_ns(by_stamp) - lagging))
            for camera, kept in self._images.items()
        }
        times = {camera: image.time_ns(by_stamp) for camera, image in images.items()}
        oldest_time = min(times.values(), default=self._states.latest(by_stamp))
        skew = (max(times.values(), default=oldest_time) - oldest_time) / NANOSECONDS
        if skew > self._settings.max_skew:
            first, last = min(times, key=times.__getitem__), max(times, key=times.__getitem__)
            return Missing(
                (
                    f"cameras {first} and {last} are {skew:.3f} s apart, more than "
                    f"max_skew ({self._settings.max_skew:g} s): {_skew_advice(skew, by_stamp)}",
                )
            )
        positions, distance = self._states.at(
            oldest_time, by_stamp, round(self._settings.max_skew * NANOSECONDS)
        )
        if positions is None:
            return Missing(
                (
                    f"joint states: the nearest to the images is {distance:.3f} s away, more "
                    f"than max_skew ({self._settings.max_skew:g} s): "
                    f"{_skew_advice(distance, by_stamp)}",
                )
            )
        return Observation(
            {camera: image.payload for camera, image in images.items()},
            self._joints,
            positions,
            instruction="",
            stamp_ns=oldest_time if by_stamp else 0,
        )


def _advances(known_ns: int, stamp_ns: int) -> bool:
    """Whether a stamp is news. One that falls back far is a clock that was set anew."""
    if stamp_ns == 0 or known_ns == 0:
        return True
    return stamp_ns > known_ns or stamp_ns < known_ns - NANOSECONDS


def _skew_advice(skew: float, by_stamp: bool) -> str:
    if not by_stamp or skew <= 1.0:
        return "raise their rates, or max_skew"
    if skew > SIMULATED:
        return (
            "one is stamped by a simulator's clock, the other by the wall clock: set "
            "use_sim_time:=true for all that publish, or match_by:=reception here"
        )
    return "their clocks differ: synchronize them (chrony), or set match_by:=reception"
