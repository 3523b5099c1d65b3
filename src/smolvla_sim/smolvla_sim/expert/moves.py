# SPDX-License-Identifier: Apache-2.0
"""The scripted expert's motions: where each heads for from a state of the world.

All return (6,) joint positions in radians. None remembers anything; what comes next follows
from the state alone.
"""

from __future__ import annotations

from math import hypot

import numpy as np
from numpy.typing import NDArray

from smolvla_sim.expert.world import ModelWorld, in_gripper
from smolvla_sim.world.kinematics import ArmKinematics, GripperPose
from smolvla_sim.world.scene import CUBE_EDGE, CUBES
from smolvla_sim.world.simulation import HOME

Array = NDArray[np.float64]

OPEN = 0.60
CLOSED = -0.05
# Heights of the TCP above the table, meters.
CLEAR_HEIGHT = 0.075
CARRY_HEIGHT = 0.085
RELEASE_HEIGHT = 0.052
GRASP_HEIGHT = CUBE_EDGE / 2 + 0.001
# A cube that is set onto another one is let go this far above it, meters.
_DROP = 0.002
# How far ahead a straight vertical motion aims, meters: short enough that the straight line
# between joint positions stays within a millimeter of the vertical.
_CARROT = 0.02
_CENTERED = 0.006
_SLOPE = 4.0
_FACING = 0.12
_STRAY = 0.020
# A gripper that is open for a grasp, radians; one that has to go up before it moves aside, meters.
_OPENED = OPEN - 0.12
_LOW = CLEAR_HEIGHT - 0.015
_AT_HEIGHT = 0.004
# Room between the cube and the fixed pad when the gripper goes down, meters; the moving jaw
# has as much on its side.
_CLEARANCE = 0.010
# A gripper below this height that is not open has just closed on nothing, meters; higher up only
# one that is closed to less than the opening behind it, radians, has.
_MISS_HEIGHT = 0.035
_SHUT = 0.15


class Moves:
    """The motions of one arm."""

    def __init__(self, kinematics: ArmKinematics) -> None:
        self._kinematics = kinematics
        self._home = np.array(HOME)

    def fetch(self, world: ModelWorld, name: str) -> Array:
        """Go above a cube, down around it and close."""
        pose, cube = world.pose, world.positions[name]
        facing = world.facings[name]
        height = max(float(cube[2]), GRASP_HEIGHT)
        along, aside, across = in_gripper(pose, cube)
        if (
            abs(along) < _AT_HEIGHT
            and abs(aside) < _CENTERED
            and abs(across - _CLEARANCE / 2) < _CLEARANCE
        ):
            # The cube is between the pads: the closing jaw pushes it onto the fixed one.
            return self.squeeze(world)
        others = [cube for cube in CUBES if cube != name and cube in world.positions]
        if self._missed(world) and not any(map(world.surrounds, others)):
            return self.lift(world, CLEAR_HEIGHT, CLOSED)
        # Of the four ways to face a cube the one with the least turn from here, but well
        # inside the limits of wrist_roll.
        roll = float(np.clip(world.command[4], -1.0, 1.0))
        onto = self._solve(np.array([cube[0], cube[1], height]), facing, roll)
        roll = float(onto[4])
        jaw = self._kinematics.forward(np.append(onto, OPEN)).axes[:, 2]
        aim = cube - _CLEARANCE * np.array([jaw[0], jaw[1], 0.0])
        stray = _distance_xy(pose.tcp, aim)
        if stray > _STRAY and pose.tcp[2] < _LOW:
            return self.lift(world, CLEAR_HEIGHT, OPEN)
        aim[2] = max(CLEAR_HEIGHT, height + CLEAR_HEIGHT - GRASP_HEIGHT)
        # Going down with the jaw half closed or turned would set it on top of the cube.
        if world.command[5] > _OPENED and abs(roll - world.command[4]) < _FACING:
            aim[2] = _funnel(stray, height, aim[2])
        return np.append(self._solve(_ahead(pose, aim), facing, roll), OPEN)

    def _missed(self, world: ModelWorld) -> bool:
        """Whether the gripper closed beside a cube and is not up again.

        It then goes up closed and opens there. One that opens on the way up looks for a while
        just like one on the way up with a cube, and who learns from both drops cubes.
        """
        height, opening = float(world.pose.tcp[2]), float(world.command[5])
        if height < _MISS_HEIGHT:
            return opening < _OPENED
        return height < _LOW and opening < _SHUT

    def squeeze(self, world: ModelWorld) -> Array:
        """Stay and close the gripper."""
        return np.append(world.command[:5], CLOSED)

    def carry(self, world: ModelWorld, name: str, bowl: str) -> Array:
        """Bring the held cube over a bowl and let it go."""
        return self._bring(
            world, name, world.positions[bowl], RELEASE_HEIGHT, 2 * _CENTERED, _AT_HEIGHT
        )

    def set_onto(self, world: ModelWorld, name: str, base: str) -> Array:
        """Set the held cube onto another one and let it go."""
        # The cube, not the TCP, has to be over the base: it may sit off center in the gripper.
        offset = world.pose.tcp - world.positions[name]
        aim = world.positions[base] + offset
        aim[2] += CUBE_EDGE + _DROP
        return self._bring(world, name, aim, float(aim[2]), _CENTERED / 3, _DROP / 2)

    def lift(self, world: ModelWorld, height: float, gripper: float) -> Array:
        """Go straight up to a height of the TCP in meters, the gripper at `gripper` radians."""
        pose = world.pose
        if gripper == CLOSED and world.command[5] > CLOSED + 0.05 and pose.tcp[2] < 0.02:
            return self.squeeze(world)
        target = np.array([pose.tcp[0], pose.tcp[1], min(height, pose.tcp[2] + _CARROT)])
        arm = self._kinematics.reach(target, None, float(world.command[4]))
        if arm is None:
            # Some starts lie where no straight way up exists: go by way of home.
            arm = self._home[:5]
        return np.append(arm, gripper)

    def hold_up(self, world: ModelWorld) -> Array:
        """Lift the held cube to where it is carried."""
        return self.lift(world, CARRY_HEIGHT, CLOSED)

    def retreat(self, world: ModelWorld, height: float = CLEAR_HEIGHT) -> Array:
        """Go straight up to a height of the TCP in meters, then home."""
        if world.pose.tcp[2] < height - 0.01:
            return self.lift(world, height, OPEN)
        return self._home

    def leave(self, world: ModelWorld, name: str) -> Array:
        """Let go of a cube without a touch, then go straight up and home."""
        pose, cube = world.pose, world.positions[name]
        _, _, across = in_gripper(pose, cube)
        opened = world.command[5] >= _OPENED
        if world.surrounds(name) and (across < _CLEARANCE / 2 or not opened):
            # Away from the fixed pad first: it would drag the cube along on the way up.
            jaw = np.array([pose.axes[0, 2], pose.axes[1, 2], 0.0])
            aim = cube - _CLEARANCE * jaw
            aim[2] = pose.tcp[2]
            return np.append(self._solve(aim, None, float(world.command[4])), OPEN)
        return self.retreat(world, CARRY_HEIGHT + 0.01)

    def _bring(
        self,
        world: ModelWorld,
        name: str,
        aim: Array,
        release: float,
        centered: float,
        at_height: float,
    ) -> Array:
        """Bring the TCP with a cube over `aim`, down to the height `release`, and open."""
        pose = world.pose
        # Lifting before the fingers press would lose the cube.
        if world.positions[name][2] < CUBE_EDGE / 2 + 0.004 and world.command[5] > CLOSED + 0.05:
            return self.squeeze(world)
        stray = _distance_xy(pose.tcp, aim)
        if stray > _STRAY and pose.tcp[2] < CARRY_HEIGHT - 0.015:
            return self.lift(world, CARRY_HEIGHT, CLOSED)
        height = _funnel(stray, release, CARRY_HEIGHT)
        arrived = stray < centered and pose.tcp[2] < release + at_height
        over = _ahead(pose, np.array([aim[0], aim[1], height]))
        arm = self._solve(over, None, float(world.command[4]))
        return np.append(arm, OPEN if arrived else CLOSED)

    def _solve(self, tcp: Array, facing: float | None, roll: float) -> Array:
        """Return (5,) joint positions over a point; arguments as `ArmKinematics.reach`."""
        arm = self._kinematics.reach(tcp, facing, roll)
        height = float(tcp[2])
        while arm is None and height > GRASP_HEIGHT:
            # Near the base the arm reaches the table but not high above it.
            height -= 0.01
            arm = self._kinematics.reach(np.array([tcp[0], tcp[1], height]), facing, roll)
        if arm is None:
            raise ValueError(
                f"the point x={tcp[0]:.3f} y={tcp[1]:.3f} z={tcp[2]:.3f} m is out of the arm's "
                "reach; put the cubes and the bowls in front of the arm, 0.12 to 0.25 m from "
                "the axis of shoulder_pan"
            )
        return arm


def _distance_xy(first: Array, second: Array) -> float:
    """Return the horizontal distance of two points, meters."""
    return hypot(first[0] - second[0], first[1] - second[1])


def _funnel(stray: float, low: float, high: float) -> float:
    """Return the height to aim for: the nearer to the axis, the lower, meters."""
    return min(high, low + _SLOPE * max(0.0, stray - _CENTERED / 2))


def _ahead(pose: GripperPose, aim: Array) -> Array:
    """Return the (3,) point to head for: near the axis at most a carrot up or down."""
    height = aim[2]
    if _distance_xy(pose.tcp, aim) < _STRAY:
        height = float(np.clip(height, pose.tcp[2] - _CARROT, pose.tcp[2] + _CARROT))
    return np.array([aim[0], aim[1], height])
