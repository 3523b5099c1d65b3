# SPDX-License-Identifier: Apache-2.0
"""How well a checkpoint does tasks of Meta-World, judged by Meta-World.

    scripts/with_metaworld.sh python -m smolvla_metaworld.evaluate --episodes 20

On the episodes of ``lerobot-eval --env.type=metaworld`` with the same seed. An episode depends on
its seed alone, so the same command gives the same results with any number of workers.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path

from smolvla_core.console import beside_json, command_parser, could_not_run, write_json
from smolvla_core.settings import Settings, add_arguments, from_arguments, setting
from smolvla_sim.evaluate import check_writable, success_line
from smolvla_sim.play.measures import clopper_pearson
from smolvla_sim.play.workers import judged
from smolvla_sim.world.rendering import choose_gl

from smolvla_metaworld.environment import FIVE, MAX_STEPS, TASKS, MetaWorld
from smolvla_metaworld.play import Player

SHIPPED = Path(__file__).parent.parent / "checkpoint"
"""Checkpoint of the tasks `FIVE`."""

Job = tuple[str, int]


@dataclass(frozen=True, kw_only=True)
class EvaluateSettings(Settings):
    """What is played."""

    checkpoint: str = setting(
        str(SHIPPED), "Folder or hub id (default: the one that comes with this package)."
    )
    tasks: tuple[str, ...] = setting(FIVE, "Tasks.", choices=tuple(TASKS))
    episodes: int = setting(20, "Episodes of each task.", 1)
    seed: int = setting(1000, "Of the first episode.", 0)
    n_action_steps: int = setting(
        0, "Actions of a chunk that are executed; 0: as the checkpoint says.", 0
    )
    workers: int = setting(2, "Processes that simulate.", 1)
    json: Path | None = setting(None, "File for all results; - prints them.")


@dataclass(frozen=True)
class Episode:
    """One episode.

    Attributes:
        task: name.
        seed: that it came from.
        success: what Meta-World says.
        steps: until the success, or all.
        chunks: how often the policy was asked.
    """

    task: str
    seed: int
    success: bool
    steps: int
    chunks: int


class EpisodePlayer:
    """Plays one episode after another, each from its task and seed alone."""

    def __init__(self, settings: EvaluateSettings) -> None:
        self._player = Player(settings.checkpoint, settings.n_action_steps)
        self._worlds: dict[str, MetaWorld] = {}

    def __call__(self, job: Job) -> Episode:
        """Play an episode of a task."""
        name, seed = job
        if name not in self._worlds:
            self._worlds[name] = MetaWorld(name)
        world = self._worlds[name]
        world.reset(seed)
        chunks = self._player.play(world, seed, MAX_STEPS)
        return Episode(name, seed, world.success, world.steps, chunks)


def evaluate(settings: EvaluateSettings) -> list[Episode]:
    """Play all episodes; return them by task and seed.

    Raises:
        ValueError: the checkpoint does not fit.
        RuntimeError: a worker died, or no OpenGL works.
    """
    jobs = list(product(settings.tasks, range(settings.seed, settings.seed + settings.episodes)))
    return judged(functools.partial(EpisodePlayer, settings), jobs, settings.workers, "episode")


def report(episodes: Sequence[Episode]) -> str:
    """Return the results as text: a line for each task, then all."""
    lines = []
    for name in dict.fromkeys(episode.task for episode in episodes):
        own = [episode for episode in episodes if episode.task == name]
        done = [episode.steps for episode in own if episode.success]
        time = f", {sum(done) / len(done):.0f} steps" if done else ""
        lines.append(f"{name:<24} {success_line(len(done), len(own))}{time}")
    successes = sum(episode.success for episode in episodes)
    lines.append(f"{'all':<24} {success_line(successes, len(episodes))}")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        "smolvla_metaworld.evaluate",
        "Measure how well a checkpoint does tasks of the benchmark Meta-World.",
        "scripts/with_metaworld.sh python -m smolvla_metaworld.evaluate --episodes 20",
    )
    add_arguments(made, EvaluateSettings)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    arguments = parser().parse_args(argv)
    try:
        settings = from_arguments(EvaluateSettings, arguments)
        if settings.json:
            check_writable(settings.json)
        choose_gl()
        with beside_json(settings.json):
            episodes = evaluate(settings)
            print(report(episodes))
    except (ValueError, OSError, RuntimeError) as error:
        return could_not_run(parser().prog, error)
    except KeyboardInterrupt:
        return 130
    if settings.json:
        successes = sum(episode.success for episode in episodes)
        content = {
            "checkpoint": settings.checkpoint,
            "successes": successes,
            "interval": clopper_pearson(successes, len(episodes)),
            "episodes": [dataclasses.asdict(episode) for episode in episodes],
        }
        write_json(settings.json, content)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
