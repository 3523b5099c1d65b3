# SPDX-License-Identifier: Apache-2.0
"""Synchronous against asynchronous execution, in simulated time: ``make bench-sim``.

    smolvla bench sim --kind pick_place --checkpoint FOLDER --episodes 20

The executor of `executor_node`, the policy and the simulation run under one clock; an answer
counts as given so and so many milliseconds after its observation. Runs are appended to
``<output>/sync_async.jsonl`` one by one: the same command continues after an interruption.
"""

from __future__ import annotations

import argparse
import functools
import sys
from collections.abc import Sequence
from dataclasses import replace

from smolvla_core.console import command_parser, could_not_run
from smolvla_policy.backends.smolvla_settings import JACOBIAN
from tqdm import tqdm

from smolvla_sim.bench import runs
from smolvla_sim.bench.files import NAME, ResultsFile, setup, write_report
from smolvla_sim.bench.runs import BenchPlayer, Job
from smolvla_sim.bench.summary import Row
from smolvla_sim.play.policies import PolicyFacts, completed
from smolvla_sim.play.workers import run_in_processes
from smolvla_sim.settings import AUTO, BenchSettings, add_arguments, from_arguments
from smolvla_sim.world.rendering import choose_gl


def measure(
    settings: BenchSettings,
    matrix: Sequence[runs.Cell],
    seeds: Sequence[int],
    results: ResultsFile,
) -> list[Row]:
    """Do all runs that `results` lacks and return the rows of `matrix`.

    Raises:
        ValueError: policy, task or rate do not fit.
        RuntimeError: a worker died, or no OpenGL works.
    """
    jobs = [
        Job(cell, measurement, seed)
        for cell in matrix
        for measurement in runs.measurements(settings.minute)
        for seed in seeds
    ]
    missing = results.missing(jobs)
    bar = tqdm(total=len(jobs), initial=len(jobs) - len(missing), unit="run")
    make = functools.partial(BenchPlayer, settings)
    with bar, run_in_processes(make, missing, settings.workers) as done:
        for job, result in done:
            results.add(job, result)
            bar.set_postfix_str(f"{job.cell.execution.name}, {job.cell.delay}")
            bar.update()
    return [results.row(cell, seeds) for cell in matrix]


def _whole(settings: BenchSettings) -> BenchSettings:
    """Return the settings with the whole matrix, or its quick part, where nothing was given."""
    quick = settings.quick
    everything = not (quick or settings.delays or settings.jittering)
    own = dict(settings.backend)
    if settings.policy == "smolvla" and JACOBIAN in settings.aggregate:
        # In all runs, so that nothing else differs.
        own["engine"] = own.get("engine", "auto").replace("auto", "torch")
    return replace(
        settings,
        episodes=settings.episodes or (5 if quick else 20),
        delays=settings.delays or ((0, runs.CLAIM_DELAY) if quick else runs.DELAYS),
        jittering=settings.jittering or (runs.JITTERING if everything else ()),
        aggregate=settings.aggregate or (("weighted", AUTO) if quick else ()),
        backend=own,
    )


def learned_blends(facts: PolicyFacts) -> list[str]:
    """Return the ways to compare that a policy was trained for, or any engine does."""
    lacking = {"trained"} if not facts.rtc_delay else set()
    lacking |= {"future_state"} if not facts.state_offset else set()
    return [blend for blend in runs.COMPARED if blend not in lacking]


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        "smolvla bench sim",
        "Synchronous against asynchronous execution, in simulated time.",
        "smolvla bench sim --quick --output bench_out",
        "0 measured, whatever the criteria say; 2 it could not be; 130 Ctrl-C, the same command "
        "continues",
    )
    add_arguments(made, BenchSettings)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit status."""
    prog = parser().prog
    arguments = parser().parse_args(argv)
    try:
        settings, facts = completed(_whole(from_arguments(BenchSettings, arguments)))
        assert settings.episodes is not None
        compared = runs.executions(
            settings.n_action_steps,
            facts.chunk_size,
            settings.chunk_size_threshold,
            settings.aggregate or learned_blends(facts),
        )
        matrix = runs.cells(compared, settings.delays, settings.jittering)
        if settings.policy != "scripted":
            # Once here instead of in every worker.
            choose_gl()
        path = settings.output / f"{NAME}.jsonl"
        if settings.fresh:
            path.unlink(missing_ok=True)
        results = ResultsFile(path, setup(settings))
        seeds = range(settings.seed, settings.seed + settings.episodes)
        delays = ", ".join(dict.fromkeys(cell.delay for cell in matrix))
        names = "; ".join(execution.name for execution in compared)
        print(
            f"{len(matrix)} cells: {names}; each at {delays}; {len(seeds)} seeds, a single task"
            + (f" and {settings.minute:g} s each" if settings.minute else " each")
            + f"; {path} has {len(results)} runs",
            flush=True,
        )
        rows = measure(settings, matrix, seeds, results)
        print(write_report(rows, seeds, settings, facts, settings.output))
    except (ValueError, OSError, RuntimeError) as error:
        return could_not_run(prog, error)
    except KeyboardInterrupt:
        print(f"{prog}: interrupted; the same command continues", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
