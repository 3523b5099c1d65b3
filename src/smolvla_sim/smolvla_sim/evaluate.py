# SPDX-License-Identifier: Apache-2.0
"""Measures the scripted expert: `python -m smolvla_sim.evaluate --episodes 100`."""

from __future__ import annotations

import argparse
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smolvla_sim.expert import ObjectPose, ScriptedExpert
from smolvla_sim.scene import CUBE_COLORS
from smolvla_sim.simulation import Simulation

CONTROL_RATE = 30.0


@dataclass(frozen=True)
class Episode:
    """Result of one episode: the seed, the graded success and the seconds it took."""

    seed: int
    task: str
    score: float
    seconds: float


def scene_poses(simulation: Simulation) -> dict[str, ObjectPose]:
    """Return what the expert may know about the things."""
    return {
        name: ObjectPose(state.position, state.quaternion)
        for name, state in simulation.objects().items()
    }


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
    seconds: float = 20.0,
) -> Episode:
    """Let the expert do one task.

    Args:
        simulation: the world; it is reset.
        expert: the planner.
        seed: of the layout and of the noise.
        task: the instruction.
        chunk: rows per plan.
        replan: rows executed before the next plan.
        use_committed: tell the expert which rows are still queued.
        noise: standard deviation on the measured joint positions, radians.
        seconds: time limit.
    """
    simulation.set_task(task)
    simulation.reset(seed)
    rng = np.random.default_rng([seed, 1])
    substeps = round(1.0 / (CONTROL_RATE * simulation.period))
    queue: NDArray[np.float64] = np.empty((0, 6))
    tick = 0
    while tick < seconds * CONTROL_RATE:
        measured = simulation.positions + noise * rng.standard_normal(6)
        committed = queue if use_committed and len(queue) else None
        plan = expert.plan(measured, scene_poses(simulation), task, chunk, committed=committed)
        for row in plan[:replan]:
            simulation.command(row)
            simulation.step(substeps)
            tick += 1
            score = simulation.score()
            if score >= 1.0:
                return Episode(seed, task, score, tick / CONTROL_RATE)
        queue = plan[replan:]
    return Episode(seed, task, simulation.score(), tick / CONTROL_RATE)


def evaluate(
    model: str, episodes: int, *, first_seed: int = 0, **options: float | bool
) -> list[Episode]:
    """Run episodes with consecutive seeds and colors in turn; options as in `run_episode`."""
    simulation = Simulation(model)
    expert = ScriptedExpert(model)
    colors = tuple(CUBE_COLORS)
    return [
        run_episode(
            simulation,
            expert,
            seed,
            f"put the {colors[seed % len(colors)]} cube into the bowl",
            **options,  # type: ignore[arg-type]
        )
        for seed in range(first_seed, first_seed + episodes)
    ]


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--model", default="so100", choices=("so100", "so101"))
    parser.add_argument("--episodes", type=int, default=100)
    parser.add_argument("--first-seed", type=int, default=0)
    parser.add_argument("--replan", type=int, default=15, help="rows executed of each chunk")
    parser.add_argument("--noise", type=float, default=0.0, help="joint noise, radians (1 sigma)")
    parser.add_argument(
        "--fresh", action="store_true", help="plan from the measured state, not the queued rows"
    )
    arguments = parser.parse_args()
    results = evaluate(
        arguments.model,
        arguments.episodes,
        first_seed=arguments.first_seed,
        replan=arguments.replan,
        noise=arguments.noise,
        use_committed=not arguments.fresh,
    )
    done = [result for result in results if result.score >= 1.0]
    print(f"success {len(done)}/{len(results)}")
    if done:
        print(f"seconds per success, mean {np.mean([result.seconds for result in done]):.2f}")
    for result in results:
        if result.score < 1.0:
            print(f"seed {result.seed}: score {result.score:.1f} '{result.task}'")


if __name__ == "__main__":
    main()
