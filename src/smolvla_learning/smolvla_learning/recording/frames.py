# SPDX-License-Identifier: Apache-2.0
"""Samples, in radians and undecoded, become frames in the units of the dataset."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from smolvla_core.units.joint_units import JointUnits

from smolvla_learning.recording.inputs import Picture, Sample


def image_feature(camera: str) -> str:
    """Return the feature name of a camera's images."""
    return f"observation.images.{camera}"


@dataclass(frozen=True)
class Frame:
    """One frame, its images not decoded yet.

    Attributes:
        images: camera name -> image.
        state: (joints,) in the dataset's units.
        action: (joints,) in the dataset's units.
        task: the instruction.
    """

    images: Mapping[str, Picture]
    state: NDArray[np.float32]
    action: NDArray[np.float32]
    task: str

    def decoded(self) -> dict[str, object]:
        """Return feature name -> array, as `DatasetWriter.add_frame` takes it.

        Raises:
            ValueError: an image cannot be decoded; the text names the camera.
        """
        values: dict[str, object] = {"observation.state": self.state, "action": self.action}
        for camera, picture in self.images.items():
            try:
                values[image_feature(camera)] = picture.decode()
            except ValueError as error:
                raise ValueError(f"camera {camera}: {error}") from error
        return values


class FrameMaker:
    """Makes the frames of one episode.

    Args:
        units: of the dataset.
        next_state: the action of a frame is the state of the next one, so every frame comes
            one sample later, and the last sample makes none.
    """

    def __init__(self, units: JointUnits, next_state: bool) -> None:
        self._units = units
        self._next_state = next_state
        self._previous: Frame | None = None

    def make(self, sample: Sample) -> Frame | None:
        """Return the next frame, None where it must wait for the next sample."""
        state = self._units.to_policy(sample.positions)
        if not self._next_state:
            assert sample.command is not None
            action = self._units.to_policy(sample.command)
            return Frame(sample.images, state, action, sample.task)
        waiting = self._previous
        self._previous = Frame(sample.images, state, state, sample.task)
        return None if waiting is None else replace(waiting, action=state)
