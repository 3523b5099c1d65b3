# SPDX-License-Identifier: Apache-2.0
"""Radians on the topics, a checkpoint's own units inside the policy.

Every regime that LeRobot has used is linear per joint, so a regime is a function that
returns scales and offsets:

* ``radians``: none of LeRobot's; the policy was trained on radians.
* ``degrees``: LeRobot 0.4.4 and later (``use_degrees``): body joints in degrees from the
  middle of their range, the gripper 0 (closed) to 100 (open).
* ``normalized``: LeRobot from June 2025 to 0.4.3: body joints -100 to 100 over the range that
  the arm's calibration holds, the gripper 0 to 100.
* ``degrees_old``: LeRobot before June 2025: degrees from another zero.

The driver's radians (``so100_hardware/conversions.hpp``) are 0 in the middle of the calibrated
range and 2π/4096 a tick, so no conversion here needs to know where that middle is.
docs/explanation/units.md has the derivations.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smolvla_core.units.calibration import (
    GRIPPER,
    LEROBOT_JOINTS,
    MAX_TICK,
    RADIANS_PER_TICK,
    TICKS_PER_TURN,
    Calibration,
    lerobot_name,
)

DEGREES_PER_RADIAN = 180.0 / math.pi
LEROBOT_DEGREES_PER_RADIAN = DEGREES_PER_RADIAN * TICKS_PER_TURN / MAX_TICK
"""LeRobot's degrees of an SO-100 count 4095 ticks a turn, the driver's radians 4096."""

AUTO = "auto"


@dataclass(frozen=True)
class UnitParameters:
    """What a regime may need to know about the arm.

    Attributes:
        gripper_range: the gripper's joint position when closed (0) and when open (100) [rad].
        signs: +1 or -1 for joints whose axis the URDF may count the other way round than the
            checkpoint; +1 where not given. A gripper is reversed through `gripper_range`.
        calibration: the arm's, by LeRobot's joint names; None if it is not known.
    """

    gripper_range: tuple[float, float] = (-0.174, 1.75)
    signs: Mapping[str, int] = field(default_factory=dict)
    calibration: Calibration | None = None


class JointUnits:
    """A linear conversion per joint: policy = scale * radians + offset, within bounds.

    Args:
        joints: names, the order of all arrays.
        scale: (joints,) policy units per radian, not 0.
        offset: (joints,) policy units at 0 rad.
        lower: (joints,) policy units below which there is nothing; -inf if not given.
        upper: (joints,) policy units above which there is nothing; inf if not given.
    """

    def __init__(
        self,
        joints: Sequence[str],
        scale: ArrayLike,
        offset: ArrayLike,
        lower: ArrayLike = -np.inf,
        upper: ArrayLike = np.inf,
    ) -> None:
        self.joints = tuple(joints)
        self.scale: NDArray[np.float64] = np.array(scale, dtype=np.float64)
        self.offset: NDArray[np.float64] = np.array(offset, dtype=np.float64)
        shape = self.scale.shape
        self.lower: NDArray[np.float64] = np.full(shape, lower, dtype=np.float64)
        self.upper: NDArray[np.float64] = np.full(shape, upper, dtype=np.float64)

    def to_policy(self, positions: ArrayLike) -> NDArray[np.float32]:
        """Convert joint positions (joints,) or (rows, joints) [rad] to the policy's units.

        A position beyond the bounds becomes the bound, as LeRobot has it.

        Raises:
            ValueError: the shape is wrong or a value is not finite.
        """
        array = self._checked("the joint state", positions) * self.scale + self.offset
        return np.clip(array, self.lower, self.upper).astype(np.float32)

    def to_joints(self, actions: ArrayLike) -> NDArray[np.float64]:
        """Convert actions (joints,) or (rows, joints) of the policy to radians.

        An action beyond the bounds becomes the bound, as LeRobot has it.

        Raises:
            ValueError: the shape is wrong or a value is not finite.
        """
        array = np.clip(self._checked("the policy's output", actions), self.lower, self.upper)
        return (array - self.offset) / self.scale

    def _checked(self, what: str, values: ArrayLike) -> NDArray[np.float64]:
        array = np.asarray(values, dtype=np.float64)
        if array.ndim not in (1, 2) or array.shape[-1] != len(self.joints):
            raise ValueError(
                f"{what} has shape {array.shape}, but must end in {len(self.joints)} for "
                f"{', '.join(self.joints)}"
            )
        finite = np.isfinite(array).reshape(-1, len(self.joints)).all(axis=0)
        if not finite.all():
            bad = ", ".join(self.joints[i] for i in np.flatnonzero(~finite))
            raise ValueError(f"{what} is not finite for {bad}")
        return array


def _signs(joints: Sequence[str], parameters: UnitParameters) -> NDArray[np.float64]:
    unknown = [joint for joint in parameters.signs if joint not in joints]
    if unknown:
        raise ValueError(
            f"signs are given for {', '.join(unknown)}, but the joints are {', '.join(joints)}"
        )
    wrong = [joint for joint, sign in parameters.signs.items() if sign not in (1, -1)]
    if wrong:
        raise ValueError(f"the sign of {', '.join(wrong)} must be 1 or -1")
    return np.array([parameters.signs.get(joint, 1) for joint in joints], dtype=np.float64)


def _with_gripper(
    joints: Sequence[str],
    parameters: UnitParameters,
    scale: NDArray[np.float64],
    offset: NDArray[np.float64],
    body_bound: float = math.inf,
    gripper_bounds: tuple[float, float] = (0.0, 100.0),
) -> JointUnits:
    """Complete a regime of LeRobot, in all of which the gripper is 0 (closed) to 100 (open).

    The driver puts `gripper_range` to the two ends of the gripper's calibrated range, with
    drive_mode 1 the other way round, so 0-100 reaches the tick that LeRobot means.
    """
    lower = np.full(len(joints), -body_bound)
    upper = np.full(len(joints), body_bound)
    for index, joint in enumerate(joints):
        if lerobot_name(joint) != GRIPPER:
            continue
        if parameters.signs.get(joint, 1) != 1:
            raise ValueError(
                f"the sign of {joint} must be 1: to reverse a gripper, swap the two ends of "
                "gripper_range"
            )
        closed, opened = parameters.gripper_range
        if closed == opened or not (math.isfinite(closed) and math.isfinite(opened)):
            raise ValueError(
                "gripper_range must be two different positions (closed, open) in rad, but is "
                f"{parameters.gripper_range}"
            )
        scale[index] = 100.0 / (opened - closed)
        offset[index] = -closed * scale[index]
        lower[index], upper[index] = gripper_bounds
    return JointUnits(joints, scale, offset, lower, upper)


def _radians(joints: Sequence[str], parameters: UnitParameters) -> JointUnits:
    return JointUnits(joints, _signs(joints, parameters), np.zeros(len(joints)))


def _degrees(joints: Sequence[str], parameters: UnitParameters) -> JointUnits:
    # Another arm's degrees are what they are everywhere.
    scale = _signs(joints, parameters) * [
        LEROBOT_DEGREES_PER_RADIAN if lerobot_name(joint) in LEROBOT_JOINTS else DEGREES_PER_RADIAN
        for joint in joints
    ]
    return _with_gripper(joints, parameters, scale, np.zeros(len(joints)))


def _normalized(joints: Sequence[str], parameters: UnitParameters) -> JointUnits:
    calibration = parameters.calibration
    if calibration is None:
        raise ValueError(
            "units 'normalized' are shares of the ranges in the arm's LeRobot calibration: give "
            "the parameter calibration, the path of its JSON file or LeRobot's --robot.id"
        )
    names = [lerobot_name(joint) for joint in joints]
    missing = [joint for joint, name in zip(joints, names, strict=True) if name not in calibration]
    if missing:
        raise ValueError(
            f"the calibration has no {', '.join(missing)}; it has {', '.join(calibration)}: is it "
            "that of this arm?"
        )
    if len(set(names)) < len(names):
        raise ValueError(
            f"one calibration serves one arm, but the joints {', '.join(joints)} are those of "
            "several: run a policy node for each"
        )
    scale = _signs(joints, parameters)
    for index, name in enumerate(names):
        # LeRobot negates with drive_mode 1; the driver's radians do not know it.
        turn = -1.0 if calibration[name].drive_mode == 1 else 1.0
        scale[index] *= turn * 200.0 / (calibration[name].width * RADIANS_PER_TICK)
    return _with_gripper(joints, parameters, scale, np.zeros(len(joints)), body_bound=100.0)


# Joint -> (direction, offset): old degrees = direction * degrees + offset (LeRobot's guide to
# its change of the calibration in June 2025). Joints that are not here have kept both.
OLD_ZEROS = {"shoulder_lift": (-1.0, 90.0), "elbow_flex": (1.0, 90.0)}


def _degrees_old(joints: Sequence[str], parameters: UnitParameters) -> JointUnits:
    # Old LeRobot counted 4096 ticks a turn, so these are plain degrees.
    scale = _signs(joints, parameters) * DEGREES_PER_RADIAN
    offset = np.zeros(len(joints))
    for index, joint in enumerate(joints):
        direction, zero = OLD_ZEROS.get(lerobot_name(joint), (1.0, 0.0))
        scale[index] *= direction
        offset[index] = zero
    # Old LeRobot's gripper was not held within 0 and 100 but raised an error 10 beyond.
    return _with_gripper(joints, parameters, scale, offset, gripper_bounds=(-10.0, 110.0))


REGIMES: dict[str, Callable[[Sequence[str], UnitParameters], JointUnits]] = {
    "radians": _radians,
    "degrees": _degrees,
    "normalized": _normalized,
    "degrees_old": _degrees_old,
}


def joint_units(
    regime: str, joints: Sequence[str], parameters: UnitParameters | None = None
) -> JointUnits:
    """Return the conversion between radians and the units of `regime`.

    Raises:
        ValueError: the regime is unknown (the text lists the known ones) or a parameter
            does not fit the joints.
    """
    if regime not in REGIMES:
        raise ValueError(f"unknown units {regime!r}: choose one of {', '.join(REGIMES)}")
    return REGIMES[regime](joints, parameters or UnitParameters())


def parameters_from_lists(
    joints: Sequence[str],
    signs: Sequence[float],
    gripper_range: Sequence[float],
    calibration: Calibration | None = None,
) -> UnitParameters:
    """Return what the regimes need from lists, as a node's parameters are.

    Args:
        joints: names.
        signs: +1 or -1 for each joint, or one number for all.
        gripper_range: the gripper's positions when closed and when open [rad].
        calibration: the arm's, or None.

    Raises:
        ValueError: a value does not fit; the text names the parameter.
    """
    signs = [float(sign) for sign in signs]
    if len(signs) == 1:
        signs = signs * len(joints)
    if len(signs) != len(joints):
        raise ValueError(f"joint_signs has {len(signs)} numbers for {len(joints)} joints")
    if any(sign not in (1.0, -1.0) for sign in signs):
        raise ValueError(f"joint_signs must be 1 or -1, but are {signs}")
    if len(gripper_range) != 2:
        raise ValueError(f"gripper_range must be two numbers, but is {list(gripper_range)}")
    opposite = {joint: -1 for joint, sign in zip(joints, signs, strict=True) if sign < 0}
    closed, opened = gripper_range
    return UnitParameters((float(closed), float(opened)), opposite, calibration)


def units_from_lists(
    regime: str,
    joints: Sequence[str],
    signs: Sequence[float],
    gripper_range: Sequence[float],
    calibration: Calibration | None = None,
) -> JointUnits:
    """Return the conversion from lists; see `joint_units` and `parameters_from_lists`.

    Raises:
        ValueError: a value does not fit; the text names the parameter.
    """
    parameters = parameters_from_lists(joints, signs, gripper_range, calibration)
    return joint_units(regime, joints, parameters)
