# SPDX-License-Identifier: Apache-2.0
"""What the axes and buttons of a joystick mean, by a map in YAML; without ROS."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import yaml
from smolvla_core.settings import SettingError, Settings, instead_of, setting

from smolvla_executor.core.jog import TIP, Motion

DEAD_MAN, ESTOP, RELEASE = "dead_man", "estop", "release_estop"
ORDERS = (
    "take_over",
    "give_back",
    "home",
    "start",
    "stop",
    "reset_estop",
    "record_start",
    "record_save",
    "record_discard",
    "re_record",
)
"""What a button may order, beside `DEAD_MAN` and `ESTOP`."""
_LAST = 255  # highest number of an axis or a button
_PRESSED = 0.5  # share of an axis' way from which it is a pressed button

AnyPart = TypeVar("AnyPart", bound=Settings)


@dataclass(frozen=True, kw_only=True)
class Drive(Settings):
    """An axis, or a pair of buttons, that moves something."""

    axis: int = setting(-1, "Number of the axis; -1: it is a pair of buttons.", -1, _LAST)
    buttons: tuple[int, ...] = setting((), "Numbers of two buttons: forward, backward.", 0, _LAST)
    speed: float = setting(0.1, "Where it is moved all the way [m/s, rad/s]; negative: backward.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.axis >= 0) == bool(self.buttons) or len(self.buttons) not in (0, 2):
            raise SettingError("axis", "or two buttons must be given, one of both")


@dataclass(frozen=True, kw_only=True)
class Button(Settings):
    """A button, or an end of an axis."""

    button: int = setting(-1, "Number of the button; -1: it is an axis.", -1, _LAST)
    axis: int = setting(-1, "Number of the axis.", -1, _LAST)
    at: int = setting(1, "Which end of the axis.", choices=(1, -1))

    def __post_init__(self) -> None:
        super().__post_init__()
        if (self.axis >= 0) == (self.button >= 0):
            raise SettingError("axis", "or the number of a button must be given, one of both")


@dataclass(frozen=True)
class JoyMap:
    """What axes and buttons do.

    Attributes:
        dead_zone: share of an axis' way about its middle that is no motion.
        tip: one of `TIP` -> what moves it.
        joints: name of a joint -> what moves it.
        buttons: `DEAD_MAN`, `ESTOP` or one of `ORDERS` -> the button.
    """

    dead_zone: float
    tip: Mapping[str, Drive]
    joints: Mapping[str, Drive]
    buttons: Mapping[str, Button]

    @property
    def axes_needed(self) -> int:
        """How many axes a joystick must have."""
        drives = (*self.tip.values(), *self.joints.values())
        axes = [drive.axis for drive in drives]
        return 1 + max((*axes, *(button.axis for button in self.buttons.values())))

    @property
    def buttons_needed(self) -> int:
        """How many buttons it must have."""
        drives = (*self.tip.values(), *self.joints.values())
        numbers = [number for drive in drives for number in drive.buttons]
        return 1 + max((*numbers, *(button.button for button in self.buttons.values())))


def load_map(path: Path, joints: Sequence[str]) -> JoyMap:
    """Return what a file says axes and buttons do.

    Args:
        path: of the YAML file.
        joints: of the robot.

    Raises:
        ValueError: the file cannot be used; the text names it, the entry and what to do.
    """
    try:
        content = yaml.safe_load(path.expanduser().read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(f"{path}: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {' '.join(str(error).split())}") from error
    try:
        return _map(content, joints)
    except SettingError as error:
        raise ValueError(f"{path}: {error}") from error


def _map(content: Any, joints: Sequence[str]) -> JoyMap:
    entries = _entries(content, "the map", [field.name for field in fields(JoyMap)])
    zone = entries.get("dead_zone", 0.1)
    if not isinstance(zone, (int, float)) or not 0 <= zone < 1:
        raise SettingError("dead_zone", f"is {zone}, but must be from 0 up to, but not, 1")
    buttons = {
        name: _part(Button, {"button": entry} if isinstance(entry, int) else entry, name)
        for name, entry in _entries(
            entries.get("buttons"), "buttons", (DEAD_MAN, ESTOP, *ORDERS)
        ).items()
    }
    if DEAD_MAN not in buttons:
        raise SettingError("buttons", f"has no {DEAD_MAN}: the button without which nothing moves")
    return JoyMap(
        float(zone),
        _drives(entries, "tip", TIP),
        _drives(entries, "joints", joints),
        buttons,
    )


def _drives(entries: Mapping[str, Any], what: str, known: Sequence[str]) -> dict[str, Drive]:
    found = _entries(entries.get(what), what, known)
    return {name: _part(Drive, entry, f"{what}: {name}") for name, entry in found.items()}


def _entries(content: Any, what: str, known: Sequence[str]) -> dict[str, Any]:
    """Return a mapping, whose names are `known`; an absent one is empty."""
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise SettingError(what, f"is {content}, but must hold names with entries")
    for name in content:
        if name not in known:
            raise SettingError(what, f"has no '{name}'; {instead_of(str(name), known)}")
    return content


def _part(kind: type[AnyPart], content: Any, what: str) -> AnyPart:
    entries = _entries(content, what, [field.name for field in fields(kind)])
    try:
        return kind(**entries)
    except SettingError as error:
        raise SettingError(f"{what}: {error.name}", error.problem) from error


class RunningTime:
    """A clock that stands still while its process does not run.

    On a crowded machine messages wait meanwhile: their joystick was not silent.

    Args:
        clock: [s].
        longest: what it advances between two looks at most [s].
    """

    def __init__(self, clock: Callable[[], float], longest: float) -> None:
        self._clock, self._longest = clock, longest
        self._looked, self._time = clock(), 0.0

    def __call__(self) -> float:
        """Return the time [s]; to be asked more often than each `longest`."""
        now = self._clock()
        self._time += min(now - self._looked, self._longest)
        self._looked = now
        return self._time


class Joystick:
    """Messages of a joystick -> how the arm is to move, and what its buttons order.

    A button orders when it is pressed, and `ESTOP` again, as `RELEASE`, when it is let go. The
    dead-man takes over when it is pressed and gives back when it is let go, where it was not a
    human already who had the arm. After a silence, and at first, it has to be pressed anew.

    Args:
        joy_map: what axes and buttons do.
        joints: of the robot, the order of motions.
        timeout: what is valid without a newer message for so long [s]; it may be changed at any
            time.

    Attributes:
        held: whether the dead-man is.
        pressed: names of the buttons that are; None where that is not known.
        problem: what is wrong with the newest message; empty for nothing.
    """

    def __init__(self, joy_map: JoyMap, joints: Sequence[str], timeout: float) -> None:
        self._map = joy_map
        self._index = {name: index for index, name in enumerate(joints)}
        self.timeout = timeout
        self.held = False
        self.problem = ""
        self._taken = False  # by the dead-man, which gives back
        self.pressed: set[str] | None = None
        self._motion = self._none
        self._heard = -math.inf

    @property
    def _none(self) -> Motion:
        return Motion(np.zeros(len(self._index)), np.zeros(len(TIP)))

    def on_message(
        self, axes: Sequence[float], buttons: Sequence[int], human: bool, now: float
    ) -> list[str]:
        """Take a message; return what it orders, in this order.

        Args:
            axes: -1 to 1.
            buttons: 1 where pressed.
            human: whether a human has the arm already.
            now: when it came [s].
        """
        self.watch(now)
        self.problem = self._problem(axes, buttons)
        pressed = {
            name
            for name, button in self._map.buttons.items()
            if (button.axis < 0 and sum(buttons[button.button : button.button + 1]) > 0)
            or (0 <= button.axis < len(axes) and axes[button.axis] * button.at > _PRESSED)
        }
        before, self.pressed = self.pressed, pressed
        self._motion = self._none if self.problem else self._moved(axes, buttons)
        if not self.problem:
            self._heard = now
        if before is None:  # what is pressed by now may have been so for long
            return [ESTOP] if ESTOP in pressed else []
        return self._orders(pressed - before, before - pressed, human)

    def watch(self, now: float) -> bool:
        """Say whether the joystick is there; what is held of one that was silent counts as let go.

        What the dead-man had taken over stays so until it is pressed and let go again.
        """
        there = now - self._heard <= self.timeout
        if not there:
            self.held, self.pressed = False, None
        return there

    def motion(self, now: float) -> Motion | None:
        """Return how the arm is to move; None where nobody knows."""
        if not self.watch(now):
            return None
        return self._motion if self.held else self._none

    def _orders(self, pressed: set[str], let_go: set[str], human: bool) -> list[str]:
        orders = []
        if ESTOP in pressed:
            orders.append(ESTOP)
        if ESTOP in let_go:
            orders.append(RELEASE)
        if DEAD_MAN in pressed:
            self.held = True
            if not human:
                self._taken = True
                orders.append("take_over")
        if DEAD_MAN in let_go and self.held:
            self.held = False
            if self._taken:
                self._taken = False
                orders.append("give_back")
        return [*orders, *(name for name in ORDERS if name in pressed)]

    def _problem(self, axes: Sequence[float], buttons: Sequence[int]) -> str:
        for noun, there, needed in (
            ("axes", len(axes), self._map.axes_needed),
            ("buttons", len(buttons), self._map.buttons_needed),
        ):
            if there < needed:
                return (
                    f"the joystick has {there} {noun}, but the map names number {needed - 1}: "
                    "give the node a joy_map for this joystick"
                )
        bad = [str(number) for number, value in enumerate(axes) if not math.isfinite(value)]
        return f"axis {', '.join(bad)} is not finite" if bad else ""

    def _moved(self, axes: Sequence[float], buttons: Sequence[int]) -> Motion:
        motion = self._none
        for names, drives, speeds in (
            (self._index, self._map.joints, motion.joints),
            ({name: index for index, name in enumerate(TIP)}, self._map.tip, motion.tip),
        ):
            for name, drive in drives.items():
                speeds[names[name]] = drive.speed * self._way(drive, axes, buttons)
        return motion

    def _way(self, drive: Drive, axes: Sequence[float], buttons: Sequence[int]) -> float:
        """Return how far it is moved, -1 to 1; the dead zone takes nothing off the ends."""
        if drive.buttons:
            forward, backward = drive.buttons
            return float(bool(buttons[forward])) - float(bool(buttons[backward]))
        value = axes[drive.axis]
        beyond = max(0.0, min(abs(value), 1.0) - self._map.dead_zone)
        return math.copysign(beyond / (1.0 - self._map.dead_zone), value)
