# SPDX-License-Identifier: Apache-2.0
"""What LeRobot's files do not say about robot and tasks: the file ``robot.json`` of a checkpoint.

A checkpoint of LeRobot holds numbers without their units and actions without the time between
them. Recordings know both, so a training here writes them beside LeRobot's files. LeRobot does
not read the file. In a dataset units, signs and the gripper's range stand in ``meta/info.json``,
under ``info`` of state and action, which LeRobot and its editing tools keep.
"""

from __future__ import annotations

import difflib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from smolvla_core.units.joint_units import REGIMES

from smolvla_policy.checkpoint.source import CheckpointError, read_json

ROBOT = "robot.json"
MAX_FPS = 1000.0
CONVERSION = ("units", "joint_signs", "gripper_range")
"""What a dataset says beyond LeRobot's own entries."""


@dataclass(frozen=True)
class RobotFacts:
    """What a checkpoint or a dataset says about the robot that its data come from.

    Everything may be unknown; then it is empty, and fps is 0.

    Attributes:
        units: one of `control.units.REGIMES`.
        joints: names of the action's numbers, as in the dataset: ``shoulder_pan.pos``.
        fps: actions per second.
        cameras: feature names of the dataset's cameras, in the network's order.
        joint_signs: +1 or -1 for each joint, or one number for all.
        gripper_range: the gripper's angles when closed and when open [rad].
        tasks: the instructions that were learned.
        rtc_delay: up to so many first actions of a chunk may be given (training option
            ``--rtc-delay``).
        state_offset: the state may be that of up to so many actions later than the images
            (``--state-offset``).
    """

    units: str = ""
    joints: tuple[str, ...] = ()
    fps: float = 0.0
    cameras: tuple[str, ...] = ()
    joint_signs: tuple[float, ...] = ()
    gripper_range: tuple[float, ...] = ()
    tasks: tuple[str, ...] = ()
    rtc_delay: int = 0
    state_offset: int = 0

    def known(self, *names: str) -> dict[str, Any]:
        """Return what is known, as plain data; of all or of these attributes."""
        values = {name: value for name, value in asdict(self).items() if value}
        plain = {k: list(v) if isinstance(v, tuple) else v for k, v in values.items()}
        return {name: plain[name] for name in names or plain if name in plain}


def parse_facts(content: Mapping[str, Any], where: str) -> RobotFacts:
    """Check facts; entries that are unknown here are ignored.

    Args:
        content: attribute of `RobotFacts` -> value.
        where: names the file in errors.

    Raises:
        CheckpointError: a value does not fit.
    """
    values: dict[str, Any] = {}
    for name in (entry.name for entry in fields(RobotFacts)):
        value = content.get(name)
        if value is None:
            continue
        problem = _problem(name, value)
        if problem:
            raise CheckpointError(f"{where}: {name} is {value!r}, {problem}; mend or delete it")
        values[name] = tuple(value) if isinstance(value, list) else value
    return RobotFacts(**values)


def _problem(name: str, value: Any) -> str:
    if name == "units":
        return "" if value in REGIMES else f"not one of {', '.join(REGIMES)}"
    if name == "fps":
        fits = _is_number(value) and 0.0 < value <= MAX_FPS
        return "" if fits else f"not a rate above 0 and up to {MAX_FPS:g} Hz"
    if name in ("rtc_delay", "state_offset"):
        fits = isinstance(value, int) and not isinstance(value, bool) and value >= 0
        return "" if fits else "not a number of actions"
    if not isinstance(value, list) or not value:
        return "not a list"
    if name in ("joints", "cameras", "tasks"):
        return "" if all(isinstance(entry, str) for entry in value) else "not a list of texts"
    if not all(_is_number(entry) for entry in value):
        return "not a list of numbers"
    if name == "joint_signs":
        return "" if all(entry in (1, -1) for entry in value) else "but signs are 1 or -1"
    return "" if len(value) == 2 and value[0] != value[1] else "not two different angles [rad]"


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def read_robot(folder: Path) -> RobotFacts:
    """Read the ``robot.json`` of a checkpoint; nothing is known where there is none.

    Raises:
        CheckpointError: it cannot be understood.
    """
    path = folder / ROBOT
    if not path.is_file():
        return RobotFacts()
    return parse_facts(read_json(path), str(path))


def robot_of(folder: Path, size: int) -> tuple[RobotFacts, tuple[str, ...]]:
    """Read the ``robot.json`` of a checkpoint whose actions have `size` numbers.

    A file on another number of joints came with a copy of another checkpoint; none of it is used.

    Returns:
        What it says, and notes.

    Raises:
        CheckpointError: it cannot be understood.
    """
    facts = read_robot(folder)
    sizes = {len(facts.joints) or size}
    if len(facts.joint_signs) > 1:
        sizes.add(len(facts.joint_signs))
    if sizes == {size}:
        return facts, ()
    other = next(number for number in sizes if number != size)
    return RobotFacts(), (
        f"{ROBOT} is not used: it is of {other} joints, the actions are of {size}; mend or delete "
        "it",
    )


def unlearned(instruction: str, tasks: Sequence[str]) -> str:
    """Say in a line that `instruction` was not among the learned `tasks`, and which are like it.

    Empty where it was, and where nothing is known about what was learned.
    """
    wanted = instruction.strip()
    if not wanted or not tasks or wanted in map(str.strip, tasks):
        return ""
    near = difflib.get_close_matches(wanted, tasks, 2, 0.3)
    known = " or ".join(f"'{task}'" for task in near or tasks[:2])
    return f"the checkpoint never learned '{wanted}'; {'nearest' if near else 'it knows'}: {known}"


def write_robot(folder: Path, facts: RobotFacts) -> None:
    """Write the ``robot.json`` of a checkpoint; with nothing known there is none."""
    path = folder / ROBOT
    if not facts.known():
        path.unlink(missing_ok=True)
        return
    path.write_text(json.dumps(facts.known(), indent=2) + "\n", encoding="utf-8")
