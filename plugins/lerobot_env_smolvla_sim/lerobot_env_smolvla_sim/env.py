# SPDX-License-Identifier: Apache-2.0
"""The simulation with the observations, actions and units of LeRobot's environments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import gymnasium
import numpy as np
from gymnasium import spaces
from numpy.typing import NDArray
from smolvla_core.robot import load_robot
from smolvla_core.units.joint_units import joint_units
from smolvla_sim.env import SmolVLASimEnv
from smolvla_sim.world.rendering import choose_gl
from smolvla_sim.world.tasks import task_sequence, tasks_asked

Observation = dict[str, Any]


def time_limit(task: str) -> float:
    """Return the time limit of a task, by its kind or sentence [s].

    Raises:
        ValueError: there is no such task.
    """
    return tasks_asked(task)[0].time_limit


class SmolVLASimLeRobotEnv(gymnasium.Env[Observation, NDArray[np.float32]]):
    """`SmolVLASimEnv` as LeRobot expects an environment.

    The observation holds ``agent_pos`` (6,) and ``pixels``: camera -> uint8 (height, width, 3)
    RGB. The action is (6,). Both are in LeRobot's units: degrees, the gripper 0 to 100. Reward and
    end are those of `SmolVLASimEnv`; ``info`` has ``is_success`` too. An episode depends on its
    seed alone: scene, and color of the cube that the task names.

    Args:
        task: a kind of task, or a sentence.
        cameras: that are drawn.
        width, height: pixels.
        fps: actions per second.
        model: ``so100`` or ``so101``.
        variation: draw light, colors and camera mounts from the seed, too.
        render_mode: None or ``rgb_array``.

    Raises:
        ValueError: an argument does not fit.
        smolvla_sim.world.rendering.RenderingError: no OpenGL works.
    """

    metadata = {"render_modes": ["rgb_array"], "render_fps": 15}  # noqa: RUF012

    def __init__(
        self,
        task: str = "pick_place",
        *,
        cameras: Sequence[str] = ("top", "wrist"),
        width: int = 640,
        height: int = 480,
        fps: int = 15,
        model: str = "so100",
        variation: bool = True,
        render_mode: str | None = "rgb_array",
    ) -> None:
        tasks_asked(task)
        choose_gl()
        self.metadata = {**self.metadata, "render_fps": fps}
        self.render_mode = render_mode
        self._task = task
        self._units = joint_units("degrees", load_robot(model).joints)
        self._env = SmolVLASimEnv(
            model,
            cameras=cameras,
            width=width,
            height=height,
            control_rate=fps,
            max_steps=2**31,  # LeRobot counts them
            variation=variation,
            render_mode=render_mode,
        )
        simulation = self._env.simulation
        limits = [self._units.to_policy(x) for x in (simulation.lower, simulation.upper)]
        everything = np.full(6, np.inf, np.float32)
        self.action_space = spaces.Box(np.minimum(*limits), np.maximum(*limits), dtype=np.float32)
        picture = spaces.Box(0, 255, (height, width, 3), np.uint8)
        self.observation_space = spaces.Dict(
            {
                "agent_pos": spaces.Box(-everything, everything, dtype=np.float32),
                "pixels": spaces.Dict(dict.fromkeys(cameras, picture)),
            }
        )

    @property
    def task(self) -> str:
        """The instruction."""
        return self._env.simulation.task.sentence

    @property
    def task_description(self) -> str:
        """The same; LeRobot asks for both."""
        return self.task

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """Start the episode of a seed; without one the next of the last seed.

        LeRobot's own options are ignored.
        """
        super().reset(seed=seed)
        episode = seed if seed is not None else int(self.np_random.integers(2**31))
        sentence = next(task_sequence(self._task, episode)).sentence
        observation, info = self._env.reset(seed=episode, options={"task": sentence})
        return self._observation(observation), self._info(info)

    def step(
        self, action: NDArray[np.float32]
    ) -> tuple[Observation, float, bool, bool, dict[str, Any]]:
        """Hold a command (6,) in LeRobot's units for one control period.

        Raises:
            ValueError: wrong shape, or a value that is not finite.
        """
        command = self._units.to_joints(np.asarray(action)[None])[0]
        observation, reward, done, truncated, info = self._env.step(command)
        return self._observation(observation), reward, done, truncated, self._info(info)

    def render(self) -> NDArray[np.uint8] | None:  # type: ignore[override]
        """See `SmolVLASimEnv`."""
        return self._env.render()

    def close(self) -> None:
        """Free the renderers."""
        self._env.close()

    def _observation(self, observation: Observation) -> Observation:
        state = self._units.to_policy(observation["positions"]).astype(np.float32)
        return {"agent_pos": state, "pixels": observation["images"]}

    def _info(self, info: dict[str, Any]) -> dict[str, Any]:
        # Only numbers: vector environments stack what they find.
        return {"is_success": info["success"], "score": info["score"]}
