# SPDX-License-Identifier: Apache-2.0
"""``smolvla teleop``: a person moves a running arm by the keys of a terminal."""

from __future__ import annotations

import argparse
import dataclasses
import sys
from collections.abc import Sequence

from smolvla_core.console import COULD_NOT_RUN, command_parser, could_not_run
from smolvla_core.node_settings import JogSettings
from smolvla_core.settings import SettingError, add_arguments, from_arguments


def parser() -> argparse.ArgumentParser:
    """Return the command line of ``smolvla teleop``."""
    made = command_parser(
        "smolvla teleop",
        "Move a running arm by the keys of this terminal: joints, or the gripper's tip. The "
        "executor follows from Enter on, behind its guard; ? shows the keys.",
        "smolvla teleop --robot so101",
        "0 ended by Ctrl-D, 2 it could not be done, 130 Ctrl-C",
    )
    add_arguments(made, JogSettings)
    made.add_argument("--namespace", default="", help="of the arm (default: none)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Serve keys until Ctrl-C or Ctrl-D; return the exit status."""
    arguments = parser().parse_args(argv)
    if not (sys.stdin.isatty() and sys.stdout.isatty()):
        print(
            "smolvla teleop: it takes keys from a terminal, and this is none; a joystick, for "
            "which teleop_node is, needs none",
            file=sys.stderr,
        )
        return COULD_NOT_RUN
    from smolvla_core.client import ClientError
    from smolvla_executor.teleop_node.terminal import run

    try:
        return run(_described(from_arguments(JogSettings, arguments)), arguments.namespace)
    except (ClientError, SettingError) as error:
        return could_not_run("smolvla teleop", error)


def _described(settings: JogSettings) -> JogSettings:
    """Return the settings with the URDF of an arm that comes with the suite."""
    from smolvla_bringup.system.description import robot_description
    from smolvla_bringup.system.options import Options, SetupError

    if settings.robot_description or not settings.body.model:
        return settings
    try:
        urdf = robot_description(Options(hardware="sim", robot=settings.robot), with_drivers=False)
    except SetupError:  # there is still the topic
        return settings
    return dataclasses.replace(settings, robot_description=urdf)
