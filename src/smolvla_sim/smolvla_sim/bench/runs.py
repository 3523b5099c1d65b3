# SPDX-License-Identifier: Apache-2.0
"""What is measured: the cells of the table, and the two measurements of each.

A cell is a way to execute chunks at a delay of the policy; measured are a single task, and a
minute of one task after another.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from smolvla_policy.backends.smolvla_settings import JACOBIAN

from smolvla_sim.play.loop import DONE, NO_APPROACH, USUAL, EpisodeLoop, Execution, Observer
from smolvla_sim.play.measures import outcome
from smolvla_sim.play.policies import load_backend
from smolvla_sim.settings import AUTO, CHUNKINGS, BenchSettings
from smolvla_sim.world.simulation import Simulation, restock_rng
from smolvla_sim.world.tasks import task_sequence

EPISODE = "episode"
MINUTE = "minute"

DELAYS = (0, 100, 300, 600, 1000, 1500)
JITTERING = (300,)
CLAIM_DELAY = 300
"""The delay [ms] at which synchronous and asynchronous execution are judged."""
THRESHOLD = 0.7
"""The SmolVLA paper's g."""
NAIVE = Execution(THRESHOLD, "latest", alignment="tick")
BLENDED = Execution(THRESHOLD, "weighted")
"""As in the paper and LeRobot."""
COMPARED = ("latest", "weighted", *(one for one in CHUNKINGS if one != JACOBIAN), AUTO)
"""Whatever the engine; the Jacobian is compared if it is named."""


def measurements(minute: float) -> tuple[str, ...]:
    """Return what is measured in each cell; `minute`: length of continuous operation [s]."""
    return (EPISODE, MINUTE) if minute else (EPISODE,)


@dataclass(frozen=True)
class Cell:
    """An execution at a delay.

    Attributes:
        execution: how chunks are executed.
        delay_ms: simulated time from an observation to its chunk [ms].
        jitter: it is the median of delays that vary, and some answers never come.
    """

    execution: Execution
    delay_ms: int
    jitter: bool = False

    @property
    def key(self) -> dict[str, Any]:
        """Plain data that identifies it."""
        return {**asdict(self.execution), "delay_ms": self.delay_ms, "jitter": self.jitter}

    @property
    def delay(self) -> str:
        """For people."""
        return f"{self.delay_ms} ms" + (", jitter" if self.jitter else "")


def executions(
    n_action_steps: int,
    chunk_size: int,
    thresholds: Sequence[float] = (THRESHOLD,),
    blends: Sequence[str] = COMPARED,
) -> tuple[Execution, ...]:
    """Return what is compared.

    Synchronous with `n_action_steps` and with the whole chunk, both without an approach after
    a hold, which would slow down what others do not have; and every way to blend with every
    threshold, but `auto`, which chooses its own. `latest` is naive: it goes on in a chunk by tick,
    the others by pose.
    """
    sync = Execution(chunk_size_threshold=0.0, resume_jump=NO_APPROACH)
    found = [replace(sync, actions_per_chunk=n_action_steps % chunk_size), sync]
    found += [_asynchronous(threshold, blend) for blend in blends for threshold in thresholds]
    return tuple(dict.fromkeys(found))


def _asynchronous(threshold: float, blend: str) -> Execution:
    if blend == AUTO:
        return USUAL
    if blend in CHUNKINGS:
        return Execution(threshold, "latest", real_time_chunking=blend)
    return Execution(threshold, blend, alignment="tick" if blend == "latest" else "pose")


def cells(
    compared: Sequence[Execution], delays_ms: Sequence[int], jittering_ms: Sequence[int] = ()
) -> tuple[Cell, ...]:
    """Return every execution at every delay, delays slowest."""
    delays = [*((delay, False) for delay in delays_ms), *((delay, True) for delay in jittering_ms)]
    return tuple(
        Cell(execution, *delay) for delay in dict.fromkeys(delays) for execution in compared
    )


@dataclass(frozen=True)
class Job:
    """One run: a cell, one of `measurements` and a seed."""

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
        # Some engines do not compute it, which is to be known before the first run.
        own = {"real_time_chunking": JACOBIAN} if JACOBIAN in settings.aggregate else {}
        policy = load_backend(replace(settings, backend={**settings.backend, **own}))
        self._observer = Observer(self._simulation, policy, settings.size)

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
            delay_spread=settings.delay_spread if job.cell.jitter else 0.0,
            lost=settings.lost if job.cell.jitter else 0.0,
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
