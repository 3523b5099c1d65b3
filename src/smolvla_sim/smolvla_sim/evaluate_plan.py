# SPDX-License-Identifier: Apache-2.0
"""How well a policy does a plan of several sentences, in the plain simulation.

    smolvla eval-plan --episodes 100 --seed 7000 --judge sim

The plan's rules are those of `plan_node`, the episode loop that of `smolvla eval`, and time is
simulated. The cubes are put away in an order that is drawn from the seed.
"""

from __future__ import annotations

import argparse
import functools
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from smolvla_core.console import beside_json, command_parser, could_not_run
from smolvla_core.judge import TOPIC, Choice, Verdict
from smolvla_core.node_settings import ExecutorSettings
from smolvla_executor.core.executor_types import Source, State
from smolvla_executor.core.plan import (
    Phase,
    PlanReason,
    PlanRunner,
    Step,
    StepReport,
)
from smolvla_executor.core.task import Reason

from smolvla_sim.evaluate import check_writable, success_line, write_results
from smolvla_sim.play import measures
from smolvla_sim.play.loop import EpisodeLoop, Observer, direct
from smolvla_sim.play.policies import completed, load_backend
from smolvla_sim.play.workers import judged
from smolvla_sim.settings import SIM, PlanEvaluationSettings, add_arguments, from_arguments
from smolvla_sim.world.rendering import CameraRenderer, choose_gl
from smolvla_sim.world.simulation import Simulation
from smolvla_sim.world.tasks import Progress, Task, parse_task, tasks_asked

PROG = "smolvla eval-plan"
_INTO_STEP = 5.0
"""The new order comes at most so long after the second step began [s]."""

_CLEAR_AWAY = 6.0
"""How long the arm goes home after the plan, before is looked what is done [s]."""


@dataclass(frozen=True)
class StepResult:
    """One step.

    Attributes:
        instruction: the sentence.
        tries: how often it was tried.
        said: whether the judge said that it is done.
        seconds: of its tries [s].
        wrong_yes: answers yes that ended a try whose task was not done.
        missed: tries that ended by the time limit though the task was done.
        done: whether it is done at the end of the plan.
    """

    instruction: str
    tries: int
    said: bool
    seconds: float
    wrong_yes: int
    missed: int
    done: bool


@dataclass(frozen=True)
class PlanResult:
    """One scene.

    Attributes:
        seed: that it came from.
        seconds: until the end of the plan [s].
        reason: why it ended, by the name in RunPlan.
        message: the reason in words.
        steps: in the order in which they were to be done in the end.
    """

    seed: int
    seconds: float
    reason: str
    message: str
    steps: tuple[StepResult, ...]

    @property
    def success(self) -> bool:
        """Whether the plan ended well, and all that it asked for is done."""
        return self.reason == PlanReason.SUCCEEDED.name and all(step.done for step in self.steps)


@dataclass
class _Count:
    wrong_yes: int = 0
    missed: int = 0


class LoopArm:
    """The arm of an episode loop for a plan; see `smolvla_executor.core.plan.Arm`.

    Attributes:
        runner: to which it tells the ends of its motions.
    """

    runner: PlanRunner

    def __init__(self, loop: EpisodeLoop, simulation: Simulation) -> None:
        self._loop = loop
        self._simulation = simulation
        self._homing = False
        loop.core.stop(loop.now)

    def run(self, step: Step, time_limit: float) -> None:
        """Do what a step says; the simulation judges it from now on."""
        self._simulation.judge_in_place(step.instruction)
        self._loop.instruction = step.instruction
        self._loop.core.start(self._loop.now)

    def go_home(self) -> None:
        """Go to the home pose."""
        self._homing = True
        self._loop.core.go_home(self._loop.now)

    def stop(self) -> None:
        """End the present motion."""
        self._homing = False
        self._loop.core.stop(self._loop.now)
        self.runner.on_end(Reason.CANCELED, "stopped", self._loop.now)

    def watch(self) -> None:
        """Tell that the arm is at home; to be called after each control cycle."""
        core = self._loop.core
        if self._homing and (core.source != Source.HOME or core.state == State.IDLE):
            self._homing = False
            core.stop(self._loop.now)
            self.runner.on_end(Reason.SUCCEEDED, "at home", self._loop.now)


class PlanPlayer:
    """Plays the plan of a seed, from the seed alone, by `completed` settings.

    Args:
        settings: how to play.

    Raises:
        ValueError: policy, judge, task or rate do not fit.
        smolvla_sim.world.rendering.RenderingError: cameras are needed and no OpenGL works.
    """

    def __init__(self, settings: PlanEvaluationSettings) -> None:
        self._settings = settings
        self._simulation = simulation = Simulation(settings.model, variation=settings.variation)
        self._observer = Observer(simulation, load_backend(settings), settings.size)
        at_once, usual = (
            direct(simulation, settings.fps, settings.n_action_steps),
            ExecutorSettings(),
        )
        # As on a real arm: slowly to a step's first action, and home.
        self._executor = replace(
            at_once,
            approach_speed=usual.approach_speed,
            approach_duration=usual.approach_duration,
        ).with_body(at_once.body)
        self._judge, self._in_a_row = None, 1
        if settings.judge != SIM:
            maker = Choice(settings.judge, settings.judge_options).maker()
            if maker is None:
                raise ValueError(f"judge '{TOPIC}' is a topic of ROS; here it is '{SIM}'")
            make, judging = maker
            self._judge, self._in_a_row = make(), judging.in_a_row
            self._eyes = CameraRenderer(simulation.model, settings.judge_cameras, settings.size)

    def __call__(self, seed: int) -> PlanResult:
        """Play."""
        settings, simulation = self._settings, self._simulation
        rng = np.random.default_rng([seed, 7])
        variants = tasks_asked(settings.asked)
        tasks = [variants[index] for index in rng.permutation(len(variants))]
        simulation.begin(tasks[0], seed, rng, 0.0)
        self._loop = loop = EpisodeLoop(self._observer, self._executor, seed=seed)
        self._arm = LoopArm(loop, simulation)
        self._counts: dict[str, _Count] = {task.sentence: _Count() for task in tasks}
        steps = [
            Step(task.sentence, settings.limit, settings.tries, in_a_row=self._in_a_row)
            for task in tasks
        ]
        reports: list[StepReport] = []
        new_order = rng.uniform(0.0, _INTO_STEP) if settings.reorder else np.inf
        runner = self._start(steps)
        begun = np.inf  # the second step
        while runner.outcome is None:
            self._cycle(runner)
            if runner.index == 1 and begun == np.inf:
                begun = loop.now
            if runner.index == 1 and loop.now - begun >= new_order and runner.outcome is None:
                new_order = np.inf
                runner.abort(PlanReason.PREEMPTED, "replaced by a newer plan", loop.now)
                reports, steps = runner.reports[:1], steps[:0:-1]
                runner = self._start(steps)
        seconds = round(loop.now, 3)
        self._clear_away()
        del self._arm.runner  # a cycle would keep OpenGL until Python ends
        return PlanResult(
            seed=seed,
            seconds=seconds,
            reason=runner.outcome.reason.name,
            message=runner.outcome.message,
            steps=tuple(self._result(report) for report in (*reports, *runner.reports)),
        )

    def _start(self, steps: Sequence[Step]) -> PlanRunner:
        self._arm.runner = runner = PlanRunner(steps, self._arm)
        self._asked = -np.inf
        runner.begin(self._loop.now)
        return runner

    def _cycle(self, runner: PlanRunner) -> None:
        loop = self._loop
        loop.step()
        self._arm.watch()
        if runner.phase != Phase.RUNNING or runner.outcome is not None:
            return
        # Both before the answer, which may begin the next step.
        done, count = self._simulation.score() >= 1.0, self._counts[runner.step.instruction]
        question, report = runner.question, runner.report
        self._ask(runner, done)
        if runner.question == question and runner.outcome is None:
            runner.update(loop.now)
            over = runner.question != question or runner.outcome is not None
            count.missed += over and done
        elif report.verdict == Verdict.YES and not done:
            count.wrong_yes += 1

    def _clear_away(self) -> None:
        """Bring the arm home, with what it still holds, and let everything come to rest."""
        loop = self._loop
        loop.instruction = ""
        loop.core.go_home(loop.now)
        end = loop.now + _CLEAR_AWAY
        while loop.now < end:
            loop.step()

    def _ask(self, runner: PlanRunner, done: bool) -> None:
        now = self._loop.now
        if self._judge is None:
            answer = Verdict.YES if done else Verdict.NO
            runner.on_verdict(runner.question, answer, "", now)
        elif now - self._asked >= self._settings.judge_period - 1e-9:
            self._asked = now
            images = self._eyes.render(self._simulation.data)
            try:
                opinion = self._judge.judge(runner.step.instruction, images)
            except ValueError as error:
                runner.on_verdict(runner.question, Verdict.UNKNOWN, str(error), now)
                return
            runner.on_verdict(runner.question, opinion.verdict, opinion.seen, now)

    def _result(self, report: StepReport) -> StepResult:
        count = self._counts[report.instruction]
        return StepResult(
            instruction=report.instruction,
            tries=report.tries,
            said=report.verdict == Verdict.YES,
            seconds=round(report.seconds, 3),
            wrong_yes=count.wrong_yes,
            missed=count.missed,
            done=self._is_done(parse_task(report.instruction)),
        )

    def _is_done(self, task: Task) -> bool:
        """Whether a task of before is still done: that its cube was lifted is known."""
        objects = self._simulation.objects()
        return task.grade(objects, Progress(lifted=set(task.movable))) >= 1.0


def evaluate(settings: PlanEvaluationSettings) -> list[PlanResult]:
    """Play the scenes of `completed` settings; return them in the order of their seeds.

    Raises:
        ValueError: policy, judge, task or rate do not fit.
        smolvla_sim.world.rendering.RenderingError: cameras are needed and no OpenGL works.
        RuntimeError: a worker died.
    """
    seeds = range(settings.seed, settings.seed + settings.episodes)
    return judged(functools.partial(PlanPlayer, settings), seeds, settings.workers, "plan")


def summary(results: Sequence[PlanResult]) -> dict[str, Any]:
    """Return the numbers of at least one scene."""
    successes = [result for result in results if result.success]
    steps = [step for result in results for step in result.steps if step.tries]
    return {
        "episodes": len(results),
        "successes": len(successes),
        "interval": measures.clopper_pearson(len(successes), len(results)),
        "reasons": dict(Counter(result.reason for result in results)),
        "steps": len(steps),
        "steps_done": sum(step.done for step in steps),
        "tries": sum(step.tries for step in steps),
        "wrong_yes": sum(step.wrong_yes for step in steps),
        "missed": sum(step.missed for step in steps),
        "seconds_per_success": measures.mean([one.seconds for one in successes])
        if successes
        else None,
    }


def report(results: Sequence[PlanResult]) -> str:
    """Return the results as text, the success in its last line."""
    numbers = summary(results)
    lines = [f"  seed {one.seed}: {_failure(one)}" for one in results if not one.success]
    if lines:
        lines.insert(0, "failures")
    lines.append(
        f"steps done {numbers['steps_done']}/{numbers['steps']}, tries {numbers['tries']}"
    )
    lines.append(
        f"wrong verdicts {numbers['wrong_yes'] + numbers['missed']}: yes before it was done "
        f"{numbers['wrong_yes']}, no yes although it was done {numbers['missed']}"
    )
    if successes := numbers["seconds_per_success"]:
        lines.append(f"time per success {successes:.1f} s")
    lines.append(success_line(numbers["successes"], numbers["episodes"]))
    return "\n".join(lines)


def _failure(result: PlanResult) -> str:
    if result.reason != PlanReason.SUCCEEDED.name:
        return result.message
    undone = [f"'{step.instruction}'" for step in result.steps if not step.done]
    return f"not done at the end: {', '.join(undone)}"


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        PROG,
        "Measure how well a policy does a plan, a sentence for each color, in the simulation, "
        "without ROS.",
        f"{PROG} --episodes 20",
    )
    add_arguments(made, PlanEvaluationSettings)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    arguments = parser().parse_args(argv)
    try:
        settings, _ = completed(from_arguments(PlanEvaluationSettings, arguments))
        if settings.json:
            check_writable(settings.json)
        if settings.policy != "scripted" or settings.judge != SIM:
            # Once here instead of in every worker.
            choose_gl()
        with beside_json(settings.json):
            order = ", the order changed in the middle" if settings.reorder else ""
            print(
                f"{settings.player}, a plan of {settings.asked}{order}, {settings.episodes} "
                f"scenes from seed {settings.seed}, judge {settings.judge}, at most "
                f"{settings.tries} tries of {settings.limit:g} s each",
                flush=True,
            )
            results = evaluate(settings)
            print(report(results))
        if settings.json:
            write_results(settings.json, settings, summary(results), results)
    except (ValueError, OSError, RuntimeError) as error:  # RenderingError is a RuntimeError
        return could_not_run(PROG, error)
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
