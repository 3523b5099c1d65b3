# SPDX-License-Identifier: Apache-2.0
"""The rows that carry the claim once more, with the real nodes in real time.

    smolvla bench sim-nodes --output bench_out --episodes 5

After ``smolvla bench sim``: policy, executor and simulation run as processes on a ROS
domain of their own, with synchronous and the best asynchronous settings at the delay of the
claim, on the same scenes. Then says whether simulated and real time agree.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import rclpy
from smolvla_sim.bench import report
from smolvla_sim.bench.files import NAME, Claim, ResultsFile, read_claim, write_json
from smolvla_sim.bench.runs import EPISODE, MEASUREMENTS, MINUTE, Cell, Job
from smolvla_sim.bench.summary import Bar, Row, bars, row
from smolvla_sim.play.measures import Interval

from smolvla_bringup.bench.sim_run import BenchError, CellRun
from smolvla_bringup.system.environment import enter_own_graph
from smolvla_bringup.system.options import SetupError


def measure(
    claim: Claim, seeds: Sequence[int], results: ResultsFile, log_folder: Path
) -> list[Row]:
    """Do all runs that `results` lacks and return the two rows.

    Raises:
        SetupError, BenchError: they cannot be done; the text says why.
    """
    rows = []
    for cell in (claim.sync, claim.best):
        jobs = [Job(cell, kind, seed) for seed in seeds for kind in MEASUREMENTS]
        missing = results.missing(jobs)
        if missing:
            with CellRun(claim, cell, log_folder) as run:
                for number, job in enumerate(missing, 1):
                    print(
                        f"{cell.execution.name}, {cell.delay_ms} ms, seed {job.seed}, "
                        f"{job.measurement} ({number}/{len(missing)}) …",
                        flush=True,
                    )
                    results.add(job, run.run(job.measurement, job.seed))
        rows.append(_row(cell, seeds, results))
    return rows


def _row(cell: Cell, seeds: Sequence[int], results: ResultsFile) -> Row:
    return row(cell, results.of(cell, EPISODE, seeds), results.of(cell, MINUTE, seeds))


def agreement(simulated: Sequence[Row], real: Sequence[Row]) -> list[Bar]:
    """Say of each row whether the intervals of simulated and real time overlap."""
    found = []
    for first, second in zip(simulated, real, strict=True):
        parts = (
            ("success", first.success_interval, second.success_interval, 100.0, "%"),
            ("cubes", first.cubes_interval, second.cubes_interval, 1.0, ""),
        )
        for name, one, other, scale, unit in parts:
            found.append(
                Bar(
                    f"{first.name} at {first.cell.delay_ms} ms, {name}: "
                    f"simulated {_interval(one, scale)}{unit}, real {_interval(other, scale)}"
                    f"{unit}: the 95 % intervals {'' if _overlap(one, other) else 'do not '}"
                    "overlap",
                    _overlap(one, other),
                )
            )
    return found


def _overlap(one: Interval, other: Interval) -> bool:
    return one[0] <= other[1] and other[0] <= one[1]


def _interval(interval: Interval, scale: float) -> str:
    return f"[{scale * interval[0]:.2f}, {scale * interval[1]:.2f}]"


def write_report(
    claim: Claim, seeds: Sequence[int], simulated: Sequence[Row], real: Sequence[Row], out: Path
) -> str:
    """Write table and JSON into `out`; return the table's text."""
    lines = [
        f"{claim.settings.player}; task {claim.settings.asked}; "
        f"{len(seeds)} seeds from {seeds[0]}",
        "policy_node, executor_node and sim_node as processes in real time, the policy's answers "
        f"held back to {claim.sync.delay_ms} ms in all",
    ]
    checks = [*bars(real[0], real[1]), *agreement(simulated, real)]
    text = report.markdown("The same with real nodes", lines, real, checks, claim.settings.minute)
    (out / f"{NAME}_nodes.md").write_text(text, encoding="utf-8")
    write_json(
        out / f"{NAME}_nodes.json",
        {
            "setup": claim.setup,
            "seeds": list(seeds),
            "rows": [one.plain() for one in real],
            "simulated": [one.plain() for one in simulated],
            "bars": [asdict(check) for check in checks],
        },
    )
    return text


def _run(arguments: argparse.Namespace) -> None:
    claim = read_claim(arguments.output)
    seeds = claim.seeds[: arguments.episodes]
    if not seeds:
        raise ValueError(f"--episodes is {arguments.episodes}; it must be 1 or more")
    runs = ResultsFile(arguments.output / f"{NAME}.jsonl", claim.setup)
    simulated = [_row(cell, seeds, runs) for cell in (claim.sync, claim.best)]
    path = arguments.output / f"{NAME}_nodes.jsonl"
    if arguments.fresh:
        path.unlink(missing_ok=True)
    results = ResultsFile(path, {**claim.setup, "nodes": "real"})
    enter_own_graph()
    rclpy.init(args=[])
    try:
        real = measure(claim, seeds, results, arguments.output / "log")
    finally:
        rclpy.try_shutdown()
    print(write_report(claim, seeds, simulated, real, arguments.output))


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit status."""
    parser = argparse.ArgumentParser(
        prog="bench_sim_nodes",
        description="Repeat the rows of 'smolvla bench sim' that carry its claim with "
        "the real nodes in real time.",
        epilog="exit status: 0 measured, whatever the bars say; 2 it could not be; 130 Ctrl-C, "
        "the same command continues",
    )
    parser.add_argument(
        "--output", type=Path, default=Path("bench_out"), help="folder (default: bench_out)"
    )
    parser.add_argument(
        "--episodes", type=int, default=5, help="of those in simulated time, so many (default: 5)"
    )
    parser.add_argument("--fresh", action="store_true", help="forget the runs done so far")
    arguments = parser.parse_args(argv)
    try:
        _run(arguments)
    except (BenchError, SetupError, ValueError, OSError) as error:
        print(f"bench_sim_nodes: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("bench_sim_nodes: interrupted; the same command continues", file=sys.stderr)
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
