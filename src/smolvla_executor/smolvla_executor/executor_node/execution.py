# SPDX-License-Identifier: Apache-2.0
"""The executor's core in its thread, between the messages that come and those that go.

Everything that comes, from whatever thread, is put into the inbox of the control loop, so the
core is touched by one thread and the loop waits for nothing but its deadline.
"""

from __future__ import annotations

import contextlib
import gc
import os
import queue
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from dataclasses import asdict, dataclass
from functools import partial
from typing import Any, TypeVar

import numpy as np
from rclpy.node import Node
from sensor_msgs.msg import JointState
from smolvla_core.instruction import NewestInstruction, order
from smolvla_core.joints import JointOrder
from smolvla_core.level import Level
from smolvla_core.node_settings import ExecutorSettings
from smolvla_core.ros import converters
from smolvla_core.ros.converters import flatten, to_duration
from smolvla_core.ros.diagnostics import GUARD_SHARE, SPAN
from smolvla_core.ros.sparse_log import AGAIN, SparseLog, StateLog, log_at
from std_msgs.msg import Bool, String

from smolvla_executor.core.chunk_queue import Chunk
from smolvla_executor.core.estop import EStop
from smolvla_executor.core.executor import ExecutorCore
from smolvla_executor.core.executor_types import CycleOutput, RefusedError, Request, Source, State
from smolvla_executor.core.joint_feedback import JointFeedback
from smolvla_executor.core.task import Goal, Outcome, Progress, TaskRunner
from smolvla_executor.core.tick_clock import TickClock
from smolvla_executor.executor_node.outputs import Outputs
from smolvla_msgs.msg import ActionChunk, ExecutorStatus, InferenceRequest

T = TypeVar("T")

STOPPED = f"stopped until {order('reset_estop')}"
SWITCH_INTERVAL = 0.0005
"""How long other threads keep the interpreter's lock that the loop wants [s]; Python: 5 ms."""
_POLL = 0.1
"""How often a caller sees whether the loop is still alive [s]."""


class ControlThread:
    """Calls `step` at absolute deadlines; runs what others post before each step.

    Whatever `step` works on is touched by this thread alone, and the thread waits for nothing
    but its deadline: not for a garbage collection of all that was made before, and only
    `SWITCH_INTERVAL` for the interpreter's lock. With a priority, the thread that makes it gets
    the next lower one: while it holds the lock, nothing else may keep it from going on.

    Args:
        rate: steps per second [Hz].
        step: called with the time [s, monotonic].
        failed: called with the exception of a step or of posted work; the loop has then ended.
        priority: SCHED_FIFO priority; 0 for none.
        warn: called where the priority was not granted.
    """

    def __init__(
        self,
        rate: float,
        step: Callable[[float], None],
        failed: Callable[[Exception], None],
        *,
        priority: int = 0,
        warn: Callable[[str], object] = lambda message: None,
    ) -> None:
        self._rate = rate
        self._step = step
        self._failed = failed
        self._priority = priority
        self._warn = warn
        self._raised = False  # the priority of the thread that made this
        self._inbox: queue.SimpleQueue[Callable[[float], object]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        sys.setswitchinterval(SWITCH_INTERVAL)
        gc.collect()
        gc.freeze()
        self._thread.start()
        if priority > 1:
            with contextlib.suppress(PermissionError):  # of which the thread warns
                os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(priority - 1))
                self._raised = True

    def post(self, work: Callable[[float], object]) -> None:
        """Have `work` called with the time before the next step."""
        self._inbox.put(work)

    def call(self, work: Callable[[float], T], timeout: float = 10.0) -> T:
        """Post `work` and wait for what it returns.

        `timeout` is long for a loop at 30 Hz: while other nodes load, a crowded machine has left
        it alone for more than a second.

        Raises:
            TimeoutError: the loop has ended, or did not come to it within `timeout` seconds.
        """
        result: Future[T] = Future()

        def run(now: float) -> None:
            result.set_result(work(now))

        self.post(run)
        deadline = time.monotonic() + timeout
        while self._thread.is_alive() and time.monotonic() < deadline:
            try:
                return result.result(_POLL)
            except FutureTimeoutError:  # before Python 3.11 it is no TimeoutError
                continue
        if result.done():
            return result.result()
        state = "is stuck" if self._thread.is_alive() else "has ended"
        raise TimeoutError(f"the control loop {state}; see the log, then start the process anew")

    def close(self) -> None:
        """End the loop after the step that runs."""
        self._stopping.set()
        self._thread.join(timeout=2.0)
        gc.unfreeze()
        if self._raised:
            os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))

    def _run(self) -> None:
        try:
            self._raise_priority()
            clock = TickClock(1.0 / self._rate, time.monotonic, time.sleep)
            while not self._stopping.is_set():
                now = clock.wait()
                self._drain(now)
                self._step(now)
        except Exception as error:
            self._failed(error)

    def _drain(self, now: float) -> None:
        try:
            while True:
                self._inbox.get_nowait()(now)
        except queue.Empty:
            return

    def _raise_priority(self) -> None:
        if not self._priority:
            return
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(self._priority))
        except PermissionError:
            self._warn(
                f"no right to SCHED_FIFO priority {self._priority}: grant CAP_SYS_NICE or raise "
                "the rtprio limit (/etc/security/limits.conf); going on without"
            )


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
        callbacks: for what it reports.
        newest: the instruction; until `close` no other thread may use it.
        estop: nor may another use this.
        reason: why it is idle.
    """

    def __init__(
        self,
        node: Node,
        settings: ExecutorSettings,
        outputs: Outputs,
        requests: Any,
        callbacks: Callbacks,
        newest: NewestInstruction,
        estop: EStop,
        reason: str,
    ) -> None:
        self._node = node
        self._newest = newest
        self._instruction_topic = node.resolve_topic_name("task_instruction")
        self._outputs = outputs
        self._requests = requests
        self._callbacks = callbacks
        self._executor = converters.executor_id(node.get_fully_qualified_name())
        self._settings = settings
        self._state_order = JointOrder(settings.joints)
        self._human_order = JointOrder(settings.joints)
        self._chunk_order = JointOrder(settings.joints)
        self._core = ExecutorCore(settings, time.time_ns(), estop)
        self._core.stop(0.0, reason)
        self._tasks = TaskRunner(self._core, settings, callbacks.ended, newest)
        self._reported: tuple[State, Source] | None = None
        self._chunk_instruction = ""
        log = partial(log_at, node.get_logger())
        self._log_state = StateLog(log)
        self._log_invalid = SparseLog(partial(log, Level.ERROR))
        self._log_unused = SparseLog(partial(log, Level.WARN))
        self._limited: deque[float] = deque()  # when the guard changed a command
        self._log_few_limited = SparseLog(partial(log, Level.OK), AGAIN)
        self._log_many_limited = SparseLog(partial(log, Level.WARN), AGAIN)
        self._logged_instruction = ""
        self._log_instruction_again = 0.0
        self._status_due = self._feedback_due = 0.0
        self._thread = ControlThread(
            settings.rate,
            self._step,
            callbacks.failed,
            priority=settings.realtime_priority,
            warn=lambda message: node.get_logger().warning(message),
        )

    # Orders; they wait for the control loop and raise TimeoutError where it does not run, and
    # RefusedError where they cannot be carried out.

    def start(self) -> str:
        """Begin to execute. Returns a message for the caller."""
        return self._order(self._core.start)

    def take_over(self) -> str:
        """Follow the human. Returns a message for the caller."""
        return self._order(self._core.take_over)

    def give_back(self) -> str:
        """Let the policy go on. Returns a message for the caller."""
        return self._order(self._core.give_back)

    def go_home(self) -> str:
        """End the running goal and go home. Returns a message for the caller."""

        def go(now: float) -> str:
            message = self._core.go_home(now)
            self._tasks.leave("sent home through ~/home", now)
            return message

        return self._order(go)

    def press_estop(self, by: str) -> str:
        """Stop the arm until `reset_estop`. Returns a message for the caller."""
        self._thread.call(lambda now: self._core.estop.press(by))
        return STOPPED

    def reset_estop(self, only_check: bool = False) -> str:
        """Release the e-stop, or see whether it can be. Returns a message for the caller."""
        estop = self._core.estop
        reset = estop.check_reset if only_check else estop.reset
        return self._order(lambda now: reset(self._settings.estop_timeout, now))

    def _order(self, order: Callable[[float], str]) -> str:
        """Have the control loop carry out an order; raise what it raises."""

        def carry_out(now: float) -> str | RefusedError:
            try:
                return order(now)
            except RefusedError as error:
                return error

        result = self._thread.call(carry_out)
        if isinstance(result, RefusedError):
            raise result
        return result

    def stop(self, goal_message: str, reason: str) -> str:
        """Stop publishing commands, drop the plan and end the running goal.

        Args:
            goal_message: for the caller of the goal.
            reason: for the status, with what to do to go on.

        Returns:
            A message for the caller.
        """

        def stop(now: float) -> str:
            was_idle = self._core.state == State.IDLE
            self._tasks.abort(goal_message, now)
            message = self._core.stop(now, reason)
            return message if was_idle else "stopped"

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
            text = self._newest.on_topic(message.data)
            if self._core.state == State.IDLE:
                text += f" (idle: {self._core.status(now).reason})"
            # One who publishes at a rate is not logged at that rate.
            if text != self._logged_instruction or now >= self._log_instruction_again:
                self._node.get_logger().info(text)
                self._logged_instruction, self._log_instruction_again = text, now + 1.0
            self._status_due = now  # the user waits for the echo

        self._thread.post(take)

    def on_verdict(self, message: Bool, source: str) -> None:
        """Take a judge's verdict on the topic `source`."""
        self._thread.post(lambda now: self._tasks.on_verdict(message.data, source, now))

    def on_estop(self, message: Bool, topic: str) -> None:
        """Take a message of an e-stop on `topic`."""
        self._thread.post(lambda now: self._core.estop.on_message(message.data, topic, now))

    def on_joint_state(self, names: Sequence[str], message: JointState, source: str) -> None:
        """Take a joint state of `source`, matched by name; it may hold some of the joints."""
        core = self._core
        self._on_joints(
            names, message, source, self._state_order, core.feedback, core.on_joint_state
        )

    def on_human(self, names: Sequence[str], message: JointState, source: str) -> None:
        """Take where a human wants the joints; as `on_joint_state`."""
        core = self._core
        if names and not set(names) & set(self._human_order.joints):
            problem = f"they name {', '.join(names)}, none of which is a joint of the robot file"
            self._thread.post(lambda now: core.human.reject(problem))
            return
        self._on_joints(names, message, source, self._human_order, core.human, core.on_human)

    def _on_joints(
        self,
        names: Sequence[str],
        message: JointState,
        source: str,
        order: JointOrder,
        feedback: JointFeedback,
        take: Callable[..., str],
    ) -> None:
        received = time.monotonic()
        try:
            joints, positions = order.some(names, message.position)
        except ValueError as error:
            problem = f"joint state: {error}"
            self._thread.post(lambda now: feedback.reject(problem))
            return
        if joints.size:
            self._thread.post(lambda now: take(positions, received, source, joints))

    def on_chunk(self, message: ActionChunk) -> None:
        """Take a chunk or a refusal for this executor; ignore those for others."""
        if message.executor != self._executor:
            if not message.executor:
                self._log_unused(
                    "action chunk for nobody, not executed: the policy must echo "
                    "InferenceRequest.executor"
                )
            return
        error = message.error
        if not error:
            try:
                positions = converters.chunk_positions(message, self._chunk_order)
            except ValueError as problem:
                error = f"action chunk: {problem}"
                self._log_invalid(error)
        if error:
            self._thread.post(
                lambda now: self._core.planner.on_refusal(
                    message.request_id, error, now, message.waiting
                )
            )
            return
        period = converters.from_duration(message.period)
        chunk = Chunk(
            message.request_id,
            message.first_tick,
            positions,
            period,
            message.real_time_chunking,
            message.chunk_size,
            message.state_offset,
        )
        self._thread.post(lambda now: self._take(chunk, message.instruction, now))

    # In the thread of the control loop.

    def _take(self, chunk: Chunk, instruction: str, now: float) -> None:
        planner = self._core.planner
        invalid = planner.counters.chunks_invalid
        problem = planner.on_chunk(chunk, now)
        if not problem:
            self._chunk_instruction = instruction
        elif planner.counters.chunks_invalid > invalid:
            self._log_invalid(problem)
        elif not planner.dropped(chunk.request_id):
            self._log_unused(problem)

    def _step(self, now: float) -> None:
        self._core.planner.uninstructed = self._newest.missing(self._instruction_topic)
        output = self._core.cycle(now)
        self._publish(output)
        self._tasks.watch(output, now)
        if (self._core.state, self._core.source) != self._reported or now >= self._status_due:
            self._report(now)
        if now >= self._feedback_due:
            self._feedback_due = now + 1.0 / self._settings.feedback_rate
            progress = self._tasks.progress(now)
            if progress is not None:
                self._callbacks.progress(progress)

    def _publish(self, output: CycleOutput) -> None:
        if output.command is not None and not self._settings.dry_run:
            self._outputs.publish(output.command, time.monotonic())
        if output.limited:
            self._log_limited("; ".join(map(str, output.limited)))
        if output.request is not None:
            self._requests.publish(self._request_message(output.request))

    def _request_message(self, request: Request) -> InferenceRequest:
        message = InferenceRequest(
            executor=self._executor,
            request_id=request.request_id,
            tick=request.tick,
            joint_names=list(self._settings.joints),
            committed=flatten(request.committed),
            period=to_duration(request.period),
            command=flatten(request.command) if request.command is not None else [],
            expected_delay=request.expected_delay,
            must_go=request.must_go,
            instruction=self._newest.current,
        )
        message.header.stamp = self._node.get_clock().now().to_msg()
        if self._tasks.goal is not None:
            message.goal_id = np.frombuffer(self._tasks.goal.goal_id, dtype=np.uint8)
        return message

    def _log_limited(self, changes: str) -> None:
        """Log a command that the guard changed; a warning only where it does so often."""
        now = time.monotonic()
        self._limited.append(now)
        while self._limited[0] < now - SPAN:
            self._limited.popleft()
        if len(self._limited) > GUARD_SHARE * SPAN * self._settings.rate:
            self._log_many_limited(
                f"guard: {len(self._limited)} commands limited in the last {SPAN:.0f} s, newest: "
                f"{changes}; the policy wants to go faster or farther than these parameters allow"
            )
        else:
            self._log_few_limited(f"guard: {changes}")

    def _report(self, now: float) -> None:
        received = self._requests.get_subscription_count() > 0
        self._core.planner.on_listener(
            ""
            if received
            else f"nobody listens on {self._requests.topic_name}: is policy_node running? In "
            "the same namespace?"
        )
        status = self._core.status(now)
        self._log_state(status.level, f"{status.state.name}: {status.reason}", now)
        self._reported = self._core.state, self._core.source
        self._status_due = now + 1.0 / self._settings.status_rate
        plain = {"state": int(status.state), "level": int(status.level)}
        message = ExecutorStatus(**{**asdict(status), **plain, "source": status.source.value})
        write_instruction(message, self._newest)
        message.chunk_instruction = self._chunk_instruction
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._callbacks.status(message)


def write_instruction(message: ExecutorStatus, newest: NewestInstruction) -> None:
    """Write what the next request asks for, and how it came, into a status."""
    message.instruction, message.instruction_source = newest.current, int(newest.source)
    message.instructions = newest.received
