# SPDX-License-Identifier: Apache-2.0
"""How well the executor keeps its rate, alone and beside cameras and a busy policy.

Every case runs the real nodes as processes: the simulation with three cameras, a policy and
the executor. The timings are the executor's own, over all cycles of the measured time.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
import platform
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smolvla_core.client import ClientError
from smolvla_core.console import COULD_NOT_RUN, DONE, command_parser, write_json
from smolvla_core.settings import Settings, add_arguments, from_arguments, setting

from smolvla_bringup.system.environment import enter_own_graph
from smolvla_bringup.system.node_list import simulation_nodes
from smolvla_bringup.system.node_spec import NodeSpec
from smolvla_bringup.system.options import Options, SetupError
from smolvla_bringup.system.session import Session, SessionError
from smolvla_msgs.msg import ExecutorStatus

_READY_LIMIT = 300.0  # [s]: a full-size checkpoint loads and warms up meanwhile
_PERIOD = 0.2  # [s] between two looks for messages, which cost the machine that is measured


@dataclasses.dataclass(frozen=True, kw_only=True)
class ExecutorBenchSettings(Settings):
    """What is measured."""

    seconds: float = setting(60.0, "Measured time of a case [s].", above=0)
    rates: tuple[float, ...] = setting((30.0, 100.0), "Rates of the control loop [Hz].", above=0)
    checkpoint: str = setting(
        "", "SmolVLA checkpoint that keeps the policy busy; without: only the scripted one."
    )
    realtime_priority: int = setting(0, "SCHED_FIFO priority of the executor; 0: none.", 0, 99)
    output: Path = setting(Path("bench_out"), "Folder for executor.json and log/.")


@dataclasses.dataclass(frozen=True)
class Case:
    """One row of the table.

    Attributes:
        label: what runs beside the executor.
        options: how the system is started.
        rate: of the control loop [Hz].
    """

    label: str
    options: Options
    rate: float


def _specs(case: Case, cycles: int, priority: int) -> list[NodeSpec]:
    """Return the nodes of `case`; the executor keeps the periods of `cycles` cycles."""
    specs = []
    for spec in simulation_nodes(case.options):
        parameters = dict(spec.parameters)
        if spec.name == "executor_node":
            parameters.update(
                period_window=cycles,
                status_rate=0.5,
                request_timeout=120.0,
                realtime_priority=priority,
            )
        specs.append(dataclasses.replace(spec, parameters=parameters))
    return specs


def measure(case: Case, settings: ExecutorBenchSettings) -> dict[str, Any]:
    """Run `case` and return its row of the table, times in milliseconds.

    Raises:
        SetupError: the nodes cannot be started.
        ClientError: a node died, or nothing moves.
    """
    specs = _specs(case, int(case.rate * settings.seconds), settings.realtime_priority)
    with Session(specs, settings.output / "log", "bench_executor", period=_PERIOD) as session:
        client = session.client
        session.wait_until_ready(_READY_LIMIT)
        client.instruct(case.options.task)

        def running() -> bool:
            now = client.executor_status
            return now is not None and now.state == ExecutorStatus.RUNNING

        if not client.until(running, _READY_LIMIT):
            raise SessionError(f"no motion after {_READY_LIMIT:g} s")
        client.stop()
        client.start()  # all counters begin at 0
        client.spin(settings.seconds + 2.5)  # the status is published every 2 s
        status = client.executor_status
        assert status is not None
    return {
        "beside": case.label,
        "rate_hz": case.rate,
        "period_ms": 1e3 / case.rate,
        "p50_ms": 1e3 * status.period_p50,
        "p99_ms": 1e3 * status.period_p99,
        "worst_ms": 1e3 * status.period_max,
        "overruns": status.overruns,
        "chunks": status.chunks_merged,
        "latency_p50_s": status.latency_p50,
    }


def cases(rates: Sequence[float], checkpoint: str) -> list[Case]:
    """Return the cases: nearly idle, and beside a busy policy where a checkpoint is given."""
    rows = []
    for rate in rates:
        scripted = Options(hardware="sim", policy="scripted", rate=rate, chunk_size_threshold=0.7)
        rows.append(Case("three cameras, scripted policy", scripted, rate))
        if checkpoint:
            busy = Options(
                hardware="sim", rate=rate, checkpoint=checkpoint, chunk_size_threshold=1.0
            )
            rows.append(Case("three cameras, SmolVLA without a pause", busy, rate))
    return rows


def table(rows: Sequence[dict[str, Any]]) -> str:
    """Return the rows as text."""
    head = (
        f"{'beside the executor':<40}{'rate':>7}{'period':>9}{'p50':>9}{'p99':>9}{'worst':>9}"
        f"{'overruns':>10}{'chunks':>8}"
    )
    lines = [head, "-" * len(head)]
    lines += [
        f"{row['beside']:<40}{row['rate_hz']:>4.0f} Hz{row['period_ms']:>6.1f} ms"
        f"{row['p50_ms']:>6.1f} ms{row['p99_ms']:>6.1f} ms{row['worst_ms']:>6.1f} ms"
        f"{row['overruns']:>10}{row['chunks']:>8}"
        for row in rows
    ]
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        "smolvla bench executor",
        "Measure how well the control loop keeps its rate: alone, and beside a busy policy.",
        "smolvla bench executor --checkpoint bench_out/checkpoint --seconds 20",
    )
    add_arguments(made, ExecutorBenchSettings)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Measure, print the table and write it as JSON; return the exit status."""
    settings = from_arguments(ExecutorBenchSettings, parser().parse_args(argv))
    rows = []
    try:
        enter_own_graph()
        for case in cases(settings.rates, settings.checkpoint):
            print(f"{case.label}, {case.rate:g} Hz, {settings.seconds:g} s …", flush=True)
            rows.append(measure(case, settings))
    except (ClientError, SetupError) as error:
        print(f"smolvla bench executor: {error}", file=sys.stderr)
        return COULD_NOT_RUN
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    print(f"\nPeriod of the control loop on {machine}, {settings.seconds:g} s a row\n")
    print(table(rows))
    result = {"machine": machine, "seconds": settings.seconds, "rows": rows}
    write_json(settings.output / "executor.json", result)
    return DONE


if __name__ == "__main__":
    raise SystemExit(main())
