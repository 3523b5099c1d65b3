# SPDX-License-Identifier: Apache-2.0
"""The scripted expert as a policy backend: shows the whole system without a checkpoint.

It reads the poses of the objects instead of the pictures, so it works with the simulation
(or with anything else that publishes those poses).
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from smolvla_core.backend import ChunkRequest, Observation

from smolvla_sim.expert.expert import ScriptedExpert
from smolvla_sim.world.arm import JOINT_NAMES
from smolvla_sim.world.scene import DEFAULT_CAMERAS


class ScriptedBackend:
    """Implements `smolvla_core.backend.Backend` with the scripted expert.

    It asks for pictures of `cameras` but does not look at them. A chunk has `chunk_size` rows,
    `period` seconds apart.
    """

    def __init__(
        self,
        model: str = "so100",
        cameras: tuple[str, ...] = DEFAULT_CAMERAS,
        chunk_size: int = 50,
        period: float = 1.0 / 30.0,
    ) -> None:
        self._expert = ScriptedExpert(model, period=period)
        self.name = "scripted"
        self.description = f"scripted expert for the simulated {model}"
        self.device = "cpu"
        self.dtype = "float64"
        self.cameras = tuple(cameras)
        self.joint_names: tuple[str, ...] = JOINT_NAMES
        self.chunk_size = chunk_size
        self.period = period
        self.needs_objects = True

    def infer(self, observation: Observation, request: ChunkRequest) -> NDArray[np.float64]:
        """Return the actions for ticks ``request.tick`` and following.

        Committed actions that run before the answer can arrive are repeated; the plan
        continues from them without a jump.

        Returns:
            (`chunk_size`, 6) radians in the order of `joint_names`.

        Raises:
            ValueError: joints or objects are missing, or the instruction is not understood.
        """
        missing = [name for name in JOINT_NAMES if name not in observation.joint_names]
        if missing:
            raise ValueError(
                f"backend 'scripted' needs the joints {', '.join(missing)}, which the robot "
                f"does not report; it reports {', '.join(observation.joint_names)}"
            )
        order = [observation.joint_names.index(name) for name in JOINT_NAMES]
        return self._expert.plan(
            np.asarray(observation.positions)[order],
            observation.objects,
            observation.instruction,
            self.chunk_size,
            committed=np.asarray(request.committed),
            keep=request.expected_delay,
        )

    def close(self) -> None:
        """Nothing to free."""
