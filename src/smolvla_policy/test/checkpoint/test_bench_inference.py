# SPDX-License-Identifier: Apache-2.0
"""The benchmark runs, prints its table and writes its file."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
from pathlib import Path

import pytest
from smolvla_policy.bench_contender import load_ours
from smolvla_policy.policy import SmolVLAPolicy

from smolvla_policy import bench_inference

GOLDEN = Path(__file__).parents[1] / "golden"


def run(tmp_path, *arguments):
    """Run the command on the golden checkpoint; return its exit status and its results."""
    report = tmp_path / "bench.json"
    usual = ["--checkpoint", str(GOLDEN / "ckpt"), "--repeats", "1", "--threads", "1"]
    status = bench_inference.main([*usual, *arguments, "--json", str(report)])
    return status, json.loads(report.read_text())


@pytest.fixture(autouse=True)
def no_lerobot(monkeypatch):
    monkeypatch.delenv("LEROBOT_PYTHON", raising=False)


@pytest.fixture
def lerobot(tmp_path):
    """A stand-in that is slow, and has no bfloat16."""
    program = tmp_path / "python"
    program.write_text(
        f"#!{sys.executable}\nimport json, sys\n"
        "if json.loads(sys.argv[3])['dtype'] == 'bfloat16': sys.exit('no bfloat16 here')\n"
        "about = dict(load=1.0, conversion=0.0, versions={'lerobot': '0'})\n"
        "print(json.dumps(about), flush=True)\n"
        "times = dict(images=1, prefix=1, steps=1998, total=2000.0, memory=1e9)\n"
        "for _ in sys.stdin: print(json.dumps(times), flush=True)\n"
    )
    program.chmod(0o755)
    return str(program)


def test_each_engine_precision_and_camera_number_has_a_row(tmp_path, capsys, lerobot):
    arguments = [
        "--engine",
        "torch",
        "--dtype",
        "float32",
        "bfloat16",
        "--lerobot-python",
        lerobot,
    ]
    status, report = run(tmp_path, *arguments, "--num-cameras", "1", "3")
    assert status == 0
    found = [(row["engine"], row["dtype"], row["cameras"]) for row in report["results"]]
    ours, theirs = ("torch", "float32"), ("lerobot", "float32")
    assert found[:4] == [(*ours, 1), (*theirs, 1), (*ours, 3), (*theirs, 3)]
    assert found[4:] == [("torch", "bfloat16", 1), ("torch", "bfloat16", 3)]
    for row in report["results"]:
        assert row["total"] >= row["images"] > 0
        assert row["total"] >= row["best"] > 0
        assert row["memory"] > 1e7
        assert row["load"] > 0
    assert report["results"][0]["ratio"] == report["results"][0]["total"] / 2000.0
    assert "ratio" not in report["results"][4]
    assert "no bfloat16 here" in capsys.readouterr().out


def test_the_ways_to_continue_are_compared_with_none(tmp_path, capsys, lerobot):
    methods = ["off", "guided", "jacobian", "trained", "future_state"]
    arguments = ["--dtype", "float32", "--num-cameras", "1", "--real-time-chunking", *methods]
    status, report = run(tmp_path, *arguments, "--engine", "torch", "--lerobot-python", lerobot)
    assert status == 0
    free, *others, theirs = report["results"]
    assert [row["real_time_chunking"] for row in (free, *others)] == methods
    assert (theirs["engine"], theirs["real_time_chunking"]) == ("lerobot", "off")
    assert free["base"] == "lerobot float32"
    for row in others:
        assert row["base"] == "off"
        assert row["ratio"] == row["total"] / free["total"]


@pytest.mark.parametrize(
    ("method", "rows", "trained", "jacobian"),
    [
        ("off", 0, False, False),
        ("guided", 4, False, False),
        ("jacobian", 4, False, True),
        ("trained", 3, True, False),  # those that are over when the answer comes, and one more
        ("future_state", 0, False, False),
    ],
)
def test_what_is_timed_is_the_way_that_is_asked_for(method, rows, trained, jacobian, monkeypatch):
    chunks = []

    def predict_chunk(policy, *observation, decided, delay, trained):
        chunks.append((len(decided), trained, policy.engine.jacobian))

    monkeypatch.setattr(SmolVLAPolicy, "predict_chunk", predict_chunk)
    asked = {"device": "cpu", "cuda_graph": False, "dtype": "float32", "random": False}
    asked |= {"num_steps": 0, "solver": "euler", "real_time_chunking": method}
    predict, _ = load_ours(GOLDEN / "ckpt", "torch", asked)
    predict(1)
    assert chunks == [(rows, trained, jacobian)]


def test_an_engine_without_gradients_is_left_out(tmp_path, capsys):
    pytest.importorskip("openvino")
    arguments = ["--dtype", "float32", "--num-cameras", "1", "--real-time-chunking"]
    status, report = run(tmp_path, *arguments, "jacobian")
    assert status == 0
    assert [row["engine"] for row in report["results"]] == ["torch"]
    shown = capsys.readouterr().out
    assert "openvino float32 jacobian is left out" in shown
    assert "use engine 'torch'" in shown


def test_a_converted_engine_is_measured_from_its_cache(tmp_path, monkeypatch):
    pytest.importorskip("openvino")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    arguments = ["--engine", "openvino", "--dtype", "float32", "--num-cameras", "1"]
    (first,), (second,) = (run(tmp_path, *arguments)[1]["results"] for _ in range(2))
    assert first["conversion"] > second["conversion"] == 0.0
    assert 0 < first["load"] < first["conversion"]
    assert second["precision"] == "float32"
    assert {"torch", "openvino"} <= set(second["versions"])


def test_beside_a_busy_core_and_at_fewer_instructions(tmp_path, capsys):
    arguments = ["--engine", "torch", "--num-cameras", "1", "--busy", "--isa", "avx2"]
    status, report = run(tmp_path, *arguments, "--dtype", "float32", "bfloat16")
    assert status == 0
    alone, busy = report["results"]
    assert (alone["dtype"], alone["busy"], busy["busy"]) == ("float32", False, True)
    assert busy["ratio"] == busy["total"] / alone["total"]
    assert not any("avx512" in name for name in report["processor"]["instructions"])


def test_the_busy_core_is_free_when_the_benchmark_is_killed():
    script = "import subprocess, sys\nfrom smolvla_policy.bench_inference import busy_core\n"
    script += "with busy_core() as pid:\n print(pid, flush=True)\n sys.stdin.read()"
    with subprocess.Popen(
        [sys.executable, "-c", script], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        busy = int(process.stdout.readline())
        os.kill(busy, 0)
        process.kill()
    descriptor = os.pidfd_open(busy) if Path(f"/proc/{busy}").exists() else None
    if descriptor is not None:
        assert select.select([descriptor], [], [], 30.0)[0]  # it has ended
        os.close(descriptor)


def test_nothing_of_ours_is_an_error(tmp_path):
    arguments = ["--checkpoint", str(tmp_path), "--engine", "torch", "--dtype", "float32"]
    assert bench_inference.main(arguments) == 2


def test_old_names_of_options_name_the_new_ones(capsys):
    for old, new in (("--dtypes", "--dtype"), ("--cameras", "--num-cameras")):
        with pytest.raises(SystemExit) as ended:
            bench_inference.main([old, "1"])
        assert ended.value.code == 2
        assert f"{old} has become {new}" in capsys.readouterr().err
