# SPDX-License-Identifier: Apache-2.0
"""The rows that carry the claim once more, with the real nodes in real time.

After ``smolvla bench sim``: policy, executor and simulation run as processes on a ROS
domain of their own, with synchronous, the paper's and the best asynchronous settings at the delay
of the claim, on the same scenes. Then says whether simulated and real time agree.
"""

from __future__ import annotations

import argparse
import time
from bisect import bisect
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from smolvla_core.client import ClientError
from smolvla_core.console import DONE, command_parser, could_not_run, write_json
from smolvla_core.settings import Settings, add_arguments, from_arguments, setting
from smolvla_sim.bench import report
from smolvla_sim.bench.files import NAME, Claim, ResultsFile, read_claim
from smolvla_sim.bench.runs import EPISODE, Cell, Job, measurements
from smolvla_sim.bench.summary import Criterion, Row, criteria
from smolvla_sim.play.measures import Interval, Trace
from smolvla_sim.world.tasks import task_sequence

from smolvla_bringup.system.environment import enter_own_graph
from smolvla_bringup.system.node_list import simulation_nodes
from smolvla_bringup.system.node_spec import NodeSpec
from smolvla_bringup.system.options import Options, SetupError
from smolvla_bringup.system.run_log import RunLog
from smolvla_bringup.system.session import Session
from smolvla_msgs.msg import ExecutorStatus

_READY_LIMIT = 300.0  # [s]: a full-size checkpoint loads and warms up meanwhile
# After a reset, until joint states and all cameras show the new scene [s].
_SETTLE = 0.4
_PERIOD = 0.005  # [s] between two looks for messages
# Noise of the policy differs from run to run with real nodes, as requests come when they come.
_POLICY_SEED = 0


@dataclass(frozen=True, kw_only=True)
class NodesBenchSettings(Settings):
    """What is repeated."""

    episodes: int = setting(5, "How many of the seeds in simulated time.", 1)
    output: Path = setting(Path("bench_out"), "Folder of the results in simulated time, and ours.")
    fresh: bool = setting(False, "Forget the runs done so far.")


def specs(claim: Claim, cell: Cell) -> list[NodeSpec]:
    """Return the nodes for a cell: those of the demo with the cell's settings.

    Raises:
        SetupError: something is not installed, or the options contradict each other.
    """
    settings, execution = claim.settings, cell.execution
    cameras = list(claim.facts.cameras)
    given: dict[str, dict[str, Any]] = {
        "sim_node": {
            "cameras": cameras,
            "image_width": settings.size[0],
            "image_height": settings.size[1],
            "variation": settings.variation,
            "score_rate": 50.0,
            "restock": True,
        },
        "policy_node": {
            "period": 1.0 / settings.fps,
            "inference_delay": cell.delay_ms / 1e3,
            "cameras": list(settings.cameras) or cameras,
            "seed": _POLICY_SEED,
            "noise_scale": settings.noise_scale,
            "real_time_chunking": execution.real_time_chunking,
            "chunk_size": claim.facts.chunk_size,
            **settings.backend,
        },
        "executor_node": {
            "alignment": execution.alignment,
            "actions_per_chunk": execution.actions_per_chunk,
            "resume_jump": execution.resume_jump,
            "status_rate": 100.0,  # more than cycles: a status with every one
        },
    }
    nodes = simulation_nodes(
        Options(
            hardware="sim",
            robot=settings.model,
            policy=settings.policy,
            checkpoint=settings.checkpoint if settings.policy == "smolvla" else None,
            task=next(task_sequence(settings.asked, 0)).sentence,
            rate=settings.rate,
            chunk_size_threshold=execution.chunk_size_threshold,
            aggregate=execution.aggregate,
            wait_for_start=True,
        )
    )
    return [replace(spec, parameters={**spec.parameters, **given[spec.name]}) for spec in nodes]


def run(session: Session, claim: Claim, measurement: str, seed: int) -> dict[str, Any]:
    """Measure; return the results as `smolvla_sim.bench.runs.BenchPlayer` does.

    Raises:
        ClientError: a node died, does not answer or refuses.
    """
    settings, client, logger = claim.settings, session.client, session.logger
    one = measurement == EPISODE
    sentences = (task.sentence for task in task_sequence(settings.asked, seed))
    first = next(sentences)
    client.stop()
    client.set_task(first)
    client.reset(seed)
    client.instruct(first)
    client.spin(_SETTLE)
    log = logger.begin()
    client.start()
    done, failed = _play(session, claim, sentences, settings.limit if one else None)
    logger.end()
    assert client.executor_status is not None
    trace = trace_of(log, settings.rate, client.executor_status)
    measures = trace.measures(settings.rate / settings.fps)
    if one:
        seconds = done[0] if done else log.end_time
        return {"task": first, "success": bool(done), "seconds": seconds, **measures}
    return {"cubes": len(done), "failed": failed, "seconds": done, **measures}


def _play(
    session: Session, claim: Claim, sentences: Iterator[str], only: float | None
) -> tuple[list[float], int]:
    """Watch one task with the time limit `only`, or a minute of tasks.

    Returns:
        The times of the tasks that were done [s], and how many were not done in time.
    """
    client, settings = session.client, claim.settings
    start = time.monotonic()
    end = start + (settings.minute if only is None else only)
    done: list[float] = []
    failed = 0
    while True:
        limit = min(start + settings.limit, end)
        success = client.until(lambda: client.succeeded, limit - time.monotonic())
        now = time.monotonic()
        if success:
            done.append(round(now - start, 3))
        if only is not None or now >= end:
            return done, failed
        failed += not success
        sentence = next(sentences)
        client.set_task(sentence)
        client.instruct(sentence)
        start = now


def trace_of(log: RunLog, rate: float, status: ExecutorStatus) -> Trace:
    """Return what the benchmark measures of a run.

    Args:
        log: the run, with a status of the executor for every control cycle.
        rate: of the control loop [Hz].
        status: the executor's last one; its counters began with the run.
    """
    chunks = [chunk for chunk in log.chunks if len(chunk.positions)]
    arrivals = [chunk.time for chunk in chunks]
    commanded = [time for time, _ in log.commands]
    trace = Trace(
        commands=[np.array(command) for _, command in log.commands],
        merges=[bisect(commanded, arrival) for arrival in arrivals],
        starved=status.starved_cycles,
        requests=status.requests,
        refusals=status.requests_refused,
    )
    tick, first = 0, None
    counted = approaching = 0
    for now in log.progress:
        if now.state == ExecutorStatus.IDLE:
            continue
        # With one status a cycle a tick that is new began in this very cycle.
        newest = bisect(arrivals, now.time)
        if now.tick > tick and newest:
            first = now.time if first is None else first
            trace.ages += [now.time - chunks[newest - 1].observed] * (now.tick - tick)
        tick = max(tick, now.tick)
        if first is not None:
            counted += 1
            approaching += now.state == ExecutorStatus.APPROACHING
    if first is not None:
        trace.cycles = round((log.end_time - first) * rate)
        trace.approaching = round(approaching / counted * trace.cycles)
    return trace


def measure(
    claim: Claim, seeds: Sequence[int], results: ResultsFile, log_folder: Path
) -> list[Row]:
    """Do all runs that `results` lacks and return the rows of the claim.

    Raises:
        SetupError, ClientError: they cannot be done.
    """
    rows = []
    kinds = measurements(claim.settings.minute)
    for cell in claim.cells:
        jobs = [Job(cell, kind, seed) for seed in seeds for kind in kinds]
        missing = results.missing(jobs)
        if missing:
            with Session(
                specs(claim, cell), log_folder, "bench_sim_nodes", period=_PERIOD
            ) as session:
                session.wait_until_ready(_READY_LIMIT)
                for number, job in enumerate(missing, 1):
                    print(
                        f"{cell.execution.name}, {cell.delay_ms} ms, seed {job.seed}, "
                        f"{job.measurement} ({number}/{len(missing)}) …",
                        flush=True,
                    )
                    results.add(job, run(session, claim, job.measurement, job.seed))
        rows.append(results.row(cell, seeds))
    return rows


def agreement(simulated: Sequence[Row], real: Sequence[Row]) -> list[Criterion]:
    """Say of each row whether the intervals of simulated and real time overlap."""
    found = []
    for first, second in zip(simulated, real, strict=True):
        parts = [("success", first.success_interval, second.success_interval, 100.0, "%")]
        if first.minutes:
            parts.append(("cubes", first.cubes_interval, second.cubes_interval, 1.0, ""))
        for name, one, other, scale, unit in parts:
            found.append(
                Criterion(
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
    checks = criteria(real[0], real[1]) + agreement(simulated, real)
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


def _run(settings: NodesBenchSettings) -> None:
    claim = read_claim(settings.output)
    seeds = claim.seeds[: settings.episodes]
    runs = ResultsFile(settings.output / f"{NAME}.jsonl", claim.setup)
    simulated = [runs.row(cell, seeds) for cell in claim.cells]
    path = settings.output / f"{NAME}_nodes.jsonl"
    if settings.fresh:
        path.unlink(missing_ok=True)
    results = ResultsFile(path, {**claim.setup, "nodes": "real"})
    enter_own_graph()
    real = measure(claim, seeds, results, settings.output / "log")
    print(write_report(claim, seeds, simulated, real, settings.output))


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        "smolvla bench sim-nodes",
        "Repeat the rows of 'smolvla bench sim' that carry its claim with the real nodes in real "
        "time.",
        "smolvla bench sim-nodes --episodes 3",
        "0 measured, whatever the criteria say, 2 it could not be, 130 Ctrl-C: the same command "
        "continues",
    )
    add_arguments(made, NodesBenchSettings)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print and write; return the exit status."""
    settings = from_arguments(NodesBenchSettings, parser().parse_args(argv))
    try:
        _run(settings)
    except (ClientError, SetupError, ValueError, OSError) as error:
        return could_not_run("smolvla bench sim-nodes", error)
    return DONE


if __name__ == "__main__":
    raise SystemExit(main())
