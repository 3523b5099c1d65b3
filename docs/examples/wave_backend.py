# SPDX-License-Identifier: Apache-2.0
"""A backend of your own: waves with the first joint, whatever it is told and sees.

Offer it by an entry point of your package (setup.py):

    entry_points={"smolvla_policy.backends": ["wave = my_package.wave_backend:create"]}

and choose it with the parameter ``backend: wave`` of `policy_node`, or ``policy:=wave`` of a
launch file. Its parameters are there then, too: ``amplitude:=0.05``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from smolvla_core.backend import ChunkRequest, Observation
from smolvla_core.node_settings import PolicySettings
from smolvla_core.settings import setting


@dataclass(frozen=True, kw_only=True)
class WaveSettings(PolicySettings):
    """The parameters that every backend has, such as joints and period, and one of its own."""

    amplitude: float = setting(0.1, "Largest angle of the first joint [rad].", 0.0, 0.5)


class WaveBackend:
    """Fits `smolvla_core.backend.Backend`."""

    name = "wave"
    description = "waves"
    device = "cpu"
    dtype = "float64"
    cameras: tuple[str, ...] = ()
    chunk_size = 50
    needs_objects = False

    def __init__(self, settings: WaveSettings) -> None:
        self.joint_names = settings.joints
        self.period = settings.period
        self._amplitude = settings.amplitude

    def infer(self, observation: Observation, request: ChunkRequest) -> NDArray[np.float64]:
        """Return (chunk_size, joints) radians: to and fro, once in 4 s.

        Rows belong to the ticks from `request.tick` on, so a wave that is a function of the
        tick goes on where the last chunk left it.
        """
        if "stop" in observation.instruction:
            raise ValueError("it was told to stop")  # these words reach the executor's status
        seconds = (request.tick + np.arange(self.chunk_size)) * self.period
        rows = np.tile(observation.positions, (self.chunk_size, 1))
        rows[:, 0] = self._amplitude * np.sin(2.0 * np.pi * seconds / 4.0)
        return rows

    def close(self) -> None:
        """Nothing to free."""


def create(settings: WaveSettings) -> WaveBackend:
    """Create the backend. The type of its argument says which parameters it has."""
    return WaveBackend(settings)
