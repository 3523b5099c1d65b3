# SPDX-License-Identifier: Apache-2.0
"""Give orders to `record` from a script or a machine without the command ros2.

    python -m smolvla_policy.cli.episode start [--task "put the red cube into the bowl"]
    python -m smolvla_policy.cli.episode save
    python -m smolvla_policy.cli.episode discard

Prints the answer. Exits with 0 when the order was carried out, with 1 when it was refused or
nobody answered.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import rclpy
from rclpy.duration import Duration
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from std_msgs.msg import String
from std_srvs.srv import Trigger

from smolvla_policy.ros import qos

ANSWER_TIMEOUT = 60.0  # [s], more than the recorder itself waits for its encoder
RETRY_PERIOD = 0.2  # [s]
DISCOVERY = 1.0  # [s] without a new listener, after which all are taken to be found


class Caller:
    """Calls the services of a recorder.

    Args:
        node: that calls.
        spin: lets the node receive for so many seconds.
        recorder: name of the recorder's node.
    """

    def __init__(self, node: Node, spin: Callable[[float], None], recorder: str) -> None:
        self._node = node
        self._spin = spin
        self._recorder = recorder
        self._publish: Callable[[], None] = lambda: None

    def instruct(self, task: str, timeout: float) -> str:
        """Publish an instruction so that the recorder and all others who listen have it.

        Args:
            task: the instruction.
            timeout: how long to wait for the recorder to appear [s].

        Returns:
            Why it could not be published, empty when it was.
        """
        publisher = self._node.create_publisher(String, "task_instruction", qos.instruction_qos())
        topic = publisher.topic_name
        name = self._recorder.rpartition("/")[2]
        count, since = 0, time.monotonic()

        def settled() -> bool:
            nonlocal count, since
            known = self._node.get_subscriptions_info_by_topic(topic)
            there = any(info.node_name == name for info in known)
            matched = publisher.get_subscription_count()
            if not there or matched < len(known) or matched != count:
                count, since = matched, time.monotonic()
            return there and time.monotonic() - since >= DISCOVERY

        if not self._until(settled, timeout + DISCOVERY):
            return f"no node '{name}' listens to {topic}: is the recorder running?"
        self._publish = lambda: publisher.publish(String(data=task))
        self._publish()
        if not publisher.wait_for_all_acked(Duration(seconds=timeout)):
            return f"the instruction on {topic} was not received by all who listen"
        return ""

    def call(self, order: str, timeout: float, wait: float) -> tuple[bool, str]:
        """Call a service; while it is refused, again for `wait` seconds, with the instruction.

        Args:
            order: start, save or discard.
            timeout: how long to wait for the recorder to appear [s].
            wait: how long to try again [s].

        Returns:
            Whether it was carried out, and the answer.
        """
        name = f"{self._recorder}/{order}_episode"
        client: Any = self._node.create_client(Trigger, name)
        if not self._until(client.service_is_ready, timeout):
            return False, f"no service {client.srv_name}: is the recorder running?"
        end = time.monotonic() + wait
        while True:
            future = client.call_async(Trigger.Request())
            if not self._until(future.done, ANSWER_TIMEOUT):
                return False, f"no answer from {client.srv_name}; see the recorder's log"
            answer = future.result()
            if answer.success or time.monotonic() >= end:
                return answer.success, answer.message
            self._publish()  # who appeared meanwhile has not heard it
            self._spin(RETRY_PERIOD)

    def _until(self, condition: Callable[[], bool], timeout: float) -> bool:
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() >= end:
                return False
            self._spin(0.05)
        return True


def main(arguments: Sequence[str] | None = None) -> int:
    """Carry out one order."""
    parser = argparse.ArgumentParser(
        prog="python -m smolvla_policy.cli.episode",
        description="Start, save or discard an episode of the recorder.",
    )
    parser.add_argument("order", choices=("start", "save", "discard"))
    parser.add_argument("--task", help="publish this instruction on task_instruction first")
    parser.add_argument("--recorder", default="record", help="name of its node (default: record)")
    parser.add_argument(
        "--wait",
        type=float,
        default=0.0,
        help="try again for so many seconds while it is refused, e.g. until the arm is commanded",
    )
    parser.add_argument(
        "--timeout", type=float, default=10.0, help="to find the recorder [s] (default: 10)"
    )
    options = parser.parse_args(arguments)
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    node = rclpy.create_node("episode_orders", context=context)
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)

    def spin(seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            executor.spin_once(timeout_sec=left)

    try:
        caller = Caller(node, spin, options.recorder)
        problem = caller.instruct(options.task, options.timeout) if options.task else ""
        done, words = (
            (False, problem)
            if problem
            else caller.call(options.order, options.timeout, options.wait)
        )
    finally:
        executor.shutdown()
        node.destroy_node()
        rclpy.shutdown(context=context)
    print(words, file=sys.stdout if done else sys.stderr)
    return 0 if done else 1


if __name__ == "__main__":
    sys.exit(main())
