# SPDX-License-Identifier: Apache-2.0
"""The simulated world: physics, servos, objects and the judge of the task.

No clock, no ROS, no rendering: time passes when `step` is called. The same seed and the same
commands give the same states bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping

import mujoco
import numpy as np
from numpy.typing import NDArray

from smolvla_sim.arm import JOINT_NAMES, arm_spec
from smolvla_sim.kinematics import ArmKinematics
from smolvla_sim.layout import random_layout
from smolvla_sim.mjcf import PHYSICS_RATE, build_model, servo_of
from smolvla_sim.scene import OBJECTS
from smolvla_sim.servo import ServoProfile
from smolvla_sim.tasks import ObjectState, Task, parse_task

Array = NDArray[np.float64]

DEFAULT_TASK = "put the red cube into the bowl"
# Where the arm waits, radians: the gripper above the near edge of the work space.
HOME = (0.0, -1.2, 0.8, 1.4, 0.0, 0.1)
_SETTLE_SECONDS = 0.25


class Simulation:
    """One arm on its table.

    Args:
        model: ``so100`` or ``so101``.
        task: the instruction that is judged.
        seed: of the first layout.
        physics_rate: steps per second.
        shadows: draw shadows and smooth edges (see `mjcf.build_model`).

    Raises:
        ValueError: unknown arm or instruction.
    """

    def __init__(
        self,
        model: str = "so100",
        *,
        task: str = DEFAULT_TASK,
        seed: int = 0,
        physics_rate: float = PHYSICS_RATE,
        shadows: bool = False,
    ) -> None:
        self.spec = arm_spec(model)
        self.kinematics = ArmKinematics(self.spec)
        self.model = build_model(model, physics_rate=physics_rate, shadows=shadows)
        self.data = mujoco.MjData(self.model)
        self.joint_names = JOINT_NAMES
        self.lower = np.array([joint.lower for joint in self.spec.joints])
        self.upper = np.array([joint.upper for joint in self.spec.joints])
        servos = [servo_of(name) for name in JOINT_NAMES]
        self._servos = ServoProfile(
            self.lower,
            self.upper,
            np.array([servo.speed for servo in servos]),
            np.array([servo.acceleration for servo in servos]),
            self.period,
        )
        # Joints are the first six coordinates; each thing follows with seven.
        self._bodies = {name: self.model.body(name).id for name in OBJECTS}
        self._coordinates = {name: int(self.model.joint(name).qposadr[0]) for name in OBJECTS}
        self._speeds = {name: int(self.model.joint(name).dofadr[0]) for name in OBJECTS}
        self._gripper_bodies = {self.model.body(name).id for name in ("wrist_roll", "gripper")}
        self._task = parse_task(task)
        self._lifted = False
        self.reset(seed)

    @property
    def period(self) -> float:
        """Seconds per physics step."""
        return float(self.model.opt.timestep)

    @property
    def time(self) -> float:
        """Simulated seconds since the last reset."""
        return float(self.data.time)

    @property
    def task(self) -> Task:
        """The task that is judged."""
        return self._task

    @property
    def positions(self) -> Array:
        """(6,) joint positions, radians."""
        return np.array(self.data.qpos[:6])

    @property
    def velocities(self) -> Array:
        """(6,) joint velocities, rad/s."""
        return np.array(self.data.qvel[:6])

    @property
    def efforts(self) -> Array:
        """(6,) servo torques, N m."""
        return np.array(self.data.actuator_force[:6])

    def set_task(self, sentence: str) -> None:
        """Judge another task from now on.

        Raises:
            ValueError: the sentence is not understood; the text lists what is.
        """
        self._task = parse_task(sentence)
        self._lifted = False

    def reset(self, seed: int, *, home: Array | None = None) -> None:
        """Put the arm home and draw a new layout.

        Args:
            seed: the same seed gives the same scene.
            home: (6,) joint positions to start from instead of the usual home, radians.
        """
        mujoco.mj_resetData(self.model, self.data)
        rng = np.random.default_rng(seed)
        pan_x, pan_y = self.kinematics.pan_axis
        for name, place in random_layout(rng, (float(pan_x), float(pan_y))).items():
            start = self._coordinates[name]
            self.data.qpos[start : start + 3] = place.x, place.y, place.z
            half = place.yaw / 2
            self.data.qpos[start + 3 : start + 7] = np.cos(half), 0.0, 0.0, np.sin(half)
        positions = np.array(HOME if home is None else home, dtype=np.float64)
        self._servos.reset(positions)
        self.data.qpos[:6] = self._servos.target
        # Let the things come to rest, so that nothing moves in the first picture.
        for _ in range(round(_SETTLE_SECONDS / self.period)):
            self._step_once()
        self.data.time = 0.0
        self._lifted = False

    def command(self, positions: Array) -> None:
        """Hold a command until the next one.

        Args:
            positions: (6,) radians; clamped to the joint limits.

        Raises:
            ValueError: wrong length, or a value that is not finite.
        """
        values = np.asarray(positions, dtype=np.float64)
        if values.shape != (6,):
            raise ValueError(f"a command needs 6 joint positions, got shape {values.shape}")
        if not np.all(np.isfinite(values)):
            raise ValueError(f"a command must be finite, got {values.tolist()}")
        self._servos.command(values)

    def step(self, count: int = 1) -> None:
        """Let `count` physics steps pass."""
        for _ in range(count):
            self._step_once()
            if not self._lifted:
                self._lifted = self._lifts_now()

    def _step_once(self) -> None:
        self.data.ctrl[:] = self._servos.advance()
        mujoco.mj_step(self.model, self.data)

    def _lifts_now(self) -> bool:
        # The height alone is cheap and rules out almost every step.
        if self.data.qpos[self._coordinates[self._task.cube] + 2] < 0.03:
            return False
        return self._task.lifts(self.objects())

    def objects(self) -> dict[str, ObjectState]:
        """Return the state of every thing by name, in the base frame."""
        touched = self._touched()
        return {
            name: ObjectState(
                position=np.array(self.data.qpos[at : at + 3]),
                quaternion=np.array(self.data.qpos[at + 3 : at + 7]),
                speed=float(
                    np.linalg.norm(self.data.qvel[self._speeds[name] : self._speeds[name] + 3])
                ),
                touched=self._bodies[name] in touched,
            )
            for name, at in self._coordinates.items()
        }

    def _touched(self) -> set[int]:
        touched: set[int] = set()
        pairs = self.model.geom_bodyid[self.data.contact.geom]
        for first, second in pairs:
            if first in self._gripper_bodies:
                touched.add(int(second))
            elif second in self._gripper_bodies:
                touched.add(int(first))
        return touched

    def move_object(self, name: str, position: Array) -> None:
        """Put a thing somewhere else at rest, for tests of recovery.

        Args:
            name: one of `scene.OBJECTS`.
            position: (3,) meters.
        """
        at = self._coordinates[name]
        self.data.qpos[at : at + 3] = position
        self.data.qvel[self._speeds[name] : self._speeds[name] + 6] = 0.0

    def score(self) -> float:
        """Return the graded success of the task, 0 to 1."""
        return self._task.grade(self.objects(), self._lifted)

    def state(self) -> Array:
        """Return all coordinates, e.g. to draw the scene from another thread."""
        return np.array(self.data.qpos)


def object_poses(objects: Mapping[str, ObjectState]) -> dict[str, Array]:
    """Return name -> (7,) position in meters and quaternion w, x, y, z."""
    return {
        name: np.concatenate([state.position, state.quaternion]) for name, state in objects.items()
    }
