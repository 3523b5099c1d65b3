# SPDX-License-Identifier: Apache-2.0
"""The line that closes a start: that all is up, and what to type next.

`executor_node` logs it, because it alone sees all that a start begins, the arm by its joint states
and by who listens to commands, the policy by its status, and a human by his targets; whatever
started the nodes.
"""

from __future__ import annotations

import math
import shutil
import time
from collections.abc import Callable

from smolvla_core.instruction import EXAMPLE, command, quoted
from smolvla_core.level import PATIENCE
from smolvla_core.ros import qos
from smolvla_core.ros.managed_node import ACTIVE, UNCONFIGURED, ManagedNode

from smolvla_msgs.msg import ExecutorStatus, PolicyStatus

_ACTING = (PolicyStatus.WAITING, PolicyStatus.READY, PolicyStatus.INFERRING)


class ReadyLine:
    """Logs once that all is up, again after one of both nodes was not; or what is missing.

    With `source` human and without a policy the executor is the only node.

    Args:
        node: the executor.
        status: its newest status.
        unmatched: returns a topic or action of its commands without a listener; empty for none.
    """

    def __init__(
        self,
        node: ManagedNode,
        status: Callable[[], ExecutorStatus],
        unmatched: Callable[[], str],
    ) -> None:
        self._node = node
        self._status = status
        self._unmatched = unmatched
        self._logged_phase = ""
        self._active_since = math.inf
        self._warned = False
        self._has_policy = False
        node.create_subscription(
            PolicyStatus, "policy_node/status", self._on_policy, qos.status_qos()
        )

    def look(self) -> None:
        """See whether all is up where there is no policy; to be called once a second."""
        if self._has_policy or self._node.get_parameter("source").value != "human":
            return
        if self._node.phase != ACTIVE:
            self._active_since, self._warned, self._logged_phase = math.inf, False, ""
        elif self._logged_phase != ACTIVE:
            self._log_active(self._missing_of_arm() or self._missing_of_human())

    def _on_policy(self, policy: PolicyStatus) -> None:
        self._has_policy = True
        phase = self._node.phase
        active = phase == ACTIVE and policy.state in _ACTING
        unconfigured = phase == UNCONFIGURED and policy.state == PolicyStatus.UNCONFIGURED
        if not active:
            self._active_since, self._warned = math.inf, False
        if active:
            if self._logged_phase != ACTIVE:
                self._log_active(self._missing(policy))
        elif unconfigured and not self._node.get_parameter("autostart").value:
            if self._logged_phase != UNCONFIGURED:
                self._log(UNCONFIGURED, self._how_to_activate())
        else:
            self._logged_phase = ""

    def _log_active(self, missing: str) -> None:
        self._active_since = min(self._active_since, time.monotonic())
        if not missing:
            self._log(ACTIVE, self._next_step())
        elif not self._warned and time.monotonic() >= self._active_since + PATIENCE:
            self._warned = True
            self._node.get_logger().warning(f"not ready yet: {missing}")

    def _log(self, phase: str, message: str) -> None:
        self._logged_phase = phase
        self._node.get_logger().info(message)

    def _missing(self, policy: PolicyStatus) -> str:
        """Return what is missing although both nodes are active; empty for nothing."""
        if missing := self._missing_of_arm():
            return missing
        if not all(age < math.inf for age in (*policy.camera_ages, policy.joint_state_age)):
            return policy.message or "the policy has not received all cameras and joints"
        return ""

    def _missing_of_human(self) -> str:
        status = self._status()
        waits = status.state in (ExecutorStatus.WAITING, ExecutorStatus.HOLDING)
        return status.reason if waits else ""

    def _missing_of_arm(self) -> str:
        status = self._status()
        # NaN until the first cycle of the control loop.
        if not status.joint_state_age < math.inf or status.state == ExecutorStatus.FAULT:
            return status.reason
        if not status.dry_run and (commands := self._unmatched()):
            return f"nobody listens on {commands}: is the arm's controller active?"
        return ""

    def _next_step(self) -> str:
        node, status = self._node, self._status()
        dry = " (DRY RUN: the arm gets no commands)" if status.dry_run else ""
        start = f"ros2 service call {node.resolve_service_name('~/start')} std_srvs/srv/Trigger"
        if not self._has_policy:
            leader = node.resolve_topic_name(node.get_parameter("human_topic").value)
            if status.state == ExecutorStatus.IDLE:
                return f"ready{dry}: to follow {leader}, {start}"
            return f"ready{dry}: the arm follows {leader}"
        topic = node.resolve_topic_name("task_instruction")
        instruct = command(topic)
        if status.instruction:
            instruct = f"the instruction is {quoted(status.instruction)}"
        if status.instruction_source == ExecutorStatus.INSTRUCTION_GOAL:
            return f"ready{dry}: the goal is {quoted(status.instruction)}"
        if status.state != ExecutorStatus.IDLE:
            return f"ready{dry}: {instruct}"
        if instruct.startswith("smolvla"):
            return f"ready{dry}: {command(topic, 'task')}"
        action = node.resolve_service_name("smolvla/run_task")
        goal = f"ros2 action send_goal {action} smolvla_msgs/action/RunTask"
        return f'ready{dry}: {goal} "{{instruction: {EXAMPLE}}}"; or {instruct}, and {start}'

    def _how_to_activate(self) -> str:
        if not shutil.which("ros2"):
            return "ready to be activated by a lifecycle manager"
        executor = self._node.get_fully_qualified_name()
        policy = self._node.resolve_topic_name("policy_node")
        return (
            f"ready to be activated: for node in {policy} {executor}; do ros2 lifecycle set $node "
            "configure && ros2 lifecycle set $node activate; done"
        )
