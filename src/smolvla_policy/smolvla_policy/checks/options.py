# SPDX-License-Identifier: Apache-2.0
"""The command line of ``smolvla check``, without PyTorch."""

from __future__ import annotations

import argparse
from dataclasses import dataclass
from pathlib import Path

from smolvla_core.console import command_parser
from smolvla_core.settings import Settings, add_arguments, setting

from smolvla_policy.backends.smolvla_settings import SmolVLASettings

PARAMETERS = (
    "checkpoint",
    "stats",
    "tokenizer",
    "units",
    "calibration",
    "cameras",
    "robot",
    "device",
    "dtype",
)
"""Options that are parameters of `policy_node` by the same name."""


@dataclass(frozen=True, kw_only=True)
class CheckSettings(Settings):
    """Of the check itself."""

    task: str = setting("", "The instruction, to count its tokens.")
    params_file: tuple[str, ...] = setting((), "Parameters of the nodes in YAML.")
    seconds: float = setting(
        3.0, "How long to listen to the robot, from its first messages on [s].", 0.1, 60.0
    )
    offline: bool = setting(False, "Do not listen to the robot.")
    speed: bool = setting(True, "Load and time the model.")
    json: Path | None = setting(
        None, "Also write the result to this file; - is standard output, in place of the table."
    )


def parser() -> argparse.ArgumentParser:
    """Return the command line; what belongs to ROS follows after ``--ros-args``."""
    made = command_parser(
        "smolvla check",
        "Tell, before anything moves, whether a checkpoint fits this robot. All parameters of "
        "policy_node and executor_node may follow after --ros-args.",
        'smolvla check --checkpoint my/checkpoint --task "pick up the red cube"',
        "0 ready, 1 something must be done, 2 it cannot be checked, 130 Ctrl-C",
    )
    add_arguments(made, CheckSettings)
    add_arguments(made, SmolVLASettings, PARAMETERS)
    return made
