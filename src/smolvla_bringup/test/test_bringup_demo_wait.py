# SPDX-License-Identifier: Apache-2.0
"""The demo's wait for its nodes, under a clock of the test's own."""

from __future__ import annotations

import io
from pathlib import Path
from types import SimpleNamespace

import pytest

pytest.importorskip("rclpy")
pytest.importorskip("smolvla_msgs", reason="the workspace is not sourced: . ./env.sh")

from smolvla_bringup.demo import run as demo_run
from smolvla_bringup.demo.live_line import LiveLine
from smolvla_bringup.system.options import Options

from smolvla_msgs.msg import ExecutorStatus, PolicyStatus

LIMIT = 40.0


class Clock:
    """Stands in for the module `time`: sleeping is what makes time pass."""

    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.now += seconds


class Nodes:
    """Monitor and starter of nodes of which the policy takes its time."""

    def __init__(self, clock: Clock, ready_at: float) -> None:
        self._clock, self._ready_at = clock, ready_at
        self.received = 0
        self.joint_states_seen = True
        self.executor_status = ExecutorStatus()

    @property
    def policy_status(self) -> PolicyStatus:
        if self._clock.now >= self._ready_at:
            return PolicyStatus(state=PolicyStatus.WAITING)
        return PolicyStatus(state=PolicyStatus.LOADING, message="loading weights")

    def absent_services(self) -> list[str]:
        return []

    def wait(self) -> None:
        return None

    def tail(self, node: str, count: int = 10) -> list[str]:
        return [f"last words of {node}"]

    def log_file(self, node: str) -> Path:
        return Path(f"{node}.log")


def _wait(monkeypatch: pytest.MonkeyPatch, ready_after: float) -> tuple[float, str]:
    """Return how long the demo waited and what it said."""
    clock, stream = Clock(), io.StringIO()
    begin = clock.now
    nodes = Nodes(clock, begin + ready_after)
    monkeypatch.setattr(demo_run, "time", clock)
    monkeypatch.setenv("ROS_DOMAIN_ID", "1")
    settings = demo_run.DemoSettings(Path("unused"), time_limit=60, ready_limit=LIMIT, video=False)
    line = LiveLine(stream, clock.monotonic)
    run = demo_run.DemoRun(Options(), settings, line, SimpleNamespace(received=None))
    run._monitor = run._starter = nodes
    run._executor = SimpleNamespace(spin_once=lambda timeout_sec: None)
    try:
        run._wait_until_ready()
    except demo_run.DemoError as error:
        stream.write(str(error))
    return clock.now - begin, stream.getvalue()


def test_node_that_is_never_ready_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    waited, said = _wait(monkeypatch, ready_after=1e9)
    assert waited == pytest.approx(LIMIT, abs=0.1)
    assert "not ready after 40 s:\npolicy_node: loading weights" in said
    assert "last words of policy_node" in said
    assert "sim_node" not in said
    assert "all nodes are ready" not in said


def test_a_node_that_takes_its_time_is_waited_for_and_quoted(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    waited, said = _wait(monkeypatch, ready_after=15.0)
    assert waited == pytest.approx(15.0, abs=0.1)
    assert "waiting   0 s for policy_node: loading weights\n" in said
    assert "policy_node: loading weights, its last words: last words of policy_node" in said
    assert "all nodes are ready after 15.0 s" in said
