# SPDX-License-Identifier: Apache-2.0
"""Tells on /diagnostics what the newest status of a node means."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Generic, TypeVar

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.node import Node

from smolvla_core.ros import qos
from smolvla_core.ros.diagnostics import SPAN
from smolvla_msgs.msg import ExecutorStatus, PolicyStatus

Status = TypeVar("Status", PolicyStatus, ExecutorStatus)


class DiagnosticsPublisher(Generic[Status]):
    """Publishes on /diagnostics at 1 Hz what the newest status of a node means.

    Args:
        node: whose status it is.
        describe: one of the functions of this module.
        clock: [s], monotonic.
    """

    def __init__(
        self,
        node: Node,
        describe: Callable[..., list[DiagnosticStatus]],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._node = node
        self._describe = describe
        self._clock = clock
        self._limits: Mapping[str, float] = {}
        self._newest: Status | None = None
        self._history: deque[tuple[float, Status]] = deque()
        namespace = node.get_namespace().strip("/")
        self._prefix = f"{namespace}/{node.get_name()}" if namespace else node.get_name()
        self._hardware = namespace or "arm"
        self._publisher = node.create_publisher(
            DiagnosticArray, "/diagnostics", qos.diagnostics_qos()
        )
        # Steady: simulated time may stand still.
        node.create_timer(1.0, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def limit(self, **limits: float) -> None:
        """Set the keyword arguments of `describe`, known once the node is configured."""
        self._limits = limits

    def add(self, status: Status) -> None:
        """Take the newest status."""
        self._newest = status

    def publish(self) -> None:
        """Publish now; called once per second."""
        if self._newest is None:
            return
        now = self._clock()
        self._history.append((now, self._newest))
        while self._history[0][0] < now - SPAN:
            self._history.popleft()
        reports = self._describe(self._newest, self._history[0][1], **self._limits)
        for report in reports:
            report.name = f"{self._prefix}: {report.name}"
            report.hardware_id = self._hardware
        message = DiagnosticArray(status=reports)
        message.header.stamp = self._node.get_clock().now().to_msg()
        self._publisher.publish(message)
