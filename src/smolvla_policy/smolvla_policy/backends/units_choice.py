# SPDX-License-Identifier: Apache-2.0
"""From `policy_node`'s parameters to the conversion of units."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from smolvla_core.robot import Robot
from smolvla_core.units.calibration import (
    DOUBTFUL,
    LEROBOT_JOINTS,
    UNSAFE,
    LoadedCalibration,
    broken_rules,
    find_calibration,
)
from smolvla_core.units.implied import FeatureStatistics, implied_units, units_problem
from smolvla_core.units.joint_units import AUTO, REGIMES, JointUnits, joint_units

from smolvla_policy.checkpoint.robot import ROBOT


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
    options: Mapping[str, Any],
    robot: Robot,
    statistics: Mapping[str, FeatureStatistics],
    stated: str = "",
) -> ChosenUnits:
    """Return the conversion that the parameters ask for, checked against the statistics.

    Args:
        options: `policy_node`'s parameters ``units``, ``calibration`` and
            ``allow_units_mismatch``.
        robot: its joints in the checkpoint's order.
        statistics: of the checkpoint.
        stated: units that the checkpoint says it is in; empty if it does not.

    Raises:
        ValueError: a parameter does not fit, ``auto`` finds no units, or the statistics contradict
            the units; the message says what to do.
    """
    regime = str(options.get("units", AUTO))
    if regime not in (AUTO, *REGIMES):
        raise ValueError(f"unknown units '{regime}': choose one of {', '.join((AUTO, *REGIMES))}")
    loaded = read_calibrations(robot, str(options.get("calibration") or ""))
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
    allowed = bool(options.get("allow_units_mismatch", False))
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
