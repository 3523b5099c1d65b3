# SPDX-License-Identifier: Apache-2.0
"""The executor's core in its thread, between the messages that come and those that go.

Everything that comes, from whatever thread, is put into the inbox of the control loop, so the
core is touched by one thread and the loop waits for nothing but its deadline.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any

import numpy as np
from builtin_interfaces.msg import Time
from rclpy.node import Node
from sensor_msgs.msg import JointState
from smolvla_core.instruction import NewestInstruction
from smolvla_core.joints import JointOrder
from smolvla_core.level import Level
from smolvla_core.node_settings import ExecutorSettings
from smolvla_core.ros import converters
from smolvla_core.ros.converters import flatten, to_duration
from smolvla_core.ros.diagnostics import GUARD_SHARE, SPAN
from smolvla_core.ros.sparse_log import AGAIN, SparseLog, StateLog, log_at
from std_msgs.msg import Bool, String

from smolvla_executor.core.chunk_queue import Chunk
from smolvla_executor.core.executor import ExecutorCore
from smolvla_executor.core.executor_types import CycleOutput, Request, State, Status
from smolvla_executor.core.task import Goal, Outcome, Progress, TaskRunner
from smolvla_executor.executor_node.control_thread import ControlThread
from smolvla_executor.executor_node.outputs import Outputs
from smolvla_msgs.msg import ActionChunk, ExecutorStatus, InferenceRequest


@dataclass(frozen=True)
class Callbacks:
    """Callbacks invoked from the control-loop thread.

    Attributes:
        status: the newest status.
        ended: how a goal ended.
        progress: how the running goal goes.
        failed: what ended the control loop.
    """

    status: Callable[[ExecutorStatus], None]
    ended: Callable[[Outcome], None]
    progress: Callable[[Progress], None]
    failed: Callable[[Exception], None]


class Execution:
    """Runs an `ExecutorCore` and its tasks; idle until `start` or a goal.

    Args:
        node: for its clock and log.
        settings: of the executor.
        outputs: where commands go.
        requests: publisher of InferenceRequest.
        reports: callbacks.
        newest: the instruction; until `close` no other thread may use it.
        reason: why it is idle.
    """

    def __init__(
        self,
        node: Node,
        settings: ExecutorSettings,
        outputs: Outputs,
        requests: Any,
        reports: Callbacks,
        newest: NewestInstruction,
        reason: str,
    ) -> None:
        self._node = node
        self._newest = newest
        self._instruction_topic = node.resolve_topic_name("task_instruction")
        self._outputs = outputs
        self._requests = requests
        self._reports = reports
        self._executor = converters.executor_id(node.get_fully_qualified_name())
        self._settings = settings
        self._state_order = JointOrder(settings.joints)
        self._chunk_order = JointOrder(settings.joints)
        self._core = ExecutorCore(settings, first_request_id=time.time_ns())
        self._core.stop(0.0, reason)
        self._tasks = TaskRunner(self._core, settings, reports.ended, newest)
        self._state: State | None = None
        self._chunk_instruction = ""
        self._log_state = StateLog(partial(log_at, node.get_logger()))
        self._tell_invalid = SparseLog(partial(log_at, node.get_logger(), Level.ERROR))
        self._tell_unused = SparseLog(partial(log_at, node.get_logger(), Level.WARN))
        self._limited: deque[float] = deque()  # when the guard changed a command
        self._tell_few_limited = SparseLog(partial(log_at, node.get_logger(), Level.OK), AGAIN)
        self._tell_many_limited = SparseLog(partial(log_at, node.get_logger(), Level.WARN), AGAIN)
        self._heard = ""  # as the log has told it
        self._hear_again = 0.0
        self._status_due = self._feedback_due = 0.0
        self._thread = ControlThread(
            settings.rate,
            self._step,
            reports.failed,
            priority=settings.realtime_priority,
            warn=lambda words: node.get_logger().warning(words),
        )

    # Orders; they wait for the control loop and raise TimeoutError where it does not run.

    def start(self) -> str:
        """Begin to execute. Returns a message for the caller."""
        return self._thread.call(self._core.start)

    def stop(self, why: str, reason: str) -> str:
        """Stop publishing commands, drop the plan and end the running goal.

        Args:
            why: for the caller of the goal.
            reason: for the status, with what to do to go on.

        Returns:
            Words for the caller.
        """

        def stop(now: float) -> str:
            was_idle = self._core.state == State.IDLE
            self._tasks.abort(why, now)
            words = self._core.stop(now, reason)
            return words if was_idle else "stopped"

        return self._thread.call(stop)

    def close(self) -> None:
        """End the control loop."""
        self._thread.close()

    # What comes; nothing waits here.

    def tune(self, settings: ExecutorSettings) -> None:
        """Go by other settings from the next control cycle on, which sees all of them.

        Args:
            settings: those that are not `live` are the present ones.
        """

        def take(now: float) -> None:
            self._settings = self._tasks.settings = settings
            self._core.reconfigure(settings)
            self._status_due = self._feedback_due = now

        self._thread.post(take)

    def begin(self, goal: Goal) -> None:
        """Run a goal."""
        self._thread.post(lambda now: self._tasks.begin(goal, now))

    def cancel(self, goal_id: bytes) -> None:
        """End a goal for its caller."""
        self._thread.post(lambda now: self._tasks.cancel(goal_id, now))

    def on_instruction(self, message: String) -> None:
        """Take a sentence of the topic task_instruction."""

        def take(now: float) -> None:
            words = self._newest.on_topic(message.data)
            idle = self._core.state == State.IDLE
            hint = f" (idle: {self._core.status(now).reason})" if idle else ""
            # Not the same at the rate of one who publishes at a rate.
            if words != self._heard or now >= self._hear_again:
                self._node.get_logger().info(words + hint)
                self._heard, self._hear_again = words, now + 1.0
            self._status_due = now  # the user waits for the echo

        self._thread.post(take)

    def on_verdict(self, message: Bool, source: str) -> None:
        """Take what a judge says on the topic `source`."""
        self._thread.post(lambda now: self._tasks.on_verdict(message.data, source, now))

    def on_joint_state(self, names: Sequence[str], message: JointState, source: str) -> None:
        """Take a joint state of `source`, matched by name; it may hold some of the joints."""
        received = time.monotonic()
        try:
            joints, positions = self._state_order.some(names, message.position)
        except ValueError as error:
            problem = f"joint state: {error}"
            self._thread.post(lambda now: self._core.feedback.reject(problem))
            return
        if joints.size:
            self._thread.post(
                lambda now: self._core.on_joint_state(positions, received, source, joints)
            )

    def on_chunk(self, message: ActionChunk) -> None:
        """Take a chunk or a refusal for this executor; ignore those for others."""
        if message.executor != self._executor:
            if not message.executor:
                self._tell_unused(
                    "action chunk for nobody, not executed: the policy must echo "
                    "InferenceRequest.executor"
                )
            return
        words = message.error
        if not words:
            try:
                positions = converters.chunk_positions(message, self._chunk_order)
            except ValueError as error:
                words = f"action chunk: {error}"
                self._tell_invalid(words)
        if words:
            waiting = message.waiting
            self._thread.post(
                lambda now: self._core.planner.on_refusal(message.request_id, words, now, waiting)
            )
            return
        period = converters.from_duration(message.period)
        chunk = Chunk(message.request_id, message.first_tick, positions, period)
        self._thread.post(lambda now: self._take(chunk, message.instruction, now))

    # In the thread of the control loop.

    def _take(self, chunk: Chunk, instruction: str, now: float) -> None:
        invalid = self._core.planner.chunks_invalid
        problem = self._core.planner.on_chunk(chunk, now)
        if not problem:
            self._chunk_instruction = instruction
        elif self._core.planner.chunks_invalid > invalid:
            self._tell_invalid(problem)
        elif not self._core.planner.requests.forgot(chunk.request_id):
            self._tell_unused(problem)

    def _step(self, now: float) -> None:
        self._core.planner.uninstructed = self._newest.missing(self._instruction_topic)
        output = self._core.cycle(now)
        self._publish(output)
        self._tasks.watch(output, now)
        if self._core.state != self._state or now >= self._status_due:
            self._report(now)
        if now >= self._feedback_due:
            self._feedback_due = now + 1.0 / self._settings.feedback_rate
            progress = self._tasks.progress(now)
            if progress is not None:
                self._reports.progress(progress)

    def _publish(self, output: CycleOutput) -> None:
        if output.command is not None and not self._settings.dry_run:
            self._outputs.publish(output.command, time.monotonic())
        if output.limited:
            self._tell_limited("; ".join(map(str, output.limited)))
        if output.request is not None:
            stamp = self._node.get_clock().now().to_msg()
            self._requests.publish(
                request_message(
                    output.request,
                    self._executor,
                    self._settings.joints,
                    stamp,
                    self._newest.current,
                    self._tasks.goal,
                )
            )

    def _tell_limited(self, words: str) -> None:
        """Tell of a command that the guard changed: a warning only where it does so often."""
        now = time.monotonic()
        self._limited.append(now)
        while self._limited[0] < now - SPAN:
            self._limited.popleft()
        if len(self._limited) > GUARD_SHARE * SPAN * self._settings.rate:
            self._tell_many_limited(
                f"guard: {len(self._limited)} commands limited in the last {SPAN:.0f} s, newest: "
                f"{words}; the policy wants to go faster or farther than these parameters allow"
            )
        else:
            self._tell_few_limited(f"guard: {words}")

    def _report(self, now: float) -> None:
        heard = self._requests.get_subscription_count() > 0
        self._core.planner.on_listener(
            ""
            if heard
            else f"nobody listens on {self._requests.topic_name}: is policy_node running? In "
            "the same namespace?"
        )
        status = self._core.status(now)
        self._log_state(status.level, f"{status.state.name}: {status.reason}", now)
        self._state, self._status_due = status.state, now + 1.0 / self._settings.status_rate
        stamp = self._node.get_clock().now().to_msg()
        self._reports.status(status_message(status, stamp, self._newest, self._chunk_instruction))


def request_message(
    request: Request,
    executor: str,
    joints: Sequence[str],
    stamp: Time,
    instruction: str,
    goal: Goal | None = None,
) -> InferenceRequest:
    """Return the message of a request of `executor`, for `goal` if any (its id has 16 bytes)."""
    message = InferenceRequest(
        executor=executor,
        request_id=request.request_id,
        tick=request.tick,
        joint_names=list(joints),
        committed=flatten(request.committed),
        period=to_duration(request.period),
        expected_delay=request.expected_delay,
        must_go=request.must_go,
        instruction=instruction,
    )
    message.header.stamp = stamp
    if goal is not None:
        message.goal_id = np.frombuffer(goal.goal_id, dtype=np.uint8)
    return message


def write_instruction(message: ExecutorStatus, newest: NewestInstruction) -> None:
    """Write what the next request asks for, and how it came, into a status."""
    message.instruction, message.instruction_source = newest.current, int(newest.source)
    message.instructions = newest.received


def status_message(
    status: Status, stamp: Time, newest: NewestInstruction, chunk_instruction: str = ""
) -> ExecutorStatus:
    """Return the message of an executor's status.

    Args:
        status: of its core.
        stamp: now.
        newest: what the next request asks for.
        chunk_instruction: what the newest chunk obeys.
    """
    numbers = {"state": int(status.state), "level": int(status.level)}
    message = ExecutorStatus(**{**asdict(status), **numbers})
    write_instruction(message, newest)
    message.chunk_instruction = chunk_instruction
    message.header.stamp = stamp
    return message
