# SPDX-License-Identifier: Apache-2.0
"""`policy_node`: cameras, joints and a sentence become chunks of actions.

Loading and thinking happen in a thread of their own, so receiving never stops: the newest
images and joint states are at hand when a request comes.
"""

from __future__ import annotations

import math
import os
import threading
import time
from typing import Any

from rclpy.node import Node
from std_msgs.msg import String

from smolvla_msgs.msg import ActionChunk, InferenceRequest, PolicyStatus
from smolvla_policy.backends.protocol import Backend, ChunkRequest, Observation
from smolvla_policy.backends.registry import create_backend
from smolvla_policy.backends.session import Answer, answer
from smolvla_policy.backends.worker import LatestJobWorker
from smolvla_policy.control.joint_order import JointOrder
from smolvla_policy.control.latency import LatencyWindow
from smolvla_policy.control.observation import ObservationConfig
from smolvla_policy.ros import converters, qos
from smolvla_policy.ros.parameters import read
from smolvla_policy.ros.policy_parameters import POLICY_PARAMETERS
from smolvla_policy.ros.run import run
from smolvla_policy.ros.sensors import SensorIntake


class PolicyNode(Node):
    """Wires topics to a `Backend` that runs in its own thread.

    Raises:
        ValueError: a parameter is out of range; the text names it.
    """

    def __init__(self, **node_options: Any) -> None:
        # First what `destroy_node` needs: it is called also when a parameter does not fit.
        self._worker: LatestJobWorker[InferenceRequest | None] = LatestJobWorker(self._work)
        self._backend: Backend | None = None
        super().__init__("policy_node", **node_options)
        self._values = read(self, POLICY_PARAMETERS)
        self._lock = threading.Lock()  # guards the counters and the latencies
        self._sensors: SensorIntake | None = None
        self._instruction = ""
        self._error = ""
        self._counts = {"requests": 0, "requests_refused": 0, "chunks": 0, "inference_errors": 0}
        self._inference = LatencyWindow()
        self.failed = False
        self.niceness: int = self._values["niceness"]

        self._chunks = self.create_publisher(ActionChunk, "smolvla/action_chunk", qos.chunk_qos())
        self._statuses = self.create_publisher(PolicyStatus, "~/status", qos.status_qos())
        self._status_changed = self.create_guard_condition(self._publish_status)
        self._loaded = self.create_guard_condition(self._subscribe_sensors)
        self._gave_up = self.create_guard_condition(self._give_up)
        self.create_timer(1.0 / self._values["status_rate"], self._publish_status)
        self.create_subscription(
            String, "task_instruction", self._on_instruction, qos.instruction_qos()
        )
        self.create_subscription(
            InferenceRequest, "smolvla/inference_request", self._on_request, qos.request_qos()
        )
        self._worker.submit(None)  # the first job is to load

    # In the thread of ROS: receive.

    def _on_instruction(self, message: String) -> None:
        if message.data != self._instruction:
            self.get_logger().info(f'instruction: "{message.data}"')
        self._instruction = message.data
        self._publish_status()

    def _on_request(self, message: InferenceRequest) -> None:
        with self._lock:
            self._counts["requests"] += 1
        if self._sensors is None:
            self._refuse(message, "the policy is still loading")
            return
        replaced = self._worker.submit(message)
        if replaced is not None:
            self._refuse(replaced, f"replaced by request {message.request_id}")

    def _subscribe_sensors(self) -> None:
        """Subscribe to what the backend needs, once it is known."""
        backend, values = self._backend, self._values
        if backend is None or self._sensors is not None:
            return
        config = ObservationConfig(
            max_image_age=values["max_image_age"],
            max_state_age=values["max_joint_state_age"],
            max_camera_skew=values["max_skew"],
            max_state_skew=values["max_skew"],
        )
        self._sensors = SensorIntake(
            self,
            backend,
            config,
            values["camera_topic"],
            compressed=values["image_transport"] == "compressed",
        )
        self._publish_status()

    def _give_up(self) -> None:
        """Say why and end; in the thread of ROS, which the worker's must not shut down."""
        self.get_logger().fatal(self._error)
        self._publish_status()
        self.context.try_shutdown()

    # In the worker's thread: load, then think.

    def _work(self, message: InferenceRequest | None) -> None:
        if message is None:
            self._load()
            return
        backend, sensors = self._backend, self._sensors
        assert backend is not None
        assert sensors is not None
        self._status_changed.trigger()
        stamp_ns = 0

        def observe() -> Observation:
            nonlocal stamp_ns
            observation, stamp_ns = sensors.observe(self._instruction)
            return observation

        try:
            request = ChunkRequest(
                request_id=message.request_id,
                tick=message.tick,
                committed=converters.request_committed(message, JointOrder(backend.joint_names)),
                expected_delay=message.expected_delay,
            )
        except ValueError as error:
            self._refuse(message, f"inference request: {error}")
            return
        result = answer(backend, request, observe, least_time=self._values["inference_delay"])
        self._publish_answer(message, result, stamp_ns)

    def _load(self) -> None:
        name = self._values["backend"]
        self.get_logger().info(f"loading backend '{name}' {self._values['checkpoint']}".rstrip())
        start = time.monotonic()
        try:
            backend = create_backend(name, self._values)
        except Exception as error:
            kind = "" if isinstance(error, ValueError) else f"{type(error).__name__}: "
            self._error = f"backend '{name}': {kind}{error}"
            self.failed = True
            self._gave_up.trigger()
            return
        self._backend = backend
        for remark in getattr(backend, "remarks", ()):
            self.get_logger().info(remark)
        self.get_logger().info(
            f"ready after {time.monotonic() - start:.1f} s: {backend.description} on "
            f"{backend.device}, {backend.dtype}; cameras {', '.join(backend.cameras) or 'none'}"
        )
        self._loaded.trigger()

    def _publish_answer(self, message: InferenceRequest, result: Answer, stamp_ns: int) -> None:
        if result.positions is None:
            if result.failed:
                with self._lock:
                    self._counts["inference_errors"] += 1
            self._refuse(message, result.error)
            return
        backend = self._backend
        assert backend is not None
        chunk = ActionChunk(
            request_id=message.request_id,
            first_tick=message.tick,
            joint_names=list(backend.joint_names),
            period=converters.to_duration(backend.period),
            positions=converters.flatten(result.positions),
            inference_time=converters.to_duration(result.inference_time),
            instruction=result.instruction,
            policy=f"{backend.name}: {backend.description}",
        )
        chunk.header.stamp.sec, chunk.header.stamp.nanosec = divmod(stamp_ns, 10**9)
        self._chunks.publish(chunk)
        with self._lock:
            self._inference.add(result.inference_time)
            self._counts["chunks"] += 1
            self._error = ""
        self._status_changed.trigger()

    def _refuse(self, message: InferenceRequest, error: str) -> None:
        with self._lock:
            self._counts["requests_refused"] += 1
            self._error = error
        self._chunks.publish(
            ActionChunk(request_id=message.request_id, first_tick=message.tick, error=error)
        )
        self._status_changed.trigger()
        self.get_logger().warning(f"no chunk: {error}", throttle_duration_sec=5.0)

    # Status.

    def _publish_status(self) -> None:
        message = PolicyStatus(
            instruction=self._instruction,
            backend=self._values["backend"],
            checkpoint=self._values["checkpoint"],
            joint_state_age=math.inf,
        )
        message.header.stamp = self.get_clock().now().to_msg()
        missing = ""
        if self._backend is not None:
            message.device, message.dtype = self._backend.device, self._backend.dtype
        if self._sensors is not None:
            health = self._sensors.health()
            message.cameras = list(health.camera_ages)
            message.camera_ages = list(health.camera_ages.values())
            message.joint_state_age = health.joint_state_age
            missing = health.missing
        with self._lock:
            for name, count in self._counts.items():
                setattr(message, name, count)
            message.inference_last = self._inference.last
            message.inference_p50 = self._inference.p50
            message.inference_p95 = self._inference.p95
        message.state, message.message = self._state(missing)
        self._statuses.publish(message)

    def _state(self, missing: str) -> tuple[int, str]:
        if self.failed:
            return PolicyStatus.ERROR, self._error
        if self._sensors is None:
            return PolicyStatus.LOADING, "loading"
        if missing:
            return PolicyStatus.WAITING, missing
        if not self._instruction.strip():
            return PolicyStatus.WAITING, "no instruction yet: publish one on task_instruction"
        return PolicyStatus.INFERRING if self._worker.busy else PolicyStatus.READY, self._error

    def destroy_node(self) -> None:
        """Let the running inference end, then free the backend and the node."""
        try:
            self._worker.close(timeout=30.0)
        finally:
            backend, self._backend = self._backend, None
            if backend is not None:
                backend.close()
            super().destroy_node()


def main() -> int:
    """Run the node until it is interrupted; 1 when the backend cannot be loaded."""

    def create() -> PolicyNode:
        node = PolicyNode()
        os.nice(node.niceness)
        return node

    return run("policy_node", create)


if __name__ == "__main__":
    raise SystemExit(main())
