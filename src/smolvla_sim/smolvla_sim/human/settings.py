# SPDX-License-Identifier: Apache-2.0
"""The parameters of `human_node`, without MuJoCo: launch files read them, too."""

from __future__ import annotations

from dataclasses import dataclass

from smolvla_core.node_settings import RobotSettings
from smolvla_core.settings import setting

from smolvla_sim.world.tasks import DEFAULT_TASK


@dataclass(frozen=True, kw_only=True)
class HumanSettings(RobotSettings):
    """Of `human_node`."""

    task: str = setting(DEFAULT_TASK, "What is done until the executor has an instruction.")
