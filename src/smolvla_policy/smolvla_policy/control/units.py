# SPDX-License-Identifier: Apache-2.0
"""Radians on the topics, a checkpoint's own units inside the policy.

Every regime that LeRobot has used is linear per joint, so a regime is a function that
returns scales and offsets:

* ``radians``: none of LeRobot's; the policy was trained on radians.
* ``degrees``: LeRobot 0.4.4 and later (``use_degrees``): body joints in degrees from the
  middle of their range, the gripper 0 (closed) to 100 (open).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray


@dataclass(frozen=True)
class UnitParameters:
    """What a regime may need to know about the arm.

    Attributes:
        gripper: name of the gripper's joint; an arm without one of that name has none.
        gripper_range: the gripper's joint position when closed (0) and when open (100) [rad].
        signs: +1 or -1 for joints whose axis the URDF may count the other way round than the
            checkpoint; +1 where not given. A gripper is reversed through `gripper_range`.
    """

    gripper: str = "gripper"
    gripper_range: tuple[float, float] = (-0.174, 1.75)
    signs: Mapping[str, int] = field(default_factory=dict)


class JointUnits:
    """A linear conversion per joint: policy = scale * radians + offset.

    Args:
        joints: names, the order of all arrays.
        scale: (joints,) policy units per radian, not 0.
        offset: (joints,) policy units at 0 rad.
    """

    def __init__(self, joints: Sequence[str], scale: ArrayLike, offset: ArrayLike) -> None:
        self.joints = tuple(joints)
        self.scale: NDArray[np.float64] = np.array(scale, dtype=np.float64)
        self.offset: NDArray[np.float64] = np.array(offset, dtype=np.float64)

    def to_policy(self, positions: ArrayLike) -> NDArray[np.float32]:
        """Convert joint positions (joints,) or (rows, joints) [rad] to the policy's units.

        Raises:
            ValueError: the shape is wrong or a value is not finite.
        """
        array = self._checked("the joint state", positions)
        return (array * self.scale + self.offset).astype(np.float32)

    def to_joints(self, actions: ArrayLike) -> NDArray[np.float64]:
        """Convert actions (joints,) or (rows, joints) of the policy to radians.

        Raises:
            ValueError: the shape is wrong or a value is not finite.
        """
        return (self._checked("the policy's output", actions) - self.offset) / self.scale

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


def _radians(joints: Sequence[str], parameters: UnitParameters) -> JointUnits:
    return JointUnits(joints, _signs(joints, parameters), np.zeros(len(joints)))


def _degrees(joints: Sequence[str], parameters: UnitParameters) -> JointUnits:
    scale = _signs(joints, parameters) * (180.0 / math.pi)
    offset = np.zeros(len(joints))
    if parameters.gripper in joints:
        if parameters.signs.get(parameters.gripper, 1) != 1:
            raise ValueError(
                f"the sign of {parameters.gripper} must be 1: to reverse a gripper, swap the "
                "two ends of gripper_range"
            )
        closed, opened = parameters.gripper_range
        if closed == opened or not (math.isfinite(closed) and math.isfinite(opened)):
            raise ValueError(
                "gripper_range must be two different positions (closed, open) in rad, but is "
                f"{parameters.gripper_range}"
            )
        index = list(joints).index(parameters.gripper)
        scale[index] = 100.0 / (opened - closed)
        offset[index] = -closed * scale[index]
    return JointUnits(joints, scale, offset)


REGIMES: dict[str, Callable[[Sequence[str], UnitParameters], JointUnits]] = {
    "radians": _radians,
    "degrees": _degrees,
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


def units_from_lists(
    regime: str, joints: Sequence[str], signs: Sequence[float], gripper_range: Sequence[float]
) -> JointUnits:
    """Return the same from lists, as a node's parameters are.

    Args:
        regime: see `REGIMES`.
        joints: names.
        signs: +1 or -1 for each joint, or one number for all.
        gripper_range: the gripper's positions when closed and when open [rad].

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
    parameters = UnitParameters(gripper_range=(float(closed), float(opened)), signs=opposite)
    return joint_units(regime, joints, parameters)
