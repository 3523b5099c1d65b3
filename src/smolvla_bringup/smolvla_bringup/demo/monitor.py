# SPDX-License-Identifier: Apache-2.0
"""The node of the demo that listens: it fills a `Record`.

Made to cost the control loop on the same machine little: it is served in sweeps, some 30 a
second, and joint states, which come faster, are only sampled.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
from rclpy.client import Client
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from smolvla_core.ros import qos
from smolvla_core.ros.converters import from_duration
from std_msgs.msg import Float32, Float64MultiArray, String
from std_srvs.srv import Trigger

from smolvla_bringup.demo.record import Chunk, QueueSample, Record
from smolvla_msgs.msg import ActionChunk, ExecutorStatus, InferenceRequest, PolicyStatus
from smolvla_msgs.srv import ResetSim, SetTask

# Best effort matches every publisher.
_EVERY = QoSProfile(depth=50, reliability=ReliabilityPolicy.BEST_EFFORT)
_NEWEST = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
_RELIABLE = QoSProfile(depth=10, reliability=ReliabilityPolicy.RELIABLE)


class DemoMonitor(Node):
    """Listens to sim, policy and executor.

    Args:
        joints: joint names in the order of the executor's commands.
        namespace: namespace of the nodes that it listens to.

    Attributes:
        received: how many messages came; tells whether there is more to serve.
        record: what was seen since `begin`, or None before.
        executor_status, policy_status: newest messages, or None.
        joint_states_seen: whether any joint state with all of `joints` came.
        score: newest task score, or None.
        reset_client, task_client, start_client: the services that the demo calls.
    """

    def __init__(self, joints: tuple[str, ...], namespace: str) -> None:
        super().__init__("smolvla_demo", namespace=namespace)
        self._joints = joints
        self._start = 0.0
        self._sent = -float("inf")
        self.received = 0
        self.record: Record | None = None
        self.executor_status: ExecutorStatus | None = None
        self.policy_status: PolicyStatus | None = None
        self.joint_states_seen = False
        self.score: float | None = None
        self.reset_client: Client[Any, Any] = self.create_client(ResetSim, "sim/reset")
        self.task_client: Client[Any, Any] = self.create_client(SetTask, "sim/set_task")
        self.start_client: Client[Any, Any] = self.create_client(Trigger, "executor_node/start")
        self._instruction = self.create_publisher(
            String, "task_instruction", qos.instruction_qos()
        )
        self._listen(ExecutorStatus, "executor_node/status", self._on_executor, qos.status_qos())
        self._listen(PolicyStatus, "policy_node/status", self._on_policy, qos.status_qos())
        self._listen(JointState, "joint_states", self._on_joints, _NEWEST)
        self._listen(Float64MultiArray, "arm_controller/commands", self._on_command, _EVERY)
        self._listen(InferenceRequest, "smolvla/inference_request", self._on_request, _RELIABLE)
        self._listen(ActionChunk, "smolvla/action_chunk", self._on_chunk, _RELIABLE)
        self._listen(Float32, "sim/score", self._on_score, _EVERY)

    def _listen(
        self, kind: Any, topic: str, callback: Callable[[Any], None], profile: QoSProfile
    ) -> None:
        def receive(message: Any) -> None:
            self.received += 1
            callback(message)

        self.create_subscription(kind, topic, receive, profile)

    def begin(self) -> None:
        """Start the record: now is time 0."""
        self._start = time.monotonic()
        self.record = Record(self._joints)

    def end(self) -> None:
        """End the record at the present time."""
        if self.record is not None:
            self.record.end_time = self.now()

    def now(self) -> float:
        """Return the seconds since `begin`."""
        return time.monotonic() - self._start

    def send_instruction(self, text: str, pause: float = 0.0) -> None:
        """Publish the instruction unless it was published less than `pause` seconds ago."""
        if time.monotonic() - self._sent >= pause:
            self._sent = time.monotonic()
            self._instruction.publish(String(data=text))

    def absent_services(self) -> list[str]:
        """Return which of the services that the demo calls are not offered yet."""
        clients = (self.reset_client, self.task_client, self.start_client)
        return [client.srv_name for client in clients if not client.service_is_ready()]

    def instruction_heard(self) -> bool:
        """Return whether somebody listens to the instruction."""
        return self._instruction.get_subscription_count() > 0

    def _on_executor(self, status: ExecutorStatus) -> None:
        self.executor_status = status
        if self.record is not None:
            sample = QueueSample(self.now(), status.tick, status.queue_depth)
            self.record.queue.append(sample)

    def _on_policy(self, status: PolicyStatus) -> None:
        self.policy_status = status

    def _on_joints(self, message: JointState) -> None:
        positions = dict(zip(message.name, message.position, strict=False))
        if not all(joint in positions for joint in self._joints):
            return
        self.joint_states_seen = True
        if self.record is not None:
            values = tuple(positions[joint] for joint in self._joints)
            self.record.states.append((self.now(), values))

    def _on_command(self, message: Float64MultiArray) -> None:
        if self.record is not None and len(message.data) == len(self._joints):
            self.record.commands.append((self.now(), tuple(message.data)))

    def _on_request(self, message: InferenceRequest) -> None:
        if self.record is not None:
            self.record.requests.append(self.now())

    def _on_chunk(self, message: ActionChunk) -> None:
        if self.record is None:
            return
        try:
            columns = [message.joint_names.index(joint) for joint in self._joints]
            positions = np.reshape(message.positions, (-1, len(message.joint_names)))[:, columns]
        except ValueError:
            return  # the executor refuses such a chunk and counts it
        self.record.chunks.append(
            Chunk(self.now(), message.first_tick, from_duration(message.period), positions)
        )

    def _on_score(self, message: Float32) -> None:
        self.score = message.data
        if self.record is not None:
            self.record.add_score(self.now(), message.data)
