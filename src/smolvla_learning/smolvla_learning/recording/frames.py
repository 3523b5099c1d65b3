# SPDX-License-Identifier: Apache-2.0
"""Samples of one instant, in radians and undecoded, and the frames that they become."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from smolvla_core.backend import Observation
from smolvla_core.observation import Missing
from smolvla_core.units.joint_units import JointUnits

from smolvla_learning.recording.commands import CommandBuffer, Silent

SCORE_AGE = 2.0
"""A score that is older says nothing about the present frame [s]."""


class Picture(Protocol):
    """An image that is decoded when it is needed."""

    def decode(self) -> NDArray[np.uint8]:
        """Return the pixels, uint8 (height, width, 3) RGB.

        Raises:
            ValueError: it cannot be decoded.
        """
        ...


@dataclass(frozen=True)
class Sample:
    """All inputs at one instant.

    Attributes:
        images: camera name -> image.
        positions: (joints,) measured [rad].
        command: (joints,) commanded [rad]; None where nobody listens to commands, and while
            they are silent.
        task: the instruction.
        silent: says that the commands are; empty when nothing is missing.
        score: of the task by whoever judges it, 0 to 1; None where nobody does.
    """

    images: Mapping[str, Picture]
    positions: NDArray[np.float64]
    command: NDArray[np.float64] | None
    task: str
    silent: str = ""
    score: float | None = None


class Inputs:
    """Brings together what the robot sends.

    Args:
        snapshot: returns the newest images and the joint state that belongs to them.
        commands: the commands; None where they are not recorded.
        task: instruction until another comes; may be empty.
        task_topic: where an instruction would come, for words to the user.
        topics: subject of a problem ("camera top", "joint states") -> its topic, for the same.

    Attributes:
        positions: (joints,) measured [rad] at the last sample, whatever else was missing; None
            where they were, too.
    """

    def __init__(
        self,
        snapshot: Callable[[], Observation | Missing],
        commands: CommandBuffer | None,
        task: str,
        task_topic: str,
        topics: Mapping[str, str],
    ) -> None:
        self._snapshot = snapshot
        self._commands = commands
        self._task = task.strip()
        self._task_topic = task_topic
        self._topics = dict(topics)
        self._score = (0.0, -math.inf)
        self.positions: NDArray[np.float64] | None = None

    def await_command(self) -> bool:
        """Let no command count that came before now. Returns whether commands are recorded."""
        if self._commands is not None:
            self._commands.forget()
        return self._commands is not None

    def take_score(self, score: float, now: float) -> None:
        """Take the score of the task, 0 to 1, that came at `now` [s, monotonic]."""
        self._score = (score, now)

    def score(self, now: float) -> float | None:
        """Return the score of the task at `now` [s, monotonic]; None where nobody judges it."""
        score, scored = self._score
        return score if now - scored <= SCORE_AGE else None

    def instruct(self, task: str) -> None:
        """Take an instruction."""
        self._task = task.strip()

    def sample(self, now: float) -> Sample | Missing:
        """Return what is active at `now` [s, monotonic], or all that is missing.

        Commands that are merely silent are missing only where something else is, too.
        """
        matched = self._snapshot()
        self.positions = None if isinstance(matched, Missing) else matched.positions
        command = None if self._commands is None else self._commands.at(now)
        problems: list[str] = []
        if isinstance(matched, Missing):
            problems += map(self._with_topic, matched.problems)
        if isinstance(command, Missing):
            problems += command.problems
        if not self._task:
            problems.append(
                f"instruction: none: publish one on {self._task_topic}, or set the parameter task"
            )
        silent = command.message if isinstance(command, Silent) else ""
        if isinstance(matched, Missing) or "; ".join(problems) != silent:
            return Missing(tuple(problems))
        return Sample(
            matched.images,
            matched.positions,
            None if isinstance(command, Missing) else command,
            self._task,
            silent,
            self.score(now),
        )

    def _with_topic(self, problem: str) -> str:
        topic = self._topics.get(problem.partition(":")[0])
        return f"{problem} (topic {topic})" if topic else problem


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
