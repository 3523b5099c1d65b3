# SPDX-License-Identifier: Apache-2.0
"""The two measurements of a cell: a single task, and a minute of one task after another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from smolvla_sim.bench.cells import Cell
from smolvla_sim.play.assignments import Assignment
from smolvla_sim.play.control_loop import ControlLoop
from smolvla_sim.play.observer import Observer, Size
from smolvla_sim.play.outcomes import outcome
from smolvla_sim.play.policies import PolicySpec, load_policy
from smolvla_sim.world.restock import restock, restock_rng
from smolvla_sim.world.simulation import Simulation

EPISODE = "episode"
MINUTE = "minute"
MEASUREMENTS = (EPISODE, MINUTE)


@dataclass(frozen=True)
class BenchOptions:
    """What all cells have in common.

    Attributes:
        policy: who plays.
        assignment: which instruction a seed gets.
        seconds: time limit of a task [s].
        minute: length of continuous operation [s].
        rate: of the control loop [Hz].
        size: of the pictures: width and height in pixels.
        variation: draw light, colors and camera mounts from the seed too.
    """

    policy: PolicySpec
    assignment: Assignment
    seconds: float
    minute: float = 60.0
    rate: float = 30.0
    size: Size = (640, 480)
    variation: bool = True


@dataclass(frozen=True)
class Job:
    """One run: a cell, one of `MEASUREMENTS` and a seed."""

    cell: Cell
    measurement: str
    seed: int


class BenchPlayer:
    """Does jobs, each from its own content alone.

    Args:
        options: what all jobs have in common.

    Raises:
        ValueError: policy, task or rate do not fit.
        smolvla_sim.world.rendering.RenderingError: cameras are needed and no OpenGL works.
    """

    def __init__(self, options: BenchOptions) -> None:
        self._options = options
        self._policy = load_policy(options.policy)
        self._simulation = Simulation(options.policy.model, variation=options.variation)
        self._observer = Observer(self._simulation, self._policy.backend, options.size)

    def __call__(self, job: Job) -> dict[str, Any]:
        """Return the figures of a job as plain data."""
        return self._episode(job) if job.measurement == EPISODE else self._minute(job)

    def _start(self, job: Job) -> ControlLoop:
        self._simulation.reset(job.seed)
        self._policy.start_episode(job.seed)
        return ControlLoop(
            self._simulation,
            self._observer,
            self._policy,
            job.cell.execution,
            self._options.rate,
            job.cell.delay_ms / 1e3,
        )

    def _episode(self, job: Job) -> dict[str, Any]:
        task = self._options.assignment.task(job.seed)
        self._simulation.set_task(task.sentence)
        loop = self._start(job)
        loop.instruction = task.sentence
        score = 0.0
        while loop.now < self._options.seconds and score < 1.0:
            loop.step()
            score = self._simulation.score()
        return {
            "task": task.sentence,
            "success": score >= 1.0,
            "score": score,
            "seconds": loop.now,
            "outcome": outcome(task, score, self._simulation.progress),
            **loop.trace.measures(loop.cycles_per_action),
        }

    def _minute(self, job: Job) -> dict[str, Any]:
        tasks = self._options.assignment.sequence(job.seed)
        rng = restock_rng(job.seed)
        self._simulation.set_task(next(tasks).sentence)
        loop = self._start(job)
        loop.instruction = self._simulation.task.sentence
        begun, done, failed = 0.0, [], 0
        while loop.now < self._options.minute:
            loop.step()
            success = self._simulation.score() >= 1.0
            if not success and loop.now - begun < self._options.seconds:
                continue
            if success:
                done.append(loop.now - begun)
            else:
                failed += 1
            loop.instruction = next(tasks).sentence
            self._simulation.set_task(loop.instruction)
            restock(self._simulation, rng)
            begun = loop.now
        return {
            "cubes": len(done),
            "failed": failed,
            "seconds": [round(seconds, 6) for seconds in done],
            **loop.trace.measures(loop.cycles_per_action),
        }
