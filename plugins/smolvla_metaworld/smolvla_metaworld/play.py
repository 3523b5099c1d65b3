# SPDX-License-Identifier: Apache-2.0
"""A checkpoint that drives a task of Meta-World: look, think, execute, and again."""

from __future__ import annotations

import numpy as np
import torch
from smolvla_policy.policy import SmolVLAPolicy

from smolvla_metaworld.environment import CAMERA, MetaWorld


class Player:
    """Drives with a checkpoint, on one thread.

    Args:
        checkpoint: folder or hub id.
        n_action_steps: actions of a chunk that are executed; 0: as the checkpoint says.

    Raises:
        smolvla_policy.checkpoint.source.CheckpointError: it cannot be used.
        ValueError: it is not of this robot.
    """

    def __init__(self, checkpoint: str, n_action_steps: int = 0) -> None:
        torch.set_num_threads(1)
        self._policy = SmolVLAPolicy.from_pretrained(checkpoint, engine="auto")
        self.n_action_steps = n_action_steps or int(self._policy.config.n_action_steps)
        config = self._policy.config
        if self._policy.cameras != (CAMERA,) or (config.state_dim, config.action_dim) != (4, 4):
            raise ValueError(
                f"{checkpoint} is no checkpoint of Meta-World: it takes a state of "
                f"{config.state_dim} and {', '.join(self._policy.cameras)} and gives actions of "
                f"{config.action_dim}, not 4, {CAMERA} and 4"
            )

    def play(self, world: MetaWorld, seed: int, steps: int) -> int:
        """Drive from where `world` is until the success, its end or so many steps.

        Args:
            world: of the task.
            seed: of the noise.
            steps: at most.

        Returns:
            How often the policy was asked.
        """
        rng, asked = np.random.default_rng([seed, 1]), 0
        shape = (self._policy.chunk_size, int(self._policy.config.max_action_dim))
        for done in range(steps):
            if world.success or world.over:
                break
            row = done % self.n_action_steps
            if not row:
                chunk = self._policy.predict_chunk(
                    {CAMERA: world.picture()},
                    world.state,
                    world.task.sentence,
                    rng.standard_normal(shape).astype(np.float32),
                )
                asked += 1
            world.step(chunk[row])
        return asked
