# SPDX-License-Identifier: Apache-2.0
"""The rules of a task: what begins it, what ends it, and with which message.

`TaskRunner` stands beside an `executor.ExecutorCore` and is driven by the same thread:

    newest = NewestInstruction()
    tasks = TaskRunner(core, settings, on_end=deliver, newest=newest)
    tasks.begin(Goal(goal_id, "pick up the red cube", time_limit=30.0), now)
    while running:
        output = core.cycle(now)
        request.instruction = newest.current
        request.goal_id = tasks.goal.goal_id     # where there is one
        tasks.watch(output, now)                 # maybe calls deliver(outcome)

A policy does not know when a task is done. So a goal ends by a verdict from outside, by its
caller's cancel, by its time limit, by a newer goal or because it cannot go on, and always with the
arm at rest.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import IntEnum

from smolvla_core.instruction import NewestInstruction
from smolvla_core.node_settings import ExecutorSettings

from smolvla_executor.core.executor import ExecutorCore
from smolvla_executor.core.executor_types import CycleOutput, State

_MOVING = (State.RUNNING, State.APPROACHING)
SLOW_POLICY = 3.0
"""A goal is given so many times the 95th percentile of the latency before it counts as stalled."""
REPEATED = 2.0
"""A verdict of success so soon after another repeats it [s]: a judge may publish it at a rate."""


class Reason(IntEnum):
    """Why a goal ended; the values are those of ``smolvla_msgs/action/RunTask``."""

    CANCELED = 0
    TIME_LIMIT = 1
    FAULT = 2
    PREEMPTED = 3
    SUCCEEDED = 4


@dataclass(frozen=True)
class Goal:
    """What a caller wants.

    Attributes:
        goal_id: tells goals apart.
        instruction: what the robot shall do.
        time_limit: [s]; 0 for none.
    """

    goal_id: bytes
    instruction: str
    time_limit: float


@dataclass(frozen=True)
class Outcome:
    """How a goal ended; names and units as in the result of ``smolvla_msgs/action/RunTask``."""

    goal_id: bytes
    reason: Reason
    message: str
    elapsed: float
    chunks: int


@dataclass(frozen=True)
class Progress:
    """How a goal goes; names and units as in the feedback of ``smolvla_msgs/action/RunTask``."""

    goal_id: bytes
    elapsed: float
    queue_depth: int
    chunks: int
    latency: float


def goal_problem(instruction: str, time_limit: float) -> str:
    """Say why a goal cannot be accepted; empty when it can."""
    if not instruction.strip():
        return "its instruction is blank: say what to do, e.g. 'pick up the red cube'"
    if not math.isfinite(time_limit) or time_limit < 0:
        return f"its time_limit is {time_limit}: give seconds, 0 for no limit"
    return ""


class TaskRunner:
    """Runs one goal at a time on an executor.

    Args:
        core: the executor; `begin` starts it, the end of a goal stops it.
        settings: of the executor; may be replaced at any time.
        on_end: called with how each goal ended.
        newest: gets the goals' instructions.

    Attributes:
        goal: the running one, or None.
    """

    def __init__(
        self,
        core: ExecutorCore,
        settings: ExecutorSettings,
        on_end: Callable[[Outcome], None],
        newest: NewestInstruction | None = None,
    ) -> None:
        self._core = core
        self.settings = settings
        self._on_end = on_end
        self._newest = newest or NewestInstruction()
        self._success = -math.inf  # when a verdict of success came last
        self.goal: Goal | None = None
        self._begun = 0.0
        self._moved = 0.0
        self._chunks_before = 0

    def begin(self, goal: Goal, now: float) -> None:
        """Run `goal` in place of whatever is being executed.

        A plan that was made for something else is dropped: the arm holds until the first
        chunk of the goal comes.
        """
        if self.goal is not None:
            self._finish(Reason.PREEMPTED, f"replaced by the goal '{goal.instruction}'", now)
        if self._core.state == State.IDLE:
            self._core.start(now)
        else:
            self._core.discard_plan()
        self.goal = goal
        self._newest.on_goal(goal.instruction)
        self._begun = self._moved = now
        self._chunks_before = self._core.planner.counters.chunks_merged

    def cancel(self, goal_id: bytes, now: float) -> None:
        """End a goal for its caller; nothing is commanded from this cycle on."""
        if self.goal is not None and self.goal.goal_id == goal_id:
            self._end(Reason.CANCELED, "canceled", now)

    def abort(self, message: str, now: float) -> None:
        """End the running goal, if any, because it cannot go on."""
        if self.goal is not None:
            self._end(Reason.FAULT, message, now)

    def on_verdict(self, success: bool, source: str, now: float) -> None:
        """Take a verdict of a judge, who may repeat it.

        A success ends the running goal, or with `stop_on_success` what is executed without one. A
        success that is repeated does not end what begins next: one counts again after a verdict
        that it is not done, or after `REPEATED` seconds without any.

        Args:
            success: whether the task is done.
            source: of the verdict, for the message.
            now: the time.
        """
        repeated = now - self._success <= REPEATED
        self._success = now if success else -math.inf
        if not success or repeated:
            return
        if self.goal is not None:
            self._end(Reason.SUCCEEDED, f"done: {source} said so", now)
        elif self.settings.stop_on_success and self._core.state != State.IDLE:
            self._core.stop(
                now,
                f"done: {source} said so, and stop_on_success is set; call ~/start to go on or "
                "send a RunTask goal",
            )

    def watch(self, output: CycleOutput, now: float) -> None:
        """End the running goal after a control cycle in which its end has come."""
        if self.goal is None:
            return
        if output.state in _MOVING:
            self._moved = now
        limit = self.goal.time_limit
        if output.state == State.FAULT:
            self._end(Reason.FAULT, output.reason, now)
        elif output.state == State.IDLE:
            self._finish(Reason.FAULT, output.reason, now)
        elif limit and now - self._begun >= limit:
            self._end(Reason.TIME_LIMIT, f"the time limit of {limit:g} s is over", now)
        elif now - self._moved >= self._patience():
            message = f"no action for {now - self._moved:.1f} s: {output.reason}"
            self._end(Reason.FAULT, message, now)

    def progress(self, now: float) -> Progress | None:
        """Return how the running goal goes, None without one."""
        if self.goal is None:
            return None
        chunks = self._chunks()
        return Progress(
            goal_id=self.goal.goal_id,
            elapsed=now - self._begun,
            queue_depth=len(self._core.planner.queue),
            chunks=chunks,
            latency=self._core.planner.latency.last if chunks else math.nan,
        )

    def _patience(self) -> float:
        slow = SLOW_POLICY * self._core.planner.latency.p95
        least = self.settings.task_stall_timeout
        return least if math.isnan(slow) else max(least, slow)

    def _chunks(self) -> int:
        return self._core.planner.counters.chunks_merged - self._chunks_before

    def _end(self, reason: Reason, message: str, now: float) -> None:
        self._core.stop(now, f"task ended: {message}; send another goal or call ~/start")
        self._finish(reason, message, now)

    def _finish(self, reason: Reason, message: str, now: float) -> None:
        goal, self.goal = self.goal, None
        assert goal is not None
        self._newest.on_goal_end()
        elapsed = now - self._begun
        self._on_end(Outcome(goal.goal_id, reason, message, elapsed, self._chunks()))
