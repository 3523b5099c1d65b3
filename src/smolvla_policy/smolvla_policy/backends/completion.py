# SPDX-License-Identifier: Apache-2.0
"""What parameters and robot file leave open, filled in from the checkpoint; and the units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from smolvla_core.robot import JOINT, Robot
from smolvla_core.units.calibration import (
    DOUBTFUL,
    GRIPPER,
    LEROBOT_JOINTS,
    UNSAFE,
    LoadedCalibration,
    broken_rules,
    find_calibration,
)
from smolvla_core.units.implied import FeatureStatistics, implied_units, units_problem
from smolvla_core.units.joint_units import AUTO, JointUnits, joint_units

from smolvla_policy.backends.smolvla_settings import SmolVLASettings
from smolvla_policy.checkpoint.robot import ROBOT, RobotFacts

USUAL_PERIOD = 1.0 / 30.0
"""Seconds between two actions where nothing says it: LeRobot's usual 30 Hz."""
LEAST_PERIOD = 0.001  # [s]
SAME = 0.01
"""Periods that differ by a smaller share are one."""


@dataclass(frozen=True)
class Completed:
    """Parameters and robot of which nothing is open but ``units``.

    Attributes:
        settings: the parameters.
        robot: with signs and gripper ranges.
        period: the active period and where it comes from, as text.
        warning: what is wrong with the period; empty if nothing is.
        notes: on the robot.
    """

    settings: SmolVLASettings
    robot: Robot
    period: str
    warning: str
    notes: tuple[str, ...]


def complete(settings: SmolVLASettings, robot: Robot, facts: RobotFacts) -> Completed:
    """Fill in what parameters and robot file leave open; what they say wins.

    Args:
        settings: a ``period`` of 0 is open.
        robot: with its joints in the checkpoint's order; signs that its file does not give, and
            ends of its gripper, are open.
        facts: what the checkpoint says.

    Raises:
        ValueError: the period is too short.
    """
    period, text, warning = _period(settings.period, facts.fps)
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
        usual = {"sign": 1, "closed": joint.lower, "open": joint.upper}
        for key, value in stated.items():
            given = getattr(joint, key)
            if given is None:
                if value != usual[key]:
                    source = f"as {ROBOT} of the checkpoint says"
                    notes.append(f"{joint.name}: {key} is {value:g}, {source}")
            elif value != given:
                notes.append(
                    f"{joint.name}: {key} is {given:g}, as the robot file says; the data were "
                    f"recorded with {value:g}"
                )
        open_ones = {key: value for key, value in stated.items() if getattr(joint, key) is None}
        filled.append(replace(joint, **open_ones))
    return Completed(
        replace(settings, period=period),
        replace(robot, joints=tuple(filled)),
        text,
        warning,
        tuple(notes),
    )


def _period(given: float, fps: float) -> tuple[float, str, str]:
    """Return the period, where it comes from, and what is wrong with it."""
    stated = 1.0 / fps if fps else 0.0
    if given:
        if given < LEAST_PERIOD:
            raise ValueError(
                f"period is {given:g} s; it must be {LEAST_PERIOD:g} to 1, or 0: unknown"
            )
        warning = ""
        if stated and abs(given - stated) > SAME * stated:
            warning = (
                f"the checkpoint was trained on data of {_rate(stated)}: its motions are played "
                f"{stated / given:.3g} times as fast. Leave out period to take the checkpoint's"
            )
        return given, f"{_rate(given)}, as the parameter period says", warning
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


@dataclass(frozen=True)
class ChosenUnits:
    """The active units.

    Attributes:
        regime: one of `units.REGIMES`.
        units: the conversion.
        notes: for the log: which units and why, and what is odd.
        warning: how the parameter contradicts the checkpoint; empty if it does not.
    """

    regime: str
    units: JointUnits
    notes: tuple[str, ...]
    warning: str = ""


def read_calibrations(robot: Robot, given: str = "") -> dict[str, LoadedCalibration]:
    """Read the calibrations of the robot's arms; prefix of the joints -> calibration.

    Args:
        robot: whose file may name them.
        given: path or id of the only arm's, which then counts instead.

    Raises:
        ValueError: one cannot be used.
    """
    kinds: dict[str, list[str]] = {}
    for joint in robot.moving:
        kinds.setdefault(joint.prefix, []).append(joint.kind)
    sources = dict(robot.calibration)
    if given:
        if len(kinds) > 1:
            raise ValueError(
                f"calibration is '{given}', but the robot has the arms "
                f"{', '.join(map(repr, kinds))}: name one for each in the robot file, as in "
                "calibration: {left_: my_left, right_: my_right}"
            )
        sources = {next(iter(kinds)): given}
    # LeRobot's files hold the whole arm, whatever part of it the policy moves.
    return {
        prefix: find_calibration(
            source,
            LEROBOT_JOINTS if set(kinds[prefix]) <= set(LEROBOT_JOINTS) else kinds[prefix],
        )
        for prefix, source in sources.items()
    }


def choose_units(
    settings: SmolVLASettings,
    robot: Robot,
    statistics: Mapping[str, FeatureStatistics],
    stated: str = "",
) -> ChosenUnits:
    """Return the conversion that the parameters ask for, checked against the statistics.

    Args:
        settings: ``units``, ``calibration`` and ``allow_units_mismatch`` of them.
        robot: its joints in the checkpoint's order.
        statistics: of the checkpoint.
        stated: units that the checkpoint says it is in; empty if it does not.

    Raises:
        ValueError: a parameter does not fit, ``auto`` finds no units, or the statistics contradict
            the units; the message says what to do.
    """
    regime, allowed = settings.units, settings.allow_units_mismatch
    loaded = read_calibrations(robot, settings.calibration)
    calibrations = {prefix: arm.joints for prefix, arm in loaded.items()}
    reason = "the parameter says so"
    contradiction = ""
    problems: list[str] = []
    if regime == AUTO and stated:
        regime, reason = stated, f"{ROBOT} of the checkpoint says so"
    elif stated and stated != regime:
        contradiction = (
            f"units is {regime}, but {ROBOT} of the checkpoint says {stated}: leave out units to "
            "take the checkpoint's"
        )
    if regime == AUTO:
        implied = implied_units(statistics, robot.joints, calibrations)
        if not implied.regime:
            raise ValueError(f"units 'auto' cannot tell the checkpoint's units: {implied.reason}")
        regime, reason = implied
    else:
        problem = units_problem(regime, statistics, robot.joints, calibrations)
        if problem:
            problems.append(problem)
        elif statistics:
            reason += " and the statistics do not contradict"
    if problems and not allowed:
        raise ValueError(problems[0])
    try:
        units = joint_units(regime, robot.joints, calibrations)
    except ValueError as error:
        raise ValueError(f"{error} (units: {regime}, because {reason})") from error
    levels = [UNSAFE, DOUBTFUL] if regime == "normalized" else [UNSAFE]
    for prefix, calibration in calibrations.items():
        used = {joint.kind for joint in robot.moving if joint.prefix == prefix}
        broken = broken_rules({k: v for k, v in calibration.items() if k in used}, levels)
        problems += [f"{prefix}{problem}" for problem in broken]
    if problems and not allowed:
        raise ValueError("\n".join(problems))
    notes = [f"units: {regime}, because {reason}"]
    notes += [f"allowed by allow_units_mismatch: {problem}" for problem in problems]
    notes += [note for arm in loaded.values() for note in arm.notes]
    return ChosenUnits(regime, units, tuple(notes), contradiction)
