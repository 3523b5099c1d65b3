# SPDX-License-Identifier: Apache-2.0
"""Small stand-ins for sim_node, policy_node and executor_node, with faults on demand.

Usage: fake_bringup_nodes.py sim|policy|executor --ros-args ...
The variable FAKE_FAULT chooses one of: sim_never_succeeds, policy_error, policy_dies,
policy_loads_for_ever, executor_start_refused.
"""

from __future__ import annotations

import contextlib
import os
import sys

import rclpy
from rclpy.executors import ExternalShutdownException
from rclpy.node import Node
from sensor_msgs.msg import Image, JointState
from smolvla_core.ros import qos
from std_msgs.msg import Float32, Float64MultiArray, String
from std_srvs.srv import Trigger

from smolvla_msgs.msg import ActionChunk, ExecutorStatus, InferenceRequest, PolicyStatus
from smolvla_msgs.srv import ResetSim, SetTask

FAULT = os.environ.get("FAKE_FAULT", "")
JOINTS = ["shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper"]
ROWS = 10
PERIOD = 1 / 30


class FakeSim(Node):
    """Goes where it is told at once; each command brings it nearer to the success."""

    def __init__(self) -> None:
        super().__init__("sim_node")
        self._positions = [0.0] * len(JOINTS)
        self._commands = 0
        self._states = self.create_publisher(JointState, "joint_states", 10)
        self._scores = self.create_publisher(Float32, "sim/score", 10)
        self._cameras = {
            name: self.create_publisher(Image, f"camera/{name}/image_raw", qos.image_qos())
            for name in ("top", "wrist")
        }
        self.create_subscription(
            Float64MultiArray, "arm_controller/commands", self._on_command, qos.command_qos()
        )
        self.create_service(ResetSim, "sim/reset", self._on_reset)
        self.create_service(SetTask, "sim/set_task", self._on_task)
        self.create_timer(0.02, self._publish_state)
        self.create_timer(0.1, self._publish_slow)

    def _on_command(self, message: Float64MultiArray) -> None:
        self._positions = list(message.data)
        self._commands += 1

    def _on_reset(self, request: ResetSim.Request, response: ResetSim.Response):
        print(f"reset with seed {request.seed}")
        self._commands = 0
        response.success = True
        return response

    def _on_task(self, request: SetTask.Request, response: SetTask.Response):
        response.success = request.task.startswith("put")
        response.message = "" if response.success else "say: put the red cube into the bowl"
        return response

    def _publish_state(self) -> None:
        self._states.publish(JointState(name=JOINTS, position=self._positions))

    def _publish_slow(self) -> None:
        score = 0.5 if self._commands > 5 else 0.0
        if self._commands > 15 and FAULT != "sim_never_succeeds":
            score = 1.0
        self._scores.publish(Float32(data=score))
        for value, publisher in enumerate(self._cameras.values(), start=1):
            image = Image(height=48, width=64, encoding="rgb8", step=192)
            image.data = bytes([80 * value]) * (48 * 192)
            publisher.publish(image)


class FakePolicy(Node):
    """Answers each request with a short straight motion."""

    def __init__(self) -> None:
        super().__init__("policy_node")
        print("the fake policy has started")
        self._status = PolicyStatus(state=PolicyStatus.READY, backend="scripted")
        if FAULT == "policy_error":
            self._status = PolicyStatus(state=PolicyStatus.ERROR, message="no such checkpoint")
        if FAULT == "policy_loads_for_ever":
            self._status = PolicyStatus(state=PolicyStatus.LOADING, message="loading layer 3")
        self._statuses = self.create_publisher(PolicyStatus, "~/status", qos.status_qos())
        self._chunks = self.create_publisher(ActionChunk, "smolvla/action_chunk", qos.chunk_qos())
        self.create_subscription(
            InferenceRequest, "smolvla/inference_request", self._on_request, qos.request_qos()
        )
        self.create_timer(0.2, lambda: self._statuses.publish(self._status))

    def _on_request(self, request: InferenceRequest) -> None:
        if FAULT == "policy_dies":
            print("out of ideas")
            sys.stdout.flush()
            os._exit(3)
        chunk = ActionChunk(
            executor=request.executor, request_id=request.request_id, first_tick=request.tick
        )
        chunk.joint_names = JOINTS
        chunk.period.nanosec = int(PERIOD * 1e9)
        chunk.positions = [
            0.01 * (request.tick + row) for row in range(ROWS) for _ in range(len(JOINTS))
        ]
        self._chunks.publish(chunk)


class FakeExecutor(Node):
    """Executes a chunk, then asks for the next."""

    def __init__(self) -> None:
        super().__init__("executor_node")
        self._status = ExecutorStatus(state=ExecutorStatus.IDLE, reason="not started")
        self._queue: list[list[float]] = []
        self._statuses = self.create_publisher(ExecutorStatus, "~/status", qos.status_qos())
        self._commands = self.create_publisher(
            Float64MultiArray, "arm_controller/commands", qos.command_qos()
        )
        self._requests = self.create_publisher(
            InferenceRequest, "smolvla/inference_request", qos.request_qos()
        )
        self.create_subscription(
            ActionChunk, "smolvla/action_chunk", self._on_chunk, qos.chunk_qos()
        )
        self.create_subscription(
            String, "task_instruction", self._on_instruction, qos.instruction_qos()
        )
        self.create_service(Trigger, "~/start", self._on_start)
        self.create_service(Trigger, "~/stop", lambda _, response: response)
        self.create_timer(PERIOD, self._cycle)
        self.create_timer(0.1, lambda: self._statuses.publish(self._status))

    def _on_start(self, request: Trigger.Request, response: Trigger.Response):
        if FAULT == "executor_start_refused":
            response.message = "the arm is asleep"
            return response
        self._status.state, self._status.reason = ExecutorStatus.RUNNING, "executes"
        response.success = True
        return response

    def _on_instruction(self, message: String) -> None:
        self._status.instruction = message.data
        self._statuses.publish(self._status)

    def _on_chunk(self, chunk: ActionChunk) -> None:
        width = len(JOINTS)
        flat = list(chunk.positions)
        self._queue = [flat[i : i + width] for i in range(0, len(flat), width)]
        self._status.chunks_merged += 1
        self._status.chunk_size = ROWS
        self._status.latency_last = self._status.latency_p50 = self._status.latency_p95 = 0.05

    def _cycle(self) -> None:
        if self._status.state != ExecutorStatus.RUNNING:
            return
        if not self._queue and self._status.instruction:
            self._status.requests += 1
            self._requests.publish(
                InferenceRequest(
                    request_id=self._status.requests,
                    tick=self._status.tick,
                    instruction=self._status.instruction,
                )
            )
        if not self._queue:
            return
        self._commands.publish(Float64MultiArray(data=self._queue.pop(0)))
        self._status.tick += 1
        self._status.queue_depth = len(self._queue)


def main() -> None:
    rclpy.init()
    node = {"sim": FakeSim, "policy": FakePolicy, "executor": FakeExecutor}[sys.argv[1]]()
    with contextlib.suppress(KeyboardInterrupt, ExternalShutdownException):
        rclpy.spin(node)


if __name__ == "__main__":
    main()
