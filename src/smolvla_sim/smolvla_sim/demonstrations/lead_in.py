# SPDX-License-Identifier: Apache-2.0
"""A checkpoint drives first, then the expert takes over: demonstrations of how to recover.

The expert never misses a cube, so its own demonstrations do not show what to do beside one that
was missed, or above the bowl when the next instruction comes. A policy that got there by a small
error is lost. Here the states come from a policy and the actions from the expert (human-gated
DAgger, Kelly et al. 2019, arXiv 1810.02890, with a clock for the human).
"""

from __future__ import annotations

from collections.abc import Iterator

from numpy.random import Generator

from smolvla_sim.play.control_loop import ControlLoop
from smolvla_sim.play.execution import NO_APPROACH, USUAL_G, Execution
from smolvla_sim.play.observer import Observer, Size
from smolvla_sim.play.policies import PolicySpec, load_policy
from smolvla_sim.world.restock import restock
from smolvla_sim.world.simulation import Simulation
from smolvla_sim.world.tasks import Task

LONGEST = 14.0
"""The longest time that the checkpoint drives [s]; the time is uniform up to it."""

_RATE = 30.0
# How chunks are executed while it drives; the expert shall know the troubles of each. The default
# of `executor_node` is there twice, as it is what most use.
_EXECUTIONS = (
    Execution(USUAL_G),
    Execution(USUAL_G),
    Execution(USUAL_G, "latest", real_time_chunking=True),
    Execution(0.0, actions_per_chunk=4, resume_jump=NO_APPROACH),
)
_DELAYS = (0.0, 0.1, 0.3, 0.6)


class LeadIn:
    """Lets a checkpoint drive, one task after another.

    Args:
        checkpoint: folder or hub id.
        simulation: the arm and its scene.
        model: ``so100`` or ``so101``.
        fps: actions per second of the checkpoint.
        size: of the pictures that it is shown: width and height in pixels.

    Raises:
        ValueError: the checkpoint cannot be used.
        smolvla_sim.world.rendering.RenderingError: no OpenGL works.
    """

    def __init__(
        self, checkpoint: str, simulation: Simulation, model: str, fps: float, size: Size
    ) -> None:
        self._simulation = simulation
        self._policy = load_policy(PolicySpec(checkpoint=checkpoint, fps=fps, model=model))
        self._observer = Observer(simulation, self._policy.backend, size)

    def drive(self, tasks: Iterator[Task], seed: int, rng: Generator) -> Task:
        """Drive from the simulation's present state on, for a random time.

        Args:
            tasks: what to do, one after another.
            seed: of the policy's noise.
            rng: draws the time, the delay and how chunks are executed.

        Returns:
            The task that was not done yet; the simulation judges it.
        """
        execution = _EXECUTIONS[int(rng.integers(len(_EXECUTIONS)))]
        delay = float(rng.choice(_DELAYS))
        end = float(rng.uniform(0.0, LONGEST))
        task = next(tasks)
        self._simulation.set_task(task.sentence)
        self._policy.start_episode(seed)
        loop = ControlLoop(
            self._simulation,
            self._observer,
            self._policy,
            execution,
            _RATE,
            delay,
        )
        loop.instruction = task.sentence
        while loop.now < end:
            loop.step()
            if self._simulation.score() >= 1.0 or self._simulation.lost:
                task = next(tasks)
                loop.instruction = task.sentence
                self._simulation.set_task(task.sentence)
                restock(self._simulation, rng)
        return task

    def close(self) -> None:
        """Free policy and renderer."""
        self._observer.close()
        self._policy.backend.close()
