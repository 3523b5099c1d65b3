# SPDX-License-Identifier: Apache-2.0
"""A scripted expert: a stateless receding-horizon planner for the tasks of this package.

From the joint positions, the poses of the things and the instruction alone it decides what to
do next and plays the coming rows through in a kinematic model of the world. As it remembers
nothing, it recovers from a push, a restart in mid-motion or a dropped cube.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import hypot

import numpy as np
from numpy.typing import NDArray

from smolvla_sim.arm import arm_spec
from smolvla_sim.arm_shapes import GRASP_ANGLE
from smolvla_sim.kinematics import ArmKinematics, GripperPose
from smolvla_sim.layout import in_bowl
from smolvla_sim.scene import BOWL, CUBE_EDGE
from smolvla_sim.simulation import HOME
from smolvla_sim.tasks import PlaceInBowl, Task, parse_task

Array = NDArray[np.float64]

OPEN = 0.60
CLOSED = -0.05
# Heights of the TCP above the table, meters.
CLEAR_HEIGHT = 0.075
CARRY_HEIGHT = 0.085
RELEASE_HEIGHT = 0.052
GRASP_HEIGHT = CUBE_EDGE / 2 + 0.001
# How far ahead a straight vertical motion aims, meters: short enough that the straight line
# between joint positions stays within a millimeter of the vertical.
_CARROT = 0.02
_CENTERED = 0.006
_SLOPE = 4.0
_FACING = 0.12
_STRAY = 0.020
_AT_HEIGHT = 0.004
# Room between the cube and the fixed pad when the gripper goes down, meters; the moving jaw
# has as much on its side.
_CLEARANCE = 0.010
# A queued plan this far from where the arm is no longer describes it, radians.
_TRUSTED_LAG = 0.50


@dataclass(frozen=True)
class ObjectPose:
    """Pose of a thing in the base frame: (3,) meters and (4,) quaternion w, x, y, z."""

    position: Array
    quaternion: Array


@dataclass
class _World:
    """The kinematic model that a plan is played through in; a held cube follows the TCP."""

    command: Array
    velocity: Array
    cube: Array
    facing: float
    held: bool
    bowl: Array


class ScriptedExpert:
    """Plans chunks of joint positions.

    Args:
        model: ``so100`` or ``so101``.
        period: seconds between two rows.
        max_speed: highest joint speed, rad/s.
        max_acceleration: highest joint acceleration, rad/s^2.

    Raises:
        ValueError: unknown arm.
    """

    def __init__(
        self,
        model: str = "so100",
        *,
        period: float = 1.0 / 30.0,
        max_speed: float = 1.8,
        max_acceleration: float = 9.0,
    ) -> None:
        spec = arm_spec(model)
        self.kinematics = ArmKinematics(spec)
        self.period = period
        self._max_speed = max_speed
        self._max_acceleration = max_acceleration
        self._lower = np.array([joint.lower for joint in spec.joints])
        self._upper = np.array([joint.upper for joint in spec.joints])
        self._home = np.array(HOME)

    def plan(
        self,
        positions: Array,
        objects: Mapping[str, ObjectPose],
        instruction: str,
        rows: int,
        *,
        committed: Array | None = None,
        keep: int = 0,
    ) -> Array:
        """Return the next rows.

        Args:
            positions: (6,) measured joint positions, radians.
            objects: poses of the named cube and, where the task needs it, the bowl.
            instruction: one of the sentences of `tasks`.
            rows: how many to plan.
            committed: (n, 6) rows that are still queued for the same ticks; the plan continues
                them smoothly where they still describe the arm.
            keep: how many committed rows will be executed before the plan arrives; these are
                repeated unchanged.

        Returns:
            (rows, 6) radians.

        Raises:
            ValueError: unknown instruction, missing object, or an object out of reach.
        """
        task = parse_task(instruction)
        world = self._observe(np.asarray(positions, dtype=np.float64), objects, task)
        plan = np.empty((rows, 6))
        row = 0
        if committed is not None and self._describes(world, committed):
            for queued in committed[: min(max(keep, 1), rows)]:
                self._apply(world, queued)
                plan[row] = queued
                row += 1
            world.velocity = _last_velocity(committed, row, self.period)
        while row < rows:
            target = self._target(world, task)
            self._apply(world, self._approach(world, target))
            plan[row] = world.command
            row += 1
        return plan

    def _observe(self, positions: Array, objects: Mapping[str, ObjectPose], task: Task) -> _World:
        needed = (task.cube, BOWL) if isinstance(task, PlaceInBowl) else (task.cube,)
        missing = [name for name in needed if name not in objects]
        if missing:
            raise ValueError(
                f"'{task.sentence}' needs the pose of {' and '.join(missing)}; known are "
                f"{', '.join(sorted(objects)) or 'no objects'}"
            )
        cube = objects[task.cube]
        bowl = objects[BOWL].position if BOWL in objects else np.full(3, np.inf)
        world = _World(
            command=np.clip(positions, self._lower, self._upper),
            velocity=np.zeros(6),
            cube=np.array(cube.position),
            facing=_facing(cube.quaternion),
            held=False,
            bowl=np.array(bowl),
        )
        world.held = self._holds(world)
        return world

    def _describes(self, world: _World, committed: Array) -> bool:
        if len(committed) == 0:
            return False
        # The gripper's command is far from its position whenever it squeezes a cube.
        return bool(np.max(np.abs(committed[0, :5] - world.command[:5])) < _TRUSTED_LAG)

    def _holds(self, world: _World) -> bool:
        """Whether the cube is between the pads and the gripper closed on it."""
        if world.command[5] > GRASP_ANGLE + 0.05:
            return False
        pose = self.kinematics.forward(world.command)
        along, aside, across = _in_gripper(pose, world.cube)
        return bool(abs(along) < 0.020 and abs(aside) < 0.014 and -0.010 < across < 0.016)

    def _apply(self, world: _World, command: Array) -> None:
        """Move the model's arm to `command`; a held cube follows, a released one falls."""
        before = self.kinematics.forward(world.command).tcp
        world.command = np.array(command)
        if not world.held:
            world.held = self._holds(world)
        elif world.command[5] > GRASP_ANGLE + 0.05:
            world.held = False
            offset = world.cube - world.bowl
            landed = in_bowl(offset[0], offset[1], 0.0)
            world.cube[2] = world.bowl[2] if landed else CUBE_EDGE / 2
        if world.held:
            world.cube = world.cube + self.kinematics.forward(world.command).tcp - before

    def _approach(self, world: _World, target: Array) -> Array:
        """Return the next command: toward `target` at limited speed and acceleration."""
        error = target - world.command
        wanted = np.empty(6)
        # The arm's joints arrive together; the gripper has its own pace.
        for joints in (slice(0, 5), slice(5, 6)):
            distance = float(np.max(np.abs(error[joints])))
            if distance < 1e-9:
                wanted[joints] = 0.0
                continue
            speed = min(
                self._max_speed,
                0.9 * float(np.sqrt(2.0 * self._max_acceleration * distance)),
                distance / self.period,
            )
            wanted[joints] = error[joints] / distance * speed
        step = self._max_acceleration * self.period
        velocity = np.clip(wanted, world.velocity - step, world.velocity + step)
        command = np.clip(world.command + velocity * self.period, self._lower, self._upper)
        world.velocity = (command - world.command) / self.period
        return command

    def _target(self, world: _World, task: Task) -> Array:
        """Decide what to do now and return the (6,) joint positions to head for."""
        pose = self.kinematics.forward(world.command)
        if world.held:
            if isinstance(task, PlaceInBowl):
                return self._carry(world, pose)
            return self._lift(world, pose, CARRY_HEIGHT, CLOSED)
        if isinstance(task, PlaceInBowl) and in_bowl(*(world.cube - world.bowl)):
            return self._retreat(world, pose)
        return self._fetch(world, pose)

    def _fetch(self, world: _World, pose: GripperPose) -> Array:
        cube = world.cube
        height = max(float(cube[2]), GRASP_HEIGHT)
        along, aside, across = _in_gripper(pose, cube)
        if (
            abs(along) < _AT_HEIGHT
            and abs(aside) < _CENTERED
            and abs(across - _CLEARANCE / 2) < _CLEARANCE
        ):
            # The cube is between the pads: the closing jaw pushes it onto the fixed one.
            return np.append(world.command[:5], CLOSED)
        # Of the four ways to face a cube the one with the least turn from here, but well
        # inside the limits of wrist_roll.
        roll = float(np.clip(world.command[4], -1.0, 1.0))
        onto = self._solve(np.array([cube[0], cube[1], height]), world.facing, roll)
        roll = float(onto[4])
        jaw = self.kinematics.forward(np.append(onto, OPEN)).axes[:, 2]
        aim = cube - _CLEARANCE * np.array([jaw[0], jaw[1], 0.0])
        stray = _distance_xy(pose.tcp, aim)
        if stray > _STRAY and pose.tcp[2] < CLEAR_HEIGHT - 0.015:
            return self._lift(world, pose, CLEAR_HEIGHT, OPEN)
        aim[2] = max(CLEAR_HEIGHT, height + CLEAR_HEIGHT - GRASP_HEIGHT)
        # Going down with the jaw half closed or turned would set it on top of the cube.
        if world.command[5] > OPEN - 0.12 and abs(roll - world.command[4]) < _FACING:
            aim[2] = _funnel(stray, height, aim[2])
        return np.append(self._solve(_ahead(pose, aim), world.facing, roll), OPEN)

    def _carry(self, world: _World, pose: GripperPose) -> Array:
        # Lifting before the fingers press would lose the cube.
        if world.cube[2] < CUBE_EDGE / 2 + 0.004 and world.command[5] > CLOSED + 0.05:
            return np.append(world.command[:5], CLOSED)
        bowl = world.bowl
        stray = _distance_xy(pose.tcp, bowl)
        if stray > _STRAY and pose.tcp[2] < CARRY_HEIGHT - 0.015:
            return self._lift(world, pose, CARRY_HEIGHT, CLOSED)
        height = _funnel(stray, RELEASE_HEIGHT, CARRY_HEIGHT)
        arrived = stray < 2 * _CENTERED and pose.tcp[2] < RELEASE_HEIGHT + _AT_HEIGHT
        over = _ahead(pose, np.array([bowl[0], bowl[1], height]))
        arm = self._solve(over, None, float(world.command[4]))
        return np.append(arm, OPEN if arrived else CLOSED)

    def _retreat(self, world: _World, pose: GripperPose) -> Array:
        if pose.tcp[2] < CLEAR_HEIGHT - 0.01:
            return self._lift(world, pose, CLEAR_HEIGHT, OPEN)
        return self._home

    def _lift(self, world: _World, pose: GripperPose, height: float, gripper: float) -> Array:
        if gripper == CLOSED and world.command[5] > CLOSED + 0.05 and pose.tcp[2] < 0.02:
            return np.append(world.command[:5], CLOSED)
        target = np.array([pose.tcp[0], pose.tcp[1], min(height, pose.tcp[2] + _CARROT)])
        arm = self.kinematics.reach(target, None, float(world.command[4]))
        if arm is None:
            # Some starts lie where no straight way up exists: go by way of home.
            arm = self._home[:5]
        return np.append(arm, gripper)

    def _solve(self, tcp: Array, facing: float | None, roll: float) -> Array:
        """Return (5,) joint positions over a point; arguments as `ArmKinematics.reach`."""
        arm = self.kinematics.reach(tcp, facing, roll)
        height = float(tcp[2])
        while arm is None and height > GRASP_HEIGHT:
            # Near the base the arm reaches the table but not high above it.
            height -= 0.01
            arm = self.kinematics.reach(np.array([tcp[0], tcp[1], height]), facing, roll)
        if arm is None:
            raise ValueError(
                f"the point x={tcp[0]:.3f} y={tcp[1]:.3f} z={tcp[2]:.3f} m is out of the arm's "
                "reach; put the cubes and the bowl in front of the arm, 0.12 to 0.25 m from the "
                "axis of shoulder_pan"
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


def _in_gripper(pose: GripperPose, point: Array) -> Array:
    """Return a point as (3,) offsets from the TCP along, aside and across the fingers."""
    return np.asarray(pose.axes.T @ (point - pose.tcp))


def _last_velocity(committed: Array, used: int, period: float) -> Array:
    """Return the velocity at the last committed row that is used, (6,) rad/s."""
    if len(committed) < 2:
        return np.zeros(6)
    last = min(max(used - 1, 0), len(committed) - 1)
    first = last - 1 if last > 0 else 0
    return np.asarray(committed[first + 1] - committed[first]) / period


def _facing(quaternion: Array) -> float:
    """Return the yaw of a cube's side that stands upright, radians."""
    w, x, y, z = quaternion
    axes = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)],
            [2 * (x * y - w * z), 1 - 2 * (x * x + z * z), 2 * (y * z + w * x)],
            [2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    level = axes[int(np.argmin(np.abs(axes[:, 2])))]
    return float(np.arctan2(level[1], level[0]))
