# SPDX-License-Identifier: Apache-2.0
"""What the arm can be asked to do: sentences, goals and how success is graded.

A kind of task is one subclass of `Task` in `TASK_KINDS`; a new one needs its sentences and
`grade`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import permutations

from smolvla_sim.world.layout import in_bowl, on_top
from smolvla_sim.world.scene import BOWL, CUBE_COLORS, RIGHT_BOWL
from smolvla_sim.world.task import LIFT, ObjectState, Progress, Task

__all__ = [
    "LIFT",
    "TASK_KINDS",
    "ObjectState",
    "PickUp",
    "PlaceInBowl",
    "Progress",
    "Reach",
    "Sort",
    "Stack",
    "Task",
    "all_tasks",
    "parse_task",
    "task_kind",
]

_THE = r"(?:the )?(?P<color>\w+) (?:cube|block)"
_THE_OTHER = _THE.replace("color", "other")
_IN = r"(?:in|into|in to|inside)"
_VERB = r"(?:pick up|pick|grab|take|grasp|lift)"


class PlaceInBowl(Task):
    """Put a cube into the bowl: half for the grasp, half for the place.

    Scoring of pick-and-place in the SmolVLA paper (arXiv 2506.01844, section 4).
    """

    kind = "pick_place"
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
    def things(self) -> tuple[str, ...]:
        """Names of all things that it is about."""
        return (self.cube, BOWL)

    @property
    def places(self) -> dict[str, str]:
        """Cube -> the bowl that it belongs into."""
        return {self.cube: BOWL}

    def grade(self, objects: Mapping[str, ObjectState], progress: Progress) -> float:
        """Return 0.5 for the lifted cube plus 0.5 while it rests in the bowl, let go."""
        return _placed(self.places, objects, progress)


class PickUp(Task):
    """Lift a cube off the table: all or nothing."""

    kind = "pick_up"
    templates = ("pick up the {color} cube",)
    patterns = (re.compile(rf"{_VERB} {_THE}(?: up)?"),)

    def grade(self, objects: Mapping[str, ObjectState], progress: Progress) -> float:
        """Return 1 once the cube was lifted."""
        return float(self.cube in progress.lifted)


class Reach(Task):
    """Touch a cube with the gripper: all or nothing, and no other cube before it."""

    kind = "reach"
    templates = ("touch the {color} cube", "reach for the {color} cube")
    patterns = (re.compile(rf"(?:touch|reach|reach for|reach to) {_THE}"),)

    def grade(self, objects: Mapping[str, ObjectState], progress: Progress) -> float:
        """Return 1 once the cube was touched, for good 0 where another one was first."""
        return float(progress.first_touched == self.cube)

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

    kind = "stack"
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
    def things(self) -> tuple[str, ...]:
        """Names of all things that it is about."""
        return (self.cube, self.second_cube)

    def grade(self, objects: Mapping[str, ObjectState], progress: Progress) -> float:
        """Return 0.5 for the lifted cube plus 0.5 while it rests on the other, let go."""
        if self.cube not in progress.lifted:
            return 0.0
        cube = objects[self.cube]
        stands = on_top(*(cube.position - objects[self.second_cube].position))
        return 1.0 if stands and cube.let_go else 0.5


class Sort(_TwoCubes):
    """Sort two cubes into two bowls: for each a quarter for the grasp, a quarter for the place.

    Scoring of sorting in the SmolVLA paper (arXiv 2506.01844, section 4).
    """

    kind = "sort"
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
    def things(self) -> tuple[str, ...]:
        """Names of all things that it is about."""
        return (self.cube, self.second_cube, BOWL, RIGHT_BOWL)

    @property
    def movable(self) -> tuple[str, ...]:
        """Names of the cubes that the gripper may hold."""
        return (self.cube, self.second_cube)

    @property
    def places(self) -> dict[str, str]:
        """Cube -> the bowl that it belongs into."""
        return {self.cube: BOWL, self.second_cube: RIGHT_BOWL}

    def grade(self, objects: Mapping[str, ObjectState], progress: Progress) -> float:
        """Return for each cube 0.25 once lifted and 0.25 while in its bowl, let go."""
        return _placed(self.places, objects, progress)


TASK_KINDS: tuple[type[Task], ...] = (PlaceInBowl, PickUp, Reach, Stack, Sort)


def _placed(
    places: Mapping[str, str], objects: Mapping[str, ObjectState], progress: Progress
) -> float:
    """Return the share of the grasps and places that are done; a place needs its grasp."""
    score = 0.0
    for name, bowl in places.items():
        if name in progress.lifted:
            cube = objects[name]
            inside = in_bowl(*(cube.position - objects[bowl].position))
            score += 1.0 if inside and cube.let_go else 0.5
    return score / len(places)


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
    examples = "; ".join(f"'{text}'" for kind in TASK_KINDS for text in kind.templates)
    colors = ", ".join(CUBE_COLORS)
    raise ValueError(
        f"the simulation does not understand '{sentence}'; it understands {examples}, "
        f"with {{color}} and {{other}} of {colors}"
    )


def task_kind(name: str) -> type[Task]:
    """Return the kind of task of a name such as ``pick_place``.

    Raises:
        ValueError: unknown name; the text lists the known ones.
    """
    for kind in TASK_KINDS:
        if kind.kind == name:
            return kind
    names = ", ".join(kind.kind for kind in TASK_KINDS)
    raise ValueError(f"unknown kind of task '{name}'; there are {names}")


def all_tasks() -> tuple[Task, ...]:
    """Return every task there is."""
    return tuple(task for kind in TASK_KINDS for task in kind.variants())
