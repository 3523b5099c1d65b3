# SPDX-License-Identifier: Apache-2.0
"""``smolvla run``: the whole system without launch_ros."""

from __future__ import annotations

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from smolvla_core.console import command_parser

from smolvla_bringup.system.node_list import node_list
from smolvla_bringup.system.node_spec import NodeSpec
from smolvla_bringup.system.options import SetupError, add_arguments, from_arguments
from smolvla_bringup.system.running import not_running
from smolvla_bringup.system.starter import Starter, stop_signals
from smolvla_bringup.system.supervision import RESTART_DELAY, Outcome, Supervisor

_POLL_PERIOD = 0.2  # [s] between two polls of the stop signals
_TAIL = 200  # lines of a node in which its error is looked for


def _log_folder() -> Path:
    """Return a new folder where ROS 2 keeps its logs (ROS_LOG_DIR, ROS_HOME, ~/.ros)."""
    home = Path(os.environ.get("ROS_HOME") or Path.home() / ".ros")
    base = Path(os.environ.get("ROS_LOG_DIR") or home / "log")
    return base / f"smolvla-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"


def _log(line: str) -> None:
    """Print what concerns the start itself, as which nodes are left out."""
    print(f"start: {line}", file=sys.stderr, flush=True)


def _show(line: str) -> None:
    # One write per line: several threads print, and print() writes the line end apart.
    try:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()
    except BrokenPipeError:
        # As when a terminal closes; and a thread that prints must go on reading its node.
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
        print("smolvla run: nobody reads the output, so all nodes are ended", file=sys.stderr)
        os.kill(os.getpid(), signal.SIGHUP)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        "smolvla run",
        "Start arm, cameras, policy and RViz, as so100.launch.py does, also without launch_ros. "
        "Ctrl-C ends everything.",
        "smolvla run --hardware sim",
        "0 after Ctrl-C, 1 a node ended without which the system cannot go on, 2 the start was "
        "impossible",
    )
    add_arguments(made)
    made.add_argument("--log-dir", type=Path, help="folder for one log file per node")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the nodes until Ctrl-C or until the system cannot go on; return the exit status."""
    arguments = parser().parse_args(argv)
    log_folder = arguments.log_dir or _log_folder()
    with stop_signals() as stop:
        try:
            specs = not_running(node_list(from_arguments(arguments), log=_log), _log)
            if stop:
                return 0
            starter = Starter(specs, log_folder, _show)
            with starter:
                _show(f"started; Ctrl-C ends everything. Logs: {log_folder}")
                for holding in (spec.name for spec in specs if spec.holds_arm):
                    _show(
                        f"{holding} holds the arm: were this program killed, the torque would "
                        f"stay on. To switch it off then, hold the arm: kill -INT "
                        f"{starter.pid(holding)}"
                    )
                return _supervise(starter, specs, stop)
        except SetupError as error:
            print(f"smolvla run: {error}", file=sys.stderr)
            return 2


def _supervise(starter: Starter, specs: Sequence[NodeSpec], stop: list[int]) -> int:
    """Watch the nodes until a signal comes, or until the system cannot go on without one."""
    supervisor = Supervisor(specs, time.monotonic())
    sources = {spec.name: spec.error_source for spec in specs}
    due: dict[str, float] = {}  # when which node is restarted
    while not stop:
        name, code = "", 0
        if due and (first := min(due, key=due.__getitem__)) and time.monotonic() >= due[first]:
            del due[first]
            try:
                starter.restart(first)
            except (OSError, SetupError) as error:
                supervisor.add_output(first, f"error: {error}")
                name, code = first, os.EX_OSERR
        elif ended := starter.wait(_POLL_PERIOD):
            name, code = ended.name, ended.code
            for source in filter(None, (name, sources[name])):
                supervisor.add_output(source, "\n".join(starter.tail(source, _TAIL)))
            if code:
                _show(ended.message)
        verdict = supervisor.ended(name, code, time.monotonic()) if name else None
        if verdict is None:
            continue
        _show(f"[{verdict.level.upper()}] [start]: {verdict.message}")
        if verdict.outcome is Outcome.END:
            _show("the system cannot go on without it, so all nodes are ended")
            return 1
        if verdict.outcome is Outcome.RESTART:
            due[name] = time.monotonic() + RESTART_DELAY
    _show("ending all nodes")
    return 0
