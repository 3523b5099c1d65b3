# SPDX-License-Identifier: Apache-2.0
"""Measure one chunk of actions, stage by stage, and beside LeRobot where that is installed.

Each contender runs in a process of its own, so that peak memory includes loading and belongs
to it alone. The chunks are interleaved, ours, theirs, ours, theirs, so that other load on the
machine meets both. LeRobot gets images that are converted to float tensors already; its own
file runs in its own Python, so this file imports this package only where it is needed.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

STAGES = ("images", "prefix", "steps", "total")
CAMERAS = ("top", "wrist", "side")
TASK = "pick up the red cube"
HEIGHT, WIDTH = 480, 640

Predict = Callable[[int], dict[str, float]]
"""Predicts a chunk from that many cameras and returns the seconds of the stages."""


def load_ours(folder: Path, dtype: str, device: str) -> Predict:
    """Load the checkpoint with this package."""
    from dataclasses import replace

    import numpy as np

    from smolvla_policy.policy import SmolVLAPolicy

    policy = SmolVLAPolicy.from_pretrained(folder, dtype=dtype, device=device)
    config, state = policy.config, np.zeros(policy.state_dim, np.float32)
    random = np.random.default_rng(0)
    noise = random.standard_normal(
        (policy.chunk_size, int(config.max_action_dim)), dtype=np.float32
    )
    pictures = [
        random.integers(0, 256, (HEIGHT, WIDTH, 3)).astype(np.uint8) for _ in policy.cameras
    ]
    narrowed: dict[int, SmolVLAPolicy] = {}

    def predict(cameras: int) -> dict[str, float]:
        if cameras not in narrowed:
            dropped = policy.cameras[cameras:]
            inputs = {name: f for name, f in config.inputs.items() if name not in dropped}
            narrowed[cameras] = SmolVLAPolicy(
                policy.network,
                replace(config, inputs=inputs),
                policy.processors,
                policy.tokenizer,
                policy.statistics,
                policy.load_report,
            )
            narrowed[cameras].profile = True
        chosen = narrowed[cameras]
        images = dict(zip(chosen.cameras, pictures, strict=False))
        started = time.perf_counter()
        chosen.predict_chunk(images, state, TASK, noise)
        return {**chosen.stage_times, "total": time.perf_counter() - started}

    return predict


def load_lerobot(folder: Path, dtype: str, device: str) -> Predict:
    """Load the checkpoint with LeRobot, whose modules have no types here."""
    os.environ.update(HF_HUB_OFFLINE="1", TRANSFORMERS_OFFLINE="1")
    os.chdir(folder)  # the VLM's configuration is named relative to the checkpoint
    import torch
    from lerobot.policies.factory import make_pre_post_processors
    from lerobot.policies.smolvla.modeling_smolvla import SmolVLAPolicy

    policy = SmolVLAPolicy.from_pretrained(str(folder))
    # The mix of released checkpoints; LeRobot gives it only with the VLM's weights at hand.
    if dtype == "float32":
        policy.float()
    else:
        policy.model.vlm_with_expert.vlm.to(torch.bfloat16)
    policy.to(device).eval()
    before, after = make_pre_post_processors(policy.config, pretrained_path=str(folder))
    names = list(policy.config.image_features)
    torch.manual_seed(0)
    pictures = [torch.rand(3, HEIGHT, WIDTH) for _ in names]
    state = torch.zeros(policy.config.input_features["observation.state"].shape[0])
    noise = torch.randn(1, policy.config.chunk_size, policy.config.max_action_dim, device=device)
    spent: dict[str, float] = {}

    def timed(owner: Any, method: str, stage: str) -> None:
        inner = getattr(owner, method)

        def outer(*args: Any, **kwargs: Any) -> Any:
            started = time.perf_counter()
            result = inner(*args, **kwargs)
            if device.startswith("cuda"):
                torch.cuda.synchronize()
            spent[stage] = spent.get(stage, 0.0) + time.perf_counter() - started
            return result

        setattr(owner, method, outer)

    timed(policy, "prepare_images", "images")
    timed(policy.model.vlm_with_expert, "embed_image", "images")
    timed(policy.model, "denoise_step", "steps")

    def predict(cameras: int) -> dict[str, float]:
        spent.clear()
        batch = dict(zip(names[:cameras], pictures, strict=False))
        started = time.perf_counter()
        ready = before({**batch, "observation.state": state, "task": TASK})
        after(policy.predict_action_chunk(ready, noise=noise))
        total = time.perf_counter() - started
        rest = total - spent["images"] - spent["steps"]
        return {**spent, "prefix": rest, "total": total}

    return predict


def serve(contender: str, folder: Path, dtype: str, device: str, threads: int) -> None:
    """Load one contender and answer each line of standard input, a number of cameras."""
    output = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print must not mix with the answers
    started = time.perf_counter()
    import torch

    torch.set_num_threads(threads)
    load = load_ours if contender == "ours" else load_lerobot
    predict = load(folder, dtype, device)
    about: dict[str, Any] = {"load": time.perf_counter() - started, "torch": torch.__version__}
    print(json.dumps({**about, "memory": peak_memory()}), file=output, flush=True)
    for line in sys.stdin:
        times: dict[str, Any] = predict(int(line))
        times["memory"] = peak_memory()
        print(json.dumps(times), file=output, flush=True)


def peak_memory() -> float:
    """Return this process's highest resident memory so far in bytes."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return float(peak if platform.system() == "Darwin" else 1024 * peak)


class Contender:
    """A process that predicts chunks on demand.

    Args:
        name: ``ours`` or ``lerobot``.
        python: interpreter to run it in.
        arguments: of `serve`.
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
            [python, __file__, "--serve", name, *arguments],
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
    made = argparse.ArgumentParser(prog="bench_inference", description=__doc__)
    made.add_argument("--checkpoint", type=Path, help="folder; default: a random one")
    made.add_argument("--make-checkpoint", type=Path, metavar="DIR", help="write one and stop")
    made.add_argument("--cameras", type=int, nargs="+", default=[1, 2, 3])
    made.add_argument("--dtypes", nargs="+", default=["float32", "bfloat16"])
    made.add_argument("--device", default="cpu")
    made.add_argument("--threads", type=int, default=os.cpu_count() or 1, help="of PyTorch")
    made.add_argument("--repeats", type=int, default=5, help="chunks per measurement")
    made.add_argument(
        "--lerobot-python",
        default=os.environ.get("LEROBOT_PYTHON"),
        help="Python with LeRobot; default: $LEROBOT_PYTHON, or this one if it has LeRobot",
    )
    made.add_argument("--json", type=Path, help="also write the results here")
    made.add_argument("--serve", choices=("ours", "lerobot"), help=argparse.SUPPRESS)
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Run the benchmark and print its table.

    Args:
        argv: command line without the program.

    Returns:
        Exit status.
    """
    options = parser().parse_args(argv)
    if options.serve:
        dtype = options.dtypes[0]
        serve(options.serve, options.checkpoint, dtype, options.device, options.threads)
        return 0
    if options.make_checkpoint is not None:
        from smolvla_policy.checkpoint.synthetic import make_checkpoint

        make_checkpoint(options.make_checkpoint, cameras=CAMERAS)
        return 0
    pythons = {"ours": sys.executable}
    if options.lerobot_python:
        pythons["lerobot"] = options.lerobot_python
    else:
        from importlib.util import find_spec

        if find_spec("lerobot") is not None:
            pythons["lerobot"] = sys.executable
    results: list[dict[str, Any]] = []
    with checkpoint_or_random(options.checkpoint) as folder:
        print(
            f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, "
            f"{options.threads} threads, medians of {options.repeats} interleaved chunks, ms"
        )
        print(HEADER, flush=True)
        for dtype in options.dtypes:
            arguments = ["--checkpoint", str(folder), "--dtypes", dtype]
            arguments += ["--device", options.device, "--threads", str(options.threads)]
            running = [Contender(name, python, arguments) for name, python in pythons.items()]
            try:
                for cameras in sorted(options.cameras):
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
        options.json.write_text(json.dumps({**about, "results": results}, indent=2) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
