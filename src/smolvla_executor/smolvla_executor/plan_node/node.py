# SPDX-License-Identifier: Apache-2.0
"""`plan_node`: runs a plan, sentences one after the other, through the executor's RunTask."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

from rclpy.action.server import ActionServer, CancelResponse, GoalResponse
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.task import Future
from smolvla_core.client import DISCOVERY_TIMEOUT
from smolvla_core.instruction import quoted
from smolvla_core.judge import TOPIC, Choice, Judge
from smolvla_core.node_settings import PlanSettings
from smolvla_core.ros.managed_node import ManagedNode
from smolvla_core.ros.run import run
from smolvla_core.ros.sensors import SensorIntake
from smolvla_core.settings import settings_of
from std_srvs.srv import Trigger

from smolvla_executor.core.plan import (
    Phase,
    PlanError,
    PlanOutcome,
    PlanReason,
    PlanRunner,
    Step,
)
from smolvla_executor.core.task import Reason
from smolvla_executor.plan_node.arm import RemoteArm
from smolvla_executor.plan_node.judging import Images, Judging
from smolvla_msgs.action import RunPlan
from smolvla_msgs.msg import StepReport

CYCLE = 0.05
"""How often time limits are looked at, and a judge's answers [s]."""

_REPLACED = "replaced by a newer plan"


class _Run:
    """A goal.

    Attributes:
        handle: of the action server.
        runner: that runs its plan.
        judging: its judges; None where one of them cannot be.
        began: when it began to load [s].
        ended: with its result.
    """

    def __init__(self, handle: Any, runner: PlanRunner, judging: Judging | None) -> None:
        self.handle = handle
        self.runner = runner
        self.judging = judging
        self.began = time.monotonic()
        self.ended: Future[PlanOutcome] = Future()
        self.asked_at = 0.0
        self.logged = (-1, 0)


class PlanNode(ManagedNode):
    """Wires the action ``smolvla/run_plan`` to a `PlanRunner`.

    Raises:
        ValueError: a parameter is none of its choices; the text names it.
    """

    def __init__(self, **node_options: Any) -> None:
        # First what `destroy_node` needs.
        self._server: Any = None
        self._arm: RemoteArm | None = None
        self._run: _Run | None = None
        self._next: _Run | None = None  # replaces the running one once that has stopped
        self._goals: dict[bytes, _Run] = {}  # whose callers have not got the result yet
        self._intake: SensorIntake | None = None
        self._judges: dict[Choice, Judge] = {}  # a model is loaded once for many plans
        super().__init__("plan_node", PlanSettings, **node_options)
        self._settings = PlanSettings()
        self._feedback_due = 0.0
        self._arm = RemoteArm(self, self._on_arm)
        self._server = ActionServer(
            self,
            RunPlan,
            "smolvla/run_plan",
            execute_callback=self._execute,
            goal_callback=self._on_goal,
            handle_accepted_callback=self._on_accepted,
            cancel_callback=self._on_cancel,
        )
        self._serve("~/pause", PlanRunner.pause)
        self._serve("~/resume", PlanRunner.resume)
        # Steady: simulated time may stand still.
        self.create_timer(CYCLE, self._cycle, clock=Clock(clock_type=ClockType.STEADY_TIME))

    # What the base calls in the transitions.

    def configure(self, settings: PlanSettings) -> None:
        """Take the parameters."""
        self._settings = settings

    def tune(self, settings: PlanSettings, names: set[str]) -> None:
        """Go by new settings; a running plan keeps its judges."""
        self._settings = settings
        if self._intake is not None:
            self._intake.reconfigure(settings)

    def deactivate(self) -> None:
        """Stop the arm and end the plan."""
        self._abort(PlanReason.FAULT, f"{self.get_name()} was deactivated")

    def release(self) -> None:
        """Forget the judges, and with them their models."""
        self._judges = {}

    def finish(self) -> bool:
        """Stop the arm and end the plan with a message for its caller."""
        self._ending = True
        self._abort(PlanReason.FAULT, f"{self.get_name()} was ended")
        return bool(self._goals)

    def destroy_node(self) -> None:
        """End the action, then the node."""
        for one in self._goals.values():
            self._deliver(one, PlanOutcome(PlanReason.FAULT, "the node ended"))
        if self._server is not None:
            self._server.destroy()
        if self._arm is not None:
            self._arm.close()
        super().destroy_node()

    # The action.

    def _on_goal(self, request: RunPlan.Goal) -> GoalResponse:
        problem = self.hint
        if not problem:
            try:
                PlanRunner(self._steps(request), self._arm)  # type: ignore[arg-type]
            except PlanError as error:
                problem = str(error)
        if problem:
            self.get_logger().warning(f"plan rejected: {problem}")
            return GoalResponse.REJECT
        return GoalResponse.ACCEPT

    def _steps(self, request: RunPlan.Goal) -> list[Step]:
        """Return the steps of a goal, each with its judge.

        Raises:
            PlanError: one makes no sense.
        """
        steps = []
        for number, message in enumerate(request.steps, 1):
            name, options = message.judge, tuple(message.judge_options)
            if not name:
                name, options = self._settings.judge, options or self._settings.judge_options
            try:
                steps.append(
                    Step(message.instruction, message.time_limit, message.tries, name, options)
                )
            except PlanError as error:
                raise PlanError(f"step {number}: {error}") from error
        return steps

    def _on_accepted(self, handle: Any) -> None:
        assert self._arm is not None
        steps = self._steps(handle.request)
        judging, problem = None, ""
        try:
            choices = [Choice(step.judge, step.judge_options) for step in steps]
            judging = Judging(choices, self._judges, self._images)
            steps = [
                step if judge is None else replace(step, in_a_row=judge.in_a_row)
                for step, judge in zip(steps, judging.settings, strict=True)
            ]
        except ValueError as error:
            problem = str(error)
        started = _Run(handle, PlanRunner(steps, self._arm), judging)
        self.get_logger().info(f"plan: {'; '.join(quoted(step.instruction) for step in steps)}")
        now = time.monotonic()
        if problem:
            started.runner.abort(PlanReason.FAULT, problem, now)
        if self._next is not None:
            self._deliver(self._next, PlanOutcome(PlanReason.PREEMPTED, _REPLACED))
        self._next = self._goals[bytes(handle.goal_id.uuid)] = started
        if self._run is not None:
            self._run.runner.abort(PlanReason.PREEMPTED, _REPLACED, now)
        handle.execute()
        self._cycle()

    def _on_cancel(self, handle: Any) -> CancelResponse:
        if (canceled := self._goals.get(bytes(handle.goal_id.uuid))) is not None:
            canceled.runner.cancel(time.monotonic())
        return CancelResponse.ACCEPT

    async def _execute(self, handle: Any) -> RunPlan.Result:
        goal_id = bytes(handle.goal_id.uuid)
        ours = self._goals[goal_id]
        outcome = await ours.ended
        del self._goals[goal_id]
        assert outcome is not None
        self.get_logger().info(f"plan ended: {outcome.message}")
        if outcome.reason == PlanReason.CANCELED:
            handle.canceled()
        elif outcome.reason == PlanReason.SUCCEEDED:
            handle.succeed()
        else:
            handle.abort()
        return RunPlan.Result(
            reason=int(outcome.reason),
            message=outcome.message,
            steps=[
                StepReport(
                    instruction=report.instruction,
                    tries=report.tries,
                    verdict=int(report.verdict),
                    seen=report.seen,
                    seconds=report.seconds,
                )
                for report in ours.runner.reports
            ],
        )

    def _serve(self, name: str, order: Callable[[PlanRunner, float], str]) -> None:
        def answer(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            running = self._next or self._run
            if running is None:
                response.message = "no plan runs"
            else:
                response.message = order(running.runner, time.monotonic())
                response.success = True
            return response

        self.create_service(Trigger, name, answer)

    # The plan.

    def _on_arm(self, reason: Reason, message: str) -> None:
        if self._run is not None:
            self._run.runner.on_end(reason, message, time.monotonic())
            self._cycle()

    def _abort(self, reason: PlanReason, message: str) -> None:
        for one in (self._next, self._run):
            if one is not None:
                one.runner.abort(reason, message, time.monotonic())
        self._cycle()

    def _cycle(self) -> None:
        now = time.monotonic()
        assert self._arm is not None
        if self._next is not None and self._next.runner.outcome is not None:
            waiting, self._next = self._next, None
            self._deliver(waiting, waiting.runner.outcome)
        if self._run is None and self._next is not None:
            self._run, self._next = self._next, None
            self._load(self._run)
        running = self._run
        if running is None:
            return
        self._arm.watch(now)
        if running is not self._run:  # that has ended it
            return
        if running.runner.phase == Phase.LOADING:
            self._begin_when_ready(running, now)
        else:
            self._judge(running, now)
            running.runner.update(now)
        self._report(running, now)
        if running.runner.outcome is not None and running is self._run:
            self._run = None
            self._arm.forget()
            self._unload(running)
            self._deliver(running, running.runner.outcome)
            self._cycle()  # the next plan

    def _load(self, running: _Run) -> None:
        running.began = time.monotonic()
        if running.judging is None or not running.judging.looks:
            return
        settings = self._settings
        cameras = settings.cameras or tuple(camera.name for camera in settings.body.cameras)
        if not cameras:
            running.runner.abort(
                PlanReason.FAULT,
                "a judge looks, but no camera is known: name them in the robot file or in the "
                f"parameter cameras of {self.get_name()}",
                running.began,
            )
            return
        self._intake = SensorIntake(self, cameras, settings.joints, settings)
        running.judging.begin()

    def _unload(self, running: _Run) -> None:
        if running.judging is not None:
            running.judging.close()
            if running.judging.busy:
                # Its thread may hang in one of them for ever.
                self._judges = {}
        intake, self._intake = self._intake, None
        if intake is not None:
            intake.close()

    def _begin_when_ready(self, running: _Run, now: float) -> None:
        assert self._arm is not None
        if running.judging is None:
            return
        if running.judging.problem:
            running.runner.abort(PlanReason.FAULT, running.judging.problem, now)
        elif running.judging.ready and not self._arm.missing:
            running.runner.begin(now)
        elif running.judging.ready and now - running.began > DISCOVERY_TIMEOUT:
            running.runner.abort(PlanReason.FAULT, self._arm.missing, now)

    def _judge(self, running: _Run, now: float) -> None:
        """Take the judge's answers, and ask it again."""
        runner, judging = running.runner, running.judging
        assert judging is not None
        while judging.answers:
            question, opinion = judging.answers.popleft()
            runner.on_verdict(question, opinion.verdict, opinion.seen, now)
        due = now - running.asked_at >= self._settings.judge_period
        tried = runner.phase == Phase.RUNNING and runner.outcome is None
        if due and tried and not judging.busy and runner.step.judge != TOPIC:
            running.asked_at = now
            judging.ask(runner.question, runner.index, runner.step.instruction)

    def _images(self) -> Images:
        intake = self._intake
        if intake is None:
            raise ValueError("the plan has ended")
        return intake.observe("").images

    def _report(self, running: _Run, now: float) -> None:
        runner, report = running.runner, running.runner.report
        if (runner.index, report.tries) != running.logged and report.tries:
            running.logged = runner.index, report.tries
            self.get_logger().info(
                f"step {runner.index + 1} of {len(runner.steps)}, try {report.tries}: "
                f"{quoted(report.instruction)}"
            )
        if now < self._feedback_due or not running.handle.is_active:
            return
        self._feedback_due = now + 1.0 / self._settings.feedback_rate
        running.handle.publish_feedback(
            RunPlan.Feedback(
                step=runner.index,
                attempt=report.tries,
                instruction=report.instruction,
                verdict=int(report.verdict),
                seen=report.seen,
                state=int(runner.phase),
            )
        )

    def _deliver(self, ended: _Run, outcome: PlanOutcome | None) -> None:
        if not ended.ended.done():
            ended.ended.set_result(outcome)  # type: ignore[arg-type]


def main() -> int:
    """Run the node until it is interrupted; 78 when it cannot start."""
    return run("plan_node", PlanNode, settings_of(PlanSettings))


if __name__ == "__main__":
    raise SystemExit(main())
