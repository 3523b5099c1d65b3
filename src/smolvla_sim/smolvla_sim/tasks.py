# SPDX-License-Identifier: Apache-2.0
"""What the arm can be asked to do: sentences, goals and how success is graded.

A kind of task is one subclass of `Task` in `TASK_KINDS`; a new one needs its sentences,
`parse` and `grade`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smolvla_sim.layout import in_bowl
from smolvla_sim.scene import BOWL, CUBE_COLORS, CUBE_EDGE

# A cube counts as lifted when its center is this much above its place on the table, meters.
LIFT = 0.03
# A cube rests when it is slower than this, m/s.
REST_SPEED = 0.03


@dataclass(frozen=True)
class ObjectState:
    """Motion of a thing in the base frame.

    Attributes:
        position: (3,) meters.
        quaternion: (4,) w, x, y, z.
        speed: m/s.
        touched: whether the gripper touches it.
    """

    position: NDArray[np.float64]
    quaternion: NDArray[np.float64]
    speed: float
    touched: bool


@dataclass(frozen=True)
class Task(ABC):
    """One task about one cube.

    Attributes:
        color: color of the named cube.
    """

    color: str

    @property
    def cube(self) -> str:
        """Name of the cube it is about."""
        return f"{self.color}_cube"

    @property
    @abstractmethod
    def sentence(self) -> str:
        """The instruction in its usual words."""

    @classmethod
    @abstractmethod
    def parse(cls, sentence: str) -> Task | None:
        """Return the task that a normalized sentence asks for, or None."""

    @classmethod
    @abstractmethod
    def examples(cls) -> tuple[str, ...]:
        """Sentences that it understands, with ``{color}``."""

    @abstractmethod
    def grade(self, objects: Mapping[str, ObjectState], lifted: bool) -> float:
        """Return the graded success, 0 to 1.

        Args:
            objects: all things by name.
            lifted: whether the gripper has lifted the named cube since the start.
        """

    def lifts(self, objects: Mapping[str, ObjectState]) -> bool:
        """Whether the gripper holds the named cube above the table right now."""
        cube = objects[self.cube]
        return cube.touched and cube.position[2] > CUBE_EDGE / 2 + LIFT


_THE = r"(?:the )?(?P<color>\w+) (?:cube|block)"
_IN = r"(?:in|into|in to|inside)"
_VERB = r"(?:pick up|pick|grab|take|grasp|lift)"


class PlaceInBowl(Task):
    """Put a cube into the bowl: half for the grasp, half for the place.

    Scoring of pick-and-place in the SmolVLA paper (arXiv 2506.01844, section 4).
    """

    _patterns = (
        re.compile(rf"(?:put|place|drop|move) {_THE} {_IN} (?:the )?bowl"),
        re.compile(
            rf"{_VERB} {_THE}(?: and|,|, and| then) (?:put|place|drop) it {_IN} (?:the )?bowl"
        ),
    )

    @property
    def sentence(self) -> str:
        """The instruction in its usual words."""
        return f"put the {self.color} cube into the bowl"

    @classmethod
    def parse(cls, sentence: str) -> Task | None:
        """Return the task that a normalized sentence asks for, or None."""
        return _match(cls, cls._patterns, sentence)

    @classmethod
    def examples(cls) -> tuple[str, ...]:
        """Sentences that it understands, with ``{color}``."""
        return (
            "put the {color} cube into the bowl",
            "pick up the {color} cube and put it into the bowl",
        )

    def grade(self, objects: Mapping[str, ObjectState], lifted: bool) -> float:
        """Return 0.5 for the lifted cube plus 0.5 while it rests in the bowl, let go."""
        cube, bowl = objects[self.cube], objects[BOWL]
        offset = cube.position - bowl.position
        resting = (
            in_bowl(offset[0], offset[1], offset[2])
            and cube.speed < REST_SPEED
            and not cube.touched
        )
        return 0.5 * lifted + 0.5 * (lifted and resting)


class PickUp(Task):
    """Lift a cube off the table: all or nothing."""

    _patterns = (re.compile(rf"{_VERB} {_THE}(?: up)?"),)

    @property
    def sentence(self) -> str:
        """The instruction in its usual words."""
        return f"pick up the {self.color} cube"

    @classmethod
    def parse(cls, sentence: str) -> Task | None:
        """Return the task that a normalized sentence asks for, or None."""
        return _match(cls, cls._patterns, sentence)

    @classmethod
    def examples(cls) -> tuple[str, ...]:
        """Sentences that it understands, with ``{color}``."""
        return ("pick up the {color} cube",)

    def grade(self, objects: Mapping[str, ObjectState], lifted: bool) -> float:
        """Return 1 once the cube was lifted."""
        return float(lifted)


TASK_KINDS: tuple[type[Task], ...] = (PlaceInBowl, PickUp)


def _match(kind: type[Task], patterns: tuple[re.Pattern[str], ...], sentence: str) -> Task | None:
    for pattern in patterns:
        match = pattern.fullmatch(sentence)
        if match and match["color"] in CUBE_COLORS:
            return kind(match["color"])
    return None


def parse_task(sentence: str) -> Task:
    """Return the task that a sentence asks for; case and a final period do not matter.

    Raises:
        ValueError: nothing here understands it; the text lists what is understood.
    """
    words = " ".join(sentence.lower().strip().rstrip(".!").split())
    for kind in TASK_KINDS:
        task = kind.parse(words)
        if task is not None:
            return task
    examples = "; ".join(f"'{text}'" for kind in TASK_KINDS for text in kind.examples())
    colors = ", ".join(CUBE_COLORS)
    raise ValueError(
        f"the simulation does not understand '{sentence}'; it understands {examples}, "
        f"with {{color}} one of {colors}"
    )


def all_tasks() -> tuple[Task, ...]:
    """Return every task there is."""
    return tuple(kind(color) for kind in TASK_KINDS for color in CUBE_COLORS)
