# SPDX-License-Identifier: Apache-2.0
"""`policy_node`: cameras, joints and a sentence become chunks of actions.

Loading and inference happen in threads of their own, so receiving never stops: the newest
images and joint states are at hand when a request comes, and every request has an answer.
"""

from __future__ import annotations

import math
import os
import threading
import time
from collections import Counter, deque
from functools import partial
from typing import Any

from smolvla_core.backend import Backend, ChunkRequest
from smolvla_core.joints import JointOrder
from smolvla_core.latency import EventRate, LatencyWindow
from smolvla_core.level import PATIENCE, Level
from smolvla_core.node_settings import PolicySettings
from smolvla_core.ros import converters, qos
from smolvla_core.ros.diagnostics import DiagnosticsPublisher, policy_diagnostics
from smolvla_core.ros.managed_node import ACTIVE, CONFIGURING, INACTIVE, ManagedNode
from smolvla_core.ros.run import run
from smolvla_core.ros.sensors import SensorIntake
from smolvla_core.ros.sparse_log import AGAIN, SparseLog, log_at
from smolvla_core.settings import settings_of

from smolvla_msgs.msg import ActionChunk, InferenceRequest, PolicyStatus
from smolvla_policy.backends.registry import (
    backend_settings,
    create_backend,
    policy_parameters,
)
from smolvla_policy.backends.session import Answer, LatestJobWorker, answer
from smolvla_policy.checkpoint.robot import unlearned

INFERENCE_TIMEOUT = 30.0
"""How long the cleanup waits for the inference that runs [s]."""


class PolicyCounters:
    """Counters, timings and the last error of a policy, from several threads.

    Attributes:
        error: why the newest request was refused; empty after a chunk.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self.reset()

    def reset(self) -> None:
        """Begin anew."""
        with self._lock:
            self.error = ""
            self._counts: Counter[str] = Counter()
            self._inference = LatencyWindow()
            self._rate = EventRate(time.monotonic())

    def count(self, field: str) -> None:
        """Count an event in a field of `PolicyStatus`."""
        with self._lock:
            self._counts[field] += 1

    def on_chunk(self, inference_time: float) -> None:
        """Count a chunk that took so long [s]."""
        with self._lock:
            self._counts["chunks"] += 1
            self._inference.add(inference_time)
            self._rate.add(time.monotonic())
            self.error = ""

    def on_refusal(self, error: str) -> None:
        """Count a refusal and keep its reason."""
        with self._lock:
            self._counts["requests_refused"] += 1
            self.error = error

    def write(self, message: PolicyStatus) -> None:
        """Fill in the counters of a status."""
        with self._lock:
            for field, count in self._counts.items():
                setattr(message, field, count)
            message.inference_last = self._inference.last
            message.inference_p50 = self._inference.p50
            message.inference_p95 = self._inference.p95
            message.chunk_rate = self._rate.rate(time.monotonic())


class PolicyNode(ManagedNode):
    """Wires topics to a `Backend` that runs in its own thread.

    Raises:
        ValueError: a parameter is none of its choices; the text names it.
    """

    def __init__(self, **node_options: Any) -> None:
        # First what `destroy_node` needs: it is also called when a parameter is invalid.
        self._worker: LatestJobWorker[InferenceRequest] | None = None
        self._backend: Backend | None = None
        self._checkpoint = ""
        self._sensors: SensorIntake | None = None
        self._changes: deque[dict[str, Any]] = deque()  # of live settings, for the worker thread
        super().__init__("policy_node", PolicySettings, background=True, **node_options)
        self._choose_backend(self.get_parameter("backend").value)
        self._instruction = ""  # of the newest request
        self._counters = PolicyCounters()
        self._chunks = self.create_publisher(ActionChunk, "smolvla/action_chunk", qos.chunk_qos())
        self._statuses = self.create_publisher(PolicyStatus, "~/status", qos.status_qos())
        self._status_changed = self.create_guard_condition(self._publish_status)
        self._diagnostics = DiagnosticsPublisher(self, policy_diagnostics)
        self._status_timer = self.create_timer(1.0, self._publish_status)
        self._set_status_rate(self.get_parameter("status_rate").value)
        self._log_refusal = {level: self._sparse_log(level) for level in Level}
        self._refusal_level = Level.OK  # of the newest refusal
        self._complete = False  # whether all cameras and joints have been there
        self._active_since = math.inf
        self._requester = self._executor = ""
        self._replaced: set[str] = set()
        self.create_subscription(
            InferenceRequest, "smolvla/inference_request", self._on_request, qos.request_qos()
        )

    # What the base calls in the transitions.

    def _choose_backend(self, name: str) -> None:
        """Declare the parameters of the backend `name`."""
        try:
            settings = backend_settings(name)
        except ValueError:  # there is none: reported by `configure`
            return
        self.use_settings(settings)

    def configure(self, settings: PolicySettings) -> None:
        """Load the backend and warm it up, then listen to what it needs."""
        name = settings.backend
        self._checkpoint = getattr(settings, "checkpoint", "")
        self.get_logger().info(f"loading backend '{name}' {self._checkpoint}".rstrip())
        start = time.monotonic()
        try:
            backend = create_backend(settings)
        except ValueError as error:  # others are no mistake in the parameters: see `misconfigured`
            raise ValueError(f"backend '{name}': {error}") from error
        self._backend = backend
        self._changes.clear()
        self._counters.reset()
        self._complete = False
        self._worker = LatestJobWorker(self._work)
        self.in_ros_thread(lambda: self._listen(backend, settings))
        for note in getattr(backend, "notes", ()):
            self.get_logger().info(note)
        for warning in getattr(backend, "warnings", ()):
            self.get_logger().warning(warning)
        self.get_logger().info(
            f"loaded in {time.monotonic() - start:.1f} s: {backend.description} on "
            f"{backend.device}, {backend.dtype}; cameras {', '.join(backend.cameras) or 'none'}"
        )

    def _listen(self, backend: Backend, settings: PolicySettings) -> None:
        self._sensors = SensorIntake(
            self, backend.cameras, backend.joint_names, settings, backend.needs_objects
        )
        self._take(settings)

    def _take(self, settings: PolicySettings) -> None:
        """Apply the live settings."""
        self._least_time = settings.inference_delay
        executor = converters.node_name(self.get_namespace(), settings.executor)
        if executor != self._executor:
            self._executor, self._requester, self._replaced = executor, "", set()
        self._set_status_rate(settings.status_rate)
        self._diagnostics.limit(
            max_image_age=settings.max_image_age,
            max_joint_state_age=settings.max_joint_state_age,
        )

    def check(self, settings: PolicySettings, changed: set[str]) -> None:
        """Check whether the loaded backend takes the new values."""
        backend = self._backend
        if backend is not None and not hasattr(backend, "tune"):
            for name in changed - set(settings_of(PolicySettings)):
                reason = self.reconfigure_first(name)
                raise ValueError(f"backend '{backend.name}' does not take it: {reason}")
        elif backend is not None and hasattr(backend, "check"):
            backend.check({name: getattr(settings, name) for name in changed})

    def tune(self, settings: PolicySettings, names: set[str]) -> None:
        """Apply new values; the backend does at its next inference."""
        if "backend" in names:
            try:
                self._choose_backend(settings.backend)
            except ValueError as error:  # of a value that was given at the start
                self.get_logger().error(str(error))
        self._take(settings)
        sensors = self._sensors
        if sensors is not None:
            sensors.reconfigure(settings)
        own = names - set(settings_of(PolicySettings))
        changes = {name: getattr(settings, name) for name in own}
        if changes and hasattr(self._backend, "tune"):
            self._changes.append(changes)

    def activate(self) -> None:
        """Begin to answer requests."""
        self._active_since = time.monotonic()

    def deactivate(self) -> None:
        """Refuse the request that waits; the one that is worked on is refused at its end."""
        waiting = self._worker.withdraw() if self._worker is not None else None
        if waiting is not None:
            self._refuse(waiting, f"{self.get_name()} was deactivated", Level.OK)

    def release(self) -> None:
        """Let the running inference end, then free the backend and unsubscribe."""
        worker, self._worker = self._worker, None
        sensors, self._sensors = self._sensors, None
        backend, self._backend = self._backend, None
        try:
            if worker is not None:
                worker.close(INFERENCE_TIMEOUT)
        finally:
            if backend is not None:
                backend.close()
            if sensors is not None:
                self.in_ros_thread(sensors.close)

    def phase_changed(self) -> None:
        """Publish the lifecycle state."""
        self._status_changed.trigger()

    # In the thread of ROS: receive.

    def _on_request(self, message: InferenceRequest) -> None:
        self._counters.count("requests")
        worker = self._worker
        if worker is None or self.phase != ACTIVE:
            self._refuse_inactive(message)
            return
        foreign = self._foreign(message)
        if foreign:
            self._refuse(message, foreign)
            return
        if message.instruction != self._instruction:
            self._instruction = message.instruction
            warning = unlearned(message.instruction, getattr(self._backend, "tasks", ()))
            if warning:
                self.get_logger().warning(warning)
        replaced = worker.submit(message)
        if replaced is not None:
            self._refuse(replaced, f"replaced by request {message.request_id}", Level.OK)

    def _foreign(self, message: InferenceRequest) -> str:
        """Return why a request is not from the executor that this node was started for."""
        served, name = self._executor, converters.executor_name(message.executor)
        if name != served:
            return (
                f"{self.get_name()} serves {served} (parameter executor), and the request is of "
                f"{name or 'nobody: InferenceRequest.executor is empty'}"
            )
        if message.executor in self._replaced:
            return (
                f"another executor named {served} was started after this one and is served: end "
                "one of them, or start them in namespaces of their own"
            )
        # A restarted executor has the name of the one that ended, and an id of its own.
        if message.executor != self._requester:
            self._replaced |= {self._requester} - {""}
            self._requester = message.executor
        return ""

    # In the worker thread: run the backend.

    def _work(self, message: InferenceRequest) -> None:
        backend, sensors = self._backend, self._sensors
        if backend is None or sensors is None:  # released meanwhile
            self._refuse_inactive(message)
            return
        self._status_changed.trigger()
        while self._changes:
            backend.tune(self._changes.popleft())  # type: ignore[attr-defined]
        try:
            order = JointOrder(backend.joint_names)
            request = ChunkRequest(
                request_id=message.request_id,
                tick=message.tick,
                committed=converters.request_committed(message, order),
                expected_delay=message.expected_delay,
                command=converters.request_command(message, order),
            )
        except ValueError as error:
            self._refuse(message, f"inference request: {error}")
            return
        observe = partial(sensors.observe, message.instruction)
        result = answer(backend, request, observe, least_time=self._least_time)
        if result.positions is not None and self.phase == ACTIVE:
            self._publish_chunk(message, backend, result)
            return
        if not result.error:  # deactivated meanwhile
            self._refuse_inactive(message)
        elif result.failed:
            self._counters.count("inference_errors")
            self._refuse(message, result.error, Level.ERROR)
        else:
            level = self._missing_level()
            # What is still starting is not logged.
            self._refuse(message, result.error, level, log=level > Level.OK)

    def _publish_chunk(self, message: InferenceRequest, backend: Backend, result: Answer) -> None:
        assert result.positions is not None
        chunk = converters.chunk_message(message, backend, result.positions, result.stamp_ns)
        chunk.inference_time = converters.to_duration(result.inference_time)
        chunk.instruction = message.instruction
        self._send(chunk)
        self._counters.on_chunk(result.inference_time)
        self._status_changed.trigger()

    def _send(self, chunk: ActionChunk) -> None:
        try:
            self._chunks.publish(chunk)
        except Exception:
            if self.context.ok():  # after a signal there is nobody to answer
                raise

    def _refuse_inactive(self, message: InferenceRequest) -> None:
        """Refuse what comes while the node cannot answer, which its log has said before."""
        self._refuse(message, self.hint, Level.ERROR if self.problem else Level.OK, log=False)

    def _refuse(
        self,
        message: InferenceRequest,
        error: str,
        level: Level = Level.WARN,
        log: bool = True,
    ) -> None:
        self._refusal_level = level
        self._counters.on_refusal(error)
        self._send(
            ActionChunk(
                executor=message.executor,
                request_id=message.request_id,
                first_tick=message.tick,
                error=error,
                waiting=level == Level.OK,
            )
        )
        self._status_changed.trigger()
        if log:
            self._log_refusal[level](error)

    def _sparse_log(self, level: Level) -> SparseLog:
        return SparseLog(
            lambda reason: log_at(self.get_logger(), level, f"no chunk: {reason}"),
            again=math.inf if level == Level.OK else AGAIN,
        )

    def _missing_level(self) -> Level:
        """Return the level of a missing camera or joint state: at first they still start."""
        young = time.monotonic() - self._active_since < PATIENCE
        return Level.OK if young and not self._complete else Level.ERROR

    # Status.

    def _set_status_rate(self, rate: float) -> None:
        self._status_timer.timer_period_ns = round(1e9 / rate)

    def _publish_status(self) -> None:
        message = PolicyStatus(
            instruction=self._instruction,
            backend=self.get_parameter("backend").value,
            checkpoint=self._checkpoint,
            joint_state_age=math.inf,
        )
        message.header.stamp = self.get_clock().now().to_msg()
        missing = ""
        backend, sensors = self._backend, self._sensors
        if backend is not None:
            message.device, message.dtype = backend.device, backend.dtype
        if sensors is not None:
            health = sensors.health()
            message.cameras = list(health.camera_ages)
            message.camera_ages = list(health.camera_ages.values())
            message.joint_state_age = health.joint_state_age
            missing = health.missing
            self._complete |= not missing
        self._counters.write(message)
        message.state, message.message, message.level = self._state(missing)
        self._statuses.publish(message)
        self._diagnostics.add(message)

    def _state(self, missing: str) -> tuple[int, str, int]:
        """Return the state, the reason, and its level."""
        if self.phase == CONFIGURING:
            return PolicyStatus.LOADING, "loading", Level.OK
        if self.problem and self.phase != ACTIVE:
            return PolicyStatus.ERROR, self.problem, Level.ERROR
        if self.phase != ACTIVE:
            idle = PolicyStatus.INACTIVE if self.phase == INACTIVE else PolicyStatus.UNCONFIGURED
            return idle, self.hint, Level.OK
        if missing:
            return PolicyStatus.WAITING, missing, self._missing_level()
        worker = self._worker
        busy = worker is not None and worker.busy
        state = PolicyStatus.INFERRING if busy else PolicyStatus.READY
        error = self._counters.error
        return state, error, self._refusal_level if error else Level.OK


def main() -> int:
    """Run the node until it is interrupted; 78 or 1 when it cannot be configured, see `run`."""

    def create() -> PolicyNode:
        node = PolicyNode()
        os.nice(node.get_parameter("niceness").value)  # before the threads, which inherit it
        return node

    return run("policy_node", create, policy_parameters())


if __name__ == "__main__":
    raise SystemExit(main())
