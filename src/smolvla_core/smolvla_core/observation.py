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
from smolvla_core.joints.history import NANOSECONDS, JointHistory, JointSample
from smolvla_core.joints.order import JointOrder
from smolvla_core.joints.sources import JointSources
from smolvla_core.node_settings import ObservationSettings

IMAGE_HISTORY = 16
"""Images kept of each camera: where one camera lags, the others look back that far."""
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
        self._states = JointHistory(len(self._order.joints))
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
        self._states.add(JointSample(part, stamp_ns, now))
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
            f"{self._settings.max_image_age:g} s: check its cable, its driver and the network"
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
            f"{self._settings.max_joint_state_age:g} s{reason}: check the arm's driver and its bus"
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
                    f"{self._settings.max_skew:g} s: {_skew_advice(skew, by_stamp)}",
                )
            )
        positions, distance = self._states.at(
            oldest_time, by_stamp, round(self._settings.max_skew * NANOSECONDS)
        )
        if positions is None:
            return Missing(
                (
                    f"joint states: the nearest to the images is {distance:.3f} s away, more "
                    f"than {self._settings.max_skew:g} s: {_skew_advice(distance, by_stamp)}",
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
        return "raise their rates, or the limit"
    if skew > SIMULATED:
        return (
            "one is stamped by a simulator's clock, the other by the wall clock: set "
            "use_sim_time:=true for all that publish, or match_by:=reception here"
        )
    return "their clocks differ: synchronize them (chrony), or set match_by:=reception"
