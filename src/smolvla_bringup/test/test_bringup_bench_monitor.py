# SPDX-License-Identifier: Apache-2.0
"""The monitor of the benchmark with real nodes: topics, fed by hand, become a trace."""

from __future__ import annotations

import math
import os
from collections.abc import Iterator

import numpy as np
import pytest

pytest.importorskip("rclpy")
pytest.importorskip("smolvla_msgs", reason="the workspace is not sourced: . ./env.sh")

import rclpy
from smolvla_bringup.bench.sim_monitor import BenchMonitor
from std_msgs.msg import Float32, Float64MultiArray, String

from smolvla_msgs.msg import ActionChunk, ExecutorStatus, PolicyStatus

RUNNING, HOLDING = ExecutorStatus.RUNNING, ExecutorStatus.HOLDING
APPROACHING, IDLE = ExecutorStatus.APPROACHING, ExecutorStatus.IDLE


@pytest.fixture(scope="module")
def node() -> Iterator[BenchMonitor]:
    rclpy.init(args=[], domain_id=1 + os.getpid() % 100)
    monitor = BenchMonitor(30.0)
    yield monitor
    monitor.destroy_node()
    rclpy.try_shutdown()


class Hand:
    """Feeds a monitor by hand, at times of its own."""

    def __init__(self, monitor: BenchMonitor) -> None:
        self.monitor = monitor
        self.now = 100.0
        self._starved = 0
        monitor.now = lambda: self.now  # type: ignore[method-assign]

    def chunk(self, observed: float, error: str = "") -> None:
        message = ActionChunk(error=error)
        message.header.stamp.sec = math.floor(observed)
        message.header.stamp.nanosec = round(1e9 * (observed % 1.0))
        self.monitor._on_chunk(message)

    def cycle(self, state: int, tick: int, command: float | None = None) -> None:
        """One control cycle: what the executor publishes, and the time that passes."""
        if command is not None:
            self.monitor._on_command(Float64MultiArray(data=[command] * 6))
        self._starved += state == ExecutorStatus.HOLDING
        status = ExecutorStatus(state=state, tick=tick, starved_cycles=self._starved)
        status.requests, status.requests_refused = 7, 2
        self.monitor._on_executor(status)
        self.now += 1 / 30


@pytest.fixture
def hand(node: BenchMonitor, monkeypatch: pytest.MonkeyPatch) -> Hand:
    monkeypatch.setattr(node, "executor_status", None)
    return Hand(node)


def test_topics_become_a_trace(hand: Hand) -> None:
    monitor = hand.monitor
    monitor.begin()
    hand.cycle(ExecutorStatus.WAITING, 0)
    hand.chunk(observed=99.9)
    # The approach to the first action is not counted.
    hand.cycle(APPROACHING, 0, 0.1)
    hand.cycle(APPROACHING, 0, 0.2)
    begun = hand.now
    for tick in (1, 2):
        hand.cycle(RUNNING, tick, 0.2 + 0.1 * tick)
    hand.chunk(observed=100.1)
    hand.cycle(RUNNING, 3, 0.5)
    for _ in range(3):
        hand.cycle(HOLDING, 3, 0.5)
    hand.cycle(APPROACHING, 3, 0.6)
    hand.cycle(RUNNING, 4, 0.7)
    trace = monitor.end()
    expected_commands = [0.1, 0.2, 0.3, 0.4, 0.5, 0.5, 0.5, 0.5, 0.6, 0.7]
    np.testing.assert_allclose(np.array(trace.commands)[:, 0], expected_commands)
    assert trace.merges == [0, 4]
    seconds = [0, 1, 2, 7]
    observed = [99.9, 99.9, 100.1, 100.1]
    expected = [begun + n / 30 - at for n, at in zip(seconds, observed, strict=True)]
    assert trace.ages == pytest.approx(expected)
    assert (trace.cycles, trace.starved, trace.approaching) == (8, 3, 1)
    assert (trace.requests, trace.refusals) == (7, 2)


def test_cycles_of_which_no_status_came_are_counted_by_the_clock(hand: Hand) -> None:
    hand.monitor.begin()
    hand.chunk(observed=100.0)
    hand.cycle(RUNNING, 1, 0.1)
    hand.now += 3 / 30
    # Three more actions have begun meanwhile.
    hand.cycle(RUNNING, 5, 0.1)
    hand.now += 3 / 30
    hand.cycle(APPROACHING, 5, 0.1)
    hand.now += 3 / 30
    trace = hand.monitor.end()
    assert len(trace.ages) == 5
    assert trace.cycles == 12
    # One of three statuses stands for a third of the cycles.
    assert trace.approaching == 4


def test_a_refusal_is_no_merge_and_makes_nothing_younger(hand: Hand) -> None:
    hand.monitor.begin()
    hand.chunk(observed=100.0)
    hand.cycle(RUNNING, 1, 0.1)
    hand.chunk(observed=100.02, error="camera top is silent")
    hand.cycle(RUNNING, 2, 0.1)
    trace = hand.monitor.end()
    assert trace.merges == [0]
    assert trace.ages == pytest.approx([0.0, 1 / 30])


def test_nothing_counts_before_and_after_a_run_or_at_rest(hand: Hand) -> None:
    monitor = hand.monitor

    def busy() -> None:
        hand.chunk(observed=hand.now)
        hand.cycle(RUNNING, 50, 0.1)

    monitor.begin()
    busy()
    first = monitor.end()
    counts = (len(first.commands), len(first.ages), len(first.merges), first.cycles)
    busy()
    assert (len(first.commands), len(first.ages), len(first.merges), first.cycles) == counts
    monitor.begin()
    # The last status of the run before may still come.
    hand.cycle(IDLE, 50)
    hand.chunk(observed=hand.now)
    hand.cycle(RUNNING, 1, 0.1)
    second = monitor.end()
    assert second is not first
    assert (len(second.commands), len(second.ages), second.merges) == (1, 1, [0])


def test_a_run_without_any_action_has_no_cycles(hand: Hand) -> None:
    hand.monitor.begin()
    hand.cycle(ExecutorStatus.WAITING, 0)
    trace = hand.monitor.end()
    assert (trace.cycles, trace.approaching, trace.ages, trace.refusals) == (0, 0, [], 2)


def test_the_score_of_the_task_before_does_not_count(
    hand: Hand, monkeypatch: pytest.MonkeyPatch
) -> None:
    monitor = hand.monitor
    told: list[String] = []
    monkeypatch.setattr(monitor._instruction, "publish", told.append)
    monitor.instruct("touch the blue cube")
    assert [message.data for message in told] == ["touch the blue cube"]
    monitor._on_score(Float32(data=1.0))
    assert monitor.score is None
    for score in (0.0, 0.5, 1.0):
        monitor._on_score(Float32(data=score))
        assert monitor.score == score
    monitor.instruct("touch the red cube")
    assert monitor.score is None


def test_the_monitor_knows_what_is_not_there_yet(hand: Hand) -> None:
    monitor = hand.monitor
    assert {name.lstrip("/") for name in monitor.absent_services()} == {
        "sim/reset",
        "sim/set_task",
        "executor_node/start",
        "executor_node/stop",
    }
    monitor._on_policy(PolicyStatus(message="loading weights"))
    assert monitor.policy_status.message == "loading weights"
