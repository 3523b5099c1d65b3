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

import numpy as np
from numpy.typing import ArrayLike, NDArray

from smolvla_core.robot import VELOCITY, Joint
from smolvla_core.units.calibration import (
    GRIPPER,
    LEROBOT_JOINTS,
    MAX_TICK,
    RADIANS_PER_TICK,
    TICKS_PER_TURN,
    Calibration,
    JointCalibration,
)

DEGREES_PER_RADIAN = 180.0 / math.pi
LEROBOT_DEGREES_PER_RADIAN = DEGREES_PER_RADIAN * TICKS_PER_TURN / MAX_TICK
"""LeRobot's degrees of an SO-100 count 4095 ticks a turn, the driver's radians 4096."""

AUTO = "auto"


class JointUnits:
    """A linear conversion per joint: policy = scale * radians + offset, within bounds.

    Actions are positions in the units of the state, unless a robot file says otherwise; see
    `drive`.

    Args:
        joints: names, the order of all arrays.
        scale: (joints,) policy units per radian, not 0.
        offset: (joints,) policy units at 0 rad.
        lower: (joints,) policy units below which there is nothing; -inf if not given.
        upper: (joints,) policy units above which there is nothing; inf if not given.

    Attributes:
        columns: where the joints stand among the numbers of a state or action; the others are
            velocities: 0 in the state, as of a base that stands, and left out of the actions.
        size: of a state or action.
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
        self.columns, self.size = tuple(range(len(self.joints))), len(self.joints)
        # The same for actions, and of those that are increments: which, and the limits of the sum.
        self._drive = self.scale, self.offset, self.lower, self.upper
        self.increments: NDArray[np.bool_] = np.zeros(shape, dtype=bool)
        self._limits = np.full(shape, -np.inf), np.full(shape, np.inf)

    def drive(self, joints: Sequence[Joint]) -> None:
        """Take from the robot file which actions are increments or have units of their own.

        Args:
            joints: whose entries ``increment`` and ``actions`` count, in the order of `joints`.
        """
        scale, offset, lower, upper = (array.copy() for array in self._drive)
        for index, joint in enumerate(joints):
            if joint.increment is not None:
                scale[index], offset[index] = (joint.sign or 1) / joint.increment, 0.0
                lower[index], upper[index] = -1.0, 1.0
            elif joint.actions:
                low, high = joint.actions
                scale[index] = (high - low) / (joint.upper - joint.lower)
                offset[index] = low - joint.lower * scale[index]
                lower[index], upper[index] = sorted(joint.actions)
        self._drive = scale, offset, lower, upper
        self.increments = np.array([joint.increment is not None for joint in joints])
        self._limits = (
            np.array([joint.lower for joint in joints]),
            np.array([joint.upper for joint in joints]),
        )

    def to_policy(self, positions: ArrayLike) -> NDArray[np.float32]:
        """Convert joint positions (joints,) or (rows, joints) [rad] to the policy's state.

        A position beyond the bounds becomes the bound, as LeRobot has it.

        Raises:
            ValueError: the shape is wrong or a value is not finite.
        """
        radians = self._checked("the joint state", positions, self.joints)
        return self._all(np.clip(radians * self.scale + self.offset, self.lower, self.upper))

    def to_actions(
        self, positions: ArrayLike, base: NDArray[np.float64] | None = None
    ) -> NDArray[np.float32]:
        """Convert commanded positions (joints,) or (rows, joints) [rad] to the policy's actions.

        Args:
            positions: to be commanded one after the other.
            base: (joints,) commanded before them [rad]; only increments need it.

        Raises:
            ValueError: the shape is wrong, a value is not finite, or `base` is missing.
        """
        radians = self._checked("the command", positions, self.joints)
        if self.increments.any():
            rows = np.atleast_2d(radians)
            before = np.concatenate((self._base(base)[None], rows[:-1]))
            radians = np.where(self.increments, rows - before, rows).reshape(radians.shape)
        scale, offset, lower, upper = self._drive
        return self._all(np.clip(radians * scale + offset, lower, upper))

    def to_joints(
        self, actions: ArrayLike, base: NDArray[np.float64] | None = None
    ) -> NDArray[np.float64]:
        """Convert actions (joints,) or (rows, joints) of the policy to radians.

        An action beyond the bounds becomes the bound, as LeRobot has it. Increments are added up
        from `base` on, within the joint's limits: a sum beyond them would have to come back first.

        Args:
            actions: rows follow each other in time.
            base: (joints,) commanded before them [rad]; only increments need it.

        Raises:
            ValueError: the shape is wrong, a value is not finite, or `base` is missing.
        """
        names = ["a velocity"] * self.size
        for joint, column in zip(self.joints, self.columns, strict=True):
            names[column] = joint
        array = self._checked("the policy's output", actions, names)[..., self.columns]
        scale, offset, lower, upper = self._drive
        radians: NDArray[np.float64] = (np.clip(array, lower, upper) - offset) / scale
        if self.increments.any():
            rows, position = np.atleast_2d(radians), self._base(base)
            for row in rows:
                position = np.clip(position + row, *self._limits)
                row[self.increments] = position[self.increments]
            radians = rows.reshape(radians.shape)
        return radians

    def _base(self, base: NDArray[np.float64] | None) -> NDArray[np.float64]:
        if base is None:
            names = [name for name, one in zip(self.joints, self.increments, strict=True) if one]
            raise ValueError(
                f"the actions of {', '.join(names)} are increments (increment in the robot file): "
                "they mean nothing without the position before them"
            )
        return self._checked("the position before the actions", base, self.joints)

    def _all(self, array: NDArray[np.float64]) -> NDArray[np.float32]:
        """Return numbers of `joints` among those of all columns, as float32."""
        numbers = np.zeros((*array.shape[:-1], self.size), dtype=np.float32)
        numbers[..., self.columns] = array
        return numbers

    @staticmethod
    def _checked(what: str, values: ArrayLike, names: Sequence[str]) -> NDArray[np.float64]:
        array = np.asarray(values, dtype=np.float64)
        if array.ndim not in (1, 2) or array.shape[-1] != len(names):
            raise ValueError(
                f"{what} has shape {array.shape}, but must end in {len(names)} for "
                f"{', '.join(names)}"
            )
        finite = np.isfinite(array).reshape(-1, len(names)).all(axis=0)
        if not finite.all():
            bad = ", ".join(names[i] for i in np.flatnonzero(~finite))
            raise ValueError(f"{what} is not finite for {bad}")
        return array


Calibrations = Mapping[str, Calibration]
"""Prefix of an arm's joints for LeRobot (empty with one arm) -> its calibration."""


def calibration_of(joint: Joint, calibrations: Calibrations) -> JointCalibration | None:
    """Return what the calibration of its arm says about a joint; None if nothing is known."""
    return calibrations.get(joint.prefix, {}).get(joint.kind)


def _signs(joints: Sequence[Joint]) -> NDArray[np.float64]:
    return np.array([joint.sign or 1 for joint in joints], dtype=np.float64)


def _with_gripper(
    joints: Sequence[Joint],
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
        if joint.role != GRIPPER:
            continue
        closed, opened = joint.gripper_range
        scale[index] = 100.0 / (opened - closed)
        offset[index] = -closed * scale[index]
        lower[index], upper[index] = gripper_bounds
    return JointUnits([joint.name for joint in joints], scale, offset, lower, upper)


def _radians(joints: Sequence[Joint], calibrations: Calibrations) -> JointUnits:
    return JointUnits([joint.name for joint in joints], _signs(joints), np.zeros(len(joints)))


def _degrees(joints: Sequence[Joint], calibrations: Calibrations) -> JointUnits:
    # Another arm's degrees are what they are everywhere.
    scale = _signs(joints) * [
        LEROBOT_DEGREES_PER_RADIAN if joint.kind in LEROBOT_JOINTS else DEGREES_PER_RADIAN
        for joint in joints
    ]
    return _with_gripper(joints, scale, np.zeros(len(joints)))


def _normalized(joints: Sequence[Joint], calibrations: Calibrations) -> JointUnits:
    if not calibrations:
        raise ValueError(
            "units 'normalized' are shares of the ranges in the arm's LeRobot calibration: give "
            "the entry calibration of the robot file, or the parameter: the path of its JSON file "
            "or LeRobot's --robot.id"
        )
    scale = _signs(joints)
    for index, joint in enumerate(joints):
        known = calibration_of(joint, calibrations)
        if known is None:
            raise ValueError(_not_calibrated(joint, calibrations))
        # LeRobot negates with drive_mode 1; the driver's radians do not know it.
        turn = -1.0 if known.drive_mode == 1 else 1.0
        scale[index] *= turn * 200.0 / (known.width * RADIANS_PER_TICK)
    return _with_gripper(joints, scale, np.zeros(len(joints)), body_bound=100.0)


def _not_calibrated(joint: Joint, calibrations: Calibrations) -> str:
    arm = calibrations.get(joint.prefix)
    if arm is None:
        return (
            f"there is no calibration for {joint.name}: its arm has the prefix '{joint.prefix}', "
            f"and calibrations are given for {', '.join(map(repr, calibrations))}: name one for "
            "each arm in the robot file, as in calibration: {left_: my_left, right_: my_right}"
        )
    return (
        f"the calibration has no {joint.kind} for {joint.name}; it has {', '.join(arm)}: is it "
        "that of this arm? Which joint of LeRobot's it is says its entry lerobot in the robot file"
    )


# Joint -> (direction, offset): old degrees = direction * degrees + offset (LeRobot's guide to
# its change of the calibration in June 2025). Joints that are not here have kept both.
OLD_ZEROS = {"shoulder_lift": (-1.0, 90.0), "elbow_flex": (1.0, 90.0)}


def _degrees_old(joints: Sequence[Joint], calibrations: Calibrations) -> JointUnits:
    strange = [joint.name for joint in joints if joint.kind not in LEROBOT_JOINTS]
    if strange:
        raise ValueError(
            f"units 'degrees_old' are of LeRobot's arms, and {', '.join(strange)} is none of "
            f"their joints: say with lerobot in the robot file which of "
            f"{', '.join(LEROBOT_JOINTS)} it is"
        )
    # Old LeRobot counted 4096 ticks a turn, so these are plain degrees.
    scale = _signs(joints) * DEGREES_PER_RADIAN
    offset = np.zeros(len(joints))
    for index, joint in enumerate(joints):
        direction, zero = OLD_ZEROS.get(joint.kind, (1.0, 0.0))
        scale[index] *= direction
        offset[index] = zero
    # Old LeRobot's gripper was not held within 0 and 100 but raised an error 10 beyond.
    return _with_gripper(joints, scale, offset, gripper_bounds=(-10.0, 110.0))


REGIMES: dict[str, Callable[[Sequence[Joint], Calibrations], JointUnits]] = {
    "radians": _radians,
    "degrees": _degrees,
    "normalized": _normalized,
    "degrees_old": _degrees_old,
}


def joint_units(
    regime: str, joints: Sequence[Joint], calibrations: Calibrations | None = None
) -> JointUnits:
    """Return the conversion between radians and the units of `regime`.

    Args:
        regime: one of `REGIMES`.
        joints: their signs, gripper ranges and what their actions are count. Velocities among
            them get no position; see `JointUnits.columns`.
        calibrations: of the arms; only ``normalized`` needs them.

    Raises:
        ValueError: the regime is unknown (the text lists the known ones), or the calibrations do
            not fit the joints.
    """
    if regime not in REGIMES:
        raise ValueError(f"unknown units {regime!r}: choose one of {', '.join(REGIMES)}")
    columns = [column for column, joint in enumerate(joints) if joint.role != VELOCITY]
    moving = [joints[column] for column in columns]
    units = REGIMES[regime](moving, calibrations or {})
    units.drive(moving)
    units.columns, units.size = tuple(columns), len(joints)
    return units
