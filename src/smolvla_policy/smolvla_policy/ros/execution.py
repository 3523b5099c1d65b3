# SPDX-License-Identifier: Apache-2.0
"""The executor's core in its thread, between the messages that come and those that go.

Everything that comes, from whatever thread, is put into the inbox of the control loop, so the
core is touched by one thread and the loop waits for nothing but its deadline.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Bool, String

from smolvla_msgs.msg import ActionChunk, ExecutorStatus
from smolvla_policy.control.chunk import Chunk
from smolvla_policy.control.executor import ExecutorCore
from smolvla_policy.control.executor_types import CycleOutput, State
from smolvla_policy.control.instruction import NewestInstruction
from smolvla_policy.control.joint_order import JointOrder
from smolvla_policy.control.task import Goal, Outcome, Progress, TaskRunner
from smolvla_policy.ros import converters
from smolvla_policy.ros.control_thread import ControlThread
from smolvla_policy.ros.executor_parameters import executor_config


@dataclass(frozen=True)
class Reports:
    """Who is told what, all in the thread of the control loop.

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
        values: of `EXECUTOR_PARAMETERS` by name.
        commands: publisher of Float64MultiArray or, with ``output: joint_trajectory``, of
            JointTrajectory.
        requests: publisher of InferenceRequest.
        reports: who is told what.
        newest: the instruction; until `close` no other thread may use it.
        reason: why it is idle.

    Raises:
        ValueError: a value is out of range; the text names it.
    """

    def __init__(
        self,
        node: Node,
        values: dict[str, Any],
        commands: Any,
        requests: Any,
        reports: Reports,
        newest: NewestInstruction,
        reason: str,
    ) -> None:
        self._node = node
        self._newest = newest
        self._instruction_topic = node.resolve_topic_name("task_instruction")
        self._commands = commands
        self._requests = requests
        self._reports = reports
        self._executor = converters.executor_id(node.get_fully_qualified_name())
        self._joints: list[str] = values["joints"]
        self._state_order = JointOrder(self._joints)
        self._chunk_order = JointOrder(self._joints)
        self._as_trajectory = values["output"] == "joint_trajectory"
        self._dry_run: bool = values["dry_run"]
        self._period = 1.0 / values["rate"]
        self._status_period = 1.0 / values["status_rate"]
        self._feedback_period = 1.0 / values["feedback_rate"]
        self._core = ExecutorCore(executor_config(values, first_request_id=time.time_ns()))
        self._core.stop(0.0, reason)
        self._tasks = TaskRunner(
            self._core,
            values["task_stall_timeout"],
            reports.ended,
            newest,
            values["stop_on_success"],
        )
        self._state: State | None = None
        self._chunk_instruction = ""
        self._uninstructed = self._heard = ""  # as the log has told it
        self._hear_again = 0.0
        self._status_due = self._feedback_due = 0.0
        self._thread = ControlThread(
            values["rate"],
            self._step,
            reports.failed,
            priority=values["realtime_priority"],
            warn=lambda words: node.get_logger().warning(words),
        )

    # Orders; they wait for the control loop and raise TimeoutError where it does not run.

    def start(self) -> str:
        """Begin to execute. Returns words for the caller."""
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

    def on_joint_state(self, message: JointState) -> None:
        """Take a joint state, matched by name."""
        received = time.monotonic()
        try:
            positions = self._state_order.pick(message.name, message.position)
        except ValueError as error:
            words = f"joint state: {error}"
            self._thread.post(lambda now: self._core.on_invalid_joint_state(words, received))
        else:
            self._thread.post(lambda now: self._core.on_joint_state(positions, received))

    def on_chunk(self, message: ActionChunk) -> None:
        """Take a chunk or a refusal for this executor; take no notice of those for others."""
        if message.executor != self._executor:
            if not message.executor:
                self._node.get_logger().warning(
                    "action chunk for nobody, not executed: the policy must echo "
                    "InferenceRequest.executor",
                    throttle_duration_sec=5.0,
                )
            return
        words = message.error
        if not words:
            try:
                positions = converters.chunk_positions(message, self._chunk_order)
            except ValueError as error:
                words = f"action chunk: {error}"
                self._node.get_logger().error(words, throttle_duration_sec=5.0)
        if words:
            self._thread.post(lambda now: self._core.on_refusal(message.request_id, words, now))
            return
        period = converters.from_duration(message.period)
        chunk = Chunk(message.request_id, message.first_tick, positions, period)
        self._thread.post(lambda now: self._take(chunk, message.instruction, now))

    # In the thread of the control loop.

    def _take(self, chunk: Chunk, instruction: str, now: float) -> None:
        problem = self._core.on_chunk(chunk, now)
        if not problem:
            self._chunk_instruction = instruction
        elif not self._core.expects_no_answer(chunk.request_id):
            self._node.get_logger().warning(problem, throttle_duration_sec=2.0)

    def _step(self, now: float) -> None:
        uninstructed = self._newest.missing(self._instruction_topic)
        self._core.on_instruction(uninstructed)
        output = self._core.cycle(now)
        if not uninstructed or uninstructed in output.reason:
            self._tell_uninstructed(uninstructed, output.state)
        self._publish(output)
        self._tasks.watch(output, now)
        if self._core.state != self._state or now >= self._status_due:
            self._report(now)
        if now >= self._feedback_due:
            self._feedback_due = now + self._feedback_period
            progress = self._tasks.progress(now)
            if progress is not None:
                self._reports.progress(progress)

    def _publish(self, output: CycleOutput) -> None:
        if output.command is not None and not self._dry_run:
            self._commands.publish(
                converters.command_trajectory(self._joints, output.command, self._period)
                if self._as_trajectory
                else converters.command_message(output.command)
            )
        if output.limited:
            words = "; ".join(map(str, output.limited))
            self._node.get_logger().warning(f"guard: {words}", throttle_duration_sec=10.0)
        if output.request is not None:
            stamp = self._node.get_clock().now().to_msg()
            self._requests.publish(
                converters.request_message(
                    output.request,
                    self._executor,
                    self._joints,
                    stamp,
                    self._newest.current,
                    self._tasks.goal,
                )
            )

    def _tell_uninstructed(self, words: str, state: State) -> None:
        """Say once that an instruction is missing; a change of the state says it as well."""
        if words and words != self._uninstructed and state == self._state:
            self._node.get_logger().info(words)
        self._uninstructed = words

    def _report(self, now: float) -> None:
        heard = self._requests.get_subscription_count() > 0
        self._core.on_listener(
            ""
            if heard
            else f"nobody listens on {self._requests.topic_name}: is policy_node running? In "
            "the same namespace?"
        )
        status = self._core.status(now)
        if status.state != self._state:
            self._node.get_logger().info(f"{status.state.name}: {status.reason}")
        self._state, self._status_due = status.state, now + self._status_period
        stamp = self._node.get_clock().now().to_msg()
        self._reports.status(
            converters.status_message(status, stamp, self._newest, self._chunk_instruction)
        )
