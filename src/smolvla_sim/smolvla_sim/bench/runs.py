# SPDX-License-Identifier: Apache-2.0
"""What is measured: the cells of the table, and the two measurements of each.

A cell is a way to execute chunks at a delay of the policy; measured are a single task, and a
minute of one task after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from smolvla_sim.play.loop import DONE, NO_APPROACH, EpisodeLoop, Execution, Observer
from smolvla_sim.play.measures import outcome
from smolvla_sim.play.policies import load_backend
from smolvla_sim.settings import AUTO, BLENDS, CHUNKINGS, BenchSettings
from smolvla_sim.world.simulation import Simulation, restock_rng
from smolvla_sim.world.tasks import task_sequence

EPISODE = "episode"
MINUTE = "minute"
MEASUREMENTS = (EPISODE, MINUTE)

THRESHOLDS = (0.3, 0.5, 0.7, 0.9)
DELAYS = (0, 100, 300, 600)
CLAIM_DELAY = 300
"""The delay [ms] at which synchronous and asynchronous execution are judged."""
USUAL_THRESHOLD = 0.7
"""The SmolVLA paper's g."""
BLENDED = Execution(USUAL_THRESHOLD, "weighted")
"""As in the paper and LeRobot."""
USUAL = Execution(real_time_chunking="auto")
"""As `executor_node` and `policy_node` do it by themselves."""


@dataclass(frozen=True)
class Cell:
    """An execution at a delay.

    Attributes:
        execution: how chunks are executed.
        delay_ms: simulated time from an observation to its chunk [ms].
    """

    execution: Execution
    delay_ms: int

    @property
    def key(self) -> dict[str, Any]:
        """Plain data that identifies it."""
        return {**asdict(self.execution), "delay_ms": self.delay_ms}


def executions(
    n_action_steps: int,
    chunk_size: int,
    thresholds: Sequence[float] = THRESHOLDS,
    blends: Sequence[str] = BLENDS,
) -> tuple[Execution, ...]:
    """Return what is compared: a part of all combinations, as time is not for free.

    Synchronous with `n_action_steps` and with the whole chunk, both without an approach after
    a hold, which would slow down what others do not have; every threshold with one way of
    blending (weighted, or the first of `blends`) and with real-time chunking; and every way of
    `blends` with one threshold (0.7, or the first); `auto` has its own. All go on in a chunk by pose, as
    `executor_node` does; one goes on by tick for comparison.
    """
    thresholds = tuple(dict.fromkeys(thresholds))
    sync = Execution(chunk_size_threshold=0.0, resume_jump=NO_APPROACH)
    found = [replace(sync, actions_per_chunk=n_action_steps)]
    if n_action_steps < chunk_size:
        found.append(sync)
    if thresholds and blends:
        one = USUAL_THRESHOLD if USUAL_THRESHOLD in thresholds else thresholds[0]
        one_way = "weighted" if "weighted" in blends else blends[0]
        ways = dict.fromkeys((one_way, *blends))
        found += [
            _asynchronous(threshold, name)
            for name in ways
            for threshold in (thresholds if name in (one_way, *CHUNKINGS) else (one,))
        ]
        if one_way not in (*CHUNKINGS, AUTO):
            found.append(replace(_asynchronous(one, one_way), alignment="tick"))
    return tuple(dict.fromkeys(found))


def _asynchronous(threshold: float, blend: str) -> Execution:
    if blend == AUTO:
        return USUAL
    if blend in CHUNKINGS:
        return Execution(threshold, "latest", real_time_chunking=blend)
    return Execution(threshold, blend)


def cells(compared: Sequence[Execution], delays_ms: Sequence[int]) -> tuple[Cell, ...]:
    """Return every execution at every delay, delays slowest."""
    return tuple(
        Cell(execution, delay) for delay in dict.fromkeys(delays_ms) for execution in compared
    )


@dataclass(frozen=True)
class Job:
    """One run: a cell, one of `MEASUREMENTS` and a seed."""

    cell: Cell
    measurement: str
    seed: int

    @property
    def key(self) -> dict[str, Any]:
        """Plain data that identifies it."""
        return {"cell": self.cell.key, "measurement": self.measurement, "seed": self.seed}


class BenchPlayer:
    """Does jobs, each from its own content alone, by `completed` settings.

    Raises:
        ValueError: policy, task or rate do not fit.
        smolvla_sim.world.rendering.RenderingError: cameras are needed and no OpenGL works.
    """

    def __init__(self, settings: BenchSettings) -> None:
        self._settings = settings
        self._simulation = Simulation(settings.model, variation=settings.variation)
        self._observer = Observer(self._simulation, load_backend(settings), settings.size)

    def __call__(self, job: Job) -> dict[str, Any]:
        """Return the result of a job as plain data."""
        settings, simulation = self._settings, self._simulation
        tasks = task_sequence(settings.asked, job.seed)
        execution = job.cell.execution
        simulation.reset(job.seed)
        loop = EpisodeLoop(
            self._observer,
            execution.executor(settings.rate, settings.model),
            # Processes and a network lie between: an answer comes with the next cycle at best.
            delay=max(job.cell.delay_ms / 1e3, 1.0 / settings.rate),
            delay_spread=settings.delay_spread,
            lost=settings.lost,
            seed=job.seed,
            real_time_chunking=execution.real_time_chunking,
        )
        # Real nodes do not know either that a task is lost: nothing is given up.
        if job.measurement == EPISODE:
            simulation.set_task(next(tasks).sentence)
            ended = loop.play(settings.limit, give_up=False)
            score = simulation.score()
            result = {
                "task": simulation.task.sentence,
                "success": ended == DONE,
                "score": score,
                "seconds": loop.now,
                "outcome": outcome(simulation.task, score, simulation.progress),
            }
        else:
            done, failed = loop.play_all(
                tasks, settings.minute, restock_rng(job.seed), settings.limit, give_up=False
            )
            result = {"cubes": len(done), "failed": failed, "seconds": done}
        return {**result, **loop.trace.measures(loop.cycles_per_action)}
