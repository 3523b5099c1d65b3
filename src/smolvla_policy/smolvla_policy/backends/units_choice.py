# SPDX-License-Identifier: Apache-2.0
"""From `policy_node`'s parameters to the conversion of units, or words on why there is none."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from smolvla_core.units.calibration import (
    DOUBTFUL,
    LEROBOT_JOINTS,
    UNSAFE,
    broken_rules,
    lerobot_name,
)
from smolvla_core.units.calibration_files import LoadedCalibration, find_calibration
from smolvla_core.units.implied import FeatureStatistics, implied_units, units_problem
from smolvla_core.units.joint_units import (
    AUTO,
    REGIMES,
    JointUnits,
    UnitParameters,
    joint_units,
    parameters_from_lists,
)

from smolvla_policy.checkpoint.robot import ROBOT


@dataclass(frozen=True)
class ChosenUnits:
    """The active units.

    Attributes:
        regime: one of `units.REGIMES`.
        units: the conversion.
        remarks: for the log: which units and why, and what is odd.
        doubt: how the parameter contradicts the checkpoint; empty if it does not.
    """

    regime: str
    units: JointUnits
    remarks: tuple[str, ...]
    doubt: str = ""


def read_calibration(options: Mapping[str, Any]) -> LoadedCalibration | None:
    """Read the calibration that the parameter names; None if it names none.

    Args:
        options: `policy_node`'s parameters.

    Raises:
        ValueError: it cannot be used.
    """
    wish = str(options.get("calibration") or "")
    if not wish:
        return None
    names = [lerobot_name(joint) for joint in options["joints"]]
    # LeRobot's files hold the whole arm, whatever part of it the policy moves.
    return find_calibration(
        wish, LEROBOT_JOINTS if set(names) <= set(LEROBOT_JOINTS) else tuple(names)
    )


def choose_units(
    options: Mapping[str, Any], statistics: Mapping[str, FeatureStatistics], told: str = ""
) -> ChosenUnits:
    """Return the conversion that the parameters ask for, checked against the statistics.

    Args:
        options: `policy_node`'s parameters ``units``, ``calibration``, ``joints``,
            ``joint_signs``, ``gripper_range`` and ``allow_units_mismatch``.
        statistics: of the checkpoint.
        told: units that the checkpoint says it is in; empty if it does not.

    Raises:
        ValueError: a parameter does not fit, ``auto`` cannot tell, or the statistics contradict
            the units; the text says what to do.
    """
    joints: Sequence[str] = tuple(options["joints"])
    regime = str(options.get("units", AUTO))
    if regime not in (AUTO, *REGIMES):
        raise ValueError(f"unknown units '{regime}': choose one of {', '.join((AUTO, *REGIMES))}")
    loaded = read_calibration(options)
    parameters = parameters_from_lists(
        joints,
        options.get("joint_signs") or [1.0],
        options.get("gripper_range") or UnitParameters.gripper_range,
        None if loaded is None else loaded.joints,
    )
    reason = "the parameter says so"
    contradiction = ""
    doubts: list[str] = []
    if regime == AUTO and told:
        regime, reason = told, f"{ROBOT} of the checkpoint says so"
    elif told and told != regime:
        contradiction = (
            f"units is {regime}, but {ROBOT} of the checkpoint says {told}: leave out units to "
            "take the checkpoint's"
        )
    if regime == AUTO:
        implied = implied_units(statistics, joints, parameters.calibration)
        if not implied.regime:
            raise ValueError(f"units 'auto' cannot tell the checkpoint's units: {implied.reason}")
        regime, reason = implied
    else:
        problem = units_problem(regime, statistics, joints, parameters.calibration)
        if problem:
            doubts.append(problem)
        elif statistics:
            reason += " and the statistics do not contradict"
    allowed = bool(options.get("allow_units_mismatch", False))
    if doubts and not allowed:
        raise ValueError(doubts[0])
    try:
        units = joint_units(regime, joints, parameters)
    except ValueError as error:
        raise ValueError(f"{error} (units: {regime}, because {reason})") from error
    if parameters.calibration is not None:
        used = {lerobot_name(joint) for joint in joints}
        levels = [UNSAFE, DOUBTFUL] if regime == "normalized" else [UNSAFE]
        doubts += broken_rules(
            {k: v for k, v in parameters.calibration.items() if k in used}, levels
        )
    if doubts and not allowed:
        raise ValueError("\n".join(doubts))
    remarks = [f"units: {regime}, because {reason}"]
    remarks += [f"allowed by allow_units_mismatch: {doubt}" for doubt in doubts]
    remarks += [] if loaded is None else loaded.remarks
    return ChosenUnits(regime, units, tuple(remarks), contradiction)
