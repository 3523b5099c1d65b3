# SPDX-License-Identifier: Apache-2.0
"""Tell a running arm what to do, as a goal of the action smolvla/run_task.

    python docs/examples/run_task.py "put the red cube into the bowl" --time-limit 30

Ctrl-C cancels the goal. Exits with 0 when the task is done (the topic of executor_node's parameter
success_topic said so, in the simulation sim/success), with 1 when the time was over, the goal was
canceled, rejected or failed, or when executor_node is gone.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from typing import Any

import rclpy
from action_msgs.msg import GoalStatus
from rclpy.action import ActionClient
from rclpy.exceptions import InvalidNamespaceException
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from rclpy.validate_namespace import validate_namespace

from smolvla_msgs.action import RunTask

WAIT = 10.0  # [s] for executor_node to appear
SILENCE = 12.0  # [s] without feedback, which comes every 0.2 s (at most every 10 s)


class Executor:
    """Prints what the executor tells, and notes when it did."""

    def __init__(self) -> None:
        self.heard = time.monotonic()

    def show(self, message: Any) -> None:
        """Print how the goal goes."""
        self.heard = time.monotonic()
        feedback = message.feedback
        line = f"{feedback.elapsed:5.1f} s, {feedback.chunks} chunks, queue {feedback.queue_depth}"
        print(f"\r{line} ", end="", file=sys.stderr, flush=True)

    def wait(self, node: Node, client: ActionClient, future: Future) -> None:
        """Spin until `future` is done.

        One that was killed tells nobody: the server seems to be there for up to 20 s, and one that
        was started in its place does not know the goal.

        Raises:
            ConnectionError: nobody will answer.
        """
        while not future.done():
            rclpy.spin_until_future_complete(node, future, timeout_sec=0.5)
            if future.done():
                return
            if not client.server_is_ready():
                raise ConnectionError("smolvla/run_task is gone: did executor_node end?")
            silent = time.monotonic() - self.heard
            if silent > SILENCE:
                raise ConnectionError(
                    f"executor_node has told nothing for {silent:.0f} s: was it killed? One that "
                    "was started again does not know the goal: send it again"
                )


def run(node: Node, goal: RunTask.Goal) -> int:
    """Send the goal and wait for its end; Ctrl-C cancels it."""
    client = ActionClient(node, RunTask, "smolvla/run_task")
    if not client.wait_for_server(WAIT):
        print(
            f"nobody serves smolvla/run_task within {WAIT:.0f} s: is executor_node running, "
            "on this ROS_DOMAIN_ID and namespace?",
            file=sys.stderr,
        )
        return 1
    executor = Executor()
    sent = client.send_goal_async(goal, feedback_callback=executor.show)
    canceled = False
    try:
        executor.wait(node, client, sent)
    except KeyboardInterrupt:  # it may be accepted all the same
        canceled = True
        executor.wait(node, client, sent)
    handle = sent.result()
    if handle is None or not handle.accepted:
        print("rejected: the log of executor_node says why", file=sys.stderr)
        return 1
    ended = handle.get_result_async()
    try:
        if canceled:
            handle.cancel_goal_async()
        executor.wait(node, client, ended)
    except KeyboardInterrupt:
        handle.cancel_goal_async()
        executor.wait(node, client, ended)
    answer = ended.result()
    assert answer is not None
    result = answer.result
    print(file=sys.stderr)
    print(f"{result.message} ({result.elapsed:.1f} s, {result.chunks} chunks)")
    return int(answer.status != GoalStatus.STATUS_SUCCEEDED)


def main(arguments: Sequence[str] | None = None) -> int:
    """Tell the arm what to do."""
    parser = argparse.ArgumentParser(description="Tell a running arm what to do.")
    parser.add_argument("instruction")
    parser.add_argument("--time-limit", type=float, default=30.0, help="[s]; 0 for none")
    parser.add_argument("--namespace", default="", help="of the arm")
    given = parser.parse_args(arguments)
    try:
        validate_namespace(f"/{given.namespace.strip('/')}")
    except InvalidNamespaceException as error:
        parser.error(f"--namespace '{given.namespace}': {str(error).splitlines()[0]}")
    # rclpy's own handler would shut down on Ctrl-C, before the goal can be canceled.
    rclpy.init(args=[], signal_handler_options=SignalHandlerOptions.NO)
    node = rclpy.create_node("run_task", namespace=given.namespace)
    try:
        return run(node, RunTask.Goal(instruction=given.instruction, time_limit=given.time_limit))
    except ConnectionError as error:
        print(f"\n{error}", file=sys.stderr)
    except KeyboardInterrupt:
        print("\ninterrupted", file=sys.stderr)
    finally:
        node.destroy_node()
        rclpy.try_shutdown()
    return 1


if __name__ == "__main__":
    raise SystemExit(main())
