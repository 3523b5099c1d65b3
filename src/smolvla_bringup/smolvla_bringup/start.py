# SPDX-License-Identifier: Apache-2.0
"""``ros2 run smolvla_bringup start``: the whole system without launch_ros."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from smolvla_bringup.node_list import node_list
from smolvla_bringup.option_arguments import add_arguments, from_arguments
from smolvla_bringup.options import SetupError
from smolvla_bringup.running import refuse_second_start
from smolvla_bringup.signals import StopSignals
from smolvla_bringup.starter import Starter

_LOOK_PERIOD = 0.2  # [s] between two looks at the stop signals


def _log_folder() -> Path:
    """Return a new folder where ROS 2 keeps its logs (ROS_LOG_DIR, ROS_HOME, ~/.ros)."""
    home = Path(os.environ.get("ROS_HOME") or Path.home() / ".ros")
    base = Path(os.environ.get("ROS_LOG_DIR") or home / "log")
    return base / f"smolvla-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"


def _show(line: str) -> None:
    # One write per line: several threads print, and print() writes the line end apart.
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def main(argv: Sequence[str] | None = None) -> int:
    """Run the nodes until Ctrl-C or until one ends.

    Returns:
        0 after Ctrl-C or SIGTERM, 1 when a node ended, 2 when the start was impossible.
    """
    parser = argparse.ArgumentParser(
        prog="start",
        description="Start arm, cameras, policy and RViz, as so100.launch.py does, on machines "
        "without launch_ros. Ctrl-C ends everything.",
    )
    add_arguments(parser)
    parser.add_argument("--log-dir", type=Path, help="folder for one log file per node")
    arguments = parser.parse_args(argv)
    log_folder = arguments.log_dir or _log_folder()
    with StopSignals() as stop:
        try:
            specs = node_list(from_arguments(arguments))
            refuse_second_start(specs)
            starter = Starter(specs, log_folder, _show)
            with starter:
                _show(f"started; Ctrl-C ends everything. Logs: {log_folder}")
                while stop.received is None:
                    ended = starter.wait(_LOOK_PERIOD)
                    if ended is None:
                        continue
                    _show(ended.words())
                    if ended.critical:
                        _show("the system cannot go on without it, so all nodes are ended")
                        return 1
                _show("ending all nodes")
        except SetupError as error:
            print(f"start: {error}", file=sys.stderr)
            return 2
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
