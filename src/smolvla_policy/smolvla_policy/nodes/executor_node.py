# SPDX-License-Identifier: Apache-2.0
"""`executor_node`: runs chunks at a fixed rate while the next one is being thought.

The control loop has a thread and absolute deadlines of its own. Subscriptions and services
only put work into its inbox, so the core is touched by one thread and the loop waits for
nothing but its deadline.
"""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import JointState
from std_msgs.msg import Float64MultiArray
from std_srvs.srv import Trigger
from trajectory_msgs.msg import JointTrajectory

from smolvla_msgs.msg import ActionChunk, ExecutorStatus, InferenceRequest
from smolvla_policy.control.chunk import Chunk
from smolvla_policy.control.executor import ExecutorCore
from smolvla_policy.control.executor_types import CycleOutput, Status
from smolvla_policy.control.joint_order import JointOrder
from smolvla_policy.control.tick_clock import TickClock
from smolvla_policy.ros import converters, qos
from smolvla_policy.ros.executor_parameters import EXECUTOR_PARAMETERS, executor_config
from smolvla_policy.ros.parameters import read
from smolvla_policy.ros.run import run

Work = Callable[[float], object]


class ExecutorNode(Node):
    """Wires topics and services to an `ExecutorCore` that runs in its own thread.

    Raises:
        ValueError: a parameter is out of range; the text names it.
    """

    def __init__(self, **node_options: Any) -> None:
        # First what `destroy_node` needs: it is called also when a parameter does not fit.
        self._stopping = threading.Event()
        self._thread: threading.Thread | None = None
        super().__init__("executor_node", **node_options)
        values = read(self, EXECUTOR_PARAMETERS)
        self._joints: list[str] = values["joints"]
        self._rate: float = values["rate"]
        self._dry_run: bool = values["dry_run"]
        self._priority: int = values["realtime_priority"]
        self._status_period = 1.0 / values["status_rate"]
        self._core = ExecutorCore(executor_config(values, first_request_id=time.time_ns()))
        self._state_order = JointOrder(self._joints)
        self._chunk_order = JointOrder(self._joints)
        self._inbox: queue.SimpleQueue[Work] = queue.SimpleQueue()
        self._status: Status | None = None
        self.failed = False

        self._requests = self.create_publisher(
            InferenceRequest, "smolvla/inference_request", qos.request_qos()
        )
        self._as_trajectory = values["output"] == "joint_trajectory"
        self._commands = (
            self.create_publisher(
                JointTrajectory, "arm_controller/joint_trajectory", qos.command_qos()
            )
            if self._as_trajectory
            else self.create_publisher(
                Float64MultiArray, "arm_controller/commands", qos.command_qos()
            )
        )
        self._statuses = self.create_publisher(ExecutorStatus, "~/status", qos.status_qos())
        self._status_changed = self.create_guard_condition(self._publish_status)
        # To end from the control loop's thread: the shutdown joins that thread.
        self._gave_up = self.create_guard_condition(lambda: self.context.try_shutdown())
        self.create_subscription(
            JointState, "joint_states", self._on_joint_state, qos.joint_state_qos()
        )
        self.create_subscription(
            ActionChunk, "smolvla/action_chunk", self._on_chunk, qos.chunk_qos()
        )
        self.create_service(Trigger, "~/start", self._on_start)
        self.create_service(Trigger, "~/stop", self._on_stop)
        if values["autostart"]:
            self._inbox.put(self._core.start)
        self._thread = threading.Thread(target=self._control_loop, name="control", daemon=True)
        self._thread.start()

    # Work for the control loop, handed over by the threads of ROS.

    def _on_joint_state(self, message: JointState) -> None:
        received = time.monotonic()
        try:
            positions = self._state_order.pick(message.name, message.position)
        except ValueError as error:
            words = f"joint state: {error}"
            self._inbox.put(lambda now: self._core.on_invalid_joint_state(words, received))
        else:
            self._inbox.put(lambda now: self._core.on_joint_state(positions, received))

    def _on_chunk(self, message: ActionChunk) -> None:
        if message.error:
            self._inbox.put(
                lambda now: self._core.on_refusal(message.request_id, message.error, now)
            )
            return
        try:
            positions = converters.chunk_positions(message, self._chunk_order)
        except ValueError as error:
            words = f"action chunk: {error}"
            self._inbox.put(lambda now: self._core.on_refusal(message.request_id, words, now))
            self.get_logger().error(words, throttle_duration_sec=5.0)
            return
        period = converters.from_duration(message.period)
        chunk = Chunk(message.request_id, message.first_tick, positions, period)
        self._inbox.put(lambda now: self._take_chunk(chunk, now))

    def _take_chunk(self, chunk: Chunk, now: float) -> None:
        problem = self._core.on_chunk(chunk, now)
        if problem:
            self.get_logger().warning(problem, throttle_duration_sec=2.0)

    def _on_start(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answer(self._core.start, response)

    def _on_stop(self, request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
        return self._answer(self._core.stop, response)

    def _answer(
        self, action: Callable[[float], str], response: Trigger.Response
    ) -> Trigger.Response:
        """Let the control loop run `action` and answer with its words."""
        result: Future[str] = Future()
        self._inbox.put(lambda now: result.set_result(action(now)))
        try:
            response.message = result.result(timeout=1.0)
            response.success = True
        except FutureTimeoutError:
            response.message = "the control loop does not run; see the log of executor_node"
        return response

    # The control loop.

    def _control_loop(self) -> None:
        try:
            self._raise_priority()
            clock = TickClock(1.0 / self._rate, time.monotonic, time.sleep)
            state, status_due = None, 0.0
            while not self._stopping.is_set():
                now = clock.wait()
                self._drain_inbox(now)
                output = self._core.cycle(now)
                self._publish(output)
                if output.state != state or now >= status_due:
                    if output.state != state:
                        self.get_logger().info(f"{output.state.name}: {output.reason}")
                    state, status_due = output.state, now + self._status_period
                    self._status = self._core.status(now)
                    self._status_changed.trigger()
        except Exception as error:
            if self.context.ok():  # publishing fails once the context is shut down
                self.failed = True
                self.get_logger().fatal(f"control loop ended: {type(error).__name__}: {error}")
                self._gave_up.trigger()  # a node without its loop must not look alive

    def _drain_inbox(self, now: float) -> None:
        try:
            while True:
                self._inbox.get_nowait()(now)
        except queue.Empty:
            return

    def _publish(self, output: CycleOutput) -> None:
        if output.command is not None and not self._dry_run:
            self._commands.publish(
                converters.command_trajectory(self._joints, output.command, 1.0 / self._rate)
                if self._as_trajectory
                else converters.command_message(output.command)
            )
        if output.limited:
            words = "; ".join(map(str, output.limited))
            self.get_logger().warning(f"guard: {words}", throttle_duration_sec=2.0)
        if output.request is not None:
            stamp = self.get_clock().now().to_msg()
            self._requests.publish(converters.request_message(output.request, self._joints, stamp))

    def _raise_priority(self) -> None:
        if not self._priority:
            return
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(self._priority))
        except PermissionError:
            self.get_logger().warning(
                f"no right to SCHED_FIFO priority {self._priority}: grant CAP_SYS_NICE or raise "
                "the rtprio limit (/etc/security/limits.conf); going on without"
            )

    def _publish_status(self) -> None:
        if self._status is not None:
            stamp = self.get_clock().now().to_msg()
            self._statuses.publish(converters.status_message(self._status, stamp))

    def destroy_node(self) -> None:
        """End the control loop, then the node."""
        self._stopping.set()
        if self._thread is not None:
            self._thread.join(timeout=2.0)
        super().destroy_node()


def main() -> int:
    """Run the node until it is interrupted; 1 when it cannot start or its loop ended."""
    return run("executor_node", ExecutorNode)


if __name__ == "__main__":
    raise SystemExit(main())
