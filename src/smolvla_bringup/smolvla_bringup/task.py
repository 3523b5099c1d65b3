# SPDX-License-Identifier: Apache-2.0
"""``smolvla instruct``, ``task`` and ``order``: give a running arm an instruction or an order."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from smolvla_core.console import DONE, INTERRUPTED, NO, command_parser, could_not_run

ORDERS = {
    "start": "execute the instruction",
    "stop": "publish no commands any more",
    "take-over": "follow the human",
    "give-back": "let the policy go on",
    "home": "go to the home pose",
    "estop": "stop until reset-estop",
    "reset-estop": "release the e-stop; the arm stays idle",
    "pause": "let the running plan pause; the arm holds",
    "resume": "let a paused plan go on",
}


def _add_arm(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("sentence", metavar="SENTENCE", help="what to do")
    add_namespace(parser)


def add_namespace(parser: argparse.ArgumentParser) -> None:
    """Give `parser` the option for the arm's namespace."""
    parser.add_argument("--namespace", default="", help="of the arm (default: none)")


def instruct_parser() -> argparse.ArgumentParser:
    """Return the command line of ``smolvla instruct``."""
    parser = command_parser(
        "smolvla instruct",
        "Give a running arm an instruction on the topic task_instruction, and come back when it "
        'has it. "" means none any more.',
        'smolvla instruct "put the red cube into the bowl"',
    )
    _add_arm(parser)
    return parser


def task_parser() -> argparse.ArgumentParser:
    """Return the command line of ``smolvla task``."""
    parser = command_parser(
        "smolvla task",
        "Run a task as a goal of the action smolvla/run_task and wait for its end; Ctrl-C cancels "
        "it.",
        'smolvla task "put the red cube into the bowl" --time-limit 30',
        "0 the task is done, 1 it is not (time over, canceled, failed), 2 it could not begin, "
        "130 Ctrl-C",
    )
    _add_arm(parser)
    parser.add_argument(
        "--time-limit", type=float, default=30.0, metavar="S", help="0: none (default: 30)"
    )
    parser.add_argument(
        "--go-home",
        action="store_true",
        help="go to the home pose when it is done or time is over",
    )
    return parser


def order_parser() -> argparse.ArgumentParser:
    """Return the command line of ``smolvla order``."""
    parser = command_parser(
        "smolvla order",
        "Give a running arm an order: "
        + "; ".join(f"{name}: {what}" for name, what in ORDERS.items())
        + ".",
        "smolvla order home",
    )
    parser.add_argument("order", metavar="ORDER", choices=ORDERS, help=", ".join(ORDERS))
    add_namespace(parser)
    return parser


def instruct(argv: Sequence[str] | None = None) -> int:
    """Give an instruction; return the exit status."""
    arguments = instruct_parser().parse_args(argv)
    from smolvla_core.client import ClientError, SmolVLAClient

    try:
        with SmolVLAClient.connect("smolvla_instruct", arguments.namespace) as client:
            client.instruct(arguments.sentence)
            status = client.executor_status
            if status is not None and status.state == status.IDLE:
                print(f"the arm does not move: {status.reason}; or smolvla task", file=sys.stderr)
    except ClientError as error:
        return could_not_run("smolvla instruct", error)
    return DONE


def task(argv: Sequence[str] | None = None) -> int:
    """Run a task; return the exit status."""
    arguments = task_parser().parse_args(argv)
    from smolvla_core.client import ClientError, SmolVLAClient

    from smolvla_msgs.action import RunTask

    def show(feedback: RunTask.Feedback) -> None:
        line = f"{feedback.elapsed:5.1f} s, {feedback.chunks} chunks, queue {feedback.queue_depth}"
        print(f"\r{line} ", end="", file=sys.stderr, flush=True)

    try:
        with SmolVLAClient.connect("smolvla_task", arguments.namespace) as client:
            result = client.run_task(
                arguments.sentence, arguments.time_limit, show, go_home=arguments.go_home
            )
    except ClientError as error:
        return could_not_run("smolvla task", error)
    except KeyboardInterrupt:
        print("\nsmolvla task: canceled", file=sys.stderr)
        return INTERRUPTED
    print(file=sys.stderr)
    print(f"{result.message} ({result.elapsed:.1f} s, {result.chunks} chunks)")
    return DONE if result.reason == RunTask.Result.SUCCEEDED else NO


def order(argv: Sequence[str] | None = None) -> int:
    """Give an order; return the exit status."""
    arguments = order_parser().parse_args(argv)
    from smolvla_core.client import ClientError, SmolVLAClient

    try:
        with SmolVLAClient.connect("smolvla_order", arguments.namespace) as client:
            print(getattr(client, arguments.order.replace("-", "_"))())
    except ClientError as error:
        return could_not_run("smolvla order", error)
    return DONE
