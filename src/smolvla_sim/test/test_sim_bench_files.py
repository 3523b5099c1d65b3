# SPDX-License-Identifier: Apache-2.0
"""What the benchmark leaves on the disk: runs that continue, the claim, the picture."""

from __future__ import annotations

import dataclasses
import hashlib
import json

import numpy as np
import pytest
from smolvla_core.images import decode_picture
from smolvla_sim.bench import files, report
from smolvla_sim.bench.files import ResultsFile
from smolvla_sim.bench.report import plot
from smolvla_sim.bench.runs import EPISODE, MINUTE, Cell, Job
from smolvla_sim.bench.summary import row
from smolvla_sim.play.loop import NO_APPROACH, Execution
from smolvla_sim.play.policies import PolicyFacts
from smolvla_sim.settings import BenchSettings

SYNC = Execution(0.0, actions_per_chunk=8, resume_jump=NO_APPROACH)
WHOLE = Execution(0.0, resume_jump=NO_APPROACH)
ASYNC = Execution(0.7)
RTC = Execution(0.7, "latest", real_time_chunking=True)
FACTS = PolicyFacts(16, 8, ("top", "wrist"))
SETTINGS = BenchSettings(
    kind="reach",
    policy="scripted",
    cameras=("top",),
    fps=15.0,
    time_limit=8.0,
    minute=30.0,
    camera_size="320x240",
)


def run(**values):
    common = dict.fromkeys(("cycles", "starved", "approaching", "refusals", "failed"), 1)
    return {**common, "ages_ms": {"100": 1}, "seam_jumps_deg": [1.0], "success": True, **values}


def row_of(execution, cubes, delay_ms=300):
    minutes = [run(cubes=count) for count in cubes]
    return row(Cell(execution, delay_ms), [run(seconds=4.0)], minutes)


JOBS = [Job(Cell(SYNC, 300), EPISODE, seed) for seed in (1, 2, 3)]


def test_results_continue_where_they_were(tmp_path):
    path = tmp_path / "new" / "runs.jsonl"
    first = ResultsFile(path, {"size": (1, 2)})
    assert first.missing(JOBS) == JOBS
    for job in (JOBS[2], JOBS[0]):
        first.add(job, run(seconds=job.seed))
    again = ResultsFile(path, {"size": [1, 2]})
    assert len(again) == 2
    assert again.missing(JOBS) == [JOBS[1]]
    for seed in (1, 3):
        again.add(Job(JOBS[0].cell, MINUTE, seed), run(cubes=seed))
    made = ResultsFile(path, {"size": [1, 2]}).row(JOBS[0].cell, (3, 1))
    assert (made.successes, made.seconds, made.cubes) == (2, 2.0, (3, 1))
    with pytest.raises(KeyError):
        again.row(JOBS[0].cell, (1, 2))


def test_results_tell_every_cell_measurement_and_seed_apart(tmp_path):
    results = ResultsFile(tmp_path / "runs.jsonl", {})
    results.add(JOBS[0], {})
    careful = dataclasses.replace(SYNC, resume_jump=0.2)
    others = [
        Job(Cell(SYNC, 300), MINUTE, 1),
        Job(Cell(SYNC, 0), EPISODE, 1),
        Job(Cell(careful, 300), EPISODE, 1),
        Job(Cell(RTC, 300), EPISODE, 1),
        Job(Cell(dataclasses.replace(RTC, real_time_chunking=False), 300), EPISODE, 1),
    ]
    assert results.missing([JOBS[0], *others]) == others


def test_a_last_line_that_was_cut_off_is_done_again(tmp_path):
    path = tmp_path / "runs.jsonl"
    results = ResultsFile(path, {"a": 1})
    for job in JOBS:
        results.add(job, {"seconds": 1.0})
    path.write_text(path.read_text()[:-20])
    again = ResultsFile(path, {"a": 1})
    assert again.missing(JOBS) == [JOBS[2]]
    again.add(JOBS[2], {"seconds": 2.0})
    assert ResultsFile(path, {"a": 1}).missing(JOBS) == []


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "runs.jsonl"
    results = ResultsFile(path, {"a": 1})
    for job in JOBS:
        results.add(job, {})
    lines = path.read_text().splitlines()
    lines[2] = lines[2][:-9]
    path.write_text("\n".join(lines) + "\n")
    with pytest.raises(ValueError, match=r"runs\.jsonl is damaged in line 3 .*--fresh"):
        ResultsFile(path, {"a": 1})


def test_results_of_another_setup_are_refused_with_what_differs(tmp_path):
    path = tmp_path / "runs.jsonl"
    ResultsFile(path, {"rate": 30.0, "minute": 60.0, "model": "so100"}).add(JOBS[0], {})
    before = path.read_text()
    with pytest.raises(ValueError, match=r"another setup \(extra None there; rate 30\.0 there\)"):
        ResultsFile(path, {"rate": 20.0, "minute": 60.0, "model": "so100", "extra": 1})
    assert path.read_text() == before


@pytest.mark.parametrize("content", ['{"some": "thing"}\n', "[1]\n"])
def test_another_file_is_no_file_of_results(content, tmp_path):
    path = tmp_path / "runs.jsonl"
    path.write_text(content)
    with pytest.raises(ValueError, match="no file of results"):
        ResultsFile(path, {})
    assert path.read_text() == content


ROWS = [
    row_of(SYNC, (5, 6)),
    row_of(WHOLE, (6, 6)),
    row_of(ASYNC, (9, 9)),
    row_of(RTC, (12, 13)),
    row_of(RTC, (14, 14), delay_ms=0),
]


def test_the_claim_can_be_read_back(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(report, "plot", lambda rows, lines, *_: drawn.extend(lines))
    text = files.write_report(ROWS, range(7, 9), SETTINGS, FACTS, tmp_path)
    assert (tmp_path / "sync_async.md").read_text(encoding="utf-8") == text
    assert "scripted expert; task reach; 2 seeds from 7" in text
    assert "actions at 15 Hz in chunks of 16, control loop at 30 Hz" in text
    assert text.count("- PASS  at 300 ms async g=0.7 RTC") == 2
    assert drawn == [SYNC, WHOLE, ASYNC, RTC]
    claim = files.read_claim(tmp_path)
    assert claim.settings == SETTINGS
    assert claim.setup == json.loads(json.dumps(files.setup(SETTINGS)))
    assert (claim.facts, claim.seeds) == (FACTS, (7, 8))
    assert (claim.sync, claim.best) == (Cell(SYNC, 300), Cell(RTC, 300))
    # As the benchmark with real nodes takes up the same runs.
    ResultsFile(tmp_path / "runs.jsonl", files.setup(SETTINGS)).add(JOBS[0], {})
    assert len(ResultsFile(tmp_path / "runs.jsonl", claim.setup)) == 1


def test_a_report_without_the_delay_of_the_claim_cannot_be_repeated(tmp_path, monkeypatch):
    monkeypatch.setattr(report, "plot", lambda *_: None)
    text = files.write_report(ROWS[-1:], range(1), SETTINGS, FACTS, tmp_path)
    assert "PASS" not in text
    with pytest.raises(ValueError, match="no synchronous and asynchronous row at 300 ms"):
        files.read_claim(tmp_path)
    with pytest.raises(ValueError, match=r"is not there; run 'smolvla bench sim"):
        files.read_claim(tmp_path / "elsewhere")


def test_the_setup_holds_the_fingerprint_of_the_weights(tmp_path):
    (tmp_path / "config.json").write_text("{}")
    (tmp_path / "model.safetensors").write_bytes(b"trained")
    options = dataclasses.replace(SETTINGS, policy="smolvla", checkpoint=str(tmp_path))
    found = files.setup(options)
    assert found["weights"] == hashlib.sha256(b"trained").hexdigest()
    assert found["checkpoint"] == str(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(b"trained more")
    assert files.setup(options)["weights"] != found["weights"]
    assert "weights" not in files.setup(SETTINGS)


def test_the_picture_has_a_line_for_each_execution(tmp_path):
    path = tmp_path / "new" / "cubes.png"
    rows = [*ROWS, row_of(SYNC, (11, 11), delay_ms=0)]
    plot(rows, [SYNC, RTC], "reach, 2 seeds", 30.0, path)
    pixels = decode_picture(path.read_bytes())[0].astype(int)
    assert min(pixels.shape[:2]) > 500
    for color in ((0xD5, 0x5E, 0x00), (0xE6, 0x9F, 0x00)):
        # Lines from one delay to the other.
        columns = np.flatnonzero((np.abs(pixels - color) < 30).all(axis=2).any(axis=0))
        assert np.ptp(columns) > 400
