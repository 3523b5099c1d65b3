# SPDX-License-Identifier: Apache-2.0
"""What a task is, and what it is judged by."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from smolvla_sim.world.scene import CUBE_COLORS, CUBE_EDGE

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

    @property
    def lifted(self) -> bool:
        """Whether the gripper holds it (a cube) above the table."""
        return self.touched and bool(self.position[2] > CUBE_EDGE / 2 + LIFT)

    @property
    def let_go(self) -> bool:
        """Whether it is at rest and the gripper does not touch it."""
        return not self.touched and self.speed < REST_SPEED


@dataclass
class Progress:
    """What has happened since the start of an episode and cannot be seen afterwards.

    Attributes:
        lifted: cubes that the gripper has lifted.
        first_touched: the cube that the gripper touched first; None before.
    """

    lifted: set[str] = field(default_factory=set)
    first_touched: str | None = None


@dataclass(frozen=True)
class Task(ABC):
    """One task about one cube.

    Attributes:
        color: color of the named cube.
    """

    color: str

    # Name of the kind in options of command lines.
    kind: ClassVar[str]
    # Sentences that it understands, the usual words first.
    templates: ClassVar[tuple[str, ...]]
    # What `parse` accepts: normalized sentences with the attributes as named groups.
    patterns: ClassVar[tuple[re.Pattern[str], ...]]

    @property
    def cube(self) -> str:
        """Name of the cube that the arm has to go to first."""
        return f"{self.color}_cube"

    @property
    def things(self) -> tuple[str, ...]:
        """Names of all things that it is about."""
        return (self.cube,)

    @property
    def movable(self) -> tuple[str, ...]:
        """Names of the cubes that the gripper may hold."""
        return (self.cube,)

    @property
    def sentence(self) -> str:
        """The instruction in its usual words."""
        return self.sentences()[0]

    def sentences(self) -> tuple[str, ...]:
        """Return the instruction in all the words of `templates`."""
        return tuple(template.format(**vars(self)) for template in self.templates)

    @classmethod
    def variants(cls) -> tuple[Task, ...]:
        """Return the task for every color."""
        return tuple(cls(color) for color in CUBE_COLORS)

    @classmethod
    def parse(cls, sentence: str) -> Task | None:
        """Return the task that a normalized sentence asks for, or None."""
        for pattern in cls.patterns:
            match = pattern.fullmatch(sentence)
            if match:
                task = cls(**match.groupdict())
                return task if task in cls.variants() else None
        return None

    @abstractmethod
    def grade(self, objects: Mapping[str, ObjectState], progress: Progress) -> float:
        """Return the graded success, 0 to 1.

        Args:
            objects: all things by name.
            progress: what has happened since the start.
        """

    def lost(self, progress: Progress) -> bool:
        """Whether nothing can make it a success any more."""
        return False
