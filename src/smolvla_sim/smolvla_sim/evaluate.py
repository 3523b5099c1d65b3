# SPDX-License-Identifier: Apache-2.0
"""How well a policy does a task, in the plain simulation: no ROS, no delay, no clock.

    smolvla eval --kind reach --episodes 100 --seed 1000 --checkpoint FOLDER

Observe, think, execute ``n_action_steps`` rows at the checkpoint's rate, and again, until the
task is done or its time is over. An episode depends on its seed alone, so the same command
gives the same results with any number of workers.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from smolvla_core.console import beside_json, command_parser, could_not_run, write_json
from smolvla_core.settings import SettingError

from smolvla_sim.evaluation_page import films, page
from smolvla_sim.play import measures
from smolvla_sim.play.loop import EpisodeLoop, Observer, direct
from smolvla_sim.play.policies import completed, load_backend
from smolvla_sim.play.workers import judged
from smolvla_sim.settings import EvaluationSettings, PlaySettings, add_arguments, from_arguments
from smolvla_sim.world.rendering import RenderingError, choose_gl
from smolvla_sim.world.simulation import Simulation
from smolvla_sim.world.tasks import task_sequence

Array = NDArray[np.float64]


@dataclass(frozen=True)
class EpisodeResult:
    """One episode.

    Attributes:
        seed: that it came from.
        task: the instruction.
        score: graded success at the end, 0 to 1.
        seconds: until the success, until it was lost, or the time limit [s].
        chunks: how often the policy was asked.
        outcome: one of `measures`.
        refusal: the last reason for which the policy refused; empty where it never did.
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
    """Plays the episode of a seed, from the seed alone, by `completed` settings.

    Args:
        settings: how to play.
        watch: called with the simulation at each command.

    Raises:
        ValueError: policy, task or rate do not fit.
        smolvla_sim.world.rendering.RenderingError: cameras are needed and no OpenGL works.
    """

    def __init__(
        self,
        settings: EvaluationSettings,
        watch: Callable[[Simulation], None] = lambda simulation: None,
    ) -> None:
        self._settings = settings
        self._watch = watch
        self._simulation = Simulation(settings.model, variation=settings.variation)
        self._observer = Observer(
            self._simulation, load_backend(settings), settings.size, settings.joint_noise
        )
        self._executor = direct(self._simulation, settings.fps, settings.n_action_steps)

    def __call__(self, seed: int) -> EpisodeResult:
        """Play.

        Raises:
            ValueError: the policy refused the very first observation: it does not fit at all.
        """
        simulation = self._simulation
        task = next(task_sequence(self._settings.asked, seed))
        rng = np.random.default_rng([seed, 6])
        simulation.begin(task, seed, rng, self._settings.random_starts)
        loop = EpisodeLoop(self._observer, self._executor, seed=seed, on_command=self._on_command)
        loop.instruction = task.sentence
        loop.step()
        if loop.trace.refusals:
            raise ValueError(loop.trace.refusal)
        loop.play(end=self._settings.limit)
        score = simulation.score()
        return EpisodeResult(
            seed=seed,
            task=task.sentence,
            score=score,
            seconds=loop.now,
            chunks=loop.trace.requests,
            outcome=measures.outcome(task, score, simulation.progress),
            refusal=loop.trace.refusal,
        )

    def _on_command(self, command: Array) -> Array:
        self._watch(self._simulation)
        return command


def evaluate(settings: EvaluationSettings) -> list[EpisodeResult]:
    """Play the episodes of `completed` settings; return them in the order of their seeds.

    Raises:
        ValueError: policy, task or rate do not fit.
        smolvla_sim.world.rendering.RenderingError: cameras are needed and no OpenGL works.
        RuntimeError: a worker died.
    """
    seeds = range(settings.seed, settings.seed + settings.episodes)
    return judged(functools.partial(EpisodePlayer, settings), seeds, settings.workers, "episode")


def summary(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Return the numbers of at least one episode."""
    successes = [result for result in results if result.success]
    times = [result.seconds for result in successes]
    failures = Counter(result.outcome for result in results if not result.success)
    return {
        "episodes": len(results),
        "successes": len(successes),
        "interval": measures.clopper_pearson(len(successes), len(results)),
        "failures": {kind: failures[kind] for kind in measures.FAILURES},
        "mean_score": measures.mean([result.score for result in results]),
        "seconds_per_success": measures.mean(times) if times else None,
        "seconds_interval": measures.bootstrap_mean(times) if times else None,
        "refusals": sum(bool(result.refusal) for result in results),
    }


def report(results: Sequence[EpisodeResult]) -> str:
    """Return the results as text, the success in its last line."""
    numbers = summary(results)
    lines = [f"  {kind:<32}{count:>5}" for kind, count in numbers["failures"].items() if count]
    if lines:
        lines.insert(0, "failures")
    refused = [result for result in results if result.refusal]
    if refused:
        message = f"the policy refused in {len(refused)} episodes, e.g. seed {refused[0].seed}"
        lines.append(f"{message}: {refused[0].refusal}")
    lines.append(f"mean graded score {numbers['mean_score']:.3f}")
    if numbers["seconds_per_success"] is not None:
        low, high = numbers["seconds_interval"]
        lines.append(
            f"time per success {numbers['seconds_per_success']:.2f} s "
            f"(95 % CI of the mean {low:.2f}–{high:.2f})"
        )
    lines.append(success_line(numbers["successes"], numbers["episodes"]))
    return "\n".join(lines)


def success_line(successes: int, episodes: int) -> str:
    """Return e.g. ``success 93/100 (93.0 %, 95 % CI 86.1–97.1)``; Clopper and Pearson's."""
    low, high = measures.clopper_pearson(successes, episodes)
    return (
        f"success {successes}/{episodes} ({100 * successes / episodes:.1f} %, "
        f"95 % CI {100 * low:.1f}–{100 * high:.1f})"
    )


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        "smolvla eval",
        "Measure how well a policy does a task in the simulation, without ROS.",
        "smolvla eval --kind pick_place --episodes 20",
    )
    add_arguments(made, EvaluationSettings)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    prog = parser().prog
    arguments = parser().parse_args(argv)
    try:
        settings, _ = completed(from_arguments(EvaluationSettings, arguments))
        if settings.report and (str(settings.report) == "-" or settings.report.is_dir()):
            raise SettingError("report", "is a page with films: give a file, such as page.html")
        for path in filter(None, (settings.json, settings.report)):
            check_writable(path)
        if settings.policy != "scripted":
            # Once here instead of in every worker.
            choose_gl()
        with beside_json(settings.json):
            title = (
                f"{settings.player}, task {settings.asked}, {settings.episodes} episodes from "
                f"seed {settings.seed}, {settings.n_action_steps} actions a chunk at "
                f"{settings.fps:g} Hz, at most {settings.limit:g} s each"
            )
            print(title, flush=True)
            results = evaluate(settings)
            # First the results: a file that cannot be written shall not cost them.
            print(report(results))
        if settings.json:
            write_results(settings.json, settings, summary(results), results)
        if settings.report:
            with beside_json(settings.json):
                _write_report(settings, title, results)
    except (ValueError, OSError, RuntimeError) as error:  # RenderingError is a RuntimeError
        return could_not_run(prog, error)
    except KeyboardInterrupt:
        return 130
    return 0


def _write_report(
    settings: EvaluationSettings, title: str, results: Sequence[EpisodeResult]
) -> None:
    """Write the page; where no OpenGL draws, without films."""
    assert settings.report is not None
    filmed: dict[int, bytes] = {}
    try:
        filmed = films(results, settings.fps, functools.partial(EpisodePlayer, settings))
    except RenderingError as error:
        print(f"no films of failures: {error}")
    settings.report.write_text(page(title, results, summary(results), filmed), encoding="utf-8")
    print(f"{settings.report} has all episodes, and films of {len(filmed)} failures")


def write_results(
    target: Path, settings: PlaySettings, numbers: dict[str, Any], episodes: Sequence[Any]
) -> None:
    """Write how was played, the numbers and all episodes (dataclasses) as JSON."""
    content = {
        "options": {
            name: str(value) if isinstance(value, Path) else value
            for name, value in dataclasses.asdict(settings).items()
        },
        "summary": numbers,
        "episodes": [dataclasses.asdict(episode) for episode in episodes],
    }
    write_json(target, content)


def check_writable(path: Path) -> None:
    """Raise OSError now, and not after the episodes, where `path` cannot be written."""
    if str(path) == "-":
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    existed = path.exists()
    path.open("a").close()
    if not existed:
        path.unlink()


if __name__ == "__main__":
    raise SystemExit(main())
