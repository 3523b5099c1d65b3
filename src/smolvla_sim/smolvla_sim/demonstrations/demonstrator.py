# SPDX-License-Identifier: Apache-2.0
"""Films the scripted expert: one episode of a task as frames of a dataset.

A checkpoint may drive first (lead-in). The expert never misses a cube, so its own demonstrations
do not show what to do beside one that was missed, or above the bowl when the next instruction
comes; a policy that got there by a small error is lost. Then the states come from a policy and the
actions from the expert (human-gated DAgger, Kelly et al. 2019, arXiv 1810.02890, with a clock for
the human).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import mujoco
import numpy as np
from numpy.typing import NDArray
from smolvla_core.robot import load_robot
from smolvla_core.units.joint_units import joint_units
from smolvla_policy.checkpoint.robot import RobotFacts

from smolvla_sim.expert.backend import ScriptedBackend
from smolvla_sim.play.loop import (
    DONE,
    NO_APPROACH,
    USUAL,
    EpisodeLoop,
    Execution,
    Observer,
    direct,
)
from smolvla_sim.play.policies import load_backend
from smolvla_sim.settings import LEAD_IN, SCENES, DemonstrationSettings, PlaySettings
from smolvla_sim.world.arm import JOINT_NAMES
from smolvla_sim.world.rendering import CameraRenderer
from smolvla_sim.world.scene import BOWL, CUBES, OBJECTS
from smolvla_sim.world.simulation import Simulation
from smolvla_sim.world.tasks import Task, task_sequence, tasks_asked

Frame = dict[str, NDArray[np.generic]]

# How joint positions become the numbers of the dataset.
ROBOT = RobotFacts(
    units="degrees",
    joint_signs=(1.0,) * len(JOINT_NAMES),
    gripper_range=load_robot("so100").joints[-1].gripper_range,
)

# Static pictures in one episode of `SCENES`.
SCENES_PER_EPISODE = 25
# Rows of a plan, the first half of which is executed before the next one.
_ROWS = 8
# Where a cube is dropped into the bowl, above its middle [m], and how long it falls [s].
_DROP = 0.05
_SETTLE = 0.5
# Seconds after which an episode without success is given up.
_TIME_LIMIT = 15.0
# Time constant of the noise on the commands, seconds.
_NOISE_TIME = 0.4

# How a checkpoint drives before; the expert shall know the troubles of each way. The default of
# the nodes is there twice, as it is what most use.
_LEAD_IN_RATE = 30.0
_LEAD_IN_WAYS = (
    USUAL,
    USUAL,
    Execution(0.7, "latest", real_time_chunking="guided"),
    Execution(chunk_size_threshold=0.0, actions_per_chunk=4, resume_jump=NO_APPROACH),
)
_LEAD_IN_DELAYS = (0.0, 0.1, 0.3, 0.6, 1.0)
# Fewer pixels of the small picture than this are not seen.
_LEAST_PIXELS = 2


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

    Attributes:
        simulation: where the arm is.

    Raises:
        ValueError: the checkpoint of the lead-in cannot be used, or the rate does not fit.
        smolvla_sim.world.rendering.RenderingError: no OpenGL works.
    """

    def __init__(self, settings: DemonstrationSettings) -> None:
        self._settings = settings
        self.simulation = Simulation(settings.model)
        expert = ScriptedBackend(settings.model, chunk_size=_ROWS, period=1.0 / settings.fps)
        self._expert = Observer(self.simulation, expert, settings.size)
        self._units = joint_units(ROBOT.units, load_robot("so100").joints)
        self._renderer: CameraRenderer | None = None
        self._labeler: GroundingLabeler | None = None
        self._driver: Observer | None = None
        if settings.lead_in and settings.asked != SCENES:
            # At the checkpoint's own rate, whatever the recording's is.
            driver = PlaySettings(checkpoint=settings.lead_in, model=settings.model)
            self._driver = Observer(self.simulation, load_backend(driver), settings.size)
        if settings.cameras:
            self._renderer = CameraRenderer(self.simulation.model, settings.cameras, settings.size)
            if settings.grounding:
                self._labeler = GroundingLabeler(self.simulation.model, self._renderer)

    def close(self) -> None:
        """Free the renderers, and the checkpoint where there is one."""
        if self._renderer is not None:
            self._renderer.close()
        if self._driver is not None:
            self._driver.close()

    def __call__(self, seed: int) -> Demonstration:
        """Make the episode of a seed."""
        if self._settings.asked == SCENES:
            return self._scenes(seed)
        rng = np.random.default_rng([seed, 3])
        task, instruction = self._draw_task(rng, tasks_asked(self._settings.asked))
        self.simulation.begin(task, seed, rng, self._settings.random_starts)
        if self._settings.filled:
            self._fill(rng, task)
        if self._driver is not None:
            task = self._lead_in(self._driver, seed, rng)
            instruction = self._instruction(rng, task)
        result = Demonstration(seed, success=False)
        disturbance = np.zeros(6)
        keep = np.exp(-1.0 / (self._settings.fps * _NOISE_TIME))

        def film(action: NDArray[np.float64]) -> NDArray[np.float64]:
            nonlocal disturbance
            result.frames.append(self._frame(action))
            disturbance = keep * disturbance + (
                np.sqrt(1.0 - keep**2) * self._settings.noise * rng.standard_normal(6)
            )
            # A disturbed gripper would drop the cube instead of teaching anything.
            disturbance[5] = 0.0
            return action + disturbance

        loop = EpisodeLoop(
            self._expert,
            direct(self.simulation, self._settings.fps, 0, threshold=0.5),
            on_command=film,
        )
        # The expert refuses a cube that was pushed out of its reach: no demonstration.
        result.success = loop.play(_TIME_LIMIT, patient=False) == DONE
        if not result.success:
            result.frames.clear()
            return result
        for _ in range(self._settings.frames_after):
            loop.step()
        result.tasks = [instruction] * len(result.frames)
        return result

    def _fill(self, rng: np.random.Generator, task: Task) -> None:
        """Drop some of the other cubes into the bowl, and let them come to rest."""
        simulation = self.simulation
        for cube in CUBES:
            if cube in task.objects or rng.random() >= self._settings.filled:
                continue
            aside = (*rng.uniform(-0.015, 0.015, 2), _DROP)
            place = simulation.objects()[BOWL].position + aside
            simulation.move_object(cube, place, yaw=float(rng.uniform(-np.pi, np.pi)))
            simulation.step(round(_SETTLE / simulation.period))

    def _lead_in(self, driver: Observer, seed: int, rng: np.random.Generator) -> Task:
        """Let the checkpoint drive for a random time; return the task that is not done yet."""
        way = _LEAD_IN_WAYS[int(rng.integers(len(_LEAD_IN_WAYS)))]
        delay = float(rng.choice(_LEAD_IN_DELAYS))
        end = float(rng.uniform(0.0, LEAD_IN))
        loop = EpisodeLoop(
            driver,
            way.executor(_LEAD_IN_RATE, self._settings.model),
            delay=max(delay, 1.0 / _LEAD_IN_RATE),
            seed=seed,
            real_time_chunking=way.real_time_chunking,
        )
        loop.play_all(task_sequence(self._settings.asked, seed), end, rng)
        return self.simulation.task

    def _scenes(self, seed: int) -> Demonstration:
        rng = np.random.default_rng([seed, 3])
        result = Demonstration(seed, success=True)
        tasks = [task for name in self._settings.scene_tasks for task in tasks_asked(name)]
        for index in range(SCENES_PER_EPISODE):
            task, instruction = self._draw_task(rng, tasks)
            scene = seed * SCENES_PER_EPISODE + index
            self.simulation.begin(task, scene, rng, self._settings.random_starts)
            result.frames.append(self._frame(self.simulation.positions))
            result.tasks.append(instruction)
        return result

    def _draw_task(self, rng: np.random.Generator, tasks: Sequence[Task]) -> tuple[Task, str]:
        task = tasks[int(rng.integers(len(tasks)))]
        return task, self._instruction(rng, task)

    def _instruction(self, rng: np.random.Generator, task: Task) -> str:
        sentences = task.sentences()
        drawn = int(rng.integers(len(sentences)))
        return sentences[drawn if self._settings.paraphrases else 0]

    def _frame(self, action: NDArray[np.float64]) -> Frame:
        frame: Frame = {
            "observation.state": self._units.to_policy(self.simulation.positions),
            "action": self._units.to_policy(action),
        }
        if self._renderer is not None:
            for camera, pixels in self._renderer.render(self.simulation.data).items():
                frame[f"observation.images.{camera}"] = pixels
        if self._labeler is not None:
            for camera, label in self._labeler.label(self.simulation.data).items():
                frame[f"grounding.{camera}"] = label.reshape(-1)
        return frame


class GroundingLabeler:
    """Finds the objects in the pictures of a renderer."""

    def __init__(self, model: mujoco.MjModel, renderer: CameraRenderer) -> None:
        self._renderer = renderer
        bodies = [model.body(name).id for name in OBJECTS]
        # One more for the pixels without a geom, which are numbered -1.
        self._thing = np.full(model.ngeom + 1, -1)
        for index, body in enumerate(bodies):
            self._thing[:-1][model.geom_bodyid == body] = index

    def label(self, data: mujoco.MjData) -> dict[str, NDArray[np.float32]]:
        """Return camera name -> float32 (objects, 3) of the state in `data`.

        The rows are in the order of `scene.OBJECTS` and hold u, v and visibility: the middle
        of the pixels that show the object, from 0 (left, top) to 1 (right, bottom), and 1.
        An object that the camera does not see has 0, 0, 0.
        """
        return {
            camera: self._centers(self._thing[geoms])
            for camera, geoms in self._renderer.segment(data).items()
        }

    def _centers(self, objects: NDArray[np.int64]) -> NDArray[np.float32]:
        height, width = objects.shape
        centers = np.zeros((len(OBJECTS), 3), dtype=np.float32)
        for index in range(len(OBJECTS)):
            rows, columns = np.nonzero(objects == index)
            if len(rows) >= _LEAST_PIXELS:
                u, v = (columns.mean() + 0.5) / width, (rows.mean() + 0.5) / height
                centers[index] = u, v, 1.0
        return centers
