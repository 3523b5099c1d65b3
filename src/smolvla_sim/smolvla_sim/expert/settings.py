# SPDX-License-Identifier: Apache-2.0
"""The parameters of the backend 'scripted', without MuJoCo: launch files read them, too."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from smolvla_core.node_settings import PolicySettings
from smolvla_core.settings import setting

from smolvla_sim.world.scene import DEFAULT_CAMERAS

if TYPE_CHECKING:
    from smolvla_sim.expert.backend import ScriptedBackend


@dataclass(frozen=True, kw_only=True)
class ScriptedSettings(PolicySettings):
    """Of `policy_node` with the backend 'scripted'."""

    chunk_size: int = setting(50, "Rows of a chunk.", 1, 10_000)


def create(settings: ScriptedSettings) -> ScriptedBackend:
    """Make the backend from the parameters of `policy_node`.

    A camera may be given as ``name:feature``; no cameras are the usual ones.
    """
    from smolvla_sim.expert.backend import ScriptedBackend

    cameras = tuple(camera.partition(":")[0] for camera in settings.cameras)
    return ScriptedBackend(
        settings.body.model, cameras or DEFAULT_CAMERAS, settings.chunk_size, settings.period
    )
