# SPDX-License-Identifier: Apache-2.0
"""Kinematics, masses and servo constants of the SO-100 and the SO-101 as plain tables.

Both arms use the "new calibration" zero: every joint is zero in the middle of its travel,
with the upper arm vertical, the forearm horizontal along +x and the gripper pointing
forward. Source of the SO-101: ``so101_new_calib.urdf`` of TheRobotStudio's SO-ARM100
repository. Source of the SO-100: ``so100.urdf`` of the same repository, with its zero moved
to the SO-101's convention; its inertia tensors are rotated into the link axes. Base frame:
REP-103, x forward, z up, origin on the table.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import pi

from smolvla_core.robot import load_robot
from smolvla_core.units.calibration import LEROBOT_JOINTS

JOINT_NAMES = LEROBOT_JOINTS

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Link:
    """A rigid body and where it sits on its parent.

    Attributes:
        name: of the joint that moves it; ``base_link`` for the base.
        xyz: origin in the parent link, meters.
        rpy: fixed-axis roll, pitch, yaw of its frame at zero (URDF convention), radians.
        mass: kilograms.
        center: center of mass in the link frame, meters.
        tensor: about the center of mass in link axes: ixx iyy izz ixy ixz iyz, kg m^2.
    """

    name: str
    xyz: Vector
    rpy: Vector
    mass: float
    center: Vector
    tensor: tuple[float, float, float, float, float, float]


@dataclass(frozen=True)
class Joint(Link):
    """A revolute joint and the link that it moves.

    Attributes:
        axis: axis of rotation in the link frame.
        side_shift: distance of the link frame from the arm's middle plane along +y at zero,
            meters. The SO-101 places its frames on the servo horns.
        lower, upper: limits, radians; those of the robot file.
    """

    axis: Vector = (0.0, 0.0, 1.0)
    side_shift: float = 0.0
    lower: float = 0.0
    upper: float = 0.0


@dataclass(frozen=True)
class ArmSpec:
    """One arm: its base and its six joints."""

    name: str
    base: Link
    joints: tuple[Joint, ...]


@dataclass(frozen=True)
class ServoSpec:
    """Constants of a position servo (STS3215 at 12 V, as in SO-ARM100's MJCF).

    Attributes:
        kp: N m / rad.
        kv: N m s / rad.
        torque: torque limit, N m.
        damping: viscous friction of the gear, N m s / rad.
        friction: Coulomb friction, N m.
        armature: rotor inertia seen at the joint, kg m^2.
        speed: no-load speed, rad/s.
        acceleration: ramp of the servo's own profile, rad/s^2.
    """

    kp: float = 998.22
    kv: float = 2.731
    torque: float = 2.94
    damping: float = 0.60
    friction: float = 0.052
    armature: float = 0.028
    speed: float = 5.2
    # The register counts 100 steps/s^2; LeRobot sets 254: 25 400 steps/s^2 of 2 pi / 4096.
    acceleration: float = 25400 * 2 * pi / 4096


ARM_SERVO = ServoSpec()
# The gripper runs with a reduced torque limit, as LeRobot sets it, and must stay compliant:
# a stiff one kicks the cube out of the pads.
GRIPPER_SERVO = ServoSpec(kp=8.0, kv=0.2, torque=0.4, damping=0.1, friction=0.02, armature=0.01)

SO101 = ArmSpec(
    "so101",
    Link(
        "base_link",
        (0.0, 0.0, 0.0),
        (0.0, 0.0, 0.0),
        0.147,
        (0.0137179, -5.19711e-05, 0.0334843),
        (0.000114686, 0.000136117, 0.000130364, -4.59787e-07, 4.97151e-06, 9.75275e-08),
    ),
    (
        Joint(
            "shoulder_pan",
            (0.0388353, 0.0, 0.0624),
            (pi, 0.0, -pi),
            0.100006,
            (-0.0307604, -1.66727e-05, -0.0252713),
            (8.3759e-05, 8.10403e-05, 2.39783e-05, 7.55525e-08, -1.16342e-06, 1.54663e-07),
        ),
        Joint(
            "shoulder_lift",
            (-0.0303992, -0.0182778, -0.0542),
            (-pi / 2, -pi / 2, 0.0),
            0.103,
            (-0.0898471, -0.00838224, 0.0184089),
            (4.08002e-05, 0.000147318, 0.000142487, -1.97819e-05, -4.03016e-08, 8.97326e-09),
            side_shift=-0.0182778,
        ),
        Joint(
            "elbow_flex",
            (-0.11257, -0.028, 0.0),
            (0.0, 0.0, pi / 2),
            0.104,
            (-0.0980701, 0.00324376, 0.0182831),
            (2.87438e-05, 0.000159844, 0.00014529, 7.41152e-06, 1.26409e-06, -4.90188e-08),
            side_shift=-0.0182778,
        ),
        Joint(
            "wrist_flex",
            (-0.1349, 0.0052, 0.0),
            (0.0, 0.0, -pi / 2),
            0.079,
            (-0.000103312, -0.0386143, 0.0281156),
            (3.68263e-05, 2.5391e-05, 2.1e-05, 1.7893e-08, -5.28128e-08, 3.6412e-06),
            side_shift=-0.0182778,
        ),
        Joint(
            "wrist_roll",
            (0.0, -0.0611, 0.0181),
            (pi / 2, 0.0486795, pi),  # the small pitch is in the published file
            0.087,
            (0.000213627, 0.000245138, -0.025187),
            (2.75087e-05, 4.33657e-05, 3.45059e-05, -3.35241e-07, -5.7352e-06, -5.17847e-08),
        ),
        Joint(
            "gripper",
            (0.0202, 0.0188, -0.0234),
            (pi / 2, 0.0, 0.0),
            0.012,
            (-0.00157495, -0.0300244, 0.0192755),
            (6.61427e-06, 1.89032e-06, 5.28738e-06, -3.19807e-07, -5.90717e-09, -1.09945e-07),
            side_shift=0.0188,
        ),
    ),
)

SO100 = ArmSpec(
    "so100",
    # The published base (1 kg) is a placeholder; it is fixed, so its mass does not matter.
    Link(
        "base_link",
        (0.0, 0.0, 0.0),
        (0.0, 0.0, pi / 2),
        0.147,
        (0.0, 0.0, 0.03),
        (1.2e-4, 1.2e-4, 1.2e-4, 0.0, 0.0, 0.0),
    ),
    (
        Joint(
            "shoulder_pan",
            (0.0, -0.0452, 0.0165),
            (pi / 2, 0.0, 0.0),
            0.119226,
            (-9.07886e-05, 0.0590972, 0.031089),
            (5.90408e-05, 3.21498e-05, 5.86058e-05, 4.90791e-07, -5.90469e-08, -4.58023e-06),
            (0.0, -1.0, 0.0),
        ),
        Joint(
            "shoulder_lift",
            (0.0, 0.1025, 0.0306),
            (0.0, 0.0, 0.0),
            0.162409,
            (-1.72052e-05, 0.0701802, 0.00310545),
            (0.000167153, 7.01947e-05, 0.000213281, 1.03913e-06, -1.20289e-08, 2.11889e-06),
            (1.0, 0.0, 0.0),
        ),
        Joint(
            "elbow_flex",
            (0.0, 0.11257, 0.028),
            (0.0, 0.0, 0.0),
            0.147968,
            (-0.00339604, 0.00137796, 0.0768007),
            (0.000105334, 0.000138767, 5.08742e-05, 1.73056e-07, -1.17203e-05, 1.77433e-06),
            (1.0, 0.0, 0.0),
        ),
        Joint(
            "wrist_flex",
            (0.0, 0.0052, 0.1349),
            (-pi / 2, 0.0, 0.0),
            0.0661321,
            (-0.00852653, -0.0352279, -2.34622e-05),
            (1.95718e-05, 2.38029e-05, 3.45401e-05, -6.62715e-07, 5.19732e-09, 4.09532e-08),
            (1.0, 0.0, 0.0),
        ),
        Joint(
            "wrist_roll",
            (0.0, -0.0601, 0.0),
            (0.0, pi / 2, 0.0),
            0.0929859,
            (0.00552377, -0.0280167, 0.000483583),
            (4.33283e-05, 3.04452e-05, 5.0246e-05, 7.09654e-06, 5.99838e-07, -1.58747e-07),
            (0.0, 1.0, 0.0),
        ),
        Joint(
            "gripper",
            (-0.0202, -0.0244, 0.0),
            (0.0, pi, 0.0),
            0.0202444,
            (-0.00161745, -0.0303473, 0.000449646),
            (1.10911e-05, 3.03577e-06, 8.99161e-06, -5.35075e-07, -9.46116e-09, -1.71147e-07),
        ),
    ),
)


def _with_limits(spec: ArmSpec) -> ArmSpec:
    """Return the arm with the limits of its robot file."""
    limits = {joint.name: joint for joint in load_robot(spec.name).joints}
    return replace(
        spec,
        joints=tuple(
            replace(joint, lower=limits[joint.name].lower, upper=limits[joint.name].upper)
            for joint in spec.joints
        ),
    )


ARMS = {spec.name: _with_limits(spec) for spec in (SO100, SO101)}


def arm_spec(model: str) -> ArmSpec:
    """Return the table of an arm.

    Raises:
        ValueError: there is no such arm.
    """
    if model not in ARMS:
        raise ValueError(f"unknown arm model '{model}'; choose one of {', '.join(sorted(ARMS))}")
    return ARMS[model]
