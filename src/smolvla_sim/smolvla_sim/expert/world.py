# SPDX-License-Identifier: Apache-2.0
"""The kinematic model of the world that the scripted expert plays its plans through in."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from smolvla_core.backend import SceneObject

from smolvla_sim.world.arm_shapes import GRASP_ANGLE
from smolvla_sim.world.kinematics import ArmKinematics, GripperPose
from smolvla_sim.world.layout import in_bowl, inside, on_top
from smolvla_sim.world.scene import BOWLS, CUBE_EDGE, CUBES

Array = NDArray[np.float64]

# A wider gripper holds nothing that lies on something, radians.
_LETS_GO = GRASP_ANGLE + 0.05
# What is off the ground is held, though the gripper is wider (a cube gripped across its edges) or
# has it off center: up to where pads of 32 x 20 mm still touch a cube of 25 mm, meters.
_WIDEST_GRIP = GRASP_ANGLE + 0.18
_OFF_GROUND = 0.006
_CENTRAL = (0.020, 0.018)
_TOUCHED = (0.028, 0.024)


class ModelWorld:
    """The arm follows commands; a held cube follows, a released one falls.

    Args:
        kinematics: of the arm.
        command: see the attribute.
        objects: all, by name.
        movable: the cubes among them that the arm may hold.

    Attributes:
        command: (6,) joint positions, radians.
        velocity: (6,) of the last command, rad/s.
        positions: name -> (3,) meters.
        facings: cube -> yaw of a side that stands upright, radians.
        held: the cube in the gripper, or None.
    """

    def __init__(
        self,
        kinematics: ArmKinematics,
        command: Array,
        objects: Mapping[str, SceneObject],
        movable: tuple[str, ...],
    ) -> None:
        self._kinematics = kinematics
        self._movable = movable
        self.command = command
        self.velocity: Array = np.zeros(6)
        self.positions = {name: np.array(pose.position) for name, pose in objects.items()}
        self.facings = {name: _facing(objects[name].quaternion) for name in movable}
        self.held: str | None = None
        self._take_hold()

    @property
    def pose(self) -> GripperPose:
        """Where the gripper is."""
        return self._kinematics.forward(self.command)

    def apply(self, command: Array) -> None:
        """Move the arm to `command`, (6,) radians."""
        before = self.pose.tcp
        self.command = np.array(command)
        if self.held is None:
            self._take_hold()
        elif self.command[5] > self._lets_go:
            cube = self.positions[self.held]
            cube[2] = self._ground(self.held)
            self.held = None
        if self.held is not None:
            self.positions[self.held] = self.positions[self.held] + self.pose.tcp - before

    def inside(self, cube: str, bowl: str) -> bool:
        """Whether a cube lies in a bowl."""
        others = [self.positions[one] for one in CUBES if one != cube and one in self.positions]
        return inside(self.positions[cube], self.positions[bowl], others)

    def stands_on(self, cube: str, base: str) -> bool:
        """Whether a cube stands on another one."""
        return on_top(*(self.positions[cube] - self.positions[base]))

    def _take_hold(self) -> None:
        self.held = self._find_held()
        self._lets_go = max(_LETS_GO, float(self.command[5]) + 0.05)

    def _find_held(self) -> str | None:
        """Return the cube between the pads if the gripper is closed on it."""
        opening = float(self.command[5])
        if opening > _WIDEST_GRIP:
            return None
        pose = self.pose
        for name in self._movable:
            position = self.positions[name]
            lifted = position[2] > self._ground(name) + _OFF_GROUND
            furthest = _TOUCHED if lifted else _CENTRAL
            along, aside, across = in_gripper(pose, position)
            if not (abs(along) < furthest[0] and abs(aside) < furthest[1]):
                continue
            if -0.010 < across < 0.016 and (lifted or opening <= _LETS_GO):
                return name
        return None

    def surrounds(self, cube: str) -> bool:
        """Whether a cube is somewhere between the fingers, held or not."""
        along, aside, across = in_gripper(self.pose, self.positions[cube])
        return abs(along) < 0.020 and abs(aside) < 0.020 and abs(across) < 0.030

    def _ground(self, cube: str) -> float:
        """Return the height at which a released cube comes to rest, meters."""
        x, y, z = self.positions[cube]
        for name, position in self.positions.items():
            aside = (x - position[0], y - position[1])
            if name in BOWLS and in_bowl(*aside, 0.0):
                return float(position[2])
            below = name in CUBES and name != cube and z > position[2]
            if below and on_top(*aside, CUBE_EDGE):
                return float(position[2]) + CUBE_EDGE
        return CUBE_EDGE / 2


def in_gripper(pose: GripperPose, point: Array) -> Array:
    """Return a point as (3,) offsets from the TCP along, aside and across the fingers."""
    return np.asarray(pose.axes.T @ (point - pose.tcp))


def _facing(quaternion: Array) -> float:
    """Return the yaw of a cube's side that stands upright, radians."""
    x, y, z, w = quaternion
    axes = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
            [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
            [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    level = axes[int(np.argmin(np.abs(axes[:, 2])))]
    return float(np.arctan2(level[1], level[0]))
