# SPDX-License-Identifier: Apache-2.0
"""The node that drives and watches the benchmark with real nodes: topics become a `Trace`."""

from __future__ import annotations

from typing import Any

import numpy as np
from rclpy.client import Client
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from smolvla_core.ros import qos
from smolvla_sim.play.measures import Trace
from std_msgs.msg import Float32, Float64MultiArray, String
from std_srvs.srv import Trigger

from smolvla_msgs.msg import ActionChunk, ExecutorStatus, PolicyStatus
from smolvla_msgs.srv import ResetSim, SetTask

# Deep enough that none is lost while a run is being written to disk.
_ALL = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)


class BenchMonitor(Node):
    """Listens to sim, policy and executor, and gives them their tasks.

    Args:
        rate: of the control loop [Hz].

    Attributes:
        received: how many messages came; tells whether there is more to serve.
        executor_status, policy_status: newest messages, or None.
        joint_states_seen: whether any joint state came.
        score: newest score of the task given by `instruct`; None before the first.
        trace: of the run since `begin`.
    """

    def __init__(self, rate: float) -> None:
        super().__init__("bench_sim_nodes")
        self._rate = rate
        self.received = 0
        self.executor_status: ExecutorStatus | None = None
        self.policy_status: PolicyStatus | None = None
        self.joint_states_seen = False
        self.score: float | None = None
        self.trace = Trace()
        self._recording = False
        self._fresh = False
        self._begin_counters()
        self.reset_client: Client[Any, Any] = self.create_client(ResetSim, "sim/reset")
        self.task_client: Client[Any, Any] = self.create_client(SetTask, "sim/set_task")
        self.start_client: Client[Any, Any] = self.create_client(Trigger, "executor_node/start")
        self.stop_client: Client[Any, Any] = self.create_client(Trigger, "executor_node/stop")
        self._instruction = self.create_publisher(
            String, "task_instruction", qos.instruction_qos()
        )
        self._listen(ExecutorStatus, "executor_node/status", self._on_executor, _ALL)
        self._listen(PolicyStatus, "policy_node/status", self._on_policy, qos.status_qos())
        self._listen(JointState, "joint_states", self._on_joints, qos.joint_state_qos())
        self._listen(Float64MultiArray, "arm_controller/commands", self._on_command, _ALL)
        self._listen(ActionChunk, "smolvla/action_chunk", self._on_chunk, _ALL)
        self._listen(Float32, "sim/score", self._on_score, _ALL)

    def _listen(self, kind: Any, topic: str, callback: Any, profile: QoSProfile) -> None:
        def receive(message: Any) -> None:
            self.received += 1
            callback(message)

        self.create_subscription(kind, topic, receive, profile)

    def now(self) -> float:
        """Return the time of the clock that stamps observations, too [s]."""
        return float(self.get_clock().now().nanoseconds) * 1e-9

    def instruct(self, sentence: str) -> None:
        """Tell the policy; the scores from now on count once one below 1 has come.

        One at 1 may still be on its way from the task before.
        """
        self._instruction.publish(String(data=sentence))
        self.score, self._fresh = None, False

    def begin(self) -> None:
        """Start a new trace; the executor is at rest and will be started."""
        self.trace = Trace()
        self._begin_counters()
        self._recording = True

    def end(self) -> Trace:
        """Return the trace of the run that is over."""
        self._recording = False
        if self._first is not None:
            self.trace.cycles = round((self.now() - self._first) * self._rate)
            share = self._approaching / max(self._statuses, 1)
            self.trace.approaching = round(share * self.trace.cycles)
        status = self.executor_status
        if status is not None:
            self.trace.starved = status.starved_cycles
            self.trace.requests = status.requests
            self.trace.refusals = status.requests_refused
        return self.trace

    def _begin_counters(self) -> None:
        self._observed: float | None = None
        self._first: float | None = None
        self._tick = self._statuses = self._approaching = 0

    def absent_services(self) -> list[str]:
        """Return which of the services that the benchmark calls are not offered yet."""
        clients = (self.reset_client, self.task_client, self.start_client, self.stop_client)
        return [client.srv_name for client in clients if not client.service_is_ready()]

    def _on_executor(self, status: ExecutorStatus) -> None:
        self.executor_status = status
        if not self._recording or status.state == ExecutorStatus.IDLE:
            return
        # With one status a cycle a tick that is new began in this very cycle.
        if status.tick > self._tick and self._observed is not None:
            now = self.now()
            self._first = now if self._first is None else self._first
            self.trace.ages += [now - self._observed] * (status.tick - self._tick)
        self._tick = max(self._tick, status.tick)
        if self._first is not None:
            self._statuses += 1
            self._approaching += status.state == ExecutorStatus.APPROACHING

    def _on_policy(self, status: PolicyStatus) -> None:
        self.policy_status = status

    def _on_joints(self, message: JointState) -> None:
        self.joint_states_seen = True

    def _on_command(self, message: Float64MultiArray) -> None:
        if self._recording:
            self.trace.commands.append(np.array(message.data))

    def _on_chunk(self, message: ActionChunk) -> None:
        if self._recording and not message.error:
            stamp = message.header.stamp
            self._observed = stamp.sec + 1e-9 * stamp.nanosec
            self.trace.merges.append(len(self.trace.commands))

    def _on_score(self, message: Float32) -> None:
        self._fresh = self._fresh or message.data < 1.0
        if self._fresh:
            self.score = message.data
