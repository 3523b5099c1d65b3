# SPDX-License-Identifier: Apache-2.0
"""Time the servo bus: this package and scservo_sdk at the same emulator, in turns.

One cycle is what a controller does: read everything that six servos measure (15 bytes each) in
one sync read, decode it, write six goals in one sync write. The emulator keeps the time of a
1 Mbit/s wire. A cycle ends when the write is handed to the kernel; its 0.26 ms on the wire then
lie between two cycles, so that back to back they count and at 100 Hz they do not.

scservo_sdk is PyPI's feetech-servo-sdk; without it only our side is measured.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smolvla_core.console import DONE, NO, beside_json, command_parser, could_not_run, write_json
from smolvla_core.latency import percentile
from smolvla_core.settings import Settings, add_arguments, from_arguments, setting

from smolvla_bringup.cli import Tool

IDS = range(1, 7)
STATE_ADDRESS, STATE_SIZE = 56, 15
GOAL_ADDRESS, GOAL_SIZE = 42, 2
WIRE_MS = 1.66
# The bars of the project: p50 and p99 of our cycle at 100 Hz, ms.
P50_MS, P99_MS = 2.2, 3.5


@dataclass(frozen=True, kw_only=True)
class BusBenchSettings(Settings):
    """What is measured."""

    rounds: int = setting(5, "Turns of each program.", 1)
    cycles: int = setting(300, "Cycles a turn.", 1)
    json: Path | None = setting(None, "Also write the results to this file; -: standard output.")


def scservo_cycles(port_name: str, cycles: int, rate: float) -> dict[str, Any]:
    """Run the cycle with scservo_sdk; return what so100_bench_bus prints."""
    import scservo_sdk

    port = scservo_sdk.PortHandler(port_name)
    if not port.openPort():
        raise SystemExit(f"scservo_sdk cannot open {port_name}")
    handler = scservo_sdk.PacketHandler(0)
    reader = scservo_sdk.GroupSyncRead(port, handler, STATE_ADDRESS, STATE_SIZE)
    writer = scservo_sdk.GroupSyncWrite(port, handler, GOAL_ADDRESS, GOAL_SIZE)
    for servo in IDS:
        reader.addParam(servo)
    # Offset and size of what the state block holds, as so100_bench_bus decodes it.
    fields = ((56, 2), (58, 2), (60, 2), (62, 1), (63, 1), (65, 1), (66, 1), (69, 2))

    reader.txRxPacket()
    goals = {servo: reader.getData(servo, 56, 2) for servo in IDS}
    for servo, goal in goals.items():
        writer.addParam(servo, [goal & 0xFF, goal >> 8])

    times = []
    missing = 0
    before = resource.getrusage(resource.RUSAGE_SELF)
    begin = time.perf_counter()
    for i in range(cycles):
        if rate > 0:
            time.sleep(max(0.0, begin + i / rate - time.perf_counter()))
        start = time.perf_counter()
        if reader.txRxPacket() != scservo_sdk.COMM_SUCCESS:
            missing += 1
        states = [[reader.getData(servo, at, size) for at, size in fields] for servo in IDS]
        for servo, goal in goals.items():
            writer.changeParam(servo, [goal & 0xFF, goal >> 8])
        writer.txPacket()
        times.append((time.perf_counter() - start) * 1e6)
        assert len(states) == len(IDS)
    after = resource.getrusage(resource.RUSAGE_SELF)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    port.closePort()
    return {"cpu_us": cpu * 1e6 / cycles, "missing": missing, "cycle_us": times}


def run_json(command: list[str]) -> dict[str, Any]:
    """Run a program and return the JSON object that it prints."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise RuntimeError(f"{command[0]} failed:\n{done.stderr}")
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def summarize(runs: list[dict[str, Any]]) -> dict[str, float]:
    """Put the rounds of one program together: times in ms."""
    times = sorted(us / 1000.0 for run in runs for us in run["cycle_us"])
    return {
        "p50_ms": percentile(times, 0.5),
        "p99_ms": percentile(times, 0.99),
        "max_ms": max(times),
        "cpu_us": statistics.mean(run["cpu_us"] for run in runs),
        "missing": sum(run["missing"] for run in runs),
        "cycles": len(times),
    }


def print_table(title: str, rows: dict[str, dict[str, float]]) -> None:
    """Print one row a program, and what the second needs over the first."""
    print(f"\n{title}")
    print(f"  {'':24}{'p50 ms':>9}{'p99 ms':>9}{'max ms':>9}{'CPU µs':>9}{'missing':>9}")
    for name, row in rows.items():
        print(
            f"  {name:24}{row['p50_ms']:9.2f}{row['p99_ms']:9.2f}{row['max_ms']:9.2f}"
            f"{row['cpu_us']:9.0f}{row['missing']:9.0f}"
        )
    if len(rows) == 2:
        ours, theirs = rows.values()
        ratios = [theirs[key] / ours[key] for key in ("p50_ms", "p99_ms", "max_ms", "cpu_us")]
        print(f"  {'ratio':24}" + "".join(f"{ratio:8.2f}x" for ratio in ratios))


def measure(rounds: int, cycles: int) -> dict[str, dict[str, dict[str, float]]]:
    """Run all programs in turns against one emulator; return the results by rate and program."""
    emulator_path, bench_path = (
        Tool("", name).path() for name in ("so100_emulator", "so100_bench_bus")
    )
    if emulator_path is None or bench_path is None:
        raise RuntimeError("so100_hardware is not built; run 'make build'")
    emulator = subprocess.Popen(
        [emulator_path, "--gravity", "0"], stdout=subprocess.PIPE, text=True
    )
    try:
        assert emulator.stdout is not None
        port = emulator.stdout.readline().strip()
        if not port:
            raise RuntimeError("so100_emulator did not start")
        # Ours goes first: it sets the servos to answer at once, as LeRobot's configure() does.
        sides = {"so100_hardware": [bench_path, port]}
        if importlib.util.find_spec("scservo_sdk"):
            sides["scservo_sdk (PyPI)"] = [sys.executable, __file__, "--sdk", port]
        results = {}
        for title, rate in (("100 Hz", "100"), ("back to back", "0")):
            runs: dict[str, list[dict[str, Any]]] = {name: [] for name in sides}
            for _ in range(rounds):
                for name, command in sides.items():
                    runs[name].append(run_json([*command, str(cycles), rate]))
            results[title] = {name: summarize(found) for name, found in runs.items()}
        return results
    finally:
        emulator.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            emulator.wait(5)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        "smolvla bench bus",
        "Time the servo bus beside Feetech's SDK, at the servo emulator, in turns.",
        "smolvla bench bus --rounds 3",
        "0 the bars are met, 1 they are not, 2 it could not be measured, 130 Ctrl-C",
    )
    add_arguments(made, BusBenchSettings)
    made.add_argument("--sdk", nargs=3, help=argparse.SUPPRESS)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Measure and print; return 1 when our cycle misses its bars."""
    arguments = parser().parse_args(argv)
    if arguments.sdk:
        port, cycles, rate = arguments.sdk
        print(json.dumps(scservo_cycles(port, int(cycles), float(rate))))
        return DONE
    options = from_arguments(BusBenchSettings, arguments)
    load = os.getloadavg()[0]
    try:
        results = measure(options.rounds, options.cycles)
    except RuntimeError as error:
        return could_not_run("smolvla bench bus", error)
    with beside_json(options.json):
        good = report(results, load)
    if options.json is not None:
        write_json(options.json, results)
    return DONE if good else NO


def report(results: dict[str, dict[str, dict[str, float]]], load: float) -> bool:
    """Print the results; return whether our cycle meets its bars."""
    print(f"One cycle: 15 bytes of six servos read, six goals written; wire alone {WIRE_MS} ms")
    print(f"load of the machine before: {load:.1f} on {os.cpu_count()} cores (p99 wants it quiet)")
    for title, rows in results.items():
        print_table(f"{title}, {next(iter(rows.values()))['cycles']} cycles each", rows)
    if not importlib.util.find_spec("scservo_sdk"):
        print("\nscservo_sdk is not installed (pip install feetech-servo-sdk): our side only.")
    ours = results["100 Hz"]["so100_hardware"]
    good = ours["p50_ms"] <= P50_MS and ours["p99_ms"] <= P99_MS and ours["missing"] == 0
    print(f"\nbars: p50 <= {P50_MS} ms, p99 <= {P99_MS} ms: {'met' if good else 'MISSED'}")
    return good


if __name__ == "__main__":
    raise SystemExit(main())
