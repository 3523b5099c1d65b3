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
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smolvla_core.client import ClientError
from smolvla_core.console import DONE, command_parser, could_not_run, write_json
from smolvla_core.settings import Settings, add_arguments, from_arguments, setting

from smolvla_bringup.system.environment import enter_own_graph
from smolvla_bringup.system.node_list import simulation_nodes
from smolvla_bringup.system.options import Options, SetupError
from smolvla_bringup.system.session import Session, SessionError
from smolvla_msgs.msg import ExecutorStatus

_READY_LIMIT = 300.0  # [s]: a full-size checkpoint loads and warms up meanwhile
_PERIOD = 0.2  # [s] between two polls for messages, which cost the machine that is measured


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


def measure(
    label: str, policy: dict[str, Any], rate: float, settings: ExecutorBenchSettings
) -> dict[str, Any]:
    """Measure one row of the table, times in milliseconds.

    Args:
        label: what runs beside the executor.
        policy: options of it.
        rate: of the control loop [Hz].
        settings: of the benchmark.

    Raises:
        SetupError: the nodes cannot be started.
        ClientError: a node died, or nothing moves.
    """
    options = Options(hardware="sim", rate=rate, **policy)
    timing = {
        "period_window": int(rate * settings.seconds),  # all cycles
        "status_rate": 0.5,
        "request_timeout": 120.0,
        "realtime_priority": settings.realtime_priority,
    }
    specs = [
        dataclasses.replace(spec, parameters={**spec.parameters, **timing})
        if spec.name == "executor_node"
        else spec
        for spec in simulation_nodes(options)
    ]
    with Session(specs, settings.output / "log", "bench_executor", period=_PERIOD) as session:
        client = session.client
        session.wait_until_ready(_READY_LIMIT)
        client.instruct(options.task)

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
        "beside": label,
        "rate_hz": rate,
        "period_ms": 1e3 / rate,
        "p50_ms": 1e3 * status.period_p50,
        "p99_ms": 1e3 * status.period_p99,
        "worst_ms": 1e3 * status.period_max,
        "overruns": status.overruns,
        "chunks": status.chunks_merged,
        "latency_p50_s": status.latency_p50,
    }


def _table(rows: Sequence[dict[str, Any]]) -> str:
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
    cases: dict[str, dict[str, Any]] = {
        "three cameras, scripted policy": {"policy": "scripted", "chunk_size_threshold": 0.7}
    }
    if settings.checkpoint:
        cases["three cameras, SmolVLA without a pause"] = {
            "checkpoint": settings.checkpoint,
            "chunk_size_threshold": 1.0,
        }
    rows = []
    try:
        enter_own_graph()
        for rate in settings.rates:
            for label, policy in cases.items():
                print(f"{label}, {rate:g} Hz, {settings.seconds:g} s …", flush=True)
                rows.append(measure(label, policy, rate, settings))
    except (ClientError, SetupError) as error:
        return could_not_run("smolvla bench executor", error)
    machine = f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores"
    print(f"\nPeriod of the control loop on {machine}, {settings.seconds:g} s a row\n")
    print(_table(rows))
    result = {"machine": machine, "seconds": settings.seconds, "rows": rows}
    write_json(settings.output / "executor.json", result)
    return DONE


if __name__ == "__main__":
    raise SystemExit(main())
