# SPDX-License-Identifier: Apache-2.0
"""``smolvla demo``: the arm in the simulation does a task, from one sentence to a video."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from smolvla_core.console import (
    COULD_NOT_RUN,
    DONE,
    INTERRUPTED,
    NO,
    command_parser,
    could_not_run,
    end_on_interrupt,
    write_json,
)

if __name__ == "__main__":
    end_on_interrupt(INTERRUPTED)  # what follows takes long to import

from smolvla_bringup.system.options import Options, SetupError, add_arguments, from_arguments

_OPTIONS = (
    "robot",
    "policy",
    "checkpoint",
    "task",
    "seed",
    "rate",
    "chunk_size_threshold",
    "aggregate",
    "viewer",
    "rerun",
    "params_file",
)
# [s]; a network has to be loaded, perhaps downloaded first.
_READY_LIMIT = {"scripted": 90.0, "smolvla": 900.0}


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        "smolvla demo",
        "Start simulation, policy and executor, give the instruction, watch until the task is "
        "done, and leave a video, a plot and a summary.",
        'smolvla demo --task "put the green cube into the bowl" --seed 4',
        "0 the task is done, 1 it is not, 2 the demo could not run, 130 Ctrl-C",
    )
    add_arguments(made, _OPTIONS)
    made.add_argument(
        "--time-limit", type=float, default=60.0, metavar="S", help="for the task (default: 60)"
    )
    made.add_argument(
        "--ready-limit",
        type=float,
        metavar="S",
        help="for all nodes to become ready (default: 90; with a checkpoint 900)",
    )
    made.add_argument(
        "--output",
        dest="folder",  # the arm has an `output`, too
        type=Path,
        default=Path("demo_out"),
        metavar="FOLDER",
        help="folder for demo.mp4, demo.png, summary.json and log/ (default: demo_out)",
    )
    made.add_argument("--no-video", action="store_true", help="write no demo.mp4")
    made.add_argument(
        "--json",
        type=Path,
        metavar="FILE",
        help="also write the summary there; -: to the standard output, and progress to stderr",
    )
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the demo; return the exit status."""
    given = parser().parse_args(argv)
    try:
        for name in ("time_limit", "ready_limit"):
            value = getattr(given, name)
            if value is not None and not value > 0:  # nor NaN, which no time is beyond
                raise SetupError(f"--{name.replace('_', '-')} is {value:g} s; it must be above 0")
        # The clock starts with the instruction, so the executor waits for the demo to start it.
        options = from_arguments(given, hardware="sim", wait_for_start=True)
        if options.policy == "none":
            raise SetupError("without a policy nothing moves; choose --policy scripted or smolvla")
        from smolvla_sim.world.tasks import parse_task  # not at the top: --help needs no MuJoCo

        parse_task(options.task)
    except (SetupError, ValueError) as error:
        return could_not_run("smolvla demo", error)
    # Not at the top: --help needs no ROS.
    from smolvla_core.client import ClientError

    from smolvla_bringup.demo.report import LiveLine, summary_text
    from smolvla_bringup.demo.run import FILES, Demo

    line = LiveLine(sys.stderr if str(given.json) == "-" else sys.stdout)
    if warning := _unlearned(options):
        line.log(f"smolvla demo: {warning}")
    demo = Demo(options, given.folder, given.time_limit, line)
    status = DONE
    try:
        demo.run(given.ready_limit or _READY_LIMIT.get(options.policy, 900.0), not given.no_video)
    except KeyboardInterrupt:
        line.log("interrupted")
        status = INTERRUPTED
    except (SetupError, ClientError) as error:
        line.log(f"smolvla demo: {error}")
        status = COULD_NOT_RUN
    if demo.summary is not None:
        line.log(summary_text(demo.summary))
        line.log("  " + "  ".join(str(p) for n in FILES if (p := given.folder / n).exists()))
        if given.json is not None:
            write_json(given.json, demo.summary)
        if status == DONE and not demo.summary["success"]:
            status = NO
    return status


def _unlearned(options: Options) -> str:
    """Return a warning where the checkpoint names its tasks and this one is not among them."""
    from smolvla_policy.checkpoint import CheckpointError
    from smolvla_policy.checkpoint.robot import read_robot, unlearned
    from smolvla_sim.settings import CHECKPOINT

    folder = CHECKPOINT if options.shipped_checkpoint else Path(options.checkpoint or "")
    if options.policy != "smolvla" or not folder.is_dir():
        return ""  # policy_node warns where it downloads one
    try:
        return unlearned(options.task, read_robot(folder).tasks)
    except CheckpointError:
        return ""  # policy_node reports what is wrong


if __name__ == "__main__":
    raise SystemExit(main())
