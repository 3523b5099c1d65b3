# SPDX-License-Identifier: Apache-2.0
"""The simulated world: physics, servos, objects and the judge of the task.

No clock, no ROS, no rendering: time passes when `step` is called. The same seed and the same
commands give the same states bit for bit.
"""

from __future__ import annotations

from math import cos, sin

import mujoco
import numpy as np
from numpy.random import Generator
from numpy.typing import ArrayLike, NDArray
from smolvla_core.robot import load_robot

from smolvla_sim.world.arm import JOINT_NAMES, arm_spec
from smolvla_sim.world.kinematics import ArmKinematics
from smolvla_sim.world.layout import Placement, random_layout, random_start, restocked
from smolvla_sim.world.mjcf import build_model, servo_of
from smolvla_sim.world.scene import CUBE_EDGE, CUBES, OBJECTS, PHYSICS_RATE, RIGHT_BOWL
from smolvla_sim.world.tasks import (
    DEFAULT_TASK,
    LIFT,
    ObjectState,
    Progress,
    Task,
    parse_task,
)
from smolvla_sim.world.variation import SceneLook

Array = NDArray[np.float64]

HOME: tuple[float, ...] = tuple(load_robot("so100").home.tolist())
"""Where the arm waits [rad]."""
_SETTLE_SECONDS = 0.25
# MuJoCo draws the groups 0 to 2 by default.
_HIDDEN_GROUP = 5
# Where it waits, meters: below the table, so that it is near nothing.
_AWAY = (0.0, 0.0, -2.0)


class Simulation:
    """One arm on its table.

    Args:
        model: ``so100`` or ``so101``.
        task: the instruction that is judged.
        seed: of the first layout.
        physics_rate: steps per second.
        shadows: draw shadows and smooth edges (see `mjcf.build_model`).
        variation: draw light, colors and camera mounts of each episode from its seed too
            (see `variation`); the layout is the same either way.

    Raises:
        ValueError: unknown arm or instruction.

    Attributes:
        task: the task that is judged.
        progress: what has happened since the last reset or change of the task.
    """

    def __init__(
        self,
        model: str = "so100",
        *,
        task: str = DEFAULT_TASK,
        seed: int = 0,
        physics_rate: float = PHYSICS_RATE,
        shadows: bool = False,
        variation: bool = True,
    ) -> None:
        self.spec = arm_spec(model)
        self.kinematics = ArmKinematics(self.spec)
        self.model = build_model(model, physics_rate=physics_rate, shadows=shadows)
        self.data = mujoco.MjData(self.model)
        self.lower = np.array([joint.lower for joint in self.spec.joints])
        self.upper = np.array([joint.upper for joint in self.spec.joints])
        servos = [servo_of(name) for name in JOINT_NAMES]
        speed, acceleration = np.array([(s.speed, s.acceleration) for s in servos]).T
        self._servos = ServoProfile(self.lower, self.upper, speed, acceleration, self.period)
        # Joints are the first six coordinates; each object follows with seven.
        self._names = {self.model.body(name).id: name for name in (*OBJECTS, RIGHT_BOWL)}
        self._coordinates = {name: int(self.model.joint(name).qposadr[0]) for name in OBJECTS}
        self._speeds = {name: int(self.model.joint(name).dofadr[0]) for name in OBJECTS}
        self._cube_heights = np.array([self._coordinates[name] + 2 for name in CUBES])
        gripper = [self.model.body(name).id for name in ("wrist_roll", "gripper")]
        self._is_gripper = np.isin(self.model.geom_bodyid, gripper)
        self._right_bowl = _RightBowl(self.model)
        self._two_bowls = False
        self._look = SceneLook(self.model)
        self._variation = variation
        self.task = parse_task(task)
        self.progress = Progress()
        self._touched_before: set[str] = set()
        self._seed = seed
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

        Another cube that the gripper still touches from the task before never counts as
        touched first, as the arm has to let go of it somehow. A task that needs another
        number of bowls resets the scene: the last seed, the arm at home.

        Raises:
            ValueError: the sentence is not understood; the text lists what is.
        """
        self.task = parse_task(sentence)
        self.progress = Progress()
        self._touched_before = self._touched() - {self.task.cube}
        if self._two_bowls != (RIGHT_BOWL in self.task.objects):
            self.reset(self._seed)

    def judge_in_place(self, sentence: str) -> None:
        """Judge a task from now on, as `set_task` does, but in the scene as it is.

        What has happened for the task that is judged already counts: it is tried again. So do
        grasps for earlier tasks where what comes of them lasts.

        Raises:
            ValueError: the sentence is not understood, or is about another number of bowls.
        """
        task = parse_task(sentence)
        if self._two_bowls != (RIGHT_BOWL in task.objects):
            raise ValueError(f"the scene has not the bowls of '{sentence}'")
        if task != self.task:
            lifted = self.progress.lifted
            self.set_task(sentence)
            if task.lasting:
                self.progress.lifted |= lifted

    def reset(self, seed: int, *, home: Array | None = None) -> None:
        """Put the arm home and draw a new layout.

        Args:
            seed: the same seed gives the same scene.
            home: (6,) joint positions to start from instead of the usual home, radians.
        """
        mujoco.mj_resetData(self.model, self.data)
        if self._variation:
            self._look.vary(seed)
        rng = np.random.default_rng(seed)
        self._seed = seed
        self._two_bowls = RIGHT_BOWL in self.task.objects
        layout = random_layout(rng, self.kinematics.pan_axis, two_bowls=self._two_bowls)
        if self._two_bowls:
            self._right_bowl.place(layout.pop(RIGHT_BOWL))
        else:
            self._right_bowl.remove()
        for name, place in layout.items():
            self.move_object(name, place[:3], yaw=place.yaw)
        positions = np.array(HOME if home is None else home, dtype=np.float64)
        self._servos.reset(positions)
        self.data.qpos[:6] = self._servos.target
        # Let the objects come to rest, so that nothing moves in the first picture.
        for _ in range(round(_SETTLE_SECONDS / self.period)):
            self._step_once()
        self.data.time = 0.0
        self.progress = Progress()
        self._touched_before = set()

    def begin(self, task: Task, seed: int, rng: Generator, random_starts: float) -> None:
        """Set task and scene; a share `random_starts` of the draws does not start from home."""
        somewhere = random_start(rng, self.kinematics)
        at_random = rng.random() < random_starts
        self.set_task(task.sentence)
        self.reset(seed, home=somewhere if at_random else None)

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
            self._record()

    def _step_once(self) -> None:
        self.data.ctrl[:] = self._servos.advance()
        mujoco.mj_step(self.model, self.data)

    def _record(self) -> None:
        """Note what only this instant shows."""
        progress = self.progress
        if progress.first_touched is None:
            touched = self._touched() - self._touched_before
            # Of two in one step the named one counts.
            for name in (self.task.cube, *CUBES):
                if name in touched:
                    progress.first_touched = name
                    break
            return
        # The height alone is cheap and rules out almost every step.
        high = self.data.qpos[self._cube_heights] > CUBE_EDGE / 2 + LIFT
        for index in np.flatnonzero(high):
            if CUBES[index] not in progress.lifted and self.objects()[CUBES[index]].lifted:
                progress.lifted.add(CUBES[index])

    def objects(self) -> dict[str, ObjectState]:
        """Return the state of every object in the scene by name, in the base frame."""
        touched = self._touched()
        states = {
            name: ObjectState(
                position=np.array(self.data.qpos[at : at + 3]),
                quaternion=np.array(self.data.qpos[at + 3 : at + 7]),
                speed=float(
                    np.linalg.norm(self.data.qvel[self._speeds[name] : self._speeds[name] + 3])
                ),
                touched=name in touched,
            )
            for name, at in self._coordinates.items()
        }
        if self._two_bowls:
            bowl = self.model.body(RIGHT_BOWL)
            states[RIGHT_BOWL] = ObjectState(
                bowl.pos.copy(), bowl.quat.copy(), 0.0, RIGHT_BOWL in touched
            )
        return states

    def _touched(self) -> set[str]:
        pairs = self.data.contact.geom
        first, second = pairs[:, 0], pairs[:, 1]
        others = np.concatenate([second[self._is_gripper[first]], first[self._is_gripper[second]]])
        bodies = self.model.geom_bodyid[others]
        return {self._names[body] for body in bodies if body in self._names}

    def move_object(self, name: str, position: ArrayLike, *, yaw: float | None = None) -> None:
        """Put an object somewhere else at rest, while the simulation goes on.

        Args:
            name: one of `scene.OBJECTS`.
            position: (3,) meters.
            yaw: stand it upright, turned by this, radians; None keeps its orientation.
        """
        at = self._coordinates[name]
        self.data.qpos[at : at + 3] = position
        if yaw is not None:
            self.data.qpos[at + 3 : at + 7] = np.cos(yaw / 2), 0.0, 0.0, np.sin(yaw / 2)
        self.data.qvel[self._speeds[name] : self._speeds[name] + 6] = 0.0

    def restock(self, rng: Generator) -> None:
        """Put every cube that is in a bowl, on something or out of reach at a free random place.

        So continuous operation does not run out of cubes. A cube that the gripper touches stays
        where it is. The arm does not move.

        Raises:
            RuntimeError: there is no free place.
        """
        objects = self.objects()
        placed = restocked(
            rng,
            self.kinematics.pan_axis,
            {name: state.position for name, state in objects.items()},
            {name for name, state in objects.items() if state.touched},
            self.kinematics.forward(self.positions).tcp,
        )
        for name, place in placed.items():
            self.move_object(name, place[:3], yaw=place.yaw)

    def score(self) -> float:
        """Return the graded success of the task, 0 to 1."""
        return self.task.grade(self.objects(), self.progress)

    @property
    def lost(self) -> bool:
        """Whether nothing can make the task a success any more."""
        return self.task.lost(self.progress)

    def state(self) -> Array:
        """Return all coordinates, e.g. to draw the scene from another thread."""
        return np.array(self.data.qpos)


def substeps(rate: float, physics_rate: float = PHYSICS_RATE) -> int:
    """Return the physics steps per period of `rate`; both in Hz.

    Raises:
        ValueError: they are not a whole number.
    """
    exact = physics_rate / rate
    if exact < 0.999 or abs(exact - round(exact)) > 1e-6:
        raise ValueError(
            f"a rate of {rate:g} Hz does not divide the physics rate of {physics_rate:.0f} Hz; "
            "take e.g. 10, 15, 20, 25 or 30"
        )
    return round(exact)


def restock_rng(seed: int) -> Generator:
    """Return the source of places of a run, apart from all other draws of the seed."""
    return np.random.default_rng([seed, 5])


class ServoProfile:
    """Follows a held command with limited speed and acceleration, as an STS3215 does.

    Args:
        lower, upper: (joints,) limits, radians.
        speed: (joints,) highest speeds, rad/s.
        acceleration: (joints,) ramps, rad/s^2.
        period: seconds between two calls of `advance`.
    """

    def __init__(
        self, lower: Array, upper: Array, speed: Array, acceleration: Array, period: float
    ) -> None:
        self._lower = lower
        self._upper = upper
        self._speed = speed
        self._acceleration = acceleration
        self._period = period
        self._target = np.clip(np.zeros_like(lower), lower, upper)
        self._position = self._target.copy()
        self._velocity = np.zeros_like(lower)

    @property
    def target(self) -> Array:
        """(joints,) the held command after clamping to the joint limits, radians."""
        return self._target.copy()

    def reset(self, positions: Array) -> None:
        """Stand still at `positions`, (joints,) radians."""
        self._target = np.clip(positions, self._lower, self._upper)
        self._position = self._target.copy()
        self._velocity = np.zeros_like(self._position)

    def command(self, positions: Array) -> None:
        """Hold a new command, (joints,) radians; clamped to the joint limits."""
        self._target = np.clip(positions, self._lower, self._upper)

    def advance(self) -> Array:
        """Move the set point by one period and return it, (joints,) radians."""
        error = self._target - self._position
        distance = np.abs(error)
        # The fastest speed from which the ramp still stops at the target.
        wanted = np.minimum(self._speed, np.sqrt(2.0 * self._acceleration * distance))
        wanted = np.sign(error) * np.minimum(wanted, distance / self._period)
        step = self._acceleration * self._period
        self._velocity = np.clip(wanted, self._velocity - step, self._velocity + step)
        self._position = self._position + self._velocity * self._period
        # The ramp's last step may cross the target by rounding; the servo stops on it.
        crossed = (self._target - self._position) * error < 0.0
        self._position = np.where(crossed, self._target, self._position)
        self._velocity = np.where(crossed, 0.0, self._velocity)
        return np.clip(self._position, self._lower, self._upper)


class _RightBowl:
    """The second bowl, which has no joint: in its place, or neither seen nor felt."""

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._body = model.body(RIGHT_BOWL).id
        self._geoms = np.flatnonzero(model.geom_bodyid == self._body)
        parts = (model.geom_contype, model.geom_conaffinity, model.geom_group)
        self._own = [(part, part[self._geoms]) for part in parts]

    def place(self, place: Placement) -> None:
        """Put it onto the table."""
        self._model.body_pos[self._body] = place[:3]
        self._model.body_quat[self._body] = cos(place.yaw / 2), 0.0, 0.0, sin(place.yaw / 2)
        for part, own in self._own:
            part[self._geoms] = own

    def remove(self) -> None:
        """Take it out of the scene."""
        self._model.body_pos[self._body] = _AWAY
        for (part, _), value in zip(self._own, (0, 0, _HIDDEN_GROUP), strict=True):
            part[self._geoms] = value
