# SPDX-License-Identifier: Apache-2.0
"""The benchmark of synchronous against asynchronous execution: cells, runs, the command."""

from __future__ import annotations

import dataclasses
import io
import json
from contextlib import redirect_stderr, redirect_stdout

import pytest
from smolvla_core.node_settings import ExecutorSettings
from smolvla_core.settings import settings_of
from smolvla_policy.backends.smolvla_settings import SmolVLASettings
from smolvla_sim.bench import __main__ as bench
from smolvla_sim.bench import report
from smolvla_sim.bench.files import read_claim
from smolvla_sim.bench.runs import (
    EPISODE,
    MINUTE,
    BenchPlayer,
    Cell,
    Job,
    cells,
    executions,
)
from smolvla_sim.play.loop import NO_APPROACH, Execution
from smolvla_sim.play.policies import PolicyFacts, completed
from smolvla_sim.settings import BLENDS, BenchSettings

SYNC = Execution(0.0, actions_per_chunk=8, resume_jump=NO_APPROACH)
ASYNC = Execution(0.7, "latest")
REACH, _ = completed(BenchSettings(policy="scripted", kind="reach", time_limit=4.0, minute=3.0))


def names(*arguments, **options):
    return [execution.name for execution in executions(*arguments, **options)]


def test_what_is_compared():
    assert names(8, 16) == [
        "sync, 8 actions",
        "sync, whole chunk",
        "async g=0.7 latest by tick",
        "async g=0.7 weighted",
        "async g=0.7 RTC guided",
        "async g=0.7 RTC trained",
        "async g=0.7 RTC future state",
        "auto",
    ]


def test_synchronous_rows_go_on_at_once_and_real_time_chunking_replaces():
    for execution in executions(8, 16, blends=BLENDS):
        assert execution.resume_jump == (NO_APPROACH if execution.synchronous else 0.2)
        assert execution.synchronous is (execution.chunk_size_threshold == 0.0)
        method = execution.real_time_chunking
        assert (method != "off") is ("RTC" in execution.name or execution.name == "auto")
        if "RTC" in execution.name:
            assert execution.aggregate == "latest"


def test_auto_is_what_the_nodes_do_by_themselves():
    (auto,) = executions(16, 16, (0.3, 0.5), ("auto",))[1:]
    usual = ExecutorSettings()
    assert auto.chunk_size_threshold == usual.chunk_size_threshold < 0.0
    assert (auto.aggregate, auto.alignment) == (usual.aggregate, usual.alignment)
    declared = settings_of(SmolVLASettings)["real_time_chunking"].default
    assert auto.real_time_chunking == declared == "auto"


def test_a_part_of_the_comparison():
    assert names(16, 16, (0.5,), ("guided",)) == ["sync, whole chunk", "async g=0.5 RTC guided"]
    assert names(1, 16, (0.4, 0.2), ("average", "auto"))[2:] == [
        "async g=0.4 average",
        "async g=0.2 average",
        "auto",
    ]


def test_delays_are_slowest():
    compared = (SYNC, ASYNC)
    matrix = cells(compared, (300, 0))
    assert matrix == (Cell(SYNC, 300), Cell(ASYNC, 300), Cell(SYNC, 0), Cell(ASYNC, 0))
    assert matrix[0].key == {**dataclasses.asdict(SYNC), "delay_ms": 300, "jitter": False}
    both = cells((SYNC,), (300,), (300,))
    assert [cell.delay for cell in both] == ["300 ms", "300 ms, jitter"]


@pytest.fixture(scope="module")
def player():
    return BenchPlayer(REACH)


def test_a_run_depends_on_its_job_alone(player):
    job = Job(Cell(ASYNC, 100), MINUTE, 8)
    first = player(job)
    # Leaves arm, objects and expert somewhere else.
    player(Job(Cell(SYNC, 300), EPISODE, 5))
    assert player(job) == first == BenchPlayer(REACH)(job)


def test_a_single_task_ends_with_its_success(player):
    quick, slow = (player(Job(Cell(SYNC, delay), EPISODE, 1)) for delay in (0, 300))
    assert quick["success"]
    assert slow["success"]
    assert (quick["task"], quick["outcome"]) == ("touch the green cube", "success")
    assert quick["seconds"] < slow["seconds"] < REACH.time_limit


def test_continuous_operation_counts_what_was_done_and_what_was_not():
    done = BenchPlayer(dataclasses.replace(REACH, minute=5.0))(Job(Cell(ASYNC, 0), MINUTE, 1))
    assert done["cubes"] == len(done["seconds"]) >= 2
    assert done["failed"] == 0
    assert sum(done["seconds"]) <= 5.0
    hurried = BenchPlayer(dataclasses.replace(REACH, time_limit=0.5, minute=1.6))
    missed = hurried(Job(Cell(ASYNC, 0), MINUTE, 1))
    assert (missed["cubes"], missed["failed"], missed["seconds"]) == (0, 3, [])
    given_up = hurried(Job(Cell(ASYNC, 0), EPISODE, 1))
    assert (given_up["success"], given_up["seconds"]) == (False, 0.5)


def call(*arguments):
    """Return exit status, standard output and standard error of the command."""
    out, err = io.StringIO(), io.StringIO()
    with redirect_stdout(out), redirect_stderr(err):
        status = bench.main([str(argument) for argument in arguments])
    return status, out.getvalue(), err.getvalue()


PLAYED = ("--policy", "scripted", "--kind", "reach", "--time-limit", "4", "--minute", "1.5")
QUICK = (*PLAYED, "--quick", "--aggregate", "weighted")


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """A quick run of the real thing: folder, arguments and what it printed."""
    folder = tmp_path_factory.mktemp("bench")
    arguments = [*QUICK, "--delays", 300, "--episodes", 1, "--workers", 1, "--output", folder]
    return folder, arguments, call(*arguments)


def test_the_command_measures_and_writes(measured):
    folder, _, (status, out, _) = measured
    assert status == 0
    assert {path.name for path in folder.iterdir()} == {
        f"sync_async.{ending}" for ending in ("jsonl", "json", "md", "png")
    }
    runs = (folder / "sync_async.jsonl").read_text().splitlines()[1:]
    # Three executions, two measurements.
    assert len({json.dumps({**json.loads(line), "figures": 0}) for line in runs}) == 6
    assert out.startswith(
        "3 cells: sync, 5 actions; sync, whole chunk; async g=0.7 weighted; each at 300 ms; "
        "1 seeds, a single task and 1.5 s each"
    )
    assert (folder / "sync_async.md").read_text() in out
    claim = read_claim(folder)
    assert claim.seeds == (5000,)
    assert (claim.sync.execution.name, claim.best.execution.name) == (
        "sync, 5 actions",
        "async g=0.7 weighted",
    )


def test_waiting_is_what_the_command_finds(measured):
    rows = json.loads((measured[0] / "sync_async.json").read_text())["rows"]
    assert [row["success"] for row in rows] == [1.0] * 3
    assert rows[0]["starved"] > rows[2]["starved"] == 0.0


@pytest.fixture
def canned(monkeypatch):
    """Runs without simulation, and without the picture; the list holds those that were done."""
    done = []

    class CannedPlayer:
        until = None

        def __init__(self, options):
            pass

        def __call__(self, job):
            if len(done) == CannedPlayer.until:
                raise KeyboardInterrupt
            done.append(job)
            result = dict.fromkeys(("cycles", "starved", "approaching", "refusals", "failed"), 1)
            result.update(success=True, seconds=1.0, cubes=2, ages_ms={}, seam_jumps_deg=[])
            return result

    monkeypatch.setattr(bench, "BenchPlayer", CannedPlayer)
    monkeypatch.setattr(report, "plot", lambda *arguments: None)
    return done, CannedPlayer


@pytest.mark.parametrize("given", [(), ("--engine", "auto"), ("--engine", "torch")])
def test_all_is_computed_by_pytorch_where_the_jacobian_is_compared(canned, tmp_path, given):
    usual = ("--quick", "--episodes", 1, "--workers", 1, "--delays", 0, "--output", tmp_path)
    status, out, _ = call(*usual, "--aggregate", "weighted", "jacobian", *given)
    assert status == 0
    assert "async g=0.7 RTC jacobian" in out
    setup = json.loads((tmp_path / "sync_async.json").read_text())["setup"]
    assert setup["backend"] == {"engine": "torch"}


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"backend": {"engine": "openvino"}}, "use engine 'torch', or 'guided'"),
        ({"policy": "scripted"}, "policy 'scripted' has no parameter 'real_time_chunking'"),
    ],
)
def test_a_policy_without_a_jacobian_is_refused_before_the_first_run(given, message):
    with pytest.raises(ValueError, match=message):
        BenchPlayer(completed(BenchSettings(aggregate=("jacobian",), **given))[0])


def test_what_is_compared_is_what_the_checkpoint_was_trained_for_on_any_engine():
    both = bench.learned_blends(PolicyFacts(16, 8, ("top",), rtc_delay=5, state_offset=5))
    assert both == ["latest", "weighted", "guided", "trained", "future_state", "auto"]
    none = bench.learned_blends(PolicyFacts(16, 8, ("top",)))
    assert none == ["latest", "weighted", "guided", "auto"]


def test_a_second_call_does_no_run_again(measured, canned):
    folder, arguments, _ = measured
    before = (folder / "sync_async.md").read_text()
    status, again, _ = call(*arguments)
    assert status == 0
    assert canned[0] == []
    assert "has 6 runs" in again
    assert (folder / "sync_async.md").read_text() == before
    assert before in again


def test_everything_has_long_and_jittering_delays_and_a_minute_of_none(canned, tmp_path):
    usual = (*PLAYED[:-1], "0", "--episodes", "1", "--workers", "1", "--output", tmp_path)
    status, out, _ = call(*usual)
    assert status == 0
    delays = ["0 ms", "100 ms", "300 ms", "600 ms", "1000 ms", "1500 ms", "300 ms, jitter"]
    assert f"each at {', '.join(delays)}; 1 seeds" in out
    assert list(dict.fromkeys(job.cell.delay for job in canned[0])) == delays
    assert {job.measurement for job in canned[0]} == {EPISODE}


def test_ctrl_c_keeps_what_was_done(canned, tmp_path):
    done, player = canned
    player.until = 5
    usual = ["--episodes", "2", "--delays", "0", "--workers", "1", "--output"]
    arguments = [*QUICK, *usual, tmp_path / "new"]
    status, _, err = call(*arguments)
    assert status == 130
    assert err.splitlines()[-1] == "smolvla bench sim: interrupted; the same command continues"
    player.until = None
    status, out, _ = call(*arguments)
    assert status == 0
    assert "has 5 runs" in out
    # Three executions, two measurements, two seeds: none of them twice.
    assert len(done) == len(set(done)) == 12


def test_fresh_forgets_what_was_done(canned, tmp_path):
    arguments = [*QUICK, "--episodes", 1, "--workers", 1, "--delays", 0, "--output", tmp_path]
    assert call(*arguments)[0] == 0
    assert call(*arguments, "--fresh")[0] == 0
    assert len(canned[0]) == 12
    assert len(set(canned[0])) == 6


def test_runs_of_another_setup_are_not_mixed(canned, tmp_path):
    arguments = [*QUICK, "--episodes", 1, "--workers", 1, "--delays", 0, "--output", tmp_path]
    assert call(*arguments)[0] == 0
    status, _, err = call(*arguments, "--minute", 7)
    assert status == 2
    assert "another setup (minute 1.5 there)" in err
    assert "--fresh" in err


def test_a_sentence_is_no_task_for_continuous_operation(tmp_path):
    status, _, err = call("--task", "touch the red cube", "--output", tmp_path)
    assert status == 2
    assert "continuous operation needs a kind: give --kind, one of pick_place" in err


def test_a_mistyped_option_does_not_bind_the_next_try(tmp_path):
    usual = (*PLAYED, "--quick", "--episodes", "1", "--output", tmp_path)
    status, _, error = call(*usual, "--rate", "29")
    assert status == 2
    (line,) = (line for line in error.splitlines() if line.startswith("smolvla bench sim: "))
    assert "29 Hz does not divide" in line
    status, _, error = call(*usual, "--rate", "10")
    assert status == 2
    assert "a control rate of 10 Hz is below the policy's 15 Hz; raise --rate" in error
