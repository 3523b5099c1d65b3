# SPDX-License-Identifier: Apache-2.0
"""The benchmarks that run nodes or programs, for a few seconds, through the command."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from smolvla_bringup.cli import Tool
from smolvla_core.images import decode_picture
from smolvla_policy.checkpoint.synthetic import make_checkpoint

ROOT = Path(__file__).parents[1]
TINY_VLM = ROOT / "src/smolvla_policy/test/golden/ckpt/vlm/config.json"


def bench(*arguments: object) -> int:
    """Run ``smolvla bench`` and return its exit status."""
    command = [sys.executable, "-m", "smolvla_bringup.cli", "bench", *map(str, arguments)]
    paths = {"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
    done = subprocess.run(command, env={**os.environ, **paths}, timeout=240, check=False)
    return done.returncode


def test_inference_becomes_a_picture(tmp_path):
    report, picture = tmp_path / "inference.json", tmp_path / "inference.png"
    usual = ("--engine", "torch", "--dtype", "float32", "--repeats", 1, "--json", report)
    assert bench("inference", "--checkpoint", TINY_VLM.parents[1], *usual) == 0
    cameras = [row["cameras"] for row in json.loads(report.read_text())["results"]]
    assert cameras[:1] + cameras[-1:] == [1, 3]
    script = [sys.executable, ROOT / "scripts/plot_inference.py", report, report]
    subprocess.run([*script, "--output", picture], timeout=60, check=True)
    pixels = decode_picture(picture.read_bytes())[0].astype(int)
    (columns,) = np.nonzero((np.abs(pixels - (0x00, 0x72, 0xB2)) < 30).all(axis=2).any(axis=0))
    assert np.ptp(columns) > 0.6 * pixels.shape[1]  # a line in each of the two panels


def test_executor_beside_a_random_checkpoint(tmp_path):
    make_checkpoint(
        tmp_path / "checkpoint",
        cameras=("top", "wrist", "side"),
        vlm=json.loads(TINY_VLM.read_text("utf-8")),
        overrides={"num_vlm_layers": 2, "resize_imgs_with_padding": [64, 64]},
    )
    usual = ("--engine", "torch", "--seconds", 1, "--rates", 50, "--output", tmp_path)
    assert bench("executor", "--checkpoint", tmp_path / "checkpoint", *usual) == 0
    rows = json.loads((tmp_path / "executor.json").read_text())["rows"]
    assert len(rows) == 2
    for row in rows:
        assert 0 < row["p50_ms"] <= row["p99_ms"] <= row["worst_ms"] < math.inf
        assert row["p50_ms"] == pytest.approx(20.0, rel=0.5)
        assert row["chunks"] > 0
        assert row["latency_p50_s"] > 0
    assert rows[1]["dtype"].startswith(("float32", "bfloat16"))


def test_simulated_and_real_time(tmp_path):
    usual = ("--policy", "scripted", "--kind", "reach", "--time-limit", 4, "--minute", 1.5)
    usual += ("--quick", "--aggregate", "weighted", "--delays", 300, "--episodes", 1)
    assert bench("sim", *usual, "--workers", 1, "--output", tmp_path) == 0
    assert bench("sim-nodes", "--output", tmp_path) == 0
    found = json.loads((tmp_path / "sync_async_nodes.json").read_text())
    assert [row["delay_ms"] for row in found["rows"]] == [300, 300]
    for row in (*found["rows"], *found["simulated"]):
        assert 0.0 <= row["success"] <= 1.0
        assert math.isfinite(row["starved"])


@pytest.mark.skipif(Tool("", "so100_bench_bus").path() is None, reason="so100_hardware not built")
def test_servo_bus(tmp_path):
    report = tmp_path / "bus.json"
    # 1: the machine was too busy for the bars.
    assert bench("bus", "--rounds", 1, "--cycles", 40, "--json", report) in (0, 1)
    results = json.loads(report.read_text())
    assert set(results) == {"100 Hz", "back to back"}
    for rows in results.values():
        ours = rows["so100_hardware"]
        assert ours["cycles"] == 40
        assert 1.0 < ours["p50_ms"] <= ours["p99_ms"] <= ours["max_ms"] < math.inf
