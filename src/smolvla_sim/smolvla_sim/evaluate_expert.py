# SPDX-License-Identifier: Apache-2.0
"""Measures the scripted expert: `python -m smolvla_sim.evaluate_expert --task stack`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smolvla_sim.expert.expert import ScriptedExpert, scene_poses
from smolvla_sim.world.arm import ARMS
from smolvla_sim.world.simulation import Simulation
from smolvla_sim.world.starts import random_start
from smolvla_sim.world.tasks import TASK_KINDS, PlaceInBowl, task_kind

CONTROL_RATE = 30.0


@dataclass(frozen=True)
class Episode:
    """Result of one episode: the seed, the graded success and the seconds it took."""

    seed: int
    task: str
    score: float
    seconds: float


def run_episode(
    simulation: Simulation,
    expert: ScriptedExpert,
    seed: int,
    task: str,
    *,
    chunk: int = 50,
    replan: int = 15,
    use_committed: bool = True,
    noise: float = 0.0,
    random_starts: bool = False,
    seconds: float = 20.0,
) -> Episode:
    """Let the expert do one task.

    Args:
        simulation: the world; it is reset.
        expert: the planner; its period is the time between two commands.
        seed: of the layout, the noise and the start.
        task: the instruction.
        chunk: rows per plan.
        replan: rows executed before the next plan.
        use_committed: tell the expert which rows are still queued.
        noise: standard deviation on the measured joint positions, radians.
        random_starts: start somewhere above the table instead of at home.
        seconds: time limit.
    """
    rng = np.random.default_rng([seed, 1])
    start = random_start(rng, simulation.kinematics) if random_starts else None
    simulation.set_task(task)
    simulation.reset(seed, home=start)
    substeps = round(expert.period / simulation.period)
    queue: NDArray[np.float64] = np.empty((0, 6))
    tick = 0
    while tick * expert.period < seconds and not simulation.lost:
        measured = simulation.positions + noise * rng.standard_normal(6)
        committed = queue if use_committed and len(queue) else None
        plan = expert.plan(measured, scene_poses(simulation), task, chunk, committed=committed)
        for row in plan[:replan]:
            simulation.command(row)
            simulation.step(substeps)
            tick += 1
            score = simulation.score()
            if score >= 1.0:
                return Episode(seed, task, score, tick * expert.period)
        queue = plan[replan:]
    return Episode(seed, task, simulation.score(), tick * expert.period)


def evaluate(
    model: str,
    episodes: int,
    *,
    kind: str = PlaceInBowl.kind,
    rate: float = CONTROL_RATE,
    first_seed: int = 0,
    **options: float | bool,
) -> list[Episode]:
    """Run episodes with consecutive seeds and colors in turn.

    Args:
        model: ``so100`` or ``so101``.
        episodes: how many.
        kind: of task, e.g. ``pick_place``.
        rate: commands per second; must divide the physics rate.
        first_seed: of the first episode.
        options: as in `run_episode`.

    Raises:
        ValueError: unknown arm or kind of task.
    """
    simulation = Simulation(model)
    expert = ScriptedExpert(model, period=1.0 / rate)
    variants = task_kind(kind).variants()
    return [
        run_episode(
            simulation,
            expert,
            seed,
            variants[seed % len(variants)].sentence,
            **options,  # type: ignore[arg-type]
        )
        for seed in range(first_seed, first_seed + episodes)
    ]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="so100", choices=sorted(ARMS))
    parser.add_argument(
        "--task", default=PlaceInBowl.kind, choices=[kind.kind for kind in TASK_KINDS]
    )
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--rate", type=float, default=CONTROL_RATE, help="commands per second")
    parser.add_argument("--chunk", type=int, default=50, help="rows of each plan")
    parser.add_argument("--replan", type=int, default=15, help="rows executed of each plan")
    parser.add_argument("--noise", type=float, default=0.0, help="joint noise, radians (1 sigma)")
    parser.add_argument(
        "--fresh", action="store_true", help="plan from the measured state, not the queued rows"
    )
    parser.add_argument(
        "--random-starts", action="store_true", help="start somewhere above the table"
    )
    arguments = parser.parse_args()
    results = evaluate(
        arguments.model,
        arguments.episodes,
        kind=arguments.task,
        rate=arguments.rate,
        first_seed=arguments.first_seed,
        chunk=arguments.chunk,
        replan=arguments.replan,
        noise=arguments.noise,
        use_committed=not arguments.fresh,
        random_starts=arguments.random_starts,
    )
    done = [result for result in results if result.score >= 1.0]
    print(f"success {len(done)}/{len(results)}")
    print(f"mean score {np.mean([result.score for result in results]):.3f}")
    if done:
        print(f"seconds per success, mean {np.mean([result.seconds for result in done]):.2f}")
    for result in results:
        if result.score < 1.0:
            print(f"seed {result.seed}: score {result.score:.2f} '{result.task}'")


if __name__ == "__main__":
    main()
