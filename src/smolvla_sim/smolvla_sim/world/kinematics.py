# SPDX-License-Identifier: Apache-2.0
"""Forward and inverse kinematics of the arms in closed form.

The tool center point (TCP) is the middle between the pads when they hold a 25 mm cube; it
lies on the axis of `wrist_roll`. Seen from above, `shoulder_pan` turns a vertical plane in
which the other joints form a three-link arm, so the inverse needs no iteration.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import acos, atan2, cos, hypot, pi, sin

import numpy as np
from numpy.typing import NDArray

from smolvla_sim.world.arm import ArmSpec

Array = NDArray[np.float64]

# Distance of the TCP from the wrist_roll frame along the fingers, meters.
TCP_FORWARD = 0.090
DOWN = -pi / 2
MAX_TILT = 1.3


def rotation_rpy(roll: float, pitch: float, yaw: float) -> Array:
    """Return the (3, 3) rotation of URDF's fixed-axis roll, pitch, yaw in radians."""
    return (
        rotation_about(np.array([0.0, 0.0, 1.0]), yaw)
        @ rotation_about(np.array([0.0, 1.0, 0.0]), pitch)
        @ rotation_about(np.array([1.0, 0.0, 0.0]), roll)
    )


def rotation_about(axis: Array, angle: float) -> Array:
    """Return the (3, 3) rotation by `angle` radians about the unit vector `axis`."""
    x, y, z = axis
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.eye(3) + sin(angle) * cross + (1.0 - cos(angle)) * (cross @ cross)


def quaternion_from_rotation(rotation: Array) -> Array:
    """Return the (4,) unit quaternion w, x, y, z (MuJoCo's order) of a (3, 3) rotation.

    `mujoco.mju_mat2Quat` is less exact: another last digit is another collision.
    """
    r = rotation
    x, y, z = r.diagonal()
    squares = (1.0 + x + y + z, 1.0 + x - y - z, 1.0 - x + y - z, 1.0 - x - y + z)
    wx, wy, wz = r[2, 1] - r[1, 2], r[0, 2] - r[2, 0], r[1, 0] - r[0, 1]
    xy, xz, yz = r[0, 1] + r[1, 0], r[0, 2] + r[2, 0], r[1, 2] + r[2, 1]
    products = [
        [squares[0], wx, wy, wz],
        [wx, squares[1], xy, xz],
        [wy, xy, squares[2], yz],
        [wz, xz, yz, squares[3]],
    ]
    # The largest of the four squared components is the well-conditioned one to start from.
    quaternion = np.array(products[int(np.argmax(squares))]) / 4.0
    return quaternion / np.linalg.norm(quaternion)


def link_frames(spec: ArmSpec, positions: Array) -> list[tuple[Array, Array]]:
    """Return origin (3,) [m] and rotation (3, 3) of the six moved links in the base frame.

    The arguments are the arm and its (6,) joint positions [rad].
    """
    origin = np.zeros(3)
    rotation = rotation_rpy(*spec.base.rpy)
    frames = []
    for joint, angle in zip(spec.joints, positions, strict=True):
        origin = origin + rotation @ np.array(joint.xyz)
        rotation = rotation @ rotation_rpy(*joint.rpy)
        rotation = rotation @ rotation_about(np.array(joint.axis), float(angle))
        frames.append((origin, rotation))
    return frames


@dataclass(frozen=True)
class GripperPose:
    """Where the gripper is.

    Attributes:
        tcp: (3,) tool center point, meters.
        axes: (3, 3); the columns point along the fingers, to the arm's left side and from
            the fixed to the moving jaw.
    """

    tcp: Array
    axes: Array


class ArmKinematics:
    """Closed-form kinematics of one arm.

    Attributes:
        pan_axis: (2,) x and y of the vertical axis of shoulder_pan, meters.
    """

    def __init__(self, spec: ArmSpec) -> None:
        self.spec = spec
        frames = link_frames(spec, np.zeros(6))
        pan, lift, elbow, flex, roll, _ = (origin for origin, _ in frames)
        self.pan_axis = pan[:2]
        self._lift = np.array([lift[0] - pan[0], lift[2]])
        upper = elbow - lift
        fore = flex - elbow
        self._upper = hypot(upper[0], upper[2])
        self._upper_angle = atan2(upper[2], upper[0])
        self._fore = hypot(fore[0], fore[2])
        self._fore_angle = atan2(fore[2], fore[0])
        self._hand = roll[0] - flex[0] + TCP_FORWARD
        # At zero the gripper of the SO-101 is rolled by a few degrees.
        rolled = frames[4][1] @ canonical_axes(frames[4][1])
        self._roll_offset = atan2(rolled[2, 1], rolled[1, 1])
        self._lower = np.array([joint.lower for joint in spec.joints])
        self._upper_limit = np.array([joint.upper for joint in spec.joints])

    def forward(self, positions: Array) -> GripperPose:
        """Return the gripper's pose for (6,) joint positions in radians."""
        heading = -float(positions[0])
        shoulder = self._upper_angle - float(positions[1])
        forearm = self._fore_angle - float(positions[1] + positions[2])
        pitch = -float(positions[1] + positions[2] + positions[3])
        roll = self._roll_offset - float(positions[4])
        reach, height = (
            start
            + self._upper * turn(shoulder)
            + self._fore * turn(forearm)
            + self._hand * turn(pitch)
            for start, turn in zip(self._lift, (cos, sin), strict=True)
        )
        out = np.array([cos(heading), sin(heading), 0.0])
        left = np.array([-sin(heading), cos(heading), 0.0])
        up = np.array([0.0, 0.0, 1.0])
        fingers = cos(pitch) * out + sin(pitch) * up
        above = cos(pitch) * up - sin(pitch) * out
        aside = cos(roll) * left + sin(roll) * above
        across = cos(roll) * above - sin(roll) * left
        axes = np.column_stack([fingers, aside, across])
        tcp = np.array([*self.pan_axis, height]) + reach * out
        return GripperPose(tcp, axes)

    def inverse(
        self, tcp: Array, pitch: float, jaw_yaw: float | None, near_roll: float = 0.0
    ) -> Array | None:
        """Return (5,) positions of the joints before the gripper that reach a pose.

        Args:
            tcp: (3,) tool center point, meters.
            pitch: angle of the fingers above the horizontal, radians; `DOWN` is straight down.
            jaw_yaw: direction from the fixed to the moving jaw in the horizontal plane for
                fingers that point down, radians from +x; taken modulo a quarter turn, as a
                cube looks the same from its four sides. None: the roll shall be `near_roll`.
            near_roll: the quarter turn nearest to this `wrist_roll` is taken, radians.

        Returns:
            The joint positions, or None where the arm cannot reach.
        """
        offset = tcp[:2] - self.pan_axis
        heading = atan2(offset[1], offset[0])
        wrist = np.array([hypot(*offset), tcp[2]]) - self._hand * np.array(
            [cos(pitch), sin(pitch)]
        )
        reach = wrist - self._lift
        distance = hypot(*reach)
        cosine = (distance**2 - self._upper**2 - self._fore**2) / (2 * self._upper * self._fore)
        if abs(cosine) > 1.0:
            return None
        # The elbow points up: the forearm bends clockwise from the upper arm.
        bend = -acos(cosine)
        shoulder = atan2(reach[1], reach[0]) - atan2(
            self._fore * sin(bend), self._upper + self._fore * cos(bend)
        )
        lift = self._upper_angle - shoulder
        elbow = self._fore_angle - (shoulder + bend) - lift
        flex = -pitch - lift - elbow
        # With the fingers down and no roll the moving jaw is on the far side: yaw = heading.
        roll = near_roll
        if jaw_yaw is not None:
            turn = jaw_yaw - heading + self._roll_offset - near_roll
            roll += (turn + pi / 4) % (pi / 2) - pi / 4
        solution = np.array([-heading, lift, elbow, flex, roll])
        if np.any(solution < self._lower[:5]) or np.any(solution > self._upper_limit[:5]):
            return None
        return solution

    def reach(self, tcp: Array, jaw_yaw: float | None, near_roll: float = 0.0) -> Array | None:
        """Return (5,) joint positions with the fingers as steep as the joint limits allow.

        Straight down is out of reach far above the table; the fingers then tilt forward. The
        arguments are those of `inverse`.
        """
        solution, tilt = self.inverse(tcp, DOWN, jaw_yaw, near_roll), 0.0
        if solution is not None:
            return solution
        while solution is None:
            tilt += 0.1
            if tilt > MAX_TILT:
                return None
            solution = self.inverse(tcp, DOWN + tilt, jaw_yaw, near_roll)
        low, high = tilt - 0.1, tilt
        for _ in range(8):
            middle = (low + high) / 2
            candidate = self.inverse(tcp, DOWN + middle, jaw_yaw, near_roll)
            if candidate is None:
                low = middle
            else:
                high, solution = middle, candidate
        return solution


def canonical_axes(rotation: Array) -> Array:
    """Return the signed permutation matrix nearest to a link's rotation at zero, transposed.

    It maps vectors given in the base's axes at the zero pose (x forward, y left, z up) into
    the link's axes, whatever convention the link's file follows.
    """
    return np.asarray(np.rint(rotation)).T
