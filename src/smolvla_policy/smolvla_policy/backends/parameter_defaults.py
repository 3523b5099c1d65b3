# SPDX-License-Identifier: Apache-2.0
"""What `policy_node`'s parameters leave open, filled in from what the checkpoint says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from smolvla_core.robot import JOINT, Joint, Robot
from smolvla_core.units.calibration import GRIPPER

from smolvla_policy.checkpoint.robot import ROBOT, RobotFacts

USUAL_PERIOD = 1.0 / 30.0
"""Seconds between two actions where nothing says it: LeRobot's usual 30 Hz."""
LEAST_PERIOD = 0.001
SAME = 0.01
"""Periods that differ by a smaller share are one."""


@dataclass(frozen=True)
class Completed:
    """Parameters and robot of which nothing is open but ``units``.

    Attributes:
        options: the parameters.
        robot: with signs and gripper ranges.
        period: what is taken for the period, and why.
        warning: what is wrong with the period; empty if nothing is.
        notes: on the robot.
    """

    options: Mapping[str, Any]
    robot: Robot
    period: str
    warning: str
    notes: tuple[str, ...]


def complete(options: Mapping[str, Any], robot: Robot, facts: RobotFacts) -> Completed:
    """Fill in what parameters and robot file leave open; what they say wins.

    Args:
        options: `policy_node`'s parameters; a ``period`` of 0 is open.
        robot: with its joints in the checkpoint's order; signs that its file does not give, and
            ends of its gripper, are open.
        facts: what the checkpoint says.

    Raises:
        ValueError: the period is no time.
    """
    period, text, warning = _period(float(options.get("period") or 0.0), facts.fps)
    joints = robot.joints
    signs = facts.joint_signs * (len(joints) if len(facts.joint_signs) == 1 else 1)
    if len(signs) != len(joints):
        signs = (0,) * len(joints)
    filled, notes = [], []
    for joint, sign in zip(joints, signs, strict=True):
        stated: dict[str, Any] = {}
        if sign and joint.role == JOINT:
            stated["sign"] = int(sign)
        if joint.role == GRIPPER and facts.gripper_range:
            stated["closed"], stated["open"] = facts.gripper_range
        for key, value in stated.items():
            usual = {"sign": 1, "closed": joint.lower, "open": joint.upper}[key]
            given = getattr(joint, key)
            if given is None and value != usual:
                notes.append(
                    f"{joint.name}: {key} is {value:g}, as {ROBOT} of the checkpoint says"
                )
            elif given is not None and value != given:
                notes.append(
                    f"{joint.name}: {key} is {given:g}, as the robot file says; the data were "
                    f"recorded with {value:g}"
                )
        filled.append(
            replace(joint, **{k: v for k, v in stated.items() if getattr(joint, k) is None})
        )
    return Completed(
        {**options, "period": period},
        replace(robot, joints=tuple(filled)),
        text,
        warning,
        tuple(notes),
    )


def in_order(joints: Sequence[Joint], names: Sequence[str]) -> tuple[Joint, ...]:
    """Return joints in the order of LeRobot's `names`; as they are where these are others."""
    named = {joint.lerobot: joint for joint in joints}
    if len(names) != len(named) or set(names) != set(named):
        return tuple(joints)
    return tuple(named[name] for name in names)


def lerobot_names(features: Sequence[str]) -> tuple[str, ...]:
    """Return the joints of a dataset's names: ``main_shoulder_pan.pos`` is shoulder_pan."""
    return tuple(name.rpartition("main_")[2].removesuffix(".pos") for name in features)


def _period(given: float, fps: float) -> tuple[float, str, str]:
    if given and not LEAST_PERIOD <= given <= 1.0:
        raise ValueError(f"period is {given:g} s; it must be {LEAST_PERIOD:g} to 1, or 0: unknown")
    stated = 1.0 / fps if fps else 0.0
    if given:
        text = f"{_rate(given)}, as the parameter period says"
        if stated and abs(given - stated) > SAME * stated:
            return (
                given,
                text,
                f"the checkpoint was trained on data of {_rate(stated)}: its motions are played "
                f"{stated / given:.3g} times as fast. Leave out period to take the checkpoint's",
            )
        return given, text, ""
    if stated:
        return stated, f"{_rate(stated)}, as {ROBOT} of the checkpoint says", ""
    return (
        USUAL_PERIOD,
        f"{_rate(USUAL_PERIOD)}, a guess: neither the checkpoint nor the parameter period says it",
        "LeRobot's checkpoints do not name the rate of their data. Set period to 1/fps of the "
        "recordings; with a wrong one motions are too fast or too slow",
    )


def _rate(period: float) -> str:
    return f"{period:.4g} s ({1.0 / period:.4g} Hz)"
