# SPDX-License-Identifier: Apache-2.0
"""The rules of a plan: which step is done when, what is tried again, and how the plan ends.

`PlanRunner` has no clock and no thread; who drives it tells it what happens:

    runner = PlanRunner(steps, arm)
    runner.begin(now)
    while runner.outcome is None:
        runner.on_verdict(runner.question, verdict, seen, now)    # as often as the judge answers
        runner.on_end(reason, message, now)                       # once for each motion of the arm
        runner.update(now)

A judge that never answers ends a try by the step's time limit, and an executor that never answers
ends the plan.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Protocol

from smolvla_core.judge import TOPIC, Verdict

from smolvla_executor.core.task import Reason

STOP_TIMEOUT = 5.0
"""How long the executor may take to confirm that a motion is stopped [s]."""
HOME_TIMEOUT = 60.0
"""How long the way home may take [s]."""


class PlanReason(IntEnum):
    """Why a plan ended; the values are those of ``smolvla_msgs/action/RunPlan``."""

    CANCELED = 0
    NOT_DONE = 1
    FAULT = 2
    PREEMPTED = 3
    SUCCEEDED = 4


class Phase(IntEnum):
    """What is being done; the values are those of ``smolvla_msgs/action/RunPlan``."""

    LOADING = 0
    RUNNING = 1
    STOPPING = 2
    HOMING = 3
    PAUSED = 4


class PlanError(ValueError):
    """A plan cannot be run; the text says what is wrong in which step."""


@dataclass(frozen=True)
class Step:
    """One sentence of a plan; names, units and defaults of ``smolvla_msgs/PlanStep``.

    Attributes:
        instruction: what the robot shall do.
        time_limit: of one try [s].
        tries: how often it is tried.
        judge: who says that it is done; empty for the usual one.
        judge_options: of the judge, each ``name=value``.
        in_a_row: so many answers yes, one after the other, mean that it is done.

    Raises:
        PlanError: a value does not fit.
    """

    instruction: str
    time_limit: float = 30.0
    tries: int = 2
    judge: str = ""
    judge_options: tuple[str, ...] = ()
    in_a_row: int = 1

    def __post_init__(self) -> None:
        if not self.instruction.strip():
            raise PlanError(
                "its instruction is blank: say what to do, e.g. 'pick up the red cube'"
            )
        if not (math.isfinite(self.time_limit) and self.time_limit > 0):
            raise PlanError(f"its time_limit is {self.time_limit}: give seconds, more than 0")
        if self.tries < 1:
            raise PlanError(f"its tries is {self.tries}: give at least 1")


@dataclass
class StepReport:
    """How a step went; names and units of ``smolvla_msgs/StepReport``."""

    instruction: str
    tries: int = 0
    verdict: Verdict = Verdict.UNKNOWN
    seen: str = ""
    seconds: float = 0.0


@dataclass(frozen=True)
class PlanOutcome:
    """How a plan ended; names as in the result of ``smolvla_msgs/action/RunPlan``."""

    reason: PlanReason
    message: str


class Arm(Protocol):
    """What moves for a plan.

    Each motion ends with one call of `PlanRunner.on_end`, maybe at once.
    """

    def run(self, step: Step, time_limit: float) -> None:
        """Do what a step says, for at most `time_limit` seconds."""

    def go_home(self) -> None:
        """Go to the home pose."""

    def stop(self) -> None:
        """End the present motion, at once."""


@dataclass
class _Motion:
    """What the arm does.

    Attributes:
        home: whether it is the way home and not a try.
        begun: when [s].
    """

    home: bool
    begun: float


class PlanRunner:
    """Runs steps on an arm.

    Args:
        steps: at least one.
        arm: that does them.

    Attributes:
        index: of the present step.
        reports: one for each step.
        phase: what is being done.
        question: number of what is to be judged; answers to earlier ones are ignored.
        outcome: how the plan ended; None while it runs.

    Raises:
        PlanError: there is no step.
    """

    def __init__(self, steps: Sequence[Step], arm: Arm) -> None:
        if not steps:
            raise PlanError("a plan needs at least one step")
        self.steps = tuple(steps)
        self.index = 0
        self.reports = [StepReport(step.instruction) for step in steps]
        self.phase = Phase.LOADING
        self.question = 0
        self.outcome: PlanOutcome | None = None
        self._arm = arm
        self._motion: _Motion | None = None
        self._left = 0.0  # of the present try [s]
        self._yes = 0  # in a row
        self._paused = False
        self._home_next = False  # whether the arm goes home before the next try
        self._stopped_at = 0.0
        self._ends_with: PlanOutcome | None = None  # once the arm has stopped

    @property
    def step(self) -> Step:
        """The present step, of an ended plan the last one that was begun."""
        return self.steps[self.index]

    @property
    def report(self) -> StepReport:
        """That of the present step."""
        return self.reports[self.index]

    # What happens.

    def begin(self, now: float) -> None:
        """Begin the first step, once; where it was paused or ended meanwhile, it does not move."""
        if self.outcome is None:
            self._begin_try(now)

    def on_verdict(self, question: int, verdict: Verdict, seen: str, now: float) -> None:
        """Take an answer of the judge.

        Args:
            question: what it was asked about, the value of `question` then.
            verdict: what it says.
            seen: what it sees, for people.
            now: the time.
        """
        if self.phase != Phase.RUNNING or question != self.question or self.outcome is not None:
            return
        self.report.verdict, self.report.seen = verdict, seen
        self._yes = self._yes + 1 if verdict == Verdict.YES else 0
        if self._yes >= self.step.in_a_row:
            self._stop(now)

    def on_end(self, reason: Reason, message: str, now: float) -> None:
        """Take how the motion of the arm ended.

        Args:
            reason: SUCCEEDED: the step is done, or the arm is at home.
            message: the reason in words.
            now: the time.
        """
        if self.outcome is not None or self._motion is None:
            return
        motion, stopping = self._motion, self.phase == Phase.STOPPING
        self._motion = None
        if not motion.home and not stopping:
            self._count(motion, now)
        if self._ends_with is not None:
            self.outcome = self._ends_with
        elif reason == Reason.PREEMPTED:
            self._finish(PlanReason.PREEMPTED, message)
        elif motion.home:
            if reason == Reason.SUCCEEDED:
                self._home_next = False
                self._begin_try(now)
            elif stopping and reason == Reason.CANCELED:
                self._go_on(now)
            else:
                self._finish(PlanReason.FAULT, f"the arm cannot go home: {message}")
        elif reason == Reason.SUCCEEDED or (self._is_done() and reason != Reason.FAULT):
            self.report.verdict = Verdict.YES
            self.report.seen = self.report.seen or message
            self._next_step(now)
        elif reason == Reason.TIME_LIMIT or (stopping and reason == Reason.CANCELED):
            if self._left <= 0 or reason == Reason.TIME_LIMIT:
                self._not_done(now)
            else:
                self._go_on(now)
        else:
            self._finish(PlanReason.FAULT, f"{self._where()}: {message}")

    def update(self, now: float) -> None:
        """End what takes too long; to be called in each cycle."""
        if self.outcome is not None or self._motion is None:
            return
        taken = now - self._motion.begun
        if self.phase == Phase.STOPPING:
            if now - self._stopped_at >= STOP_TIMEOUT:
                self.outcome = self._ends_with or PlanOutcome(
                    PlanReason.FAULT,
                    f"{self._where()}: the executor has not confirmed within {STOP_TIMEOUT:g} s "
                    "that the arm is stopped: does it run?",
                )
        elif self._motion.home and taken >= HOME_TIMEOUT:
            self._end(PlanReason.FAULT, f"the arm was not at home within {HOME_TIMEOUT:g} s", now)
        elif not self._motion.home and taken >= self._left:
            self._stop(now)

    # Orders.

    def pause(self, now: float) -> str:
        """Let the arm hold until `resume`. Returns a message for the caller."""
        if self._paused:
            return "was paused already"
        self._paused = True
        if self.outcome is None and self.phase in (Phase.RUNNING, Phase.HOMING):
            self._stop(now)
        return "paused"

    def resume(self, now: float) -> str:
        """Go on after a pause, with the time that was left. Returns a message for the caller."""
        if not self._paused:
            return "was not paused"
        self._paused = False
        if self.outcome is None and self.phase == Phase.PAUSED:
            self._go_on(now)
        return "goes on"

    def cancel(self, now: float) -> None:
        """End the plan for its caller; the arm is told to stop at once."""
        self._end(PlanReason.CANCELED, "canceled", now)

    def abort(self, reason: PlanReason, message: str, now: float) -> None:
        """End the plan for another reason, in the same way."""
        self._end(reason, message, now)

    # How it goes on.

    def _begin_try(self, now: float) -> None:
        self._left = self.step.time_limit
        self.report.tries += 1
        self._go_on(now)

    def _go_on(self, now: float) -> None:
        """Begin the next motion, or wait for the end of the pause."""
        if self._paused:
            self.phase = Phase.PAUSED
            return
        self._motion = _Motion(self._home_next, now)
        self._yes = 0
        self.question += 1
        if self._home_next:
            self.phase = Phase.HOMING
            self._arm.go_home()
            return
        self.phase = Phase.RUNNING
        self.report.verdict, self.report.seen = Verdict.UNKNOWN, ""
        self._arm.run(self.step, self._left)

    def _next_step(self, now: float) -> None:
        if self.index + 1 == len(self.steps):
            self._finish(PlanReason.SUCCEEDED, f"all {len(self.steps)} steps are done")
            return
        self.index += 1
        self._begin_try(now)

    def _not_done(self, now: float) -> None:
        """Try the step again from home, or give up."""
        step, report = self.step, self.report
        if report.tries < step.tries:
            self._home_next = True
            self._go_on(now)
            return
        said = f"; the judge said last: {report.seen}" if report.seen else ""
        if report.verdict == Verdict.UNKNOWN and not said:
            said = "; nobody has judged it"
            if step.judge == TOPIC:
                said = "; no true came on the success topic of the executor"
        times = "1 try" if step.tries == 1 else f"{step.tries} tries"
        self._finish(
            PlanReason.NOT_DONE,
            f"{self._where()} was not done in {times} of {step.time_limit:g} s{said}",
        )

    def _is_done(self) -> bool:
        return self._yes >= self.step.in_a_row

    def _stop(self, now: float) -> None:
        """Have the present motion ended; what follows is decided when it has."""
        assert self._motion is not None
        if self.phase == Phase.RUNNING:
            self._count(self._motion, now)
        self.phase, self._stopped_at = Phase.STOPPING, now
        self._arm.stop()

    def _count(self, motion: _Motion, now: float) -> None:
        """Take note of the time that a try has taken."""
        taken = now - motion.begun
        self.report.seconds += taken
        self._left -= taken

    def _end(self, reason: PlanReason, message: str, now: float) -> None:
        if self.outcome is not None:
            return
        self._ends_with = PlanOutcome(reason, message)
        if self._motion is None:
            self.outcome = self._ends_with
        elif self.phase != Phase.STOPPING:
            self._stop(now)

    def _finish(self, reason: PlanReason, message: str) -> None:
        self.outcome = PlanOutcome(reason, message)

    def _where(self) -> str:
        return f"step {self.index + 1} of {len(self.steps)}, '{self.step.instruction}',"
