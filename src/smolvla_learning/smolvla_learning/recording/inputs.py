# SPDX-License-Identifier: Apache-2.0
"""What the robot sends: commands, samples of one instant, and the frames that they become."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray
from smolvla_core.backend import Observation
from smolvla_core.joints import JointOrder
from smolvla_core.observation import Missing
from smolvla_core.units.joint_units import JointUnits

from smolvla_learning.dataset.features import INTERVENTION


@dataclass(frozen=True)
class Silent(Missing):
    """Nobody commands, or nobody does any more; nothing is wrong with what came."""


@dataclass(frozen=True)
class _Command:
    """Positions (points, joints) [rad] at times (points,) [s] after `start`."""

    start: float
    times: NDArray[np.float64]
    positions: NDArray[np.float64]

    @property
    def end(self) -> float:
        """When its last point is reached; from then on it only grows older."""
        return self.start + float(self.times[-1])

    def at(self, now: float) -> NDArray[np.float64]:
        """Positions (joints,); before the first point that point, after the last the last."""
        columns = self.positions.T
        return np.array([np.interp(now - self.start, self.times, column) for column in columns])


class CommandBuffer:
    """Keeps the active command. A bad one is reported once, by the next `at`.

    It may come in parts, as where arm and gripper have controllers of their own.

    Args:
        joints: names, the order of all positions.
        max_age: a command older than this is stale [s]; 0: it holds until the next one. It
            may be changed at any time.
        source: name of the commands in messages, with their topic.

    Raises:
        ValueError: a joint is named twice.
    """

    def __init__(self, joints: Sequence[str], max_age: float, source: str) -> None:
        self._order = JointOrder(joints)
        self.max_age = max_age
        self._source = source
        self._commands: dict[tuple[int, ...], _Command] = {}  # by the joints that they are of
        self._bad = ""
        self._bad_is_newest = self._bad_is_told = False

    def add(self, positions: ArrayLike, now: float, names: Sequence[str] | None = None) -> str:
        """Take a command that came at `now` [s, monotonic].

        Args:
            positions: (joints,) [rad].
            now: when it came.
            names: of `positions`; without, they are in the order of `joints`.

        Returns:
            The reason why it is rejected, else empty.
        """
        rows = np.asarray(positions, dtype=np.float64).reshape(1, -1)
        return self._take(now, [0.0], rows, names)

    def add_trajectory(
        self, names: Sequence[str], times: ArrayLike, positions: ArrayLike, start: float
    ) -> str:
        """Take a trajectory; between its points the command runs in a straight line.

        Args:
            names: of the columns.
            times: (points,) [s] after `start`, ascending.
            positions: (points, len(names)) [rad].
            start: when it begins [s, monotonic].

        Returns:
            The reason why it is rejected, else empty.
        """
        return self._take(start, times, positions, names)

    def reject(self, problem: str) -> str:
        """Note the reason why a message holds no command, and return it."""
        self._bad, self._bad_is_newest, self._bad_is_told = problem, True, False
        return problem

    def forget(self) -> None:
        """Hold no command until the next one comes."""
        self._commands.clear()

    def at(self, now: float) -> NDArray[np.float64] | Missing:
        """Return the positions (joints,) [rad] commanded at `now`, or the reason why not.

        `Silent` where nothing but the next command is missing.
        """
        if self._bad and (self._bad_is_newest or not self._bad_is_told):
            problem, self._bad_is_told = self._bad, True
            return Missing((f"{self._source}: {problem}",))
        commanded = {column for columns in self._commands for column in columns}
        missing = [name for i, name in enumerate(self._order.joints) if i not in commanded]
        if missing:
            of = f" of {', '.join(missing)}" if commanded else ""
            return Silent((f"{self._source}: none{of} yet: is the arm being commanded?",))
        age = max(now - command.end for command in self._commands.values())
        if self.max_age and age > self.max_age:
            return Silent(
                (
                    f"{self._source}: newest is {age:.2f} s old, more than max_command_age "
                    f"({self.max_age:g} s): is the arm still being commanded?",
                )
            )
        positions = np.empty(len(self._order.joints))
        for columns, command in self._commands.items():
            positions[list(columns)] = command.at(now)
        return positions

    def _take(
        self, start: float, times: ArrayLike, positions: ArrayLike, names: Sequence[str] | None
    ) -> str:
        instants = np.asarray(times, dtype=np.float64)
        if not instants.size:
            return self.reject("a trajectory without points")
        if not np.isfinite(instants).all() or (np.diff(instants) <= 0).any():
            return self.reject("the times of a trajectory do not ascend")
        try:
            if names is None:
                names = self._order.joints
            columns, picked = self._order.some(names, positions)
        except ValueError as error:
            return self.reject(str(error))
        if not columns.size:
            return self.reject(f"none of the joints among {', '.join(names)}")
        self._commands[tuple(columns)] = _Command(start, instants, picked)
        self._bad_is_newest = False
        return ""


HUMAN = "human"
"""Source of the actions that an executor follows, while somebody has taken over."""
SCORE_AGE = 2.0
"""Age from which on a score is not used [s]."""


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
        silent: message that no commands come; else empty.
        score: of the task by whoever judges it, 0 to 1; None where nobody does.
        human: whether the commands are those of a human who has taken over; None where that is
            not recorded.
    """

    images: Mapping[str, Picture]
    positions: NDArray[np.float64]
    command: NDArray[np.float64] | None
    task: str
    silent: str = ""
    score: float | None = None
    human: bool | None = None


class Inputs:
    """Brings together what the robot sends.

    Args:
        snapshot: returns the newest images and the joint state that belongs to them.
        commands: the commands; None where they are not recorded.
        task: instruction until another comes; may be empty.
        no_task: how to give an instruction, for messages.
        topics: subject of a problem ("camera top", "joint states") -> its topic, for messages.
        intervention: whether it is recorded who commands.
        foreign: says why positions (joints,) [rad] cannot be this robot's; empty where they can.

    Attributes:
        positions: (joints,) measured [rad] at the last sample, whatever else was missing; None
            where they were, too.
    """

    def __init__(
        self,
        snapshot: Callable[[], Observation | Missing],
        commands: CommandBuffer | None,
        task: str,
        no_task: str,
        topics: Mapping[str, str],
        intervention: bool = False,
        foreign: Callable[[NDArray[np.float64]], str] = lambda positions: "",
    ) -> None:
        self._foreign = foreign
        self._intervention = intervention
        self._source = ""
        self._snapshot = snapshot
        self._commands = commands
        self._task = task.strip()
        self._task_is_set = bool(self._task)
        self._heard: int | None = None
        self._no_task = no_task
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

    def set_task(self, task: str) -> None:
        """Take an instruction that is for this recorder, whatever an executor had before."""
        self._task_is_set = True
        self.instruct(task)

    def take_source(self, source: str) -> None:
        """Take the ``source`` of an executor's status: whose actions the arm follows."""
        self._source = source

    def follow(self, instruction: str, heard: int) -> None:
        """Take the instruction of an executor, that came by a topic or a goal.

        Args:
            instruction: empty for none.
            heard: how many there were since its start.
        """
        before, self._heard = self._heard, heard
        # One from before this recorder counts where it has none of its own.
        known = self._task_is_set if before is None else before == heard
        if instruction and not known:
            self.instruct(instruction)

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
        elif problem := self._foreign(matched.positions):
            problems.append(self._with_topic(f"joint states: {problem}"))
        if isinstance(command, Missing):
            problems += command.problems
        elif command is not None and (problem := self._foreign(command)):
            problems.append(f"commands: {problem}")
        if not self._task:
            problems.append(f"instruction: none: {self._no_task}")
        if self._intervention and not self._source:
            problems.append(
                "executor: its status, which tells an intervention, has not come: is it running?"
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
            self._source == HUMAN if self._intervention else None,
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
        human: see `Sample`.
    """

    images: Mapping[str, Picture]
    state: NDArray[np.float32]
    action: NDArray[np.float32]
    task: str
    human: bool | None = None

    def decoded(self) -> dict[str, object]:
        """Return feature name -> array, as `DatasetWriter.add_frame` takes it.

        Raises:
            ValueError: an image cannot be decoded; the text names the camera.
        """
        values: dict[str, object] = {"observation.state": self.state, "action": self.action}
        if self.human is not None:
            values[INTERVENTION] = np.array([self.human])
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

    def interrupt(self) -> None:
        """Note that the next sample does not follow the last one."""
        self._previous = None

    def make(self, sample: Sample) -> Frame | None:
        """Return the next frame, None where it must wait for the next sample."""
        state = self._units.to_policy(sample.positions)
        if not self._next_state:
            assert sample.command is not None
            action = self._units.to_actions(sample.command)
            return Frame(sample.images, state, action, sample.task, sample.human)
        waiting = self._previous
        action = self._units.to_actions(sample.positions)
        self._previous = Frame(sample.images, state, action, sample.task, sample.human)
        return None if waiting is None else replace(waiting, action=action)
