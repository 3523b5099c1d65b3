# SPDX-License-Identifier: Apache-2.0
"""The benchmark runs, prints its table and writes its file."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from smolvla_policy import bench_inference

GOLDEN = Path(__file__).parents[1] / "golden"


def test_table_and_file(tmp_path, capsys, monkeypatch):
    monkeypatch.delenv("LEROBOT_PYTHON", raising=False)
    report = tmp_path / "bench.json"
    arguments = ["--checkpoint", str(GOLDEN / "ckpt"), "--num-cameras", "1", "3", "--repeats", "2"]
    arguments += ["--dtype", "float32", "--threads", "1", "--json", str(report)]
    assert bench_inference.main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert sum("ours" in line for line in lines) == 2
    results = json.loads(report.read_text())["results"]
    assert [result["cameras"] for result in results] == [1, 3]
    for result in results:
        ours = result["ours"]
        assert ours["total"] >= ours["images"] > 0
        assert ours["memory"] > 1e7
        assert ours["load"] > 0


def test_old_names_of_options_name_the_new_ones(capsys):
    for old, new in (("--dtypes", "--dtype"), ("--cameras", "--num-cameras")):
        with pytest.raises(SystemExit) as ended:
            bench_inference.main([old, "1"])
        assert ended.value.code == 2
        assert f"{old} has become {new}" in capsys.readouterr().err


def test_ratio_of_two_contenders():
    one = {**dict.fromkeys((*bench_inference.STAGES, "best"), 1.0), "memory": 1e9, "load": 2.0}
    two = {name: 2 * value for name, value in one.items()}
    lines = list(bench_inference.rows("float32", 2, {"ours": one, "lerobot": two}))
    assert len(lines) == 3
    assert lines[2].split()[1:] == ["0.50"] * 7


def test_contender_that_fails_says_why():
    with pytest.raises(RuntimeError, match=r"No module named|neither an existing"):
        bench_inference.Contender(
            "ours", sys.executable, ["/nowhere/at/all", "float32", "cpu", "1"]
        )
