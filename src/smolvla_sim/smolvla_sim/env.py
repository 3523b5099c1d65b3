# SPDX-License-Identifier: Apache-2.0
"""The simulation as a Gymnasium environment: no ROS and no wall clock."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray

from smolvla_sim.world.rendering import CameraRenderer, check_cameras
from smolvla_sim.world.scene import PHYSICS_RATE
from smolvla_sim.world.simulation import Simulation, substeps
from smolvla_sim.world.tasks import DEFAULT_TASK

Observation = dict[str, Any]


class SmolVLASimEnv(gymnasium.Env[Observation, NDArray[np.float64]]):
    """An SO-100 or SO-101 at a table with three cubes and a bowl.

    The action is the command for the next control period, (6,) joint positions in radians.
    The observation holds ``positions`` (6,) radians, ``velocities`` (6,) rad/s and, with
    cameras, ``images``: name -> uint8 (height, width, 3) RGB. The reward is the increase of
    the task's score, so that the sum of an episode is its graded success (for pick-and-place
    half for the grasp and half for the place, as in the SmolVLA paper, arXiv 2506.01844).
    The episode terminates on success. ``info`` has ``score``, ``task``, ``success`` and
    ``objects``: name -> (7,) position in meters and quaternion w, x, y, z.

    Args:
        model: ``so100`` or ``so101``.
        task: the instruction; `reset` takes another in ``options={"task": ...}``.
        cameras: what to draw; empty for none.
        width, height: pixels.
        control_rate: actions per second; must divide `physics_rate`.
        physics_rate: steps per second.
        max_steps: the episode is truncated after so many actions.
        variation: draw light, colors and camera mounts from the seed too.

    Raises:
        ValueError: an argument does not fit.
        smolvla_sim.world.rendering.RenderingError: cameras are wanted and no OpenGL works.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 30}  # noqa: RUF012

    def __init__(
        self,
        model: str = "so100",
        *,
        task: str = DEFAULT_TASK,
        cameras: Sequence[str] = (),
        width: int = 640,
        height: int = 480,
        control_rate: float = 30.0,
        physics_rate: float = PHYSICS_RATE,
        max_steps: int = 600,
        variation: bool = True,
        render_mode: str | None = None,
    ) -> None:
        if render_mode not in (None, "rgb_array"):
            raise ValueError(f"unknown render_mode '{render_mode}'; there is 'rgb_array'")
        self.render_mode = render_mode
        self.simulation = Simulation(
            model, task=task, physics_rate=physics_rate, variation=variation
        )
        self.cameras = check_cameras(cameras)
        self._size = (width, height)
        self._substeps = substeps(control_rate, physics_rate)
        self._max_steps = max_steps
        self._steps = 0
        self._score = 0.0
        self._renderer: CameraRenderer | None = None
        self._film: CameraRenderer | None = None
        self.action_space = spaces.Box(
            self.simulation.lower, self.simulation.upper, dtype=np.float64
        )
        unbounded = np.full(6, np.inf)
        parts: dict[str, spaces.Space[Any]] = {
            # The joint limits are soft: a load may push a joint slightly beyond them.
            "positions": spaces.Box(-unbounded, unbounded, dtype=np.float64),
            "velocities": spaces.Box(-unbounded, unbounded, dtype=np.float64),
        }
        if self.cameras:
            picture = spaces.Box(0, 255, (height, width, 3), np.uint8)
            parts["images"] = spaces.Dict(dict.fromkeys(self.cameras, picture))
        self.observation_space = spaces.Dict(parts)

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: the same seed gives the same episode bit for bit; None draws the next layout
                from the last seed.
            options: ``task``: an instruction; ``positions``: (6,) joint positions to start
                from, radians.

        Raises:
            ValueError: unknown option or instruction.
        """
        super().reset(seed=seed)
        options = dict(options or {})
        task = options.pop("task", None)
        home = options.pop("positions", None)
        if options:
            raise ValueError(
                f"unknown option {', '.join(sorted(options))}; there are 'task' and 'positions'"
            )
        if task is not None:
            self.simulation.set_task(task)
        layout = seed if seed is not None else int(self.np_random.integers(2**31))
        self.simulation.reset(layout, home=home)
        self._steps = 0
        self._score = self.simulation.score()
        return self._observe(), self._info()

    def step(
        self, action: NDArray[np.float64]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Hold a command for one control period.

        Args:
            action: (6,) joint positions, radians; clamped to the joint limits.

        Raises:
            ValueError: wrong shape, or a value that is not finite.
        """
        self.simulation.command(action)
        self.simulation.step(self._substeps)
        self._steps += 1
        score = self.simulation.score()
        reward, self._score = score - self._score, score
        truncated = self._steps >= self._max_steps
        return self._observe(), reward, score >= 1.0, truncated, self._info()

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """Return a picture of the scene from the three-quarter camera, for films."""
        if self.render_mode is None:
            return None
        if self._film is None:
            self._film = CameraRenderer(
                self.simulation.model, ["beauty"], self._size, supersample=2
            )
        return self._film.render(self.simulation.data)["beauty"]

    def close(self) -> None:
        """Free the renderers."""
        for renderer in (self._renderer, self._film):
            if renderer is not None:
                renderer.close()
        self._renderer = self._film = None

    def _observe(self) -> Observation:
        observation: Observation = {
            "positions": self.simulation.positions,
            "velocities": self.simulation.velocities,
        }
        if self.cameras:
            if self._renderer is None:
                self._renderer = CameraRenderer(self.simulation.model, self.cameras, self._size)
            observation["images"] = self._renderer.render(self.simulation.data)
        return observation

    def _info(self) -> dict[str, Any]:
        return {
            "score": self._score,
            "success": self._score >= 1.0,
            "task": self.simulation.task.sentence,
            "objects": {
                name: np.concatenate([state.position, state.quaternion])
                for name, state in self.simulation.objects().items()
            },
        }
