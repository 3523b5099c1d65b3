# SPDX-License-Identifier: Apache-2.0
"""How well a policy does a task, in the plain simulation: no ROS, no delay, no clock.

    python -m smolvla_sim.evaluate --task reach --episodes 100 --seed 1000 --checkpoint FOLDER

Observe, think, execute ``n_action_steps`` rows at the checkpoint's rate, and again, until the
task is done or its time is over. An episode depends on its seed alone, so the same command
gives the same figures with any number of workers.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from smolvla_sim.play import intervals
from smolvla_sim.play.assignments import Assignment
from smolvla_sim.play.episodes import EpisodeOptions, EpisodePlayer, EpisodeResult
from smolvla_sim.play.options import (
    add_policy_options,
    at_least,
    camera_size,
    policy_spec,
    time_limit,
)
from smolvla_sim.play.outcomes import FAILURES
from smolvla_sim.play.policies import policy_facts
from smolvla_sim.play.workers import spread
from smolvla_sim.world.rendering import choose_gl


def evaluate(
    options: EpisodeOptions, seeds: Sequence[int], *, workers: int = 1, progress: bool = False
) -> list[EpisodeResult]:
    """Play the episodes of `seeds` and return them in this order.

    Raises:
        ValueError: policy, task or rate do not fit.
        smolvla_sim.world.rendering.RenderingError: cameras are needed and no OpenGL works.
        RuntimeError: a worker died.
    """
    results: dict[int, EpisodeResult] = {}
    bar = tqdm(total=len(seeds), unit="episode", disable=not progress)
    make = functools.partial(EpisodePlayer, options)
    with bar, spread(make, seeds, workers) as done:
        for seed, result in done:
            results[seed] = result
            successes = sum(episode.success for episode in results.values())
            bar.set_postfix_str(f"success {successes}/{len(results)}")
            bar.update()
    return [results[seed] for seed in seeds]


def summary(results: Sequence[EpisodeResult]) -> dict[str, Any]:
    """Return the figures of at least one episode."""
    successes = [result for result in results if result.success]
    times = [result.seconds for result in successes]
    failures = Counter(result.outcome for result in results if not result.success)
    return {
        "episodes": len(results),
        "successes": len(successes),
        "interval": intervals.clopper_pearson(len(successes), len(results)),
        "failures": {kind: failures[kind] for kind in FAILURES},
        "mean_score": intervals.mean([result.score for result in results]),
        "seconds_per_success": intervals.mean(times) if times else None,
        "seconds_interval": intervals.bootstrap_mean(times) if times else None,
        "refusals": sum(bool(result.refusal) for result in results),
    }


def report(results: Sequence[EpisodeResult]) -> str:
    """Return the figures as text, the success in its last line."""
    figures = summary(results)
    lines = [f"  {kind:<32}{count:>5}" for kind, count in figures["failures"].items() if count]
    if lines:
        lines.insert(0, "failures")
    refused = [result for result in results if result.refusal]
    if refused:
        words = f"the policy refused in {len(refused)} episodes, e.g. seed {refused[0].seed}"
        lines.append(f"{words}: {refused[0].refusal}")
    lines.append(f"mean graded score {figures['mean_score']:.3f}")
    if figures["seconds_per_success"] is not None:
        low, high = figures["seconds_interval"]
        lines.append(
            f"time per success {figures['seconds_per_success']:.2f} s "
            f"(95 % CI of the mean {low:.2f}–{high:.2f})"
        )
    lines.append(success_line(figures["successes"], figures["episodes"]))
    return "\n".join(lines)


def success_line(successes: int, episodes: int) -> str:
    """Return e.g. ``success 93/100 (93.0 %, 95 % CI 86.1–97.1)``; Clopper and Pearson's."""
    low, high = intervals.clopper_pearson(successes, episodes)
    return (
        f"success {successes}/{episodes} ({100 * successes / episodes:.1f} %, "
        f"95 % CI {100 * low:.1f}–{100 * high:.1f})"
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="evaluate",
        description="Measure how well a policy does a task in the simulation, without ROS.",
        epilog="exit status: 0 measured, 2 it could not be, 130 Ctrl-C",
    )
    add_policy_options(parser)
    parser.add_argument("--episodes", type=int, default=100, help="how many (default: 100)")
    parser.add_argument(
        "--seed", type=int, default=1000, help="of the first episode (default: 1000)"
    )
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all episodes there")
    return parser


def _options(arguments: argparse.Namespace) -> EpisodeOptions:
    at_least(arguments, episodes=1, seed=0, workers=1)
    assignment = Assignment(arguments.task)
    policy = policy_spec(arguments)
    return EpisodeOptions(
        policy=policy,
        assignment=assignment,
        n_action_steps=policy_facts(policy).steps(arguments.n_action_steps),
        seconds=time_limit(arguments.seconds, assignment),
        size=camera_size(arguments.camera_size),
        variation=not arguments.no_variation,
    )


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return the exit status."""
    arguments = _parser().parse_args(argv)
    try:
        options = _options(arguments)
        if options.policy.name == "smolvla":
            # Once here instead of in every worker.
            choose_gl()
        print(
            f"{options.policy.description}, task {arguments.task}, {arguments.episodes} "
            f"episodes from seed {arguments.seed}, {options.n_action_steps} actions a chunk at "
            f"{options.policy.fps:g} Hz, at most {options.seconds:g} s each",
            flush=True,
        )
        seeds = range(arguments.seed, arguments.seed + arguments.episodes)
        results = evaluate(options, seeds, workers=arguments.workers, progress=True)
        # First the figures: a file that cannot be written shall not cost them.
        print(report(results))
        if arguments.json:
            _write(arguments.json, options, results)
    except (ValueError, OSError, RuntimeError) as error:  # RenderingError is a RuntimeError
        print(f"evaluate: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    return 0


def _write(path: Path, options: EpisodeOptions, results: Sequence[EpisodeResult]) -> None:
    content = {
        "options": dataclasses.asdict(options),
        "summary": summary(results),
        "episodes": [dataclasses.asdict(result) for result in results],
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


if __name__ == "__main__":
    raise SystemExit(main())
