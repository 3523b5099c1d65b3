# SPDX-License-Identifier: Apache-2.0
"""The benchmark with real nodes: their settings, agreement with simulated time, the command."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("smolvla_msgs", reason="the workspace is not sourced: . ./env.sh")

from smolvla_bringup.bench.sim_nodes import agreement, main, specs, trace_of
from smolvla_bringup.system.node_spec import NodeSpec
from smolvla_bringup.system.run_log import Progress, ReceivedChunk, RunLog
from smolvla_core.node_settings import ExecutorSettings
from smolvla_core.ros.parameters import wrong_type
from smolvla_core.settings import settings_of
from smolvla_policy.backends.registry import policy_parameters
from smolvla_sim.bench.files import Claim
from smolvla_sim.bench.runs import Cell
from smolvla_sim.bench.summary import Row, row
from smolvla_sim.node.parameters import SimSettings
from smolvla_sim.play.loop import NO_APPROACH, Execution
from smolvla_sim.play.measures import Trace
from smolvla_sim.play.policies import PolicyFacts
from smolvla_sim.settings import BenchSettings

from smolvla_msgs.msg import ExecutorStatus

SYNC = Cell(Execution(0.0, actions_per_chunk=8, resume_jump=NO_APPROACH), 300)
WEIGHTED = Cell(Execution(0.9, "average"), 100)
RTC = Cell(Execution(0.5, "latest", real_time_chunking="guided"), 300)
DECLARED = {
    "sim_node": settings_of(SimSettings),
    "policy_node": policy_parameters(),
    "executor_node": settings_of(ExecutorSettings),
}


def claim_of(**settings: Any) -> Claim:
    common = BenchSettings(
        kind="reach",
        minute=30.0,
        rate=25.0,
        camera_size="320x240",
        variation=False,
        **{"fps": 15.0, "noise_scale": 1.0, **settings},
    )
    return Claim(common, {}, PolicyFacts(16, 8, ("top", "wrist")), (5000,), SYNC, RTC)


SCRIPTED = claim_of(policy="scripted")


def nodes_of(claim: Claim, cell: Cell) -> dict[str, NodeSpec]:
    return {spec.name: spec for spec in specs(claim, cell)}


@pytest.mark.parametrize("cell", [SYNC, WEIGHTED, RTC], ids=lambda cell: cell.execution.name)
def test_each_setting_of_a_cell_reaches_its_node(workspace: Path, cell: Cell) -> None:
    nodes = nodes_of(SCRIPTED, cell)
    executor, policy = nodes["executor_node"].configured, nodes["policy_node"].configured
    assert executor("chunk_size_threshold") == cell.execution.chunk_size_threshold
    assert executor("aggregate") == cell.execution.aggregate
    assert executor("actions_per_chunk") == cell.execution.actions_per_chunk
    assert executor("resume_jump") == cell.execution.resume_jump
    assert policy("real_time_chunking") == cell.execution.real_time_chunking
    assert policy("inference_delay") == pytest.approx(cell.delay_ms / 1e3)


def test_what_all_cells_have_in_common_reaches_the_nodes(workspace: Path) -> None:
    claim = claim_of(
        checkpoint=str(workspace),
        fps=20.0,
        model="so101",
        cameras=("top:observation.images.camera1", "wrist"),
        backend={"stats": "so100", "device": "cuda", "num_steps": 5},
        noise_scale=0.25,
    )
    nodes = {name: spec.parameters for name, spec in nodes_of(claim, RTC).items()}
    assert (
        nodes["sim_node"].items()
        >= {
            "image_width": 320,
            "image_height": 240,
            "robot": "so101",
            "variation": False,
            "restock": True,
            "task": "touch the red cube",
        }.items()
    )
    assert nodes["sim_node"]["cameras"] == ["top", "wrist"]
    assert (
        nodes["policy_node"].items()
        >= {
            "backend": "smolvla",
            "robot": "so101",
            "checkpoint": str(workspace),
            "period": 1 / 20,
            "stats": "so100",
            "device": "cuda",
            "num_steps": 5,
            "noise_scale": 0.25,
        }.items()
    )
    assert nodes["policy_node"]["cameras"] == ["top:observation.images.camera1", "wrist"]
    # A run begins when the benchmark starts it, and a status comes with every cycle.
    executor = nodes["executor_node"]
    assert executor.items() >= {"rate": 25.0, "autostart": True, "wait_for_start": True}.items()
    assert executor["status_rate"] > 2 * executor["rate"]


def test_the_scripted_policy_has_chunks_as_in_simulated_time(workspace: Path) -> None:
    policy = nodes_of(SCRIPTED, SYNC)["policy_node"]
    assert policy.configured("backend") == "scripted"
    assert policy.configured("chunk_size") == 16
    assert policy.configured("cameras") == ["top", "wrist"]
    assert "checkpoint" not in policy.parameters


@pytest.mark.parametrize("cell", [SYNC, RTC], ids=lambda cell: cell.execution.name)
def test_nodes_know_each_of_their_settings(workspace: Path, cell: Cell) -> None:
    for name, spec in nodes_of(claim_of(), cell).items():
        for key, value in spec.parameters.items():
            DECLARED[name][key].check(value)
            assert wrong_type(DECLARED[name][key], value) == ""
        assert len(spec.ros_arguments()) > 2 * len(spec.parameters)


def row_of(cell: Cell, successes: int, cubes: int) -> Row:
    common: dict[str, Any] = {
        **dict.fromkeys(("cycles", "starved", "approaching", "refusals", "failed"), 1),
        "ages_ms": {},
        "seam_jumps_deg": [],
    }
    episodes = [{**common, "success": done < successes, "seconds": 2.0} for done in range(20)]
    minutes = [{**common, "cubes": cubes + more} for more in (0, 1, 2, 3)]
    return row(cell, episodes, minutes)


def test_agreement_is_whether_intervals_overlap() -> None:
    simulated = [row_of(SYNC, 20, 5), row_of(RTC, 20, 11)]
    real = [row_of(SYNC, 18, 6), row_of(RTC, 5, 21)]
    checks = agreement(simulated, real)
    assert [check.passed for check in checks] == [True, True, False, False]
    first, _, third, fourth = (check.text for check in checks)
    assert first.startswith("sync, 8 actions at 300 ms, success: simulated [83.16, 100.00]%")
    assert first.endswith("the 95 % intervals overlap")
    assert third.startswith("async g=0.5 RTC guided at 300 ms, success: ")
    assert fourth.startswith("async g=0.5 RTC guided at 300 ms, cubes: simulated [11.")
    assert fourth.endswith("the 95 % intervals do not overlap")
    swapped = agreement(real, simulated)
    assert [check.passed for check in swapped] == [True, True, False, False]


def test_without_a_claim_the_command_says_what_to_do_first(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--output", str(tmp_path)]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("smolvla bench sim-nodes: ")
    assert f"run 'smolvla bench sim --output {tmp_path}' first" in line


class Run:
    """A run as a log: 30 control cycles a second, one joint."""

    def __init__(self) -> None:
        self.log, self.now = RunLog(("elbow",)), 100.0
        self.status = ExecutorStatus(requests=7, requests_refused=2)

    def chunk(self, observed: float, rows: int = 1) -> None:
        positions = np.zeros((rows, 1))
        self.log.chunks.append(ReceivedChunk(self.now, 0, 0.1, positions, observed))
        self.now += 1e-4

    def cycle(self, state: int, tick: int, command: float | None = None) -> None:
        if command is not None:
            self.log.commands.append((self.now, (command,)))
        self.status.starved_cycles += state == HOLDING
        self.log.progress.append(Progress(self.now, tick, 0, state))
        self.now += 1 / 30

    def trace(self) -> Trace:
        self.log.end_time = self.now
        return trace_of(self.log, 30.0, self.status)


RUNNING, HOLDING = ExecutorStatus.RUNNING, ExecutorStatus.HOLDING
APPROACHING, IDLE = ExecutorStatus.APPROACHING, ExecutorStatus.IDLE


def test_a_log_becomes_the_measures_of_a_run() -> None:
    run = Run()
    run.cycle(ExecutorStatus.WAITING, 0)
    run.chunk(observed=99.9)
    # The approach to the first action is not counted.
    run.cycle(APPROACHING, 0, 0.1)
    run.cycle(APPROACHING, 0, 0.2)
    begun = run.now
    for tick in (1, 2):
        run.cycle(RUNNING, tick, 0.2 + 0.1 * tick)
    run.chunk(observed=100.1)
    run.cycle(RUNNING, 3, 0.5)
    for _ in range(3):
        run.cycle(HOLDING, 3, 0.5)
    run.cycle(APPROACHING, 3, 0.6)
    run.cycle(RUNNING, 4, 0.7)
    trace = run.trace()
    expected_commands = [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5, 0.6, 0.7]
    np.testing.assert_allclose(np.array(trace.commands)[:, 0], expected_commands)
    assert trace.merges == [0, 4]
    seconds, observed = [0, 1, 2, 7], [99.9, 99.9, 100.1, 100.1]
    expected = [begun + n / 30 - at for n, at in zip(seconds, observed, strict=True)]
    assert trace.ages == pytest.approx(expected, abs=1e-3)
    assert (trace.cycles, trace.starved, trace.approaching) == (8, 3, 1)
    assert (trace.requests, trace.refusals) == (7, 2)


def test_cycles_of_which_no_status_came_are_counted_by_the_clock() -> None:
    run = Run()
    run.chunk(observed=100.0)
    run.cycle(RUNNING, 1, 0.1)
    run.now += 3 / 30
    # Three more actions have begun meanwhile.
    run.cycle(RUNNING, 5, 0.1)
    run.now += 3 / 30
    run.cycle(APPROACHING, 5, 0.1)
    run.now += 3 / 30
    trace = run.trace()
    assert len(trace.ages) == 5
    assert trace.cycles == 12
    # One of three statuses stands for a third of the cycles.
    assert trace.approaching == 4


def test_a_refusal_is_no_merge_and_makes_nothing_younger() -> None:
    run = Run()
    run.chunk(observed=100.0)
    run.cycle(RUNNING, 1, 0.1)
    run.chunk(observed=100.02, rows=0)
    run.cycle(RUNNING, 2, 0.1)
    trace = run.trace()
    assert trace.merges == [0]
    assert trace.ages == pytest.approx([0.0, 1 / 30], abs=1e-3)


def test_the_last_status_of_the_run_before_and_a_run_without_actions_count_nothing() -> None:
    run = Run()
    run.cycle(IDLE, 50)
    run.cycle(ExecutorStatus.WAITING, 0)
    trace = run.trace()
    assert (trace.cycles, trace.approaching, trace.ages, trace.refusals) == (0, 0, [], 2)
    run.chunk(observed=run.now)
    run.cycle(RUNNING, 1, 0.1)
    trace = run.trace()
    assert (len(trace.commands), len(trace.ages), trace.merges) == (1, 1, [0])
