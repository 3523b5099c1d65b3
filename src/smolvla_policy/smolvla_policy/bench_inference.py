# SPDX-License-Identifier: Apache-2.0
"""Measure one chunk of actions, stage by stage, and beside LeRobot where that is installed.

Contenders are our engines, with each way to continue the queued actions that is asked for, and
LeRobot, in each number type. Each runs in a process of its own, so that peak memory includes
loading and belongs to it alone; what an engine converts at its first start is converted by a
process before. The chunks of all that are compared are interleaved, so that other load on the
machine meets all. LeRobot gets images that are float tensors already.
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
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from smolvla_core.console import DONE, beside_json, command_parser, could_not_run, write_json
from smolvla_core.settings import Settings, add_arguments, from_arguments, same, setting

from smolvla_policy.backends.smolvla_settings import CHUNKINGS, SmolVLASettings

STAGES = ("images", "prefix", "steps", "total")
CAMERAS = ("top", "wrist", "side")
LEROBOT = "lerobot"
INSTRUCTIONS = (
    *("avx2", "avx_vnni", "avx512f", "avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"),
    *("asimd", "bf16", "i8mm"),
)
"""Instruction sets that matter to the network, as Linux calls them; asimd is Arm's Neon."""
ASKED = ("device", "threads", "num_steps", "solver", "cuda_graph")
"""Settings that a contender has."""
LIMITS = {
    "avx2": {
        "ONEDNN_MAX_CPU_ISA": "AVX2_VNNI",  # OpenVINO, too
        "ATEN_CPU_CAPABILITY": "avx2",
        "MKL_ENABLE_INSTRUCTIONS": "AVX2",
    }
}
"""Instruction set -> variables that limit a contender to it."""


@dataclass(frozen=True, kw_only=True)
class InferenceBenchSettings(Settings):
    """What is measured."""

    checkpoint: Path | None = setting(None, "Folder (default: a random one of full size).")
    make_checkpoint: Path | None = setting(
        None, "Write such a random checkpoint into this folder and stop."
    )
    num_cameras: tuple[int, ...] = setting((1, 2, 3), "Numbers of cameras.", 1, len(CAMERAS))
    engine: tuple[str, ...] = setting(
        ("torch", "openvino"), "Our engines.", choices=("torch", "openvino")
    )
    dtype: tuple[str, ...] = setting(
        ("float32", "bfloat16", "int8"),
        "Number types. LeRobot has no int8: that is compared with its bfloat16, or its float32 "
        "where the processor has no instructions for bfloat16.",
        choices=("float32", "bfloat16", "int8"),
    )
    real_time_chunking: tuple[str, ...] = setting(
        ("off",),
        "Ways to continue the queued actions, on any checkpoint; each is compared with 'off'.",
        choices=tuple(method for method in CHUNKINGS if method != "auto"),
    )
    num_steps: int = same(SmolVLASettings, "num_steps", 0, note="LeRobot: the checkpoint's.")
    solver: str = same(SmolVLASettings, "solver", "euler")
    cuda_graph: bool = same(SmolVLASettings, "cuda_graph", False)
    device: str = setting("cpu", "Where the network runs: cpu, cuda, mps.")
    threads: int = setting(os.cpu_count() or 1, "Threads of each contender.", 1)
    isa: str | None = setting(
        None,
        "Limit all contenders to the instructions of older processors.",
        choices=(*LIMITS,),
    )
    busy: bool = setting(
        False, "Measure each once more beside a process that keeps one core busy."
    )
    repeats: int = setting(5, "Chunks per measurement.", 1)
    lerobot_python: str | None = setting(
        None,
        "Python with LeRobot (default: $LEROBOT_PYTHON, or this one if it has LeRobot).",
    )
    json: Path | None = setting(None, "Also write the results to this file; -: standard output.")


@dataclass(frozen=True)
class Processor:
    """What computes, and which of `INSTRUCTIONS` it has."""

    name: str
    instructions: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.name} ({', '.join(self.instructions) or 'instruction sets unknown'})"

    @property
    def has_bfloat16(self) -> bool:
        """Whether it multiplies in bfloat16."""
        return any("bf16" in name for name in self.instructions)


def processor(isa: str | None = None) -> Processor:
    """Return this machine's processor, with the instructions that a limit leaves of it."""
    apple = platform.system() == "Darwin"
    command = ["sysctl", "machdep.cpu.brand_string"] if apple else ["lscpu"]
    shown = subprocess.run(
        command, capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"}
    )
    lines = (line.partition(":")[::2] for line in reversed(shown.stdout.splitlines()))
    known = {name.strip(): value.strip() for name, value in lines}
    name = known.get("Model name") or known.get("machdep.cpu.brand_string") or platform.machine()
    flags = known.get("Flags", "").split()
    gone = ("avx512", "amx") if isa else ()
    return Processor(
        name, tuple(one for one in INSTRUCTIONS if one in flags and not one.startswith(gone))
    )


class Contender:
    """A process that predicts chunks on demand.

    Args:
        engine: one of ours, or ``lerobot``.
        dtype: number type.
        method: value of ``real_time_chunking``.
        python: interpreter to run it in.
        folder: of the checkpoint.
        options: what is measured.

    Attributes:
        about: ``load`` and ``conversion`` [s], which the former includes, the ``precision`` that
            it has and ``versions`` of what computes.

    Raises:
        RuntimeError: it cannot load the checkpoint or predict.
    """

    def __init__(
        self,
        engine: str,
        dtype: str,
        method: str,
        python: str,
        folder: Path,
        options: InferenceBenchSettings,
    ) -> None:
        self.engine, self.dtype, self.method = engine, dtype, method
        environment = {**os.environ, **LIMITS.get(options.isa or "", {})}
        from smolvla_policy.checkpoint.synthetic import RANDOM

        random = (folder / RANDOM).exists()
        if random:  # what is converted ends with it
            environment["HF_HOME"] = str(folder / "cache")
        if engine != LEROBOT:
            root = str(Path(__file__).resolve().parents[1])
            environment["PYTHONPATH"] = os.pathsep.join(
                filter(None, (root, os.environ.get("PYTHONPATH")))
            )
        asked = {name: getattr(options, name) for name in ASKED}
        asked |= {"folder": str(folder), "dtype": dtype, "random": random}
        asked["real_time_chunking"] = method
        # A pipe that nobody reads fills up; the file lives until `close`.
        self._errors = tempfile.TemporaryFile(mode="w+")  # noqa: SIM115
        self._process = subprocess.Popen(
            [
                python,
                str(Path(__file__).with_name("bench_contender.py")),
                engine,
                json.dumps(asked),
            ],
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
            raise RuntimeError(f"{self.engine} {self.dtype}: {self._errors.read()[-2000:]}")
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


def measure(contenders: Sequence[Contender], cameras: int, repeats: int) -> list[dict[str, Any]]:
    """Run the contenders in turns and condense their times.

    Args:
        contenders: that are running.
        cameras: to be used.
        repeats: chunks of each after one to warm up.

    Returns:
        For each its stages' medians, the ``best`` total and the total's 95th percentile ``p95``
        [s], and its peak ``memory`` and ``gpu_memory`` [bytes].
    """
    runs: list[list[dict[str, float]]] = [[] for _ in contenders]
    for repeat in range(repeats + 1):
        for contender, row in zip(contenders, runs, strict=True):
            times = contender.predict(cameras)
            if repeat:
                row.append(times)
    return [
        {
            **{stage: statistics.median(run[stage] for run in row) for stage in STAGES},
            "best": min(run["total"] for run in row),
            "p95": sorted(run["total"] for run in row)[(95 * len(row) - 1) // 100],
            "memory": max(run["memory"] for run in row),
            "gpu_memory": max(run.get("gpu_memory", 0.0) for run in row),
        }
        for row in runs
    ]


@contextmanager
def busy_core() -> Iterator[int]:
    """Keep one core busy, by a process that ends with this one; give its id."""
    loop = f"import os\nwhile os.getppid() == {os.getpid()}:\n for _ in range(10**5): pass"
    process = subprocess.Popen([sys.executable, "-S", "-c", loop])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


HEADER = (
    f"{'engine':<9}{'dtype':<9}{'cameras':>7} {'chunking':<13}{'':<5}"
    + "".join(f"{name:>8}" for name in (*STAGES, "best"))
    + f"{'memory':>9}{'load':>7}  ratio to"
)


def line_of(row: dict[str, Any]) -> str:
    """Format a row of the table: milliseconds, and GB, and seconds."""
    busy = "busy" if row["busy"] else ""
    times = "".join(f"{1000 * row[stage]:>8.0f}" for stage in (*STAGES, "best"))
    ratio = f"  {row['ratio']:.2f} {row['base']}" if "ratio" in row else ""
    return (
        f"{row['engine']:<9}{row['dtype']:<9}{row['cameras']:>7} {row['real_time_chunking']:<13}"
        f"{busy:<5}{times}"
        f"{row['memory'] / 1e9:>7.2f}GB{row['load']:>6.1f}s{ratio}"
    )


def compare(rows: Sequence[dict[str, Any]], alone: Sequence[dict[str, Any]]) -> None:
    """Give rows the ratio of their total to the one that they are compared with, its ``base``.

    Args:
        rows: measured together, LeRobot's last where it is there.
        alone: the same without the busy core; empty where `rows` are that.
    """
    free = {
        (row["engine"], row["dtype"]): row for row in rows if row["real_time_chunking"] == "off"
    }
    for index, row in enumerate(rows):
        one = free.get((row["engine"], row["dtype"]), row)
        if alone:
            base, row["base"] = alone[index], "alone"
        elif one is not row:
            base, row["base"] = one, "off"
        elif rows[-1]["engine"] == LEROBOT and index < len(rows) - 1:
            base, row["base"] = rows[-1], f"{LEROBOT} {rows[-1]['dtype']}"
        else:
            continue
        row["ratio"] = row["total"] / base["total"]


def measure_group(
    contenders: Sequence[tuple[str, str, str]],
    pythons: dict[str, str],
    folder: Path,
    options: InferenceBenchSettings,
) -> Iterator[dict[str, Any]]:
    """Measure in turns what is compared.

    Args:
        contenders: engine, number type and ``real_time_chunking`` of each.
        pythons: interpreter of each engine.
        folder: of the checkpoint.
        options: what is measured.

    Yields:
        Rows: ``engine``, ``dtype``, ``real_time_chunking``, ``cameras``, ``busy``, those of
        `measure`, what the contender says about itself, and with a ``base`` the ``ratio`` to it.
    """
    with ExitStack() as stack:
        running: list[Contender] = []
        for engine, dtype, method in contenders:
            start = (engine, dtype, method, pythons[engine], folder, options)
            try:
                contender = Contender(*start)
                if conversion := contender.about["conversion"]:
                    contender.close()
                    print(f"{engine} {dtype} was converted in {conversion:.1f} s", flush=True)
                    contender = Contender(*start)
                    contender.about["conversion"] = conversion
            except RuntimeError as error:
                name = f"{engine} {dtype}" + (f" {method}" if method != "off" else "")
                print(f"{name} is left out: {str(error).splitlines()[-1]}", flush=True)
                continue
            running.append(contender)
            stack.callback(contender.close)
        for cameras in sorted(options.num_cameras) if running else ():
            alone: list[dict[str, Any]] = []
            for busy in (False, True) if options.busy else (False,):
                with busy_core() if busy else ExitStack():
                    measured = measure(running, cameras, options.repeats)
                rows = [
                    {"engine": one.engine, "dtype": one.dtype, "real_time_chunking": one.method}
                    | {"cameras": cameras, "busy": busy, **row, **one.about}
                    for one, row in zip(running, measured, strict=True)
                ]
                compare(rows, alone)
                alone = rows
                yield from rows


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
        "smolvla bench inference --engine openvino --dtype bfloat16 int8 --num-cameras 2",
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
    pythons = dict.fromkeys(options.engine, sys.executable)
    if lerobot := options.lerobot_python or os.environ.get("LEROBOT_PYTHON"):
        pythons[LEROBOT] = lerobot
    elif find_spec("lerobot") is not None:
        pythons[LEROBOT] = sys.executable
    here = processor(options.isa)
    groups: dict[str, list[tuple[str, str, str]]] = {}
    for dtype in options.dtype:
        compared = ("bfloat16" if here.has_bfloat16 else "float32") if dtype == "int8" else dtype
        groups.setdefault(compared, []).extend(
            (engine, dtype, method)
            for engine in options.engine
            for method in options.real_time_chunking
        )
    results: list[dict[str, Any]] = []
    with beside_json(options.json), checkpoint_or_random(options.checkpoint) as folder:
        print(
            f"{here}, {os.cpu_count()} cores, {options.threads} threads, medians of "
            f"{options.repeats} interleaved chunks, ms",
        )
        if options.isa and groups.pop("bfloat16", None):
            print(f"bfloat16 is left out: {options.isa} has no instructions for it")
        print(HEADER, flush=True)
        for base, contenders in groups.items():
            if LEROBOT in pythons:
                contenders.append((LEROBOT, base, "off"))
            for row in measure_group(contenders, pythons, folder, options):
                print(line_of(row), flush=True)
                results.append(row)
        versions = {row["engine"]: row["versions"] for row in results}
        for engine, those in versions.items():
            print(f"{engine}:", ", ".join(f"{name} {version}" for name, version in those.items()))
    if options.json is not None:
        asked = {name: getattr(options, name) for name in (*ASKED, "repeats", "isa")}
        write_json(options.json, {"processor": asdict(here), **asked, "results": results})
    if not any(row["engine"] != LEROBOT for row in results):
        return could_not_run(parser().prog, RuntimeError("nothing of ours could be measured"))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
