# SPDX-License-Identifier: Apache-2.0
"""A backend of your own: waves with the first joint, whatever it is told and sees.

Offer it by an entry point of your package (setup.py):

    entry_points={"smolvla_policy.backends": ["wave = my_package.wave_backend:create"]}

and choose it with the parameter ``backend: wave`` of `policy_node`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from smolvla_core.backend import ChunkRequest, Observation


class WaveBackend:
    """Fits `smolvla_core.backend.Backend`.

    Args:
        joints: names, the order of all positions.
        period: seconds between two rows.
    """

    name = "wave"
    description = "waves"
    device = "cpu"
    dtype = "float64"
    cameras: tuple[str, ...] = ()
    chunk_size = 50
    needs_objects = False

    def __init__(self, joints: tuple[str, ...], period: float) -> None:
        self.joint_names = joints
        self.period = period

    def infer(self, observation: Observation, request: ChunkRequest) -> NDArray[np.float64]:
        """Return (chunk_size, joints) radians: 0.1 rad to and fro, once in 4 s.

        Rows belong to the ticks from `request.tick` on, so a wave that is a function of the
        tick goes on where the last chunk left it.
        """
        if "stop" in observation.instruction:
            raise ValueError("it was told to stop")  # these words reach the executor's status
        seconds = (request.tick + np.arange(self.chunk_size)) * self.period
        rows = np.tile(observation.positions, (self.chunk_size, 1))
        rows[:, 0] = 0.1 * np.sin(2.0 * np.pi * seconds / 4.0)
        return rows

    def close(self) -> None:
        """Nothing to free."""


def create(options: Mapping[str, Any]) -> WaveBackend:
    """Create the backend from the parameters of `policy_node`."""
    return WaveBackend(tuple(options["joints"]), options["period"])
