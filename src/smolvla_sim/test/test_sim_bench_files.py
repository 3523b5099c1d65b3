# SPDX-License-Identifier: Apache-2.0
"""What the benchmark makes of its runs: rows, criteria, report, and files that continue."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math

import numpy as np
import pytest
from smolvla_core.images import decode_picture
from smolvla_sim.bench import files, report
from smolvla_sim.bench.files import ResultsFile
from smolvla_sim.bench.report import LEGEND, markdown, plot, row_notes, table
from smolvla_sim.bench.runs import EPISODE, MINUTE, Cell, Job
from smolvla_sim.bench.summary import (
    PAPER,
    Criterion,
    best_asynchronous,
    comparisons,
    criteria,
    lasting,
    row,
    synchronous,
)
from smolvla_sim.play.loop import NO_APPROACH, Execution
from smolvla_sim.play.measures import bootstrap_mean, clopper_pearson
from smolvla_sim.play.policies import PolicyFacts
from smolvla_sim.settings import BenchSettings

SYNC = Execution(0.0, actions_per_chunk=8, resume_jump=NO_APPROACH)
WHOLE = Execution(0.0, resume_jump=NO_APPROACH)
ASYNC = Execution(0.7, "weighted")
RTC = Execution(0.7, "latest", real_time_chunking="guided")
FACTS = PolicyFacts(16, 8, ("top", "wrist"))
COMMON = {
    "cycles": 100,
    "starved": 10,
    "approaching": 0,
    "refusals": 0,
    "ages_ms": {"100": 1},
    "seam_jumps_deg": [1.0],
}
SETTINGS = BenchSettings(
    kind="reach",
    policy="scripted",
    cameras=("top",),
    fps=15.0,
    time_limit=8.0,
    minute=30.0,
    camera_size="320x240",
)


def episode(success=True, seconds=4.0, **other):
    return {**COMMON, "success": success, "seconds": seconds, **other}


def minute(cubes, **other):
    return {**COMMON, "cubes": cubes, "failed": 1, **other}


def row_of(execution, successes=20, cubes=(10, 10), delay_ms=300, trials=20):
    episodes = [episode(number < successes) for number in range(trials)]
    return row(Cell(execution, delay_ms), episodes, [minute(count) for count in cubes])


def test_a_row_sums_its_runs_up():
    done = row(
        Cell(ASYNC, 300),
        [episode(True, 3.0), episode(False, 8.0, refusals=2), episode(True, 5.0)],
        [
            minute(4, cycles=300, starved=30, ages_ms={"900": 1, "1000": 97}),
            minute(7, approaching=20, refusals=1, failed=2, seam_jumps_deg=[9.0, 2.0, 2.0]),
        ],
    )
    assert (done.name, done.episodes, done.successes, done.minutes) == (ASYNC.name, 3, 2, 2)
    assert done.success == pytest.approx(2 / 3)
    assert done.success_interval == clopper_pearson(2, 3)
    assert done.seconds == 4.0
    assert done.seconds_interval == bootstrap_mean([3.0, 5.0])
    assert (done.cubes, done.cubes_mean, done.failed) == ((4, 7), 5.5, 1.5)
    assert done.cubes_interval == bootstrap_mean([4, 7])
    # Over all control cycles, and not the mean of the runs' shares.
    assert done.starved == pytest.approx(40 / 400)
    assert done.approaching == pytest.approx(20 / 400)
    assert done.ages == (1000.0, 1000.0, 1000.0)
    assert done.jumps == (2.0, 9.0, 9.0)
    assert done.refusals == 3


def test_single_tasks_serve_where_no_minute_was_run():
    alone = row(Cell(SYNC, 0), [episode(cycles=50), episode(ages_ms={"7": 3})], [])
    assert alone.starved == pytest.approx(20 / 150)
    assert alone.ages == (7.0, 100.0, 100.0)
    assert (alone.minutes, alone.cubes) == (0, ())
    assert math.isnan(alone.cubes_mean)


def test_a_row_is_strict_json():
    plain = row(Cell(SYNC, 0), [episode(False)], []).plain()
    assert plain["seconds"] is plain["cubes_mean"] is None
    assert plain["seconds_interval"] == [None, None]
    assert (plain["name"], plain["chunk_size_threshold"], plain["delay_ms"]) == (
        "sync, 8 actions",
        0.0,
        0,
    )
    assert json.loads(json.dumps(plain, allow_nan=False)) == plain


@pytest.mark.parametrize(("cubes", "passed"), [((19, 21), True), ((19, 20), False)])
def test_the_criterion_of_cubes(cubes, passed):
    criterion, _ = criteria(row_of(SYNC, cubes=(10, 10)), row_of(ASYNC, cubes=cubes))
    assert criterion.passed is passed
    assert f"{sum(cubes) / 20:.2f} times as many" in criterion.text
    assert "asked for are 2" in criterion.text
    assert str(criterion).startswith("PASS  at 300 ms" if passed else "FAIL  at 300 ms")


@pytest.mark.parametrize(
    ("successes", "passed"), [(100, True), (90, True), (87, True), (86, False)]
)
def test_the_criterion_of_success(successes, passed):
    _, criterion = criteria(row_of(SYNC, 90, trials=100), row_of(ASYNC, successes, trials=100))
    assert criterion.passed is passed
    assert f"{successes - 90:+.1f} points; at most 3 fewer" in criterion.text


def test_success_under_delay_is_judged_beside_that_of_waiting_without_delay():
    undelayed = row_of(WHOLE, 20, delay_ms=0)
    rows = [undelayed, row_of(ASYNC, 17, delay_ms=600), row_of(RTC, 19, delay_ms=600)]
    rows += [row_of(ASYNC, 15, delay_ms=1000), row_of(WHOLE, 20, delay_ms=1000)]
    longer, longest = lasting(rows)
    assert longer.passed
    assert "at 600 ms async g=0.7 RTC guided keeps 95 % of the success" in longer.text
    assert not longest.passed
    assert "(75.0 of 100.0 %); asked for are 80 %" in longest.text
    assert lasting(rows[1:]) == []
    assert lasting(rows[:1]) == []


def test_the_ratio_of_cubes_is_drawn_over_pairs_of_the_same_seed():
    hard = (1, 5, 9, 2)
    criterion, _ = criteria(
        row_of(SYNC, cubes=hard), row_of(ASYNC, cubes=tuple(2 * n for n in hard))
    )
    assert "2.00 times as many (95 % CI 2.00–2.00)" in criterion.text


def test_the_best_asynchronous_row_has_enough_success_first():
    sync = row_of(SYNC, 18, cubes=(5, 5))
    # 17 of 20 are five points less than 18.
    greedy, good, better = (
        row_of(Execution(g, "weighted"), successes, cubes=(cubes, cubes))
        for g, successes, cubes in ((0.3, 17, 20), (0.5, 18, 9), (0.7, 20, 10))
    )
    assert best_asynchronous([sync, greedy, good, better]) is better
    assert best_asynchronous([sync, greedy, good]) is good
    assert best_asynchronous([greedy, sync]) is greedy
    same = row_of(Execution(0.9, "weighted"), 19, cubes=(10, 10))
    assert best_asynchronous([sync, same, better]) is better


def test_rows_at_other_delays_do_not_count():
    rows = [row_of(SYNC, delay_ms=0), row_of(ASYNC, delay_ms=300), row_of(WHOLE, delay_ms=600)]
    assert synchronous(rows) is None
    assert best_asynchronous(rows) is None
    here = [row_of(SYNC), row_of(WHOLE), *rows]
    assert synchronous(here) is here[0]
    assert best_asynchronous(here) is rows[1]


def test_the_comparisons_say_what_waiting_can_explain():
    rows = [row_of(SYNC), row_of(WHOLE, 10, (16, 16)), row_of(ASYNC, cubes=(20, 20))]
    first, second = comparisons(rows, rows[0], rows[2], FACTS, 15.0)
    assert "sync, 8 actions moves for 533 ms and waits for 300 ms" in first
    assert "moves 1.56 times as long" in first
    assert second == (
        "Against sync, whole chunk at 300 ms async g=0.7 weighted gets 1.25 times the cubes, "
        "with a success of 100.0 against 50.0 %."
    )


def test_the_table_has_a_line_a_row():
    rows = [row_of(SYNC, 19), row(Cell(RTC, 0), [episode(False)], [])]
    lines = table(rows, 30.0).splitlines()
    assert {line.count("|") for line in lines} == {11}
    assert "cubes in 30 s" in lines[0]
    low, high = clopper_pearson(19, 20)
    assert lines[2] == (
        f"| 300 ms | sync, 8 actions | 95.0 [{100 * low:.1f}, {100 * high:.1f}] | "
        "4.00 [4.00, 4.00] | 10.00 [10.00, 10.00] | 1.00 | 10.0 | 0.0 | 100/100/100 | "
        "1.0/1.0/1.0 |"
    )
    assert lines[3].startswith("| 0 ms | async g=0.7 RTC guided | 0.0 [0.0, 97.5] | – | – | – |")


def test_without_continuous_operation_the_table_has_no_columns_of_it():
    alone = row(Cell(SYNC, 0), [episode()], [])
    lines = table([alone], 0.0).splitlines()
    assert {line.count("|") for line in lines} == {9}
    assert "cubes" not in lines[0]
    assert "failed" not in lines[0]


def test_notes_name_the_slowest_approaches_and_refusals():
    calm = row_of(ASYNC)
    assert row_notes([calm]) == []
    slow, slower = (
        row(Cell(ASYNC, delay), [episode()], [minute(1, approaching=count, refusals=2)])
        for delay, count in ((300, 6), (600, 20))
    )
    lines = row_notes([calm, slower, slow])
    assert "async g=0.7 weighted at 600 ms spends 20 % of its cycles on approaches" in lines[0]
    assert lines[1:] == ["Requests that the policy refused: 4."]
    assert len(row_notes([row(Cell(ASYNC, 0), [episode()], [minute(1, approaching=5)])])) == 0


def test_the_report_says_what_was_measured_and_what_it_means():
    checks = [Criterion("fast", True), Criterion("good", False)]
    text = markdown("Title", ["on a bench"], [row_of(SYNC)], checks, 30.0, ["mind the gap"])
    parts = ["# Title", "- on a bench", "cubes in 30 s", "- PASS  fast", "- FAIL  good"]
    places = [text.index(part) for part in [*parts, "- mind the gap", LEGEND.rstrip(), PAPER]]
    assert places == sorted(places)
    assert text.endswith("\n")
    assert "PASS" not in markdown("Title", [], [row_of(SYNC)], [], 60.0)


JOBS = [Job(Cell(SYNC, 300), EPISODE, seed) for seed in (1, 2, 3)]


def test_results_continue_where_they_were(tmp_path):
    path = tmp_path / "new" / "runs.jsonl"
    first = ResultsFile(path, {"size": (1, 2)})
    assert first.missing(JOBS) == JOBS
    for job in (JOBS[2], JOBS[0]):
        first.add(job, episode(seconds=job.seed))
    again = ResultsFile(path, {"size": [1, 2]})
    assert len(again) == 2
    assert again.missing(JOBS) == [JOBS[1]]
    for seed in (1, 3):
        again.add(Job(JOBS[0].cell, MINUTE, seed), minute(seed))
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
        Job(Cell(dataclasses.replace(RTC, real_time_chunking="off"), 300), EPISODE, 1),
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
    row_of(SYNC, cubes=(5, 6)),
    row_of(WHOLE, cubes=(6, 6)),
    row_of(ASYNC, cubes=(9, 9)),
    row_of(RTC, cubes=(12, 13)),
    row_of(RTC, cubes=(14, 14), delay_ms=0),
]


def test_the_claim_can_be_read_back(tmp_path, monkeypatch):
    drawn = []
    monkeypatch.setattr(report, "plot", lambda rows, lines, *_: drawn.extend(lines))
    text = files.write_report(ROWS, range(7, 9), SETTINGS, FACTS, tmp_path)
    assert (tmp_path / "sync_async.md").read_text(encoding="utf-8") == text
    assert "scripted expert; task reach; 2 seeds from 7" in text
    assert "actions at 15 Hz in chunks of 16, control loop at 30 Hz" in text
    assert text.count("- PASS  at 300 ms async g=0.7 RTC guided") == 2
    assert drawn == [SYNC, WHOLE, ASYNC, RTC]
    claim = files.read_claim(tmp_path)
    assert claim.settings == SETTINGS
    assert claim.setup == json.loads(json.dumps(files.setup(SETTINGS)))
    assert (claim.facts, claim.seeds) == (FACTS, (7, 8))
    assert claim.cells == (Cell(SYNC, 300), Cell(RTC, 300), Cell(ASYNC, 300))
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
    rows = [*ROWS, row_of(SYNC, cubes=(11, 11), delay_ms=0)]
    plot(rows, [SYNC, RTC], "reach, 2 seeds", path)
    pixels = decode_picture(path.read_bytes())[0].astype(int)
    assert min(pixels.shape[:2]) > 500
    for color in ((0xD5, 0x5E, 0x00), (0xE6, 0x9F, 0x00)):
        # Lines from one delay to the other.
        columns = np.flatnonzero((np.abs(pixels - color) < 30).all(axis=2).any(axis=0))
        assert np.ptp(columns) > 400
