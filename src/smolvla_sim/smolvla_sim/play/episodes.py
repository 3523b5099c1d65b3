# SPDX-License-Identifier: Apache-2.0
"""Synchronous episodes without any delay: observe, think, act, repeat."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from smolvla_core.backend import ChunkRequest
from smolvla_policy.backends.session import answer

from smolvla_sim.play.assignments import Assignment
from smolvla_sim.play.observer import Observer, Size
from smolvla_sim.play.outcomes import outcome
from smolvla_sim.play.policies import PolicySpec, load_policy
from smolvla_sim.world.simulation import Simulation


@dataclass(frozen=True)
class EpisodeOptions:
    """How episodes are played.

    Attributes:
        policy: who plays.
        assignment: which instruction a seed gets.
        n_action_steps: rows executed of each chunk.
        seconds: time limit of the task [s].
        size: of the pictures: width and height in pixels.
        variation: draw light, colors and camera mounts from the seed too.
    """

    policy: PolicySpec
    assignment: Assignment
    n_action_steps: int
    seconds: float
    size: Size = (640, 480)
    variation: bool = True


@dataclass(frozen=True)
class EpisodeResult:
    """One episode.

    Attributes:
        seed: that it came from.
        task: the instruction.
        score: graded success at the end, 0 to 1.
        seconds: until the success, until it was lost, or the time limit [s].
        chunks: how often the policy was asked.
        outcome: one of `outcomes`.
        refusal: the last words with which the policy refused; empty where it never did.
    """

    seed: int
    task: str
    score: float
    seconds: float
    chunks: int
    outcome: str
    refusal: str

    @property
    def success(self) -> bool:
        """Whether the task was done."""
        return self.score >= 1.0


class EpisodePlayer:
    """Plays the episode of a seed, from the seed alone.

    Args:
        options: how.

    Raises:
        ValueError: policy, task or rate do not fit.
        smolvla_sim.world.rendering.RenderingError: cameras are needed and no OpenGL works.
    """

    def __init__(self, options: EpisodeOptions) -> None:
        self._options = options
        self._policy = load_policy(options.policy)
        self._simulation = Simulation(options.policy.model, variation=options.variation)
        self._substeps = substeps(self._simulation, options.policy.fps)
        self._observer = Observer(self._simulation, self._policy.backend, options.size)

    def __call__(self, seed: int) -> EpisodeResult:
        """Play.

        Raises:
            ValueError: the policy refused the very first observation: it does not fit at all.
        """
        options, simulation = self._options, self._simulation
        task = options.assignment.task(seed)
        simulation.set_task(task.sentence)
        simulation.reset(seed)
        self._policy.start_episode(seed)
        ticks = round(options.seconds * options.policy.fps)
        tick = chunks = 0
        refusal = ""
        score = simulation.score()
        while tick < ticks and score < 1.0 and not simulation.lost:
            request = ChunkRequest(chunks + 1, tick, np.empty((0, 6)), 0)
            reply = answer(
                self._policy.backend, request, lambda: self._observer.observe(task.sentence)
            )
            chunks += 1
            if reply.positions is None:
                refusal = reply.error
                if chunks == 1:
                    raise ValueError(refusal)
                # As the executor does, hold, and ask again after a pause.
                simulation.step(self._substeps)
                tick += 1
                continue
            for row in reply.positions[: min(options.n_action_steps, ticks - tick)]:
                simulation.command(row)
                simulation.step(self._substeps)
                tick += 1
                score = simulation.score()
                if score >= 1.0 or simulation.lost:
                    break
        return EpisodeResult(
            seed=seed,
            task=task.sentence,
            score=score,
            seconds=tick / options.policy.fps,
            chunks=chunks,
            outcome=outcome(task, score, simulation.progress),
            refusal=refusal,
        )

    def close(self) -> None:
        """Free policy and renderer."""
        self._observer.close()
        self._policy.backend.close()


def substeps(simulation: Simulation, rate: float) -> int:
    """Return the physics steps per period of `rate` [Hz].

    Raises:
        ValueError: they are not a whole number.
    """
    exact = 1.0 / (rate * simulation.period)
    if exact < 0.999 or abs(exact - round(exact)) > 1e-6:
        raise ValueError(
            f"a rate of {rate:g} Hz does not divide the physics rate of "
            f"{1.0 / simulation.period:.0f} Hz; take e.g. 10, 15, 20, 25 or 30"
        )
    return round(exact)
