# SPDX-License-Identifier: Apache-2.0
"""The episode that is being recorded: when frames are due, how it went, what the joints show."""

from __future__ import annotations

import math
import re
from collections import Counter, deque
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from smolvla_learning.recording.inputs import Sample


class FrameSchedule:
    """Frames at a constant rate from the first call on.

    Args:
        fps: frames per second.
    """

    def __init__(self, fps: int) -> None:
        self._fps = fps
        self._given = 0
        self._first = 0.0
        self._earliest = 0.0

    def due(self, now: float) -> int:
        """Return how many frames are due at `now` [s, monotonic].

        To be called by a timer with the same rate: one is due when it is on time, several when
        it is more than a period late. A call that seems early means that the first was late.
        """
        if not self._given:
            self._first = now
            self._earliest = now - 1.0 / self._fps
        next_first = now - self._given / self._fps
        if self._earliest < next_first < self._first:
            self._first = next_first
        # A hair more, so that rounding does not make a call on time an early one.
        due = max(math.floor((now - self._first) * self._fps + 1e-6) + 1 - self._given, 0)
        self._given += due
        return due


class EpisodeCount:
    """Counts what came in an episode.

    Args:
        cameras: names.
        fps: frames per second.

    Attributes:
        frames: that became part of the episode; counted by who makes them.
        lost: frames that were due and could not be made.
        filled: samples that repeat the one before because the recorder itself was late.
    """

    def __init__(self, cameras: Sequence[str], fps: int) -> None:
        self.frames = 0
        self.lost = 0
        self.filled = 0
        self._losses: Counter[str] = Counter()  # by the limits that were exceeded
        self._samples = 0
        self._fps = fps
        self._first = self._last = 0.0
        self._newest: dict[str, object] = dict.fromkeys(cameras)
        self._new_images = dict.fromkeys(cameras, 0)

    @property
    def seconds(self) -> float:
        """Length of the episode [s]."""
        return self.frames / self._fps

    def add(self, sample: Sample, due: int, now: float) -> None:
        """Count a sample that is taken `due` times."""
        if not self._samples:
            self._first = now
        self._last = now
        self._samples += due
        self.filled += due - 1
        for camera, image in sample.images.items():
            if image is not self._newest[camera]:
                self._newest[camera] = image
                self._new_images[camera] += 1

    def lose(self, count: int, reason: str) -> None:
        """Count frames that are left out, by the limits that the `reason` names."""
        self.lost += count
        for limit in set(re.findall(r"\bmax_\w+", reason)) or {reason.partition(":")[0]}:
            self._losses[limit] += count

    def losses(self) -> str:
        """Return how many frames are left out, and by what; empty for none."""
        if not self.lost:
            return ""
        reasons = ", ".join(f"{limit} ({count})" for limit, count in self._losses.most_common())
        return f"{self.lost} frames are left out: {reasons}"

    def image_rates(self) -> dict[str, float]:
        """Return camera name -> images per second that were not seen before."""
        seconds = max(self._samples, 1) / self._fps
        return {camera: count / seconds for camera, count in self._new_images.items()}

    def message(self) -> str:
        """Return length and rates as text."""
        spent = self._last - self._first
        rate = (self._samples - 1) / spent if spent > 0 else float(self._fps)
        images = ", ".join(f"{camera} {of:.1f}" for camera, of in self.image_rates().items())
        text = f"{self.frames} frames, {self.seconds:.1f} s, measured {rate:.2f} frames/s"
        if images:
            text += f"; new images per second: {images}"
        if self.lost:
            text += f"; {self.losses()}"
        if self.filled:
            text += f"; {self.filled} frames repeat the one before as the recorder was late"
        return text

    def slow_cameras(self) -> str:
        """Return a warning on cameras that are clearly slower than the frames, else empty."""
        slow = [
            f"{camera} ({rate:.1f})"
            for camera, rate in self.image_rates().items()
            if rate < 0.9 * self._fps and self._samples >= self._fps
        ]
        if not slow:
            return ""
        return (
            f"fewer images per second than the {self._fps} frames: {', '.join(slow)}: frames "
            "repeat images; raise the rate of the cameras or lower fps"
        )


REST_WINDOW = 0.5
"""How long the joints must stand still to be at rest [s]."""
START_WAIT = REST_WINDOW + 3.0
"""How long a start is tried again by default [s]: an arm that stands is known to be at rest."""
SUCCESS = 1.0
"""Score of a task that is done."""


class RestWatch:
    """Knows whether a robot is at rest, from where its joints were during the last moments.

    Args:
        joints: names, the order of all positions.
        max_speed: mean speed over `REST_WINDOW` above which a joint moves [rad/s]; 0: every
            robot counts as at rest. It may be changed at any time.
    """

    def __init__(self, joints: Sequence[str], max_speed: float) -> None:
        self._joints = tuple(joints)
        self.max_speed = max_speed
        self._seen: deque[tuple[float, NDArray[np.float64]]] = deque()

    def add(self, positions: NDArray[np.float64], now: float) -> None:
        """Take the measured positions (joints,) [rad] at `now` [s, monotonic]."""
        self._seen.append((now, positions))
        # One that is older than the window stays, so that the window is always covered.
        while len(self._seen) > 1 and now - self._seen[1][0] >= REST_WINDOW - 1e-6:
            self._seen.popleft()

    def moving(self) -> str:
        """Return a message on the joint that moves, else empty."""
        if not self.max_speed or not self._seen:
            return ""
        speeds = np.ptp([positions for _, positions in self._seen], axis=0) / REST_WINDOW
        fastest = int(np.argmax(speeds))
        if speeds[fastest] <= self.max_speed:
            return ""
        return (
            f"the arm moves: {self._joints[fastest]} at {speeds[fastest]:.2f} rad/s, more than "
            f"max_start_speed ({self.max_speed:g} rad/s): an episode begins at rest"
        )

    def problem(self, now: float) -> str:
        """Return the reason why the robot is not known to be at rest at `now` [s], else empty."""
        watched = now - self._seen[0][0] if self._seen else 0.0
        if self.max_speed and watched < REST_WINDOW - 1e-6:
            return (
                f"whether the arm is at rest is known in {REST_WINDOW - watched:.1f} s: ask again"
            )
        return self.moving()


class Evidence:
    """What the frames of an episode show: motion of the joints, of the commands, and success.

    Args:
        min_motion: the least that one joint must move, and one command must change [rad]; 0:
            an episode without motion is an episode like any other. It may be changed at any time.
    """

    def __init__(self, min_motion: float) -> None:
        self.min_motion = min_motion
        self._lowest: NDArray[np.float64] | None = None
        self._highest: NDArray[np.float64] | None = None
        self._score: float | None = None

    def add(
        self,
        positions: NDArray[np.float64],
        command: NDArray[np.float64] | None,
        score: float | None,
    ) -> None:
        """Take a frame: measured and commanded positions (joints,) [rad], the task's score.

        Args:
            positions: measured.
            command: None where nobody commands.
            score: 0 to 1; None where nobody judges.
        """
        both = np.stack([positions, positions if command is None else command])
        if self._lowest is None or self._highest is None:
            self._lowest = self._highest = both
        self._lowest = np.minimum(self._lowest, both)
        self._highest = np.maximum(self._highest, both)
        self._score = score

    def doubts(self) -> str:
        """Return the reasons why the episode is hardly worth keeping, else empty."""
        doubts = []
        if self._lowest is not None and self._highest is not None:
            moved, commanded = (self._highest - self._lowest).max(axis=1)
            if moved < self.min_motion:
                doubts.append(
                    f"no motion: no joint moved by more than {moved:.3f} rad (min_motion is "
                    f"{self.min_motion:g} rad)"
                    + (
                        ", though the commands did: does the arm follow them?"
                        if commanded >= self.min_motion
                        else ""
                    )
                )
            elif commanded < self.min_motion:
                doubts.append(
                    f"no action: the joints moved by {moved:.2f} rad, the commands by "
                    f"{commanded:.3f} rad only: who moves the arm? See action_source"
                )
        if self._score is not None and self._score < SUCCESS:
            doubts.append(
                f"no success: the simulation's score is {self._score:.2f}, not {SUCCESS:g}"
            )
        return "; ".join(doubts)
