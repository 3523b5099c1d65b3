# SPDX-License-Identifier: Apache-2.0
"""What the nodes publish on /diagnostics, made from their status messages.

`policy_diagnostics` and `executor_diagnostics` are plain functions of the newest status and of
one from some seconds before, so that they can report what has happened lately. A message says what
is wrong and what to do; the values are for plots and logs.
"""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus, KeyValue
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from rclpy.node import Node
from rclpy.time import Time

from smolvla_core.latency import hidden_latency, starvation_reason
from smolvla_msgs.msg import ExecutorStatus, PolicyStatus

OK, WARN, ERROR = DiagnosticStatus.OK, DiagnosticStatus.WARN, DiagnosticStatus.ERROR
SPAN = 10.0
"""How far back the status lies that the newest is compared with [s]."""
OVERRUN_SHARE = 0.01
GUARD_SHARE = 0.1
"""Shares of the control cycles from which overruns and interventions are worth a warning."""
SEAM_JUMP = 0.2
"""A jump between two chunks from which on it is worth a warning [rad]."""


def _state_names(message: type, constants: str) -> dict[int, str]:
    return {getattr(message, name): name.lower() for name in constants.split()}


_POLICY_STATES = _state_names(
    PolicyStatus, "LOADING WAITING READY INFERRING ERROR UNCONFIGURED INACTIVE"
)
EXECUTOR_STATES = _state_names(
    ExecutorStatus, "IDLE WAITING APPROACHING RUNNING HOLDING FAULT STOPPED"
)


def policy_diagnostics(
    status: PolicyStatus,
    before: PolicyStatus,
    *,
    max_image_age: float = 0.5,
    max_joint_state_age: float = 0.25,
) -> list[DiagnosticStatus]:
    """Return what a policy's status means.

    Args:
        status: the newest.
        before: one of some seconds before, or `status` itself.
        max_image_age: from which age on an image is stale [s].
        max_joint_state_age: from which age on a joint state is stale [s].
    """
    reports = [_model(status), _inference(status, before)]
    silent = _level(status)  # at first they are still to come
    for camera, age in zip(status.cameras, status.camera_ages, strict=True):
        where = f"camera {camera}"
        advice = "check its cable, its driver, its topic and the network"
        reports.append(_freshness(where, age, max_image_age, "image", advice, silent))
    if status.state not in (PolicyStatus.UNCONFIGURED, PolicyStatus.LOADING, PolicyStatus.ERROR):
        reports.append(_joint_states(status.joint_state_age, max_joint_state_age, silent))
    return reports


def executor_diagnostics(
    status: ExecutorStatus, before: ExecutorStatus, *, state_timeout: float = 0.25
) -> list[DiagnosticStatus]:
    """Return what an executor's status means.

    Args:
        status: the newest.
        before: one of some seconds before, or `status` itself.
        state_timeout: from which age on a joint state is stale [s].
    """
    if math.isnan(status.joint_state_age):  # not configured
        return [_execution(status)]
    return [
        _execution(status),
        _control_loop(status, before),
        _queue(status, before),
        _guard(status, before),
        _joint_states(status.joint_state_age, state_timeout, _level(status)),
    ]


# The policy.


def _model(status: PolicyStatus) -> DiagnosticStatus:
    return _report(
        "model",
        _level(status),
        status.message or _POLICY_STATES.get(status.state, "unknown"),
        status,
        "backend checkpoint device dtype instruction",
        state=_POLICY_STATES.get(status.state, str(status.state)),
    )


def _inference(status: PolicyStatus, before: PolicyStatus) -> DiagnosticStatus:
    errors = _grown(status.inference_errors, before.inference_errors)
    chunks = _grown(status.chunks, before.chunks)
    level, message = OK, f"{status.chunk_rate:.2f} chunks/s"
    if math.isfinite(status.inference_p50):
        message += f", {status.inference_p50:.3f} s each"
    if errors:
        level = WARN if chunks else ERROR
        message = f"{_many(errors, 'inference')} failed in the last {SPAN:.0f} s: {status.message}"
    return _report(
        "inference",
        level,
        message,
        status,
        "chunk_rate inference_last inference_p50 inference_p95 "
        "chunks requests requests_refused inference_errors",
    )


# The executor.


def _execution(status: ExecutorStatus) -> DiagnosticStatus:
    return _report(
        "execution",
        _level(status),
        status.reason,
        status,
        "source instruction dry_run tick",
        state=EXECUTOR_STATES.get(status.state, str(status.state)),
    )


def _control_loop(status: ExecutorStatus, before: ExecutorStatus) -> DiagnosticStatus:
    late = _grown(status.overruns, before.overruns)
    level, message = OK, "keeps its rate"
    if late > OVERRUN_SHARE * _cycles(status, before):
        level = WARN
        message = (
            f"{_many(late, 'control cycle')} of the last {SPAN:.0f} s began late, the worst "
            f"period was {1e3 * status.period_max:.0f} ms: free a CPU core (parameter threads of "
            "policy_node), or set realtime_priority"
        )
    values = "period_p50 period_p99 period_max overruns"
    return _report("control loop", level, message, status, values)


def _queue(status: ExecutorStatus, before: ExecutorStatus) -> DiagnosticStatus:
    level, message = OK, f"{status.queue_depth} actions are queued"
    chunks = (status.chunk_size_threshold, status.chunk_size, status.action_period)
    starved = _grown(status.starvations, before.starvations)
    refused = _grown(status.requests_refused, before.requests_refused)
    invalid = _grown(status.chunks_invalid, before.chunks_invalid)
    timed_out = _grown(status.requests_timed_out, before.requests_timed_out)
    lately = f"in the last {SPAN:.0f} s"
    if invalid:
        level, message = ERROR, f"{_many(invalid, 'chunk')} refused {lately}: {status.reason}"
    elif refused and not (status.state == ExecutorStatus.WAITING and status.level == 0):
        level = WARN
        message = f"the policy refused {_many(refused, 'request')} {lately}: {status.last_refusal}"
    elif timed_out:
        level = WARN
        message = f"{_many(timed_out, 'request')} had no answer {lately}: is policy_node running?"
    elif starved and status.chunk_size_threshold > 0:
        level = WARN
        reason = starvation_reason(status.latency_p50, status.latency_p95, *chunks)
        message = f"the queue ran dry {_many(starved, 'time')} {lately}: {reason}"
    return _report(
        "queue",
        level,
        message,
        status,
        "queue_depth chunk_size chunk_size_threshold latency_last latency_p50 latency_p95 "
        "starvations starved_cycles chunks_merged chunks_late chunks_invalid "
        "requests_timed_out requests_refused",
        latency_hidden=hidden_latency(*chunks),  # that leaves no gap [s]
    )


def _guard(status: ExecutorStatus, before: ExecutorStatus) -> DiagnosticStatus:
    limited = _grown(status.guard_limited, before.guard_limited)
    level, message = OK, "commands pass as they are"
    if limited:
        message = f"{_many(limited, 'command')} limited in the last {SPAN:.0f} s"
    if limited > GUARD_SHARE * _cycles(status, before):
        level = WARN
        message += (
            ": the policy wants to go faster or farther than max_speed, max_step and the joint "
            "limits allow; the log names the joints"
        )
    elif _grown(status.chunks_merged, before.chunks_merged) and status.seam_jump_last > SEAM_JUMP:
        level = WARN
        message = (
            f"the newest chunk begins {status.seam_jump_last:.2f} rad away from the one before: "
            "try aggregate 'conservative', or real_time_chunking 'guided' of policy_node"
        )
    values = "guard_limited seam_jump_last seam_jump_max"
    return _report("guard", level, message, status, values)


def _cycles(status: ExecutorStatus, before: ExecutorStatus) -> float:
    """Return how many control cycles lie between two statuses."""
    between = Time.from_msg(status.header.stamp) - Time.from_msg(before.header.stamp)
    return between.nanoseconds * 1e-9 / status.period_p50 if status.period_p50 > 0 else 0.0


# Both.


def _level(status: PolicyStatus | ExecutorStatus) -> bytes:
    """Return the level that the log has as well."""
    return bytes([status.level])


def _joint_states(age: float, limit: float, silent: bytes) -> DiagnosticStatus:
    advice = "check the arm's driver (or the simulation) and its bus"
    return _freshness("joint states", age, limit, "joint state", advice, silent)


def _freshness(
    subject: str, age: float, limit: float, thing: str, advice: str, silent: bytes
) -> DiagnosticStatus:
    """Report an `age` [s]; `silent` is the level where nothing has come yet."""
    level, message = OK, f"newest {thing} is {age:.2f} s old"
    if math.isinf(age):
        level, message = silent, f"no {thing} yet: {advice}"
    elif age > limit:
        level, message = ERROR, f"{message}, more than {limit:g} s: {advice}"
    return _report(subject, level, message, None, "", age=age)


def _grown(counter: int, before: int) -> int:
    """Return how far a counter has come; it begins anew with every start."""
    return counter - before if counter >= before else counter


def _many(count: int, thing: str) -> str:
    return f"{count} {thing}" if count == 1 else f"{count} {thing}s"


def _report(
    subject: str, level: bytes, message: str, status: Any, fields: str, **more: Any
) -> DiagnosticStatus:
    """Return a report whose values are these fields of `status`, and more."""
    values = more | {field: getattr(status, field) for field in fields.split()}
    return DiagnosticStatus(
        level=level,
        name=subject,
        message=message,
        values=[KeyValue(key=name, value=_text(value)) for name, value in values.items()],
    )


def _text(value: object) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


Status = TypeVar("Status", PolicyStatus, ExecutorStatus)


class DiagnosticsPublisher(Generic[Status]):
    """Publishes on /diagnostics what the newest status of a node means.

    At 1 Hz, and at once where an error begins.

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
        self._publisher = node.create_publisher(DiagnosticArray, "/diagnostics", 10)
        # Steady: simulated time may stand still.
        node.create_timer(1.0, self.publish, clock=Clock(clock_type=ClockType.STEADY_TIME))

    def limit(self, **limits: float) -> None:
        """Set the keyword arguments of `describe`, known once the node is configured."""
        self._limits = limits

    def add(self, status: Status) -> None:
        """Take the newest status; where an error begins, publish it at once."""
        before, self._newest = self._newest, status
        if before is not None and _level(status) >= ERROR > _level(before):
            self.publish()

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
