# SPDX-License-Identifier: Apache-2.0
"""The simulation as an environment of LeRobot (0.6): ``--env.type=smolvla_sim``.

LeRobot imports this package by its name, as it begins with ``lerobot_env_``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import gymnasium
from lerobot.configs import FeatureType, PolicyFeature
from lerobot.envs.configs import EnvConfig
from lerobot.utils.constants import ACTION, OBS_IMAGES, OBS_STATE

from lerobot_env_smolvla_sim.env import time_limit

_ID = "lerobot_env_smolvla_sim/SO100-v0"

gymnasium.register(_ID, entry_point="lerobot_env_smolvla_sim.env:SmolVLASimLeRobotEnv")


@EnvConfig.register_subclass("smolvla_sim")
@dataclass
class SmolVLASim(EnvConfig):
    """A simulated SO-100 or SO-101 at a table with three cubes and a bowl.

    Attributes:
        task: a kind of task, whose colors rotate with the seed (reach, pick_place, …), or a
            sentence.
        fps: actions per second, those of the policy's training data.
        cameras: names with commas between them, any of top, side, wrist.
        episode_length: actions until an episode is truncated; 0: the task's own time limit.
        observation_width, observation_height: of the pictures [pixels].
        model: so100 or so101.
        variation: draw light, colors and camera mounts from the seed, too.
    """

    task: str | None = "pick_place"
    fps: int = 15
    cameras: str = "top,wrist"
    episode_length: int = 0
    observation_width: int = 640
    observation_height: int = 480
    model: str = "so100"
    variation: bool = True
    render_mode: str = "rgb_array"
    features: dict[str, PolicyFeature] = field(
        default_factory=lambda: {
            ACTION: PolicyFeature(type=FeatureType.ACTION, shape=(6,)),
            "agent_pos": PolicyFeature(type=FeatureType.STATE, shape=(6,)),
        }
    )
    features_map: dict[str, str] = field(
        default_factory=lambda: {ACTION: ACTION, "agent_pos": OBS_STATE}
    )

    def __post_init__(self) -> None:
        shape = (self.observation_height, self.observation_width, 3)
        for camera in self.cameras.split(","):
            key = f"pixels/{camera}"
            self.features[key] = PolicyFeature(type=FeatureType.VISUAL, shape=shape)
            self.features_map[key] = f"{OBS_IMAGES}.{camera}"

    @property
    def gym_id(self) -> str:
        """See `EnvConfig`."""
        return _ID

    @property
    def gym_kwargs(self) -> dict[str, Any]:
        """See `EnvConfig`."""
        return {
            "task": self.task,
            "cameras": self.cameras.split(","),
            "width": self.observation_width,
            "height": self.observation_height,
            "fps": self.fps,
            "model": self.model,
            "variation": self.variation,
            "render_mode": self.render_mode,
            "max_episode_steps": self.episode_length or round(time_limit(self.task) * self.fps),
        }
