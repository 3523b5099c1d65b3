# SPDX-License-Identifier: Apache-2.0
"""Synchronous against asynchronous execution, in simulated time: ``make bench-sim``.

    python -m smolvla_sim.bench --task pick_place --checkpoint FOLDER --seeds 20

The executor of `executor_node`, the policy and the simulation run under one clock; an answer
counts as given so and so many milliseconds after its observation. Runs are appended to
``<out>/sync_async.jsonl`` one by one: the same command continues after an interruption.
"""

from __future__ import annotations

import argparse
import functools
import math
import sys
from collections.abc import Sequence
from pathlib import Path

from tqdm import tqdm

from smolvla_sim.bench import cells
from smolvla_sim.bench.files import NAME, setup, write_report
from smolvla_sim.bench.results import ResultsFile
from smolvla_sim.bench.runs import EPISODE, MEASUREMENTS, MINUTE, BenchOptions, BenchPlayer, Job
from smolvla_sim.bench.summary import Row, row
from smolvla_sim.play.assignments import Assignment, kind_names
from smolvla_sim.play.execution import USUAL_AGGREGATE, USUAL_G
from smolvla_sim.play.options import (
    add_policy_options,
    at_least,
    camera_size,
    policy_spec,
    time_limit,
)
from smolvla_sim.play.policies import policy_facts
from smolvla_sim.play.workers import spread
from smolvla_sim.world.rendering import choose_gl

_QUICK_DELAYS = (0, cells.CLAIM_DELAY)
_QUICK_G = (USUAL_G,)
_QUICK_BLENDS = (USUAL_AGGREGATE, cells.RTC)
_QUICK_SEEDS = 5


def measure(
    options: BenchOptions,
    matrix: Sequence[cells.Cell],
    seeds: Sequence[int],
    results: ResultsFile,
    *,
    workers: int = 1,
    progress: bool = False,
) -> list[Row]:
    """Do all runs that `results` lacks and return the rows of `matrix`.

    Raises:
        ValueError: policy, task or rate do not fit.
        RuntimeError: a worker died, or no OpenGL works.
    """
    jobs = [
        Job(cell, measurement, seed)
        for cell in matrix
        for measurement in MEASUREMENTS
        for seed in seeds
    ]
    missing = results.missing(jobs)
    bar = tqdm(total=len(jobs), initial=len(jobs) - len(missing), unit="run", disable=not progress)
    with bar, spread(functools.partial(BenchPlayer, options), missing, workers) as done:
        for job, figures in done:
            results.add(job, figures)
            bar.set_postfix_str(f"{job.cell.execution.name}, {job.cell.delay_ms} ms")
            bar.update()
    return [
        row(cell, results.of(cell, EPISODE, seeds), results.of(cell, MINUTE, seeds))
        for cell in matrix
    ]


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bench",
        description="Synchronous against asynchronous execution, in simulated time.",
        epilog="exit status: 0 measured, whatever the bars say; 2 it could not be; 130 Ctrl-C, "
        "the same command continues",
    )
    add_policy_options(parser)
    # The paper's task: cubes in a minute. With noise, chunks differ by their draws, too, and not
    # only by what was seen meanwhile.
    parser.set_defaults(task="pick_place", noise_scale=0.0)
    parser.add_argument("--seeds", type=int, help="how many (default: 20; quick: 5)")
    parser.add_argument(
        "--first-seed", type=int, default=5000, help="of the scenes (default: 5000)"
    )
    parser.add_argument(
        "--delays", type=int, nargs="+", metavar="MS", help="default: 0 100 300 600; quick: 0 300"
    )
    parser.add_argument("--g", type=float, nargs="+", help="default: 0.3 0.5 0.7 0.9; quick: 0.7")
    parser.add_argument(
        "--blend",
        nargs="+",
        metavar="NAME",
        help=f"any of {', '.join(cells.BLENDS)} (default: all; quick: weighted rtc)",
    )
    parser.add_argument(
        "--minute", type=float, default=60.0, metavar="S", help="of continuous operation"
    )
    parser.add_argument("--rate", type=float, default=30.0, metavar="HZ", help="control loop")
    parser.add_argument("--quick", action="store_true", help="a small part, in minutes")
    parser.add_argument("--fresh", action="store_true", help="forget the runs done so far")
    parser.add_argument(
        "--out", type=Path, default=Path("bench_out"), help="folder (default: bench_out)"
    )
    return parser


def _options(arguments: argparse.Namespace) -> BenchOptions:
    at_least(arguments, seeds=1, first_seed=0, workers=1)
    if arguments.task not in kind_names():
        raise ValueError(
            f"--task is '{arguments.task}'; continuous operation needs a kind of task, one of "
            f"{', '.join(kind_names())}"
        )
    for name in ("minute", "rate"):
        if not 0.0 < getattr(arguments, name) < math.inf:
            raise ValueError(f"--{name} is {getattr(arguments, name):g}; it must be above 0")
    assignment = Assignment(arguments.task)
    return BenchOptions(
        policy=policy_spec(arguments),
        assignment=assignment,
        seconds=time_limit(arguments.seconds, assignment),
        minute=arguments.minute,
        rate=arguments.rate,
        size=camera_size(arguments.camera_size),
        variation=not arguments.no_variation,
    )


def _fill_in(arguments: argparse.Namespace) -> None:
    """Give what was not said its value: the whole matrix, or the quick part of it."""
    quick = arguments.quick
    arguments.delays = arguments.delays or (_QUICK_DELAYS if quick else cells.DELAYS)
    arguments.g = arguments.g or (_QUICK_G if quick else cells.G_SHARES)
    arguments.blend = arguments.blend or (_QUICK_BLENDS if quick else cells.BLENDS)
    if arguments.seeds is None:
        arguments.seeds = _QUICK_SEEDS if quick else 20


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit status."""
    arguments = _parser().parse_args(argv)
    _fill_in(arguments)
    try:
        options = _options(arguments)
        facts = policy_facts(options.policy)
        compared = cells.executions(
            facts.steps(arguments.n_action_steps),
            facts.chunk_size,
            arguments.g,
            arguments.blend,
        )
        matrix = cells.cells(compared, arguments.delays)
        if options.policy.name == "smolvla":
            # Once here instead of in every worker.
            choose_gl()
        path = arguments.out / f"{NAME}.jsonl"
        if arguments.fresh:
            path.unlink(missing_ok=True)
        results = ResultsFile(path, setup(options))
        seeds = range(arguments.first_seed, arguments.first_seed + arguments.seeds)
        names = "; ".join(execution.name for execution in compared)
        print(
            f"{len(matrix)} cells: {names}; each at {', '.join(map(str, arguments.delays))} ms; "
            f"{len(seeds)} seeds, a single task and {options.minute:g} s each; {path} has "
            f"{len(results)} runs",
            flush=True,
        )
        rows = measure(options, matrix, seeds, results, workers=arguments.workers, progress=True)
        print(write_report(rows, seeds, options, facts, arguments.out))
    except (ValueError, OSError, RuntimeError) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench: interrupted; the same command continues", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
