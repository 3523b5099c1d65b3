# SPDX-License-Identifier: Apache-2.0
"""How well the executor keeps its rate, alone and beside cameras and a busy policy.

Every case runs the real nodes as processes: the simulation with three cameras, a policy and
the executor. The timings are the executor's own, over all cycles of the measured time.
"""

from __future__ import annotations

import argparse
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from smolvla_core.client import ClientError
from smolvla_core.console import DONE, command_parser, could_not_run, write_json
from smolvla_core.settings import Settings, add_arguments, from_arguments, same, setting
from smolvla_policy.backends.smolvla_settings import SmolVLASettings
from smolvla_policy.bench_inference import processor

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
    engine: str = same(SmolVLASettings, "engine", "auto")
    dtype: str = same(SmolVLASettings, "dtype", "auto")
    realtime_priority: int = setting(
        0, "Measure each case once more with this SCHED_FIFO priority of the executor.", 0, 99
    )
    output: Path = setting(Path("bench_out"), "Folder for executor.json and log/.")


def measure(
    label: str, policy: dict[str, Any], rate: float, priority: int, settings: ExecutorBenchSettings
) -> dict[str, Any]:
    """Measure one row of the table, times in milliseconds.

    Args:
        label: what runs beside the executor.
        policy: options of it.
        rate: of the control loop [Hz].
        priority: of the executor, SCHED_FIFO; 0 for none.
        settings: of the benchmark.

    Raises:
        SetupError: the nodes cannot be started.
        ClientError: a node died, or nothing moves.
    """
    options = Options(hardware="sim", rate=rate, **policy)
    given: dict[str, dict[str, Any]] = {
        "executor_node": {
            "period_window": int(rate * settings.seconds),  # all cycles
            "status_rate": 0.5,
            "request_timeout": 120.0,
            "realtime_priority": priority,
        }
    }
    if "checkpoint" in policy:
        # Chunks of random weights that resemble each other: no approach interrupts the requests.
        chosen = {"engine": settings.engine, "dtype": settings.dtype, "noise_scale": 0.0}
        given["policy_node"] = chosen
    specs = [
        dataclasses.replace(spec, parameters={**spec.parameters, **given.get(spec.name, {})})
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
        status, thinking = client.executor_status, client.policy_status
        assert status is not None
        assert thinking is not None
    return {
        "beside": label,
        "device": thinking.device,
        "dtype": thinking.dtype,
        "rate_hz": rate,
        "realtime_priority": priority,
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
        f"{'beside the executor':<26}{'rate':>7}{'priority':>10}"
        f"{'p50':>11}{'p99':>11}{'worst':>11}{'overruns':>10}{'chunks':>8}{'a chunk':>10}"
    )
    lines = [head, "-" * len(head)]
    for row in rows:
        periods = (row[name] - row["period_ms"] for name in ("p50_ms", "p99_ms", "worst_ms"))
        late = "".join(f"{period:>+8.2f} ms" for period in periods)
        lines.append(
            f"{row['beside']:<26}{row['rate_hz']:>4.0f} Hz{row['realtime_priority'] or '-':>10}"
            f"{late}{row['overruns']:>10}{row['chunks']:>8}{row['latency_p50_s']:>8.2f} s"
        )
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
        "scripted policy": {"policy": "scripted", "chunk_size_threshold": 0.7}
    }
    if settings.checkpoint:
        cases["SmolVLA without a pause"] = {
            "checkpoint": settings.checkpoint,
            "chunk_size_threshold": 1.0,
        }
    rows = []
    try:
        enter_own_graph()
        for rate in settings.rates:
            for label, policy in cases.items():
                for priority in sorted({0, settings.realtime_priority}):
                    print(f"{label}, {rate:g} Hz, {settings.seconds:g} s …", flush=True)
                    rows.append(measure(label, policy, rate, priority, settings))
    except (ClientError, SetupError) as error:
        return could_not_run("smolvla bench executor", error)
    machine = f"{processor()}, {os.cpu_count()} cores"
    print(f"\n{machine}, three cameras, {settings.seconds:g} s a row")
    if settings.checkpoint:
        print(f"SmolVLA computes on {rows[-1]['device']} in {rows[-1]['dtype']}")
    print("Deviations from the period; 'a chunk' is the median time from request to answer.\n")
    print(_table(rows))
    result = {"machine": machine, "seconds": settings.seconds, "rows": rows}
    write_json(settings.output / "executor.json", result)
    return DONE


if __name__ == "__main__":
    raise SystemExit(main())
