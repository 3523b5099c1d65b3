# SPDX-License-Identifier: Apache-2.0
"""What the arm can be asked to do: sentences, goals, how success is graded and what to do for it.

A task is one subclass of `Task` in `TASKS`: its name, sentences, time limit, `grade`, and `move`,
what the scripted expert does next. A new one needs nothing anywhere else, unless the expert shall
move in a new way: that is a method of `expert.moves.Moves`.
"""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import permutations
from typing import TYPE_CHECKING, ClassVar

import numpy as np
from numpy.typing import NDArray

from smolvla_sim.world.layout import inside, on_top
from smolvla_sim.world.scene import BOWL, CUBE_COLORS, CUBE_EDGE, CUBES, RIGHT_BOWL

if TYPE_CHECKING:  # the expert stands on the world
    from smolvla_sim.expert.moves import Moves
    from smolvla_sim.expert.world import ModelWorld

# A cube counts as lifted when its center is this much above its place on the table, meters.
DEFAULT_TASK = "put the red cube into the bowl"
LIFT = 0.03
# A cube rests when it is slower than this, m/s.
REST_SPEED = 0.03


@dataclass(frozen=True)
class ObjectState:
    """Motion of an object in the base frame.

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

    # Its name in options of command lines.
    name: ClassVar[str]
    # Seconds that it may take: some five times what the expert needs.
    time_limit: ClassVar[float] = 40.0
    # Whether its success can still be seen in the scene later.
    lasting: ClassVar[bool] = False
    # Sentences that it understands, the usual one first.
    templates: ClassVar[tuple[str, ...]]
    # What `parse` accepts: normalized sentences with the attributes as named groups.
    patterns: ClassVar[tuple[re.Pattern[str], ...]]

    @property
    def cube(self) -> str:
        """Name of the cube that the arm has to go to first."""
        return f"{self.color}_cube"

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of all objects that it is about."""
        return (self.cube,)

    @property
    def movable(self) -> tuple[str, ...]:
        """Names of the cubes that the gripper may hold."""
        return (self.cube,)

    @property
    def sentence(self) -> str:
        """The usual instruction."""
        return self.sentences()[0]

    def sentences(self) -> tuple[str, ...]:
        """Return the instruction in all forms of `templates`."""
        return tuple(template.format(**vars(self)) for template in self.templates)

    @classmethod
    def variants(cls) -> tuple[Task, ...]:
        """Return the task for every color; at least one."""
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
        """Return the graded success, 0 to 1."""

    @abstractmethod
    def move(self, world: ModelWorld, moves: Moves) -> NDArray[np.float64]:
        """Return the (6,) joint positions [rad] that the scripted expert heads for now."""

    def lost(self, progress: Progress) -> bool:
        """Whether nothing can make it a success any more."""
        return False


_THE = r"(?:the )?(?P<color>\w+) (?:cube|block)"
_THE_OTHER = _THE.replace("color", "other")
_IN = r"(?:in|into|in to|inside)"
_VERB = r"(?:pick up|pick|grab|take|grasp|lift)"


class _IntoBowls(Task):
    """Cubes that belong into bowls: half for the grasps, half for the places.

    Scoring of pick-and-place and sorting in the SmolVLA paper (arXiv 2506.01844, section 4).
    """

    lasting = True

    @property
    @abstractmethod
    def places(self) -> dict[str, str]:
        """Cube -> the bowl that it belongs into."""

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of all objects that it is about."""
        return (*self.places, *dict.fromkeys(self.places.values()))

    @property
    def movable(self) -> tuple[str, ...]:
        """Names of the cubes that the gripper may hold."""
        return tuple(self.places)

    def grade(self, objects: Mapping[str, ObjectState], progress: Progress) -> float:
        """Return the share of the grasps and of the places that are done, let go.

        A place needs its grasp before it.
        """
        score = 0.0
        for name, bowl in self.places.items():
            if name in progress.lifted:
                cube = objects[name]
                others = [objects[one].position for one in CUBES if one != name and one in objects]
                there = inside(cube.position, objects[bowl].position, others)
                score += 1.0 if there and cube.let_go else 0.5
        return score / len(self.places)

    def move(self, world: ModelWorld, moves: Moves) -> NDArray[np.float64]:
        """Bring each cube into its bowl, then go home."""
        if world.held:
            return moves.carry(world, world.held, self.places[world.held])
        for cube, bowl in self.places.items():
            if not world.inside(cube, bowl):
                return moves.fetch(world, cube)
        return moves.retreat(world)


class PlaceInBowl(_IntoBowls):
    """Put a cube into the bowl."""

    name = "pick_place"
    time_limit = 20.0
    templates = (
        "put the {color} cube into the bowl",
        "pick up the {color} cube and put it into the bowl",
    )
    patterns = (
        re.compile(rf"(?:put|place|drop|move) {_THE} {_IN} (?:the )?bowl"),
        re.compile(
            rf"{_VERB} {_THE}(?: and|,|, and| then) (?:put|place|drop) it {_IN} (?:the )?bowl"
        ),
    )

    @property
    def places(self) -> dict[str, str]:
        """Cube -> the bowl that it belongs into."""
        return {self.cube: BOWL}


class PickUp(Task):
    """Lift a cube off the table: all or nothing."""

    name = "pick_up"
    time_limit = 12.0
    templates = ("pick up the {color} cube",)
    patterns = (re.compile(rf"{_VERB} {_THE}(?: up)?"),)

    def grade(self, objects: Mapping[str, ObjectState], progress: Progress) -> float:
        """Return 1 once the cube was lifted."""
        return float(self.cube in progress.lifted)

    def move(self, world: ModelWorld, moves: Moves) -> NDArray[np.float64]:
        """Fetch the cube and lift it."""
        return moves.hold_up(world) if world.held else moves.fetch(world, self.cube)


class Reach(Task):
    """Touch a cube with the gripper: all or nothing, and no other cube before it."""

    name = "reach"
    time_limit = 8.0
    templates = ("touch the {color} cube", "reach for the {color} cube")
    patterns = (re.compile(rf"(?:touch|reach|reach for|reach to) {_THE}"),)

    def grade(self, objects: Mapping[str, ObjectState], progress: Progress) -> float:
        """Return 1 once the cube was touched, for good 0 where another one was first."""
        return float(progress.first_touched == self.cube)

    def move(self, world: ModelWorld, moves: Moves) -> NDArray[np.float64]:
        """Grip the cube and stay."""
        return moves.squeeze(world) if world.held else moves.fetch(world, self.cube)

    def lost(self, progress: Progress) -> bool:
        """Whether another cube was touched first."""
        return progress.first_touched not in (None, self.cube)


@dataclass(frozen=True)
class _TwoCubes(Task):
    """A task about two cubes.

    Attributes:
        other: color of the second named cube.
    """

    other: str

    @property
    def second_cube(self) -> str:
        """Name of the second named cube."""
        return f"{self.other}_cube"

    @classmethod
    def variants(cls) -> tuple[Task, ...]:
        """Return the task for every ordered pair of colors."""
        return tuple(cls(*pair) for pair in permutations(CUBE_COLORS, 2))


class Stack(_TwoCubes):
    """Stack a cube on another one: half for the grasp, half for the place."""

    name = "stack"
    lasting = True
    templates = (
        "stack the {color} cube on the {other} cube",
        "put the {color} cube on top of the {other} cube",
    )
    patterns = (
        re.compile(
            rf"(?:stack|put|place|set) {_THE} (?:on|onto|on to|on top of|over) {_THE_OTHER}"
        ),
    )

    @property
    def objects(self) -> tuple[str, ...]:
        """Names of all objects that it is about."""
        return (self.cube, self.second_cube)

    def grade(self, objects: Mapping[str, ObjectState], progress: Progress) -> float:
        """Return 0.5 for the lifted cube plus 0.5 while it rests on the other, let go."""
        if self.cube not in progress.lifted:
            return 0.0
        cube = objects[self.cube]
        stands = on_top(*(cube.position - objects[self.second_cube].position))
        return 1.0 if stands and cube.let_go else 0.5

    def move(self, world: ModelWorld, moves: Moves) -> NDArray[np.float64]:
        """Set the cube onto the other one, then go home."""
        if world.held:
            return moves.set_onto(world, self.cube, self.second_cube)
        if world.stands_on(self.cube, self.second_cube):
            return moves.leave(world, self.cube)
        return moves.fetch(world, self.cube)


class Sort(_IntoBowls, _TwoCubes):
    """Sort two cubes into two bowls."""

    name = "sort"
    templates = (
        "sort the {color} cube into the left bowl and the {other} cube into the right bowl",
        "put the {color} cube into the left bowl and the {other} cube into the right bowl",
    )
    patterns = (
        re.compile(
            rf"(?:sort|put|place|drop|move) {_THE} {_IN} (?:the )?left bowl and "
            rf"(?:put |place |drop |move )?{_THE_OTHER} {_IN} (?:the )?right bowl"
        ),
    )

    @property
    def places(self) -> dict[str, str]:
        """Cube -> the bowl that it belongs into."""
        return {self.cube: BOWL, self.second_cube: RIGHT_BOWL}


TASKS: tuple[type[Task], ...] = (PlaceInBowl, PickUp, Reach, Stack, Sort)
TASK_NAMES = tuple(task.name for task in TASKS)


def parse_task(sentence: str) -> Task:
    """Return the task that a sentence asks for; case and a final period do not matter.

    Raises:
        ValueError: nothing here understands it; the text lists what is understood.
    """
    spoken = " ".join(sentence.lower().strip().rstrip(".!").split())
    for known in TASKS:
        task = known.parse(spoken)
        if task is not None:
            return task
    examples = "; ".join(f"'{text}'" for known in TASKS for text in known.templates)
    colors = ", ".join(CUBE_COLORS)
    raise ValueError(
        f"the simulation does not understand '{sentence}'; it understands {examples}, "
        f"with {{color}} and {{other}} of {colors}"
    )


def tasks_asked(text: str) -> tuple[Task, ...]:
    """Return the tasks of a name such as ``pick_place``, or the one of a whole sentence.

    Raises:
        ValueError: neither; the text lists what is known.
    """
    if " " in text.strip():
        return (parse_task(text),)
    for task in TASKS:
        if task.name == text.strip():
            return task.variants()
    raise ValueError(
        f"unknown task '{text}'; there are {', '.join(TASK_NAMES)}, or a whole sentence"
    )


def task_sequence(text: str, seed: int) -> Iterator[Task]:
    """Return endless tasks, the first of which is that of the episode `seed`.

    Of a name the colors rotate with the seed; `tasks_asked` raises for an unknown one at once.
    Each next one is about another cube where there is one: an arm that has just touched the red
    cube could not be asked for less than to do it again.
    """
    return _in_turn(tasks_asked(text), seed)


def _in_turn(variants: tuple[Task, ...], seed: int) -> Iterator[Task]:
    rng = np.random.default_rng([seed, 4])
    task = variants[seed % len(variants)]
    while True:
        yield task
        others = [other for other in variants if other.cube != task.cube]
        if others:
            task = others[int(rng.integers(len(others)))]
