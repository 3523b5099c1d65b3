# SPDX-License-Identifier: Apache-2.0
"""LeRobot's calibration of an arm: what it holds, what is wrong with it, what is odd.

The same rules and words as the driver's (``so100_hardware/calibration.hpp``), so that a file
that one of them takes, the other takes as well.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

LEROBOT_JOINTS = (
    "shoulder_pan",
    "shoulder_lift",
    "elbow_flex",
    "wrist_flex",
    "wrist_roll",
    "gripper",
)
"""The joints of an SO-100 or SO-101; their servos have the ids 1 to 6."""

GRIPPER = "gripper"
FULL_TURN_JOINT = "wrist_roll"
"""LeRobot does not measure this joint's range and gives it the full turn."""

TICKS_PER_TURN = 4096
MAX_TICK = TICKS_PER_TURN - 1
MAX_HOMING_OFFSET = 2047
"""The servo's register has a sign and 11 bits."""
MAX_ID = 253
# Joint -> the farthest that an SO-100 or SO-101 turns from the middle of its range [rad]; the
# wider of both arms. LeRobot gives wrist_roll the full turn.
REACH = {
    "shoulder_pan": 1.92,
    "shoulder_lift": 1.75,
    "elbow_flex": 1.745,
    "wrist_flex": 1.66,
    "wrist_roll": math.pi,
}
ZERO_SLACK = 35.0
"""How far a careless sweep was seen to move the zero of LeRobot's degrees [degrees]."""
NARROW_RANGE = 200
"""A joint that moved less [ticks] in the calibration was hardly swept: 18 degrees."""
RADIANS_PER_TICK = 2.0 * math.pi / TICKS_PER_TURN


@dataclass(frozen=True)
class JointCalibration:
    """What the calibration says about one joint; positions in ticks, 4096 a turn.

    Attributes:
        id: of the servo.
        drive_mode: 1 turns LeRobot's ±100 and 0–100 round; degrees and radians ignore it.
        homing_offset: Present_Position = encoder - homing_offset.
        range_min: lowest Present_Position.
        range_max: highest Present_Position.
    """

    id: int
    drive_mode: int
    homing_offset: int
    range_min: int
    range_max: int

    @property
    def width(self) -> int:
        """Ticks from one end of the range to the other."""
        return self.range_max - self.range_min

    @property
    def middle(self) -> float:
        """The tick at 0 rad and at 0 degrees; a half tick where the ends' sum is odd."""
        return (self.range_min + self.range_max) / 2.0

    @property
    def half_range(self) -> float:
        """Radians from the middle of the range to either end."""
        return self.width / 2.0 * RADIANS_PER_TICK


Calibration = Mapping[str, JointCalibration]
"""Joint -> calibration, by LeRobot's joint names."""


def lerobot_name(joint: str) -> str:
    """Return LeRobot's name of a joint, without the prefix of an arm; the name itself if none.

    ``left_gripper`` is a gripper: two arms in one description have prefixes.
    """
    for name in LEROBOT_JOINTS:
        if joint == name or joint.endswith(("_" + name, "/" + name)):
            return name
    return joint


def calibration_problems(
    calibration: Calibration, joints: Sequence[str] = LEROBOT_JOINTS
) -> list[str]:
    """Return what makes a calibration unusable, a line each; empty when it is good.

    Args:
        calibration: to check.
        joints: that must be there, no more and no fewer.
    """
    problems = []
    missing = [joint for joint in joints if joint not in calibration]
    if missing:
        problems.append(
            f"{', '.join(missing)} {'is' if len(missing) == 1 else 'are'} missing; is this the "
            "calibration of another kind of robot?"
        )
    owners: dict[int, str] = {}
    for name, joint in calibration.items():
        if name not in joints:
            problems.append(
                f"joint '{name}': the arm has no such joint; it has {', '.join(joints)}"
            )
        if joint.id in owners:
            problems.append(
                f"joint '{name}': id {joint.id} is that of '{owners[joint.id]}' too; every servo "
                "needs an id of its own"
            )
        owners.setdefault(joint.id, name)
        problems += [f"joint '{name}': {text}" for text in _joint_problems(joint)]
    return problems


def _joint_problems(joint: JointCalibration) -> list[str]:
    problems = []
    if not 0 <= joint.id <= MAX_ID:
        problems.append(f"id is {joint.id}, but ids are 0 to {MAX_ID}")
    if joint.drive_mode not in (0, 1):
        problems.append(f"drive_mode is {joint.drive_mode}, but must be 0 or 1")
    if abs(joint.homing_offset) > MAX_HOMING_OFFSET:
        problems.append(
            f"homing_offset is {joint.homing_offset}, but the servo holds -2047 to 2047; "
            "calibrate again with the joint in the middle of its range (so100_calibrate)"
        )
    for key in ("range_min", "range_max"):
        value = getattr(joint, key)
        if not 0 <= value <= MAX_TICK:
            problems.append(
                f"{key} is {value}, but positions are 0 to {MAX_TICK}; calibrate again "
                "(so100_calibrate)"
            )
    if joint.range_min >= joint.range_max:
        problems.append(
            f"range_min {joint.range_min} is not below range_max {joint.range_max}; calibrate "
            "again and move this joint to both of its ends"
        )
    return problems


def calibration_remarks(calibration: Calibration) -> list[str]:
    """Return what is odd about a usable calibration, a line each."""
    remarks = []
    for name, joint in calibration.items():
        label = f"joint '{name}': "
        if name == FULL_TURN_JOINT and (joint.range_min, joint.range_max) != (0, MAX_TICK):
            remarks.append(
                f"{label}the range is {joint.range_min} to {joint.range_max}, LeRobot gives this "
                f"joint the full turn 0 to {MAX_TICK}; its zero is the middle of the range"
            )
        elif joint.width < NARROW_RANGE:
            remarks.append(
                f"{label}the range is only {joint.width} ticks "
                f"({joint.width * 360 // TICKS_PER_TURN} degrees) wide; was it moved to both ends "
                "in the calibration?"
            )
        if name in LEROBOT_JOINTS and joint.id != LEROBOT_JOINTS.index(name) + 1:
            remarks.append(
                f"{label}id is {joint.id}, LeRobot gives it {LEROBOT_JOINTS.index(name) + 1}"
            )
        if joint.drive_mode == 1 and name != GRIPPER:
            remarks.append(
                f"{label}drive_mode 1 turns LeRobot's -100 to 100 round, but not its degrees and "
                "not the radians here"
            )
    return remarks


def range_doubts(calibration: Calibration) -> list[str]:
    """Return which ranges cannot be those of an SO-100 or SO-101, a line each.

    The driver works with such a range, but shares of it (LeRobot's ±100) are other angles than
    on the arm that it belongs to.
    """
    doubts = []
    for name, joint in calibration.items():
        degrees = joint.width * 360.0 / TICKS_PER_TURN
        if name in REACH and name != FULL_TURN_JOINT:
            most = 2.0 * (math.degrees(REACH[name]) + ZERO_SLACK)
            if degrees > most:
                doubts.append(
                    f"joint '{name}': the range is {degrees:.0f} degrees wide, but an SO-100's "
                    f"{name} turns about {2.0 * math.degrees(REACH[name]):.0f}: is this the "
                    "calibration of another arm? Else calibrate again (so100_calibrate)"
                )
        if joint.width < NARROW_RANGE:
            doubts.append(
                f"joint '{name}': the range is only {degrees:.0f} degrees wide: calibrate again "
                "and move it to both of its ends (so100_calibrate)"
            )
    return doubts
