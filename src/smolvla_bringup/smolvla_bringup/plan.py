# SPDX-License-Identifier: Apache-2.0
"""``smolvla plan``: have a running arm do one sentence after the other."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from smolvla_core.console import (
    DONE,
    INTERRUPTED,
    NO,
    command_parser,
    could_not_run,
    raise_on_interrupt,
)
from smolvla_core.settings import add_arguments, from_arguments
from smolvla_executor.core.plan import Step
from smolvla_executor.core.plan_file import read_plan
from smolvla_learning.describing.models import ModelSettings, make_model
from smolvla_learning.plans.request import sentences_for
from smolvla_policy.checkpoint.robot import read_robot
from smolvla_policy.checkpoint.source import find_checkpoint
from smolvla_sim.settings import CHECKPOINT

from smolvla_bringup.task import add_namespace

if TYPE_CHECKING:
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
    made.add_argument("file", metavar="FILE", type=Path, nargs="?", help="YAML file of the steps")
    made.add_argument(
        "--request",
        metavar="TEXT",
        help="instead of a file: what shall be done, e.g. 'tidy up the table'; a language model "
        "makes a plan of the sentences that the checkpoint knows",
    )
    made.add_argument(
        "--checkpoint",
        default=str(CHECKPOINT),
        help="whose sentences the plan may have, those of its robot.json; a folder or hub id "
        "(default: the one that comes with the simulation)",
    )
    add_arguments(made, ModelSettings, ("model", "server", "device"))
    made.add_argument(
        "--output",
        metavar="FILE",
        type=Path,
        help="write the plan of a request there and do not run it",
    )
    add_namespace(made)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run a plan; return the exit status."""
    arguments = parser().parse_args(argv)
    raise_on_interrupt()
    try:
        if (arguments.file is None) == (arguments.request is None):
            raise ValueError("give either a FILE or a --request")
        if arguments.file is not None:
            return _run(read_plan(arguments.file), arguments.namespace)
        steps = _made(arguments)
        if arguments.output is not None:
            _write(steps, arguments.output)
            return DONE
        return _run(steps, arguments.namespace)
    except (ValueError, OSError) as error:
        return could_not_run(PROG, error)


def _made(arguments: argparse.Namespace) -> tuple[Step, ...]:
    """Return the plan that a language model makes of the request.

    Raises:
        ValueError: there is no such checkpoint or model, or no plan could be made.
    """
    known = read_robot(find_checkpoint(arguments.checkpoint)).tasks
    model = make_model(from_arguments(ModelSettings, arguments))
    sentences = sentences_for(arguments.request, known, model)
    for sentence in sentences:
        print(f"  {sentence}", flush=True)
    return tuple(Step(sentence) for sentence in sentences)


def _write(steps: Sequence[Step], target: Path) -> None:
    """Write a plan as a file to look at and edit.

    Raises:
        OSError: there is one already, or it cannot be written.
    """
    content = {"steps": [step.instruction for step in steps]}
    with target.open("x", encoding="utf-8") as file:
        yaml.safe_dump(content, file, sort_keys=False, allow_unicode=True, width=1000)
    print(f"{target} has {len(steps)} steps; run it by: {PROG} {target}")


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
    shown: tuple[int, ...] = ()

    def show(feedback: RunPlan.Feedback) -> None:
        nonlocal shown
        # Not each new word of a judge.
        now = feedback.step, feedback.attempt, feedback.state, feedback.verdict
        if now != shown:
            shown = now
            print(_line(feedback, len(steps)), file=sys.stderr, flush=True)

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
    attempt = f", try {feedback.attempt}" if feedback.attempt else ""
    parts = [
        f"step {feedback.step + 1}/{count}{attempt}: {feedback.instruction}",
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
