# SPDX-License-Identifier: Apache-2.0
"""A start does not join a graph in which another arm, policy or executor runs."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator

import pytest

pytest.importorskip("rclpy")

import rclpy
from rclpy.node import Node
from smolvla_bringup.system import running as module
from smolvla_bringup.system import start
from smolvla_bringup.system.node_spec import NodeSpec
from smolvla_bringup.system.options import SetupError
from smolvla_bringup.system.running import not_running


def specs(*names: str, namespace: str = "") -> list[NodeSpec]:
    return [NodeSpec("package", "executable", name, namespace) for name in names]


@pytest.fixture
def patient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look for as long as a busy machine may need; what is found ends it at once."""
    monkeypatch.setattr(module, "DISCOVERY", 20.0)


@pytest.fixture
def running() -> Iterator[None]:
    """An arm with ros2_control, and an executor in a namespace."""
    context = rclpy.Context()
    rclpy.init(args=[], context=context)
    nodes = [
        Node("controller_manager", context=context),
        Node("executor_node", namespace="left", context=context),
        Node("controller_manager", namespace="leader", context=context),
    ]
    yield
    for node in nodes:
        node.destroy_node()
    rclpy.shutdown(context=context)


@pytest.mark.usefixtures("running", "patient")
@pytest.mark.parametrize(
    ("wanted", "named"),
    [
        (specs("sim_node"), "/controller_manager;"),
        (specs("controller_manager", "spawner"), "/controller_manager;"),
        (specs("executor_node", namespace="left"), "/left/executor_node;"),
        (specs("leader_driver", namespace="leader"), "/leader/controller_manager;"),
        (specs("sim_node", "executor_node", namespace="left"), "/left/executor_node;"),
    ],
)
def test_what_runs_already_is_named(wanted: list[NodeSpec], named: str) -> None:
    with pytest.raises(SetupError, match=named) as refused:
        not_running(wanted, print)
    assert f"on ROS domain {os.environ['ROS_DOMAIN_ID']}: " in str(refused.value)


@pytest.mark.usefixtures("running")
def test_another_namespace_the_other_half_and_what_only_looks_on_may_start() -> None:
    for wanted in (
        specs("sim_node", "policy_node", "executor_node", namespace="right"),
        specs("policy_node", "executor_node"),  # for the arm that runs
        specs("visualization_node", "spawner"),
    ):
        assert not_running(wanted, print) == tuple(wanted)


@pytest.mark.usefixtures("running", "patient")
def test_what_is_missing_beside_a_running_arm_is_started_alone() -> None:
    logged: list[str] = []
    wanted = specs("policy_node", "executor_node", namespace="left")
    assert not_running(wanted, logged.append) == (wanted[0],)
    assert logged == ["/left/executor_node runs already and is left as it is"]
    cameras = [
        NodeSpec("usb_cam", "e", name, "left", part="cameras") for name in ("executor_node", "top")
    ]
    assert not_running(cameras, logged.append) == (cameras[1],)


@pytest.mark.usefixtures("running", "patient", "workspace")
def test_start_starts_nothing_then(capsys: pytest.CaptureFixture[str], executable: object) -> None:
    arguments = ["--hardware", "sim", "--policy", "scripted", "--view", "none"]
    assert start.main(arguments) == 2
    captured = capsys.readouterr()
    assert ": /controller_manager; two of a name" in captured.err
    assert "started" not in captured.out


def test_a_busy_machine_is_given_longer(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "DISCOVERY", 0.5)
    monkeypatch.setattr(os, "getloadavg", lambda: (3.0 * (os.cpu_count() or 1), 0.0, 0.0))
    begin = time.monotonic()
    wanted = specs("policy_node", "executor_node", namespace="nobody")
    assert not_running(wanted, print) == tuple(wanted)
    assert time.monotonic() - begin >= 1.5
