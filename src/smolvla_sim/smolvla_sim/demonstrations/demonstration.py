# SPDX-License-Identifier: Apache-2.0
"""Films the scripted expert: one episode of a task as frames of a dataset."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from smolvla_core.units.joint_units import JointUnits, UnitParameters, joint_units
from smolvla_policy.checkpoint.robot import RobotFacts

from smolvla_sim.demonstrations.lead_in import LeadIn
from smolvla_sim.expert.expert import ScriptedExpert, scene_poses
from smolvla_sim.expert.grounding import GroundingLabeler
from smolvla_sim.expert.moves import OutOfReachError
from smolvla_sim.play.assignments import Assignment
from smolvla_sim.world.arm import JOINT_NAMES
from smolvla_sim.world.mjcf import PHYSICS_RATE
from smolvla_sim.world.rendering import CameraRenderer, check_cameras
from smolvla_sim.world.simulation import Simulation
from smolvla_sim.world.starts import random_start
from smolvla_sim.world.tasks import TASK_KINDS, Task, task_kind

Frame = dict[str, NDArray[np.generic]]

# How joint positions become the numbers of the dataset.
ROBOT = RobotFacts(
    units="degrees",
    joint_signs=(1.0,) * len(JOINT_NAMES),
    gripper_range=UnitParameters.gripper_range,
)

# Static pictures in one episode of the kind `SCENES`.
SCENES = "scenes"
SCENES_PER_EPISODE = 25
KINDS = (*(kind.kind for kind in TASK_KINDS), SCENES)
# Frames after the success, so that a policy learns to stop.
_FRAMES_AFTER = 3
# Rows that are executed of each plan.
_REPLAN = 4
# Seconds after which an episode without success is given up.
_TIME_LIMIT = 15.0
# Time constant of the noise on the commands, seconds.
_NOISE_TIME = 0.4


@dataclass(frozen=True)
class DemonstrationOptions:
    """How to record.

    Attributes:
        kind: one of `KINDS`.
        model: ``so100`` or ``so101``.
        cameras: what is filmed; empty for none.
        width: pixels.
        height: pixels.
        fps: frames per second; must divide the physics rate.
        random_starts: share of episodes that do not start from home, 0 to 1.
        noise: standard deviation of a smooth disturbance of the executed commands, radians;
            the recorded actions are the undisturbed ones (DART, arXiv 1703.09327).
        grounding: label where the things are in each picture.
        paraphrases: draw the words of the instruction instead of taking the usual ones.
        lead_in: checkpoint that drives before the expert takes over, folder or hub id; empty
            for none. What it does is not recorded.
        scene_tasks: kinds of task whose instructions the still pictures of `SCENES` get.

    Raises:
        ValueError: a value does not fit.
    """

    kind: str
    model: str = "so100"
    cameras: tuple[str, ...] = ("top", "wrist")
    width: int = 320
    height: int = 240
    fps: int = 15
    random_starts: float = 0.5
    noise: float = 0.0
    grounding: bool = False
    paraphrases: bool = False
    lead_in: str = ""
    scene_tasks: tuple[str, ...] = ("reach", "pick_up", "pick_place")

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"unknown task '{self.kind}'; there are {', '.join(KINDS)}")
        check_cameras(self.cameras)
        if self.grounding and not self.cameras:
            raise ValueError("grounding labels need a camera")
        if self.fps < 1 or PHYSICS_RATE % self.fps:
            raise ValueError(
                f"{self.fps} frames per second do not divide the physics rate of "
                f"{PHYSICS_RATE:.0f} Hz; take e.g. 10, 15, 20, 25 or 30"
            )
        if not 0.0 <= self.random_starts <= 1.0:
            raise ValueError(f"the share of random starts must be 0 to 1: {self.random_starts}")
        if not 0.0 <= self.noise <= 0.1:
            raise ValueError(f"the noise must be 0 to 0.1 rad: {self.noise}")
        if not self.scene_tasks:
            raise ValueError("scene_tasks names no kind of task")
        for name in self.scene_tasks:
            task_kind(name)


@dataclass
class Demonstration:
    """One episode.

    Attributes:
        seed: that it was made from.
        success: whether the expert did the task.
        tasks: the instruction of each frame.
        frames: feature name -> value, of each frame; none where it failed.
    """

    seed: int
    success: bool
    tasks: list[str] = field(default_factory=list)
    frames: list[Frame] = field(default_factory=list)


class Demonstrator:
    """Makes episodes, each from its seed alone.

    Args:
        options: how to record.

    Raises:
        ValueError: unknown arm.
        smolvla_sim.world.rendering.RenderingError: no OpenGL works.
    """

    def __init__(self, options: DemonstrationOptions) -> None:
        self._options = options
        self._simulation = Simulation(options.model)
        self._substeps = round(1.0 / (options.fps * self._simulation.period))
        self._expert = ScriptedExpert(options.model, period=1.0 / options.fps)
        self._units: JointUnits = joint_units(ROBOT.units, JOINT_NAMES)
        self._renderer: CameraRenderer | None = None
        self._labeler: GroundingLabeler | None = None
        self._lead_in: LeadIn | None = None
        if options.lead_in and options.kind != SCENES:
            self._lead_in = LeadIn(
                options.lead_in,
                self._simulation,
                options.model,
                options.fps,
                (options.width, options.height),
            )
        if options.cameras:
            self._renderer = CameraRenderer(
                self._simulation.model,
                options.cameras,
                width=options.width,
                height=options.height,
            )
            if options.grounding:
                self._labeler = GroundingLabeler(self._simulation.model, self._renderer)

    def close(self) -> None:
        """Free the renderer, and the checkpoint where there is one."""
        if self._renderer is not None:
            self._renderer.close()
        if self._lead_in is not None:
            self._lead_in.close()

    def record(self, seed: int) -> Demonstration:
        """Make the episode of a seed."""
        if self._options.kind == SCENES:
            return self._scenes(seed)
        rng = np.random.default_rng([seed, 3])
        task, words = self._draw_task(rng, task_kind(self._options.kind).variants())
        self._start(seed, task, rng)
        if self._lead_in is not None:
            task = self._lead_in.drive(Assignment(task.kind).sequence(seed), seed, rng)
            words = self._words(rng, task)
        result = Demonstration(seed, success=False)
        disturbance = np.zeros(6)
        keep = np.exp(-1.0 / (self._options.fps * _NOISE_TIME))
        queue: NDArray[np.float64] = np.empty((0, 6))
        left = _FRAMES_AFTER
        for tick in range(round(_TIME_LIMIT * self._options.fps)):
            if tick % _REPLAN == 0:
                try:
                    plan = self._expert.plan(
                        self._simulation.positions,
                        scene_poses(self._simulation),
                        task.sentence,
                        2 * _REPLAN,
                        committed=queue if tick else None,
                    )
                except OutOfReachError:
                    break  # a cube was pushed away: no demonstration
                queue = plan[_REPLAN:]
            action = plan[tick % _REPLAN]
            result.frames.append(self._frame(action))
            disturbance = keep * disturbance + (
                np.sqrt(1.0 - keep**2) * self._options.noise * rng.standard_normal(6)
            )
            # A disturbed gripper would drop the cube instead of teaching anything.
            disturbance[5] = 0.0
            self._simulation.command(action + disturbance)
            self._simulation.step(self._substeps)
            result.success = result.success or self._simulation.score() >= 1.0
            if result.success:
                left -= 1
                if left < 0:
                    break
            elif self._simulation.lost:
                break
        if not result.success:
            result.frames.clear()
        result.tasks = [words] * len(result.frames)
        return result

    def _scenes(self, seed: int) -> Demonstration:
        rng = np.random.default_rng([seed, 3])
        result = Demonstration(seed, success=True)
        tasks = [task for name in self._options.scene_tasks for task in task_kind(name).variants()]
        for index in range(SCENES_PER_EPISODE):
            task, words = self._draw_task(rng, tasks)
            self._start(seed * SCENES_PER_EPISODE + index, task, rng)
            result.frames.append(self._frame(self._simulation.positions))
            result.tasks.append(words)
        return result

    def _draw_task(self, rng: np.random.Generator, tasks: Sequence[Task]) -> tuple[Task, str]:
        task = tasks[int(rng.integers(len(tasks)))]
        return task, self._words(rng, task)

    def _words(self, rng: np.random.Generator, task: Task) -> str:
        words = task.sentences()
        chosen = int(rng.integers(len(words)))
        return words[chosen] if self._options.paraphrases else words[0]

    def _start(self, seed: int, task: Task, rng: np.random.Generator) -> None:
        somewhere = random_start(rng, self._simulation.kinematics)
        at_random = rng.random() < self._options.random_starts
        self._simulation.set_task(task.sentence)
        self._simulation.reset(seed, home=somewhere if at_random else None)

    def _frame(self, action: NDArray[np.float64]) -> Frame:
        frame: Frame = {
            "observation.state": self._units.to_policy(self._simulation.positions),
            "action": self._units.to_policy(action),
        }
        if self._renderer is not None:
            for camera, pixels in self._renderer.render(self._simulation.data).items():
                frame[f"observation.images.{camera}"] = pixels
        if self._labeler is not None:
            for camera, label in self._labeler.label(self._simulation.data).items():
                frame[f"grounding.{camera}"] = label.reshape(-1)
        return frame
