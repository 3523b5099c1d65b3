# SPDX-License-Identifier: Apache-2.0
"""A scripted expert: a stateless receding-horizon planner for the tasks of this package.

From the joint positions, the poses of the objects and the instruction alone it decides what to
do next and plays the coming rows through in a kinematic model of the world. As it remembers
nothing, it recovers from a push, a restart in mid-motion or a dropped cube.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray
from smolvla_core.backend import SceneObject

from smolvla_sim.expert.moves import Moves
from smolvla_sim.expert.world import ModelWorld
from smolvla_sim.world.arm import arm_spec
from smolvla_sim.world.kinematics import ArmKinematics
from smolvla_sim.world.tasks import Task, parse_task

Array = NDArray[np.float64]

# A queued plan this far from where the arm is no longer describes it, radians.
_TRUSTED_LAG = 0.50
# Of the joints, rad/s and rad/s^2.
_MAX_SPEED, _MAX_ACCELERATION = 1.8, 9.0


class ScriptedExpert:
    """Plans chunks of joint positions, `period` seconds from row to row.

    Raises:
        ValueError: unknown arm.
    """

    def __init__(
        self,
        model: str = "so100",
        *,
        period: float = 1.0 / 30.0,
    ) -> None:
        spec = arm_spec(model)
        self.kinematics = ArmKinematics(spec)
        self.period = period
        self._moves = Moves(self.kinematics)
        self._lower = np.array([joint.lower for joint in spec.joints])
        self._upper = np.array([joint.upper for joint in spec.joints])

    def plan(
        self,
        positions: Array,
        objects: Mapping[str, SceneObject],
        instruction: str,
        rows: int,
        *,
        committed: Array | None = None,
        keep: int = 0,
    ) -> Array:
        """Return the next rows.

        Args:
            positions: (6,) measured joint positions, radians.
            objects: poses of the objects that the task is about.
            instruction: one of the sentences of `tasks`.
            rows: how many to plan.
            committed: (n, 6) rows that are still queued for the same ticks; the plan continues
                them smoothly where they still describe the arm.
            keep: how many committed rows will be executed before the plan arrives; these are
                repeated unchanged.

        Returns:
            (rows, 6) radians.

        Raises:
            ValueError: unknown instruction, or an object is missing or out of reach.
        """
        task = parse_task(instruction)
        world = self._observe(np.asarray(positions, dtype=np.float64), objects, task)
        plan = np.empty((rows, 6))
        row = 0
        if committed is not None and len(committed) and self._describes(world, committed):
            for queued in committed[: min(max(keep, 1), rows)]:
                world.apply(queued)
                plan[row] = queued
                row += 1
            world.velocity = _last_velocity(committed, row, self.period)
        while row < rows:
            self._step(world, task.move(world, self._moves))
            plan[row] = world.command
            row += 1
        return plan

    def _observe(
        self, positions: Array, objects: Mapping[str, SceneObject], task: Task
    ) -> ModelWorld:
        missing = [name for name in task.objects if name not in objects]
        if missing:
            raise ValueError(
                f"'{task.sentence}' needs the pose of {' and '.join(missing)}; known are "
                f"{', '.join(sorted(objects)) or 'no objects'}"
            )
        command = np.clip(positions, self._lower, self._upper)
        return ModelWorld(self.kinematics, command, objects, task.movable)

    def _describes(self, world: ModelWorld, committed: Array) -> bool:
        # The gripper's command is far from its position whenever it squeezes a cube.
        return bool(np.max(np.abs(committed[0, :5] - world.command[:5])) < _TRUSTED_LAG)

    def _step(self, world: ModelWorld, target: Array) -> None:
        """Move the model one row toward `target` at limited speed and acceleration."""
        error = target - world.command
        wanted = np.empty(6)
        # The arm's joints arrive together; the gripper has its own pace.
        for joints in (slice(0, 5), slice(5, 6)):
            distance = float(np.max(np.abs(error[joints])))
            if distance < 1e-9:
                wanted[joints] = 0.0
                continue
            speed = min(
                _MAX_SPEED,
                0.9 * float(np.sqrt(2.0 * _MAX_ACCELERATION * distance)),
                distance / self.period,
            )
            wanted[joints] = error[joints] / distance * speed
        step = _MAX_ACCELERATION * self.period
        velocity = np.clip(wanted, world.velocity - step, world.velocity + step)
        before = world.command
        world.apply(np.clip(before + velocity * self.period, self._lower, self._upper))
        world.velocity = (world.command - before) / self.period


def _last_velocity(committed: Array, used: int, period: float) -> Array:
    """Return the velocity at the last committed row that is used, (6,) rad/s."""
    if len(committed) < 2:
        return np.zeros(6)
    last = min(max(used - 1, 0), len(committed) - 1)
    first = last - 1 if last > 0 else 0
    return np.asarray(committed[first + 1] - committed[first]) / period
