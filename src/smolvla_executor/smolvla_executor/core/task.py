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

import numpy as np
from numpy.typing import NDArray
from smolvla_core.instruction import START, NewestInstruction
from smolvla_core.node_settings import ExecutorSettings

from smolvla_executor.core.executor import ExecutorCore
from smolvla_executor.core.executor_types import CycleOutput, RefusedError, Source, State

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
        replay: recorded actions (rows, joints) to execute in place of a policy's [rad], or None.
        period: time between two of them [s].
        go_home: go to the home pose when the task is done or its time is over.
        own_judge: the caller judges: a verdict from outside does not end it.
    """

    goal_id: bytes
    instruction: str
    time_limit: float
    replay: NDArray[np.float64] | None = None
    period: float = 0.0
    go_home: bool = False
    own_judge: bool = False


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


def goal_problem(instruction: str, time_limit: float, replay: bool = False) -> str:
    """Say why a goal cannot be accepted; empty when it can."""
    if not instruction.strip() and not replay:
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
        self._on_the_way_home: Outcome | None = None  # what is told when the arm is there
        self._chunks_before = 0

    def begin(self, goal: Goal, now: float) -> None:
        """Run `goal` in place of whatever is being executed.

        A plan that was made for something else is dropped: the arm holds until the first
        chunk of the goal comes. Where a human has taken over, the goal waits until he gives back.
        """
        try:
            if goal.replay is not None:
                self._core.replay(goal.replay, goal.period, now)
            elif self._core.state == State.IDLE:
                self._core.start(now)
            else:
                self._core.discard_plan()
        except RefusedError as error:
            self._on_end(Outcome(goal.goal_id, Reason.FAULT, str(error), 0.0, 0))
            return
        if self.goal is not None:
            self._finish(Reason.PREEMPTED, f"replaced by the goal '{goal.instruction}'", now)
        self.goal = goal
        self._newest.on_goal(goal.instruction)
        self._begun = self._moved = now
        self._chunks_before = self._core.planner.counters.chunks_merged

    def cancel(self, goal_id: bytes, now: float) -> None:
        """End a goal for its caller; nothing is commanded from this cycle on."""
        if self.goal is not None and self.goal.goal_id == goal_id:
            self._stop(Reason.CANCELED, "canceled", now)

    def leave(self, message: str, now: float) -> None:
        """End the running goal, if any, because the arm does something else already."""
        if self.goal is not None:
            self._finish(Reason.PREEMPTED, message, now)

    def abort(self, message: str, now: float) -> None:
        """End the running goal, if any, because it cannot go on."""
        if self.goal is not None:
            self._stop(Reason.FAULT, message, now)

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
        if not success or repeated or self._on_the_way_home is not None:
            return
        if self.goal is not None:
            if not self.goal.own_judge:
                self._end(Reason.SUCCEEDED, f"done: {source} said so", now)
        elif self.settings.stop_on_success and self._core.state != State.IDLE:
            self._core.stop(
                now,
                f"done: {source} said so, and stop_on_success is set; call {START} to go on or "
                "send a RunTask goal",
            )

    def watch(self, output: CycleOutput, now: float) -> None:
        """End the running goal after a control cycle in which its end has come."""
        if self.goal is None:
            return
        source = self._core.source
        if output.state in _MOVING or source == Source.HUMAN:
            self._moved = now
        limit = self.goal.time_limit
        if output.done and self._on_the_way_home is not None:
            self._deliver(self._on_the_way_home)
        elif output.done:
            self._end(Reason.SUCCEEDED, "done: all recorded actions were executed", now)
        elif output.state == State.FAULT:
            self._end(Reason.FAULT, output.reason, now)
        elif output.state in (State.IDLE, State.STOPPED):
            self._finish(Reason.FAULT, output.reason, now)
        elif self._on_the_way_home is not None:
            if source != Source.HOME:
                self._finish(Reason.FAULT, "a human took over before the arm was at home", now)
        elif self.goal.replay is not None and source != Source.REPLAY:
            self._finish(Reason.FAULT, "a human took over, which ends a replay", now)
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
        """End the goal: a human keeps the arm, else it goes home or stops."""
        assert self.goal is not None
        if self._core.leave_to_human():
            self._finish(reason, f"{message}; a human has the arm", now)
            return
        if self.goal.go_home and reason in (Reason.SUCCEEDED, Reason.TIME_LIMIT):
            try:
                self._core.go_home(now, _then(message))
            except RefusedError as error:
                message += f"; not sent home: {error}"
            else:
                self._on_the_way_home = self._outcome(reason, f"{message}; the arm is home", now)
                return
        self._stop(reason, message, now)

    def _stop(self, reason: Reason, message: str, now: float) -> None:
        self._core.stop(now, _then(message))
        self._finish(reason, message, now)

    def _finish(self, reason: Reason, message: str, now: float) -> None:
        self._deliver(self._outcome(reason, message, now))

    def _outcome(self, reason: Reason, message: str, now: float) -> Outcome:
        assert self.goal is not None
        elapsed = now - self._begun
        return Outcome(self.goal.goal_id, reason, message, elapsed, self._chunks())

    def _deliver(self, outcome: Outcome) -> None:
        self.goal = self._on_the_way_home = None
        self._newest.on_goal_end()
        self._on_end(outcome)


def _then(message: str) -> str:
    """Return why the arm is idle behind a goal."""
    return f"task ended: {message}; send another goal or call {START}"
