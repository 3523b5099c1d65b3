# SPDX-License-Identifier: Apache-2.0
"""The episode that is being recorded: when frames are due, and how it went."""

from __future__ import annotations

import math
from collections.abc import Sequence

from smolvla_learning.recording.frames import Sample


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
        it is more than a period late. A call that seems early tells that the first was late.
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
        filled: samples that repeat the one before because the recorder itself was late.
    """

    def __init__(self, cameras: Sequence[str], fps: int) -> None:
        self.frames = 0
        self.filled = 0
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
        if self.filled:
            text += f"; {self.filled} frames repeat the one before as the recorder was late"
        return text

    def slow_cameras(self) -> str:
        """Say which cameras are clearly slower than the frames; empty for none."""
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
