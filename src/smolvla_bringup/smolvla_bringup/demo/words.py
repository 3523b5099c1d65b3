# SPDX-License-Identifier: Apache-2.0
"""What the demo's live line says."""

from __future__ import annotations

import math

from smolvla_bringup.demo.monitor import DemoMonitor
from smolvla_msgs.msg import ExecutorStatus, PolicyStatus

_STATES = {
    ExecutorStatus.IDLE: "idle",
    ExecutorStatus.WAITING: "waiting",
    ExecutorStatus.APPROACHING: "approaching",
    ExecutorStatus.RUNNING: "running",
    ExecutorStatus.HOLDING: "holding",
    ExecutorStatus.FAULT: "FAULT",
}
_NEED_NO_WORDS = (ExecutorStatus.APPROACHING, ExecutorStatus.RUNNING)


def unready(monitor: DemoMonitor) -> dict[str, str]:
    """Return node -> what is still missing, for the nodes that are not ready."""
    missing = {}
    if not monitor.joint_states_seen:
        missing["sim_node"] = "no joint states yet"
    policy = monitor.policy_status
    if policy is None:
        missing["policy_node"] = "no status yet"
    elif policy.state not in (PolicyStatus.READY, PolicyStatus.WAITING, PolicyStatus.INFERRING):
        missing["policy_node"] = policy.message or "loading"
    if monitor.executor_status is None:
        missing["executor_node"] = "no status yet"
    for service in monitor.absent_services():
        node = "executor_node" if "executor_node" in service else "sim_node"
        missing.setdefault(node, f"does not offer the service {service} yet")
    return missing


def run_line(now: float, monitor: DemoMonitor) -> str:
    """Return one line: time, state, tick, queue, newest latency, score; words on trouble."""
    status = monitor.executor_status
    if status is None:
        return f"{now:5.1f} s  executor_node has sent no status yet"
    latency = "–"
    if math.isfinite(status.latency_last):
        latency = f"{1e3 * status.latency_last:.0f} ms"
    score = "–" if monitor.score is None else f"{monitor.score:.2f}"
    line = (
        f"{now:5.1f} s  {_STATES.get(status.state, '?'):<11}  tick {status.tick:4d}  "
        f"queue {status.queue_depth:2d}/{status.chunk_size}  latency {latency}  score {score}"
    )
    return line if status.state in _NEED_NO_WORDS else f"{line}  ({status.reason})"
