# SPDX-License-Identifier: Apache-2.0
"""``smolvla plan``: have a running arm do one sentence after the other."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from smolvla_core.console import DONE, INTERRUPTED, NO, command_parser, could_not_run

from smolvla_bringup.task import add_namespace

if TYPE_CHECKING:
    from smolvla_executor.core.plan import Step

    from smolvla_msgs.action import RunPlan

PROG = "smolvla plan"
_VERDICTS = ("not judged", "not done", "done")
_STATES = ("loads the judges", "", "stops", "goes home", "paused")


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        PROG,
        "Run a plan as a goal of the action smolvla/run_plan and wait for its end; Ctrl-C cancels "
        "it. It needs plan_node (smolvla run --plan).",
        f"{PROG} tidy_up.yaml",
        "0 all steps are done, 1 they are not (a step failed, canceled), 2 it could not begin, "
        "130 Ctrl-C",
    )
    made.add_argument("file", metavar="FILE", type=Path, help="YAML file of the steps")
    add_namespace(made)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run a plan; return the exit status."""
    arguments = parser().parse_args(argv)
    from smolvla_executor.core.plan import PlanError
    from smolvla_executor.core.plan_file import read_plan

    try:
        return _run(read_plan(arguments.file), arguments.namespace)
    except PlanError as error:
        return could_not_run(PROG, error)


def _run(steps: Sequence[Step], namespace: str) -> int:
    from smolvla_core.client import ClientError, SmolVLAClient

    from smolvla_msgs.action import RunPlan
    from smolvla_msgs.msg import PlanStep

    messages = [
        PlanStep(
            instruction=step.instruction,
            time_limit=step.time_limit,
            tries=step.tries,
            judge=step.judge,
            judge_options=step.judge_options,
        )
        for step in steps
    ]
    shown = ""

    def show(feedback: RunPlan.Feedback) -> None:
        nonlocal shown
        line = _line(feedback, len(steps))
        if line != shown:
            shown = line
            print(line, file=sys.stderr, flush=True)

    try:
        with SmolVLAClient.connect("smolvla_plan", namespace) as client:
            result = client.run_plan(messages, show)
    except ClientError as error:
        return could_not_run(PROG, error)
    except KeyboardInterrupt:
        print(f"\n{PROG}: canceled", file=sys.stderr)
        return INTERRUPTED
    print(report(result))
    return DONE if result.reason == RunPlan.Result.SUCCEEDED else NO


def _line(feedback: RunPlan.Feedback, count: int) -> str:
    """Return how a plan of `count` steps goes."""
    parts = [
        f"step {feedback.step + 1}/{count}, try {feedback.attempt}: {feedback.instruction}",
        _STATES[feedback.state],
        feedback.seen,
    ]
    return "; ".join(filter(None, parts))


def report(result: RunPlan.Result) -> str:
    """Return how each step went, and the reason in the last line."""
    lines = []
    for step in result.steps:
        how = f"{_VERDICTS[step.verdict]}, tries {step.tries}, {step.seconds:.1f} s"
        lines.append(f"  {step.instruction}: {how if step.tries else 'not begun'}")
    return "\n".join([*lines, result.message])
