# SPDX-License-Identifier: Apache-2.0
"""Measure one chunk of actions, stage by stage, and beside LeRobot where that is installed.

Each contender runs in a process of its own, so that peak memory includes loading and belongs
to it alone. The chunks are interleaved, ours, theirs, ours, theirs, so that other load on the
machine meets both. LeRobot gets images that are converted to float tensors already.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from smolvla_core.console import DONE, beside_json, command_parser, write_json
from smolvla_core.settings import Settings, add_arguments, from_arguments, setting

STAGES = ("images", "prefix", "steps", "total")
CAMERAS = ("top", "wrist", "side")


@dataclass(frozen=True, kw_only=True)
class InferenceBenchSettings(Settings):
    """What is measured."""

    checkpoint: Path | None = setting(None, "Folder (default: a random one of full size).")
    make_checkpoint: Path | None = setting(
        None, "Write such a random checkpoint into this folder and stop."
    )
    num_cameras: tuple[int, ...] = setting((1, 2, 3), "Numbers of cameras.", 1, len(CAMERAS))
    dtype: tuple[str, ...] = setting(
        ("float32", "bfloat16"), "Number types.", choices=("auto", "float32", "bfloat16")
    )
    device: str = setting("cpu", "Where the network runs: cpu, cuda, mps.")
    threads: int = setting(os.cpu_count() or 1, "Threads of PyTorch.", 1)
    repeats: int = setting(5, "Chunks per measurement.", 1)
    lerobot_python: str | None = setting(
        None,
        "Python with LeRobot (default: $LEROBOT_PYTHON, or this one if it has LeRobot).",
    )
    json: Path | None = setting(None, "Also write the results to this file; -: standard output.")


class Contender:
    """A process that predicts chunks on demand.

    Args:
        name: ``ours`` or ``lerobot``.
        python: interpreter to run it in.
        arguments: of `bench_contender.serve`.
    """

    def __init__(self, name: str, python: str, arguments: Sequence[str]) -> None:
        self.name = name
        root = str(Path(__file__).resolve().parents[1])
        environment = dict(os.environ)
        if name == "ours":
            environment["PYTHONPATH"] = os.pathsep.join(
                filter(None, (root, os.environ.get("PYTHONPATH")))
            )
        # A pipe that nobody reads fills up; the file lives until `close`.
        self._errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [python, str(Path(__file__).with_name("bench_contender.py")), name, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env=environment,
        )
        self.about = self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            raise RuntimeError(f"{self.name} stopped. {self._errors.read()[-2000:]}")
        answer: dict[str, Any] = json.loads(line)
        return answer

    def predict(self, cameras: int) -> dict[str, float]:
        """Predict one chunk and return its times in seconds and the memory in bytes."""
        assert self._process.stdin is not None
        self._process.stdin.write(f"{cameras}\n")
        self._process.stdin.flush()
        return self._answer()

    def close(self) -> None:
        """End the process."""
        self._process.communicate()
        self._errors.close()


def measure(
    contenders: Sequence[Contender], cameras: int, repeats: int
) -> dict[str, dict[str, float]]:
    """Run the contenders in turns and condense their times.

    Args:
        contenders: that are running.
        cameras: to be used.
        repeats: chunks of each after one to warm up.

    Returns:
        Contender -> stage -> median in seconds, with ``best`` (of the totals) and ``memory``.
    """
    runs: dict[str, list[dict[str, float]]] = {contender.name: [] for contender in contenders}
    for repeat in range(repeats + 1):
        for contender in contenders:
            times = contender.predict(cameras)
            if repeat:
                runs[contender.name].append(times)
    return {
        name: {
            **{stage: statistics.median(run[stage] for run in rows) for stage in STAGES},
            "best": min(run["total"] for run in rows),
            "memory": max(run["memory"] for run in rows),
        }
        for name, rows in runs.items()
    }


HEADER = (
    f"{'dtype':<9}{'cameras':>8}  {'':<8}"
    + "".join(f"{name:>9}" for name in (*STAGES, "best"))
    + f"{'memory':>10}{'load':>8}"
)


def rows(dtype: str, cameras: int, result: dict[str, dict[str, float]]) -> Iterator[str]:
    """Format one measurement: a line per contender, and the ratio if there are two."""
    for name, row in result.items():
        times = "".join(f"{1000 * row[stage]:>9.0f}" for stage in (*STAGES, "best"))
        yield (
            f"{dtype:<9}{cameras:>8}  {name:<8}{times}"
            f"{row['memory'] / 1e9:>8.2f}GB{row['load']:>7.1f}s"
        )
    if len(result) == 2:
        ours, theirs = result["ours"], result["lerobot"]
        times = "".join(f"{ours[stage] / theirs[stage]:>9.2f}" for stage in (*STAGES, "best"))
        memory = ours["memory"] / theirs["memory"]
        yield (f"{'':<19}{'ratio':<8}{times}{memory:>10.2f}{ours['load'] / theirs['load']:>8.2f}")


@contextmanager
def checkpoint_or_random(folder: Path | None) -> Iterator[Path]:
    """Give the named checkpoint, or a random one of full size for the time being."""
    if folder is not None:
        yield folder.resolve()
        return
    from smolvla_policy.checkpoint.synthetic import make_checkpoint

    with tempfile.TemporaryDirectory(prefix="smolvla_bench_") as made:
        print("writing a random checkpoint of full size (907 MB) ...", flush=True)
        make_checkpoint(Path(made), cameras=CAMERAS)
        yield Path(made)


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    made = command_parser(
        "smolvla bench inference",
        "Measure one chunk of actions, stage by stage; also of LeRobot where that is installed.",
        "smolvla bench inference --dtype float32 --num-cameras 2",
    )
    add_arguments(made, InferenceBenchSettings)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table.

    Args:
        argv: command line without the program.

    Returns:
        Exit status.
    """
    options = from_arguments(InferenceBenchSettings, parser().parse_args(argv))
    if options.make_checkpoint is not None:
        from smolvla_policy.checkpoint.synthetic import make_checkpoint

        make_checkpoint(options.make_checkpoint, cameras=CAMERAS)
        return DONE
    pythons = {"ours": sys.executable}
    if lerobot := options.lerobot_python or os.environ.get("LEROBOT_PYTHON"):
        pythons["lerobot"] = lerobot
    else:
        from importlib.util import find_spec

        if find_spec("lerobot") is not None:
            pythons["lerobot"] = sys.executable
    results: list[dict[str, Any]] = []
    with beside_json(options.json), checkpoint_or_random(options.checkpoint) as folder:
        print(
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
            f"{options.threads} threads, medians of {options.repeats} interleaved chunks, ms",
        )
        print(HEADER, flush=True)
        for dtype in options.dtype:
            arguments = [str(folder), dtype, options.device, str(options.threads)]
            running = [Contender(name, python, arguments) for name, python in pythons.items()]
            try:
                for cameras in sorted(options.num_cameras):
                    result = measure(running, cameras, options.repeats)
                    for contender in running:
                        result[contender.name]["load"] = contender.about["load"]
                    print("\n".join(rows(dtype, cameras, result)), flush=True)
                    results.append({"dtype": dtype, "cameras": cameras, **result})
            finally:
                for contender in running:
                    contender.close()
    if options.json is not None:
        about = {"machine": platform.platform(), "threads": options.threads}
        write_json(options.json, {**about, "results": results})
    return DONE


if __name__ == "__main__":
    sys.exit(main())
