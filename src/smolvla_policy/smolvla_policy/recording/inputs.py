# SPDX-License-Identifier: Apache-2.0
"""What belongs to a frame: images, joint state, command and instruction of one instant."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol, cast

import numpy as np
from numpy.typing import NDArray

from smolvla_policy.control.observation import Matched, Missing
from smolvla_policy.recording.commands import CommandBuffer


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
        command: (joints,) commanded [rad]; None where nobody listens to commands.
        task: the instruction.
    """

    images: Mapping[str, Picture]
    positions: NDArray[np.float64]
    command: NDArray[np.float64] | None
    task: str


class Inputs:
    """Brings together what the robot sends.

    Args:
        snapshot: returns the newest images and the joint state that belongs to them.
        commands: the commands; None where they are not recorded.
        task: instruction until another comes; may be empty.
        task_topic: where an instruction would come, for words to the user.
        topics: subject of a problem ("camera top", "joint states") -> its topic, for the same.
    """

    def __init__(
        self,
        snapshot: Callable[[], Matched | Missing],
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

    def instruct(self, task: str) -> None:
        """Take an instruction."""
        self._task = task.strip()

    def sample(self, now: float) -> Sample | Missing:
        """Return what is in force at `now` [s, monotonic], or all that is missing."""
        matched = self._snapshot()
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
        if problems or isinstance(matched, Missing) or isinstance(command, Missing):
            return Missing(tuple(problems))
        images = cast("Mapping[str, Picture]", matched.images)
        return Sample(images, matched.positions, command, self._task)

    def _with_topic(self, problem: str) -> str:
        topic = self._topics.get(problem.partition(":")[0])
        return f"{problem} (topic {topic})" if topic else problem
