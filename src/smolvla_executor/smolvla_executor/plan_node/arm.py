# SPDX-License-Identifier: Apache-2.0
"""The arm of a plan: RunTask goals and the way home, both of `executor_node`."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from rclpy.action.client import ActionClient
from rclpy.node import Node
from smolvla_core.client import FEEDBACK_TIMEOUT
from smolvla_core.instruction import AT_HOME
from smolvla_core.judge import TOPIC
from smolvla_core.ros import qos
from std_srvs.srv import Trigger

from smolvla_executor.core.plan import Step
from smolvla_executor.core.task import Reason
from smolvla_msgs.action import RunTask
from smolvla_msgs.msg import ExecutorStatus

SETTLED = 1.0
"""So long after an order to go home the status may still be of before it [s]."""


class _Motion:
    """A goal or the way home, from the order to its end.

    Attributes:
        home: whether it is the way home.
        handle: of the goal once it is accepted.
        stopping: whether it shall end.
        home_since: when the order to go home was taken [s]; None before.
    """

    def __init__(self, home: bool) -> None:
        self.home = home
        self.handle: Any = None
        self.stopping = False
        self.home_since: float | None = None


class RemoteArm:
    """See `core.plan.Arm`; all of it in the thread that receives.

    Args:
        node: in the namespace of the arm.
        ended: called once with the end of each motion.
    """

    def __init__(self, node: Node, ended: Callable[[Reason, str], None]) -> None:
        self._ended = ended
        self._motion: _Motion | None = None
        self._received = 0.0
        self._tasks: Any = ActionClient(node, RunTask, "smolvla/run_task")
        self._name = node.resolve_service_name("smolvla/run_task")
        self._home: Any = node.create_client(Trigger, "executor_node/home")
        self._stop: Any = node.create_client(Trigger, "executor_node/stop")
        node.create_subscription(
            ExecutorStatus, "executor_node/status", self._on_status, qos.status_qos()
        )

    @property
    def missing(self) -> str:
        """What the arm lacks to be moved; empty when nothing."""
        there = self._tasks.server_is_ready() and all(
            client.service_is_ready() for client in (self._home, self._stop)
        )
        return "" if there else f"nobody serves {self._name}: is executor_node running?"

    def close(self) -> None:
        """Free the action client."""
        self._motion = None
        self._tasks.destroy()

    def forget(self) -> None:
        """Take no more notice of a motion whose end does not come."""
        self._motion = None

    def run(self, step: Step, time_limit: float) -> None:
        """See `core.plan.Arm`."""
        motion = self._begin(home=False)
        goal = RunTask.Goal(
            instruction=step.instruction,
            # Beside the plan's own: should this node end, the arm stops all the same.
            time_limit=time_limit,
            own_judge=step.judge != TOPIC,
        )
        sent = self._tasks.send_goal_async(goal, feedback_callback=lambda _: self._hear(motion))
        sent.add_done_callback(lambda future: self._on_response(motion, future.result()))

    def go_home(self) -> None:
        """See `core.plan.Arm`."""
        motion = self._begin(home=True)

        def answered(future: Any) -> None:
            response = future.result()
            motion.home_since = time.monotonic()
            if not response.success:
                self._end(motion, Reason.FAULT, response.message)
            elif motion.stopping or motion is not self._motion:
                self._stop_way(motion)  # once more: the order to stop may have come before

        self._home.call_async(Trigger.Request()).add_done_callback(answered)

    def stop(self) -> None:
        """See `core.plan.Arm`."""
        motion = self._motion
        if motion is None:
            return
        motion.stopping = True
        if motion.home:
            self._stop_way(motion)
        elif motion.handle is not None:
            motion.handle.cancel_goal_async()

    def _stop_way(self, motion: _Motion) -> None:
        def answered(_: Any) -> None:
            if motion.home_since is not None:
                self._end(motion, Reason.CANCELED, "stopped")

        self._stop.call_async(Trigger.Request()).add_done_callback(answered)

    def watch(self, now: float) -> None:
        """End a goal whose executor is gone; to be called now and then."""
        motion = self._motion
        if motion is None or motion.handle is None:
            return
        if not self._tasks.server_is_ready():
            self._end(motion, Reason.FAULT, f"{self._name} is gone: did executor_node end?")
        elif now - self._received > FEEDBACK_TIMEOUT:
            self._end(
                motion,
                Reason.FAULT,
                f"executor_node has sent nothing for {FEEDBACK_TIMEOUT:g} s: was it killed?",
            )

    def _begin(self, home: bool) -> _Motion:
        self._motion = motion = _Motion(home)
        self._received = time.monotonic()
        return motion

    def _hear(self, motion: _Motion) -> None:
        if motion is self._motion:
            self._received = time.monotonic()

    def _on_response(self, motion: _Motion, handle: Any) -> None:
        if not handle.accepted:
            self._end(
                motion, Reason.FAULT, "executor_node rejected the task; its log has the reason"
            )
            return
        if motion is not self._motion:  # given up meanwhile
            handle.cancel_goal_async()
            return
        motion.handle = handle
        self._received = time.monotonic()
        handle.get_result_async().add_done_callback(
            lambda future: self._on_result(motion, future.result().result)
        )
        if motion.stopping:
            handle.cancel_goal_async()

    def _on_result(self, motion: _Motion, result: RunTask.Result) -> None:
        self._end(motion, Reason(result.reason), result.message)

    def _on_status(self, status: ExecutorStatus) -> None:
        motion = self._motion
        if motion is None or motion.home_since is None or motion.stopping:
            return
        if status.source == "home":
            motion.home_since = 0.0  # what comes from now on is of this way
        elif status.reason.startswith(AT_HOME):
            self._end(motion, Reason.SUCCEEDED, status.reason)
        elif time.monotonic() - motion.home_since > SETTLED:
            self._end(motion, Reason.FAULT, status.reason)

    def _end(self, motion: _Motion, reason: Reason, message: str) -> None:
        if motion is self._motion:
            self._motion = None
            self._ended(reason, message)
