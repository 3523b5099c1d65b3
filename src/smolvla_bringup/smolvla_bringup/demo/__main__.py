# SPDX-License-Identifier: Apache-2.0
"""``make demo``: the arm in the simulation does a task, from one sentence to a video.

Exit status: 0 the task is done, 1 it is not, 2 the demo could not run, 130 Ctrl-C.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from smolvla_core.console import end_on_interrupt

if __name__ == "__main__":
    end_on_interrupt(130)  # what follows takes long to import

from smolvla_bringup.demo.live_line import LiveLine
from smolvla_bringup.system.option_arguments import add_arguments, from_arguments
from smolvla_bringup.system.options import Options, SetupError
from smolvla_bringup.system.signals import StopSignals

_DONE, _FAILED, _COULD_NOT_RUN, _INTERRUPTED = 0, 1, 2, 130
_OPTIONS = (
    "model",
    "policy",
    "checkpoint",
    "task",
    "seed",
    "rate",
    "g",
    "aggregation",
    "viewer",
    "params_file",
)
# [s]; a network has to be loaded, perhaps downloaded first.
_READY_LIMIT = {"scripted": 90.0, "smolvla": 900.0}


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="demo",
        description="Start simulation, policy and executor, give the instruction, watch until "
        "the task is done, and leave a video, a picture and the figures.",
        epilog="exit status: 0 the task is done, 1 it is not, 2 the demo could not run, "
        "130 Ctrl-C",
    )
    add_arguments(parser, _OPTIONS)
    parser.add_argument(
        "--time-limit", type=float, default=60.0, metavar="S", help="for the task (default: 60)"
    )
    parser.add_argument(
        "--ready-limit",
        type=float,
        metavar="S",
        help="for all nodes to become ready (default: 90; with a checkpoint 900)",
    )
    parser.add_argument(
        "--out",
        type=Path,
        default=Path("demo_out"),
        metavar="FOLDER",
        help="folder for demo.mp4, demo.png, summary.json and log/ (default: demo_out)",
    )
    parser.add_argument("--no-video", action="store_true", help="write no demo.mp4")
    parser.add_argument(
        "--json", action="store_true", help="print the summary as JSON; progress to stderr"
    )
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    arguments = _parser().parse_args(argv)
    line = LiveLine(sys.stderr if arguments.json else sys.stdout)
    with StopSignals() as stop:
        try:
            return _run(arguments, line, stop)
        except SetupError as error:
            line.say(f"demo: {error}")
            return _COULD_NOT_RUN


def _run(arguments: argparse.Namespace, line: LiveLine, stop: StopSignals) -> int:
    # The clock starts with the instruction, so the executor waits for the demo to start it.
    options = from_arguments(arguments, hardware="sim", wait_for_start=True)
    if options.policy == "none":
        raise SetupError("without a policy nothing moves; choose --policy scripted or smolvla")
    for name in ("time_limit", "ready_limit"):
        value = getattr(arguments, name)
        if value is not None and not value > 0:  # nor NaN, which no time is beyond
            raise SetupError(f"--{name.replace('_', '-')} is {value:g} s; it must be above 0")
    try:
        # Not at the top: --help needs no ROS, and its absence deserves words.
        from smolvla_bringup.demo import report as demo_report
        from smolvla_bringup.demo import run as demo_run
    except ModuleNotFoundError as error:
        raise SetupError(
            f"the Python module '{error.name}' is missing; run 'make build', then . ./env.sh"
        ) from error
    settings = demo_run.DemoSettings(
        out=arguments.out,
        time_limit=arguments.time_limit,
        ready_limit=arguments.ready_limit or _READY_LIMIT[options.policy],
        video=not arguments.no_video,
    )
    if warning := _unlearned(options):
        line.say(f"demo: {warning}")
    run = demo_run.DemoRun(options, settings, line, stop)
    status = _DONE
    try:
        run.run()
    except demo_run.InterruptError:
        line.say("interrupted")
        status = _INTERRUPTED
    except demo_run.DemoError as error:
        line.say(f"demo: {error}")
        status = _COULD_NOT_RUN
    if run.summary is not None:
        line.say(demo_report.summary_text(run.summary))
        files = ("demo.mp4", "demo.png", "summary.json")
        made = [str(arguments.out / name) for name in files if (arguments.out / name).exists()]
        line.say("  " + "  ".join(made))
        if arguments.json:
            print(json.dumps(run.summary, ensure_ascii=False), flush=True)
        if status == _DONE and not run.summary["success"]:
            status = _FAILED
    return status


def _unlearned(options: Options) -> str:
    """Say that the checkpoint never learned the task, where it says what it learned."""
    from smolvla_policy.checkpoint.errors import CheckpointError
    from smolvla_policy.checkpoint.robot import read_robot, unlearned
    from smolvla_sim.settings import CHECKPOINT

    folder = CHECKPOINT if options.shipped_checkpoint else Path(options.checkpoint or "")
    if options.policy != "smolvla" or not folder.is_dir():
        return ""  # policy_node says it of one that it downloads
    try:
        return unlearned(options.task, read_robot(folder).tasks)
    except CheckpointError:
        return ""  # policy_node says what is wrong


if __name__ == "__main__":
    raise SystemExit(main())
