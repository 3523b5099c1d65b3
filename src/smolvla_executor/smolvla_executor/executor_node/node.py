# SPDX-License-Identifier: Apache-2.0
"""`executor_node`: runs chunks at a fixed rate while the next one is computed."""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable
from copy import copy
from functools import partial
from typing import Any

from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.clock import Clock, ClockType  # type: ignore[attr-defined]
from smolvla_core.instruction import START, NewestInstruction
from smolvla_core.level import Level
from smolvla_core.node_settings import ExecutorSettings
from smolvla_core.robot import Robot, StateTopic
from smolvla_core.ros import qos
from smolvla_core.ros.diagnostics import DiagnosticsPublisher, executor_diagnostics
from smolvla_core.ros.joint_states import publishers_of, subscribe_joint_states
from smolvla_core.ros.managed_node import ACTIVE, INACTIVE, ManagedNode
from smolvla_core.ros.run import LINGER, run
from smolvla_core.settings import settings_of
from std_msgs.msg import Bool, String
from std_srvs.srv import Trigger

from smolvla_executor.core.estop import TOPIC as ESTOP
from smolvla_executor.core.estop import EStop
from smolvla_executor.core.executor_types import RefusedError
from smolvla_executor.core.task import Goal
from smolvla_executor.executor_node.driver_stop import DriverStop
from smolvla_executor.executor_node.execution import (
    STOPPED,
    Callbacks,
    Execution,
    write_instruction,
)
from smolvla_executor.executor_node.outputs import Outputs
from smolvla_executor.executor_node.ready import ReadyLine
from smolvla_executor.executor_node.task_server import TaskServer
from smolvla_msgs.msg import ActionChunk, ExecutorStatus, InferenceRequest

DISCOVERY_TIME = 1.0
"""How long the node discovers the graph before it subscribes to instructions [s]. A publisher that
waits for a subscriber sends as soon as it has discovered one; where that has not discovered the
publisher, the message is lost."""
_MOVING = (ExecutorStatus.APPROACHING, ExecutorStatus.RUNNING, ExecutorStatus.HOLDING)


class ExecutorNode(ManagedNode):
    """Wires topics, services and the action to an `Execution`.

    Raises:
        ValueError: a parameter is none of its choices; the text names it.
    """

    def __init__(self, **node_options: Any) -> None:
        # First what `destroy_node` needs: it is called also when a parameter does not fit.
        self._execution: Execution | None = None
        self._task_server: TaskServer | None = None
        self._entities: list[tuple[Callable[[Any], object], Any]] = []
        self._outputs: Outputs | None = None
        self._robot: Robot | None = None
        self._problem_of_loop = ""
        self._commanders: list[str] = []  # where there are several
        # Of the control loop's thread while there is one.
        self._newest = NewestInstruction()
        self._estop = EStop()
        super().__init__("executor_node", ExecutorSettings, **node_options)
        self._status = self._idle_status()
        self._statuses = self.create_publisher(ExecutorStatus, "~/status", qos.status_qos())
        self._status_changed = self.create_guard_condition(self._publish_status)
        # Steady: simulated time may stand still.
        self._steady = Clock(clock_type=ClockType.STEADY_TIME)
        # Not the state in the status, which may be of before a reset.
        self._drivers = DriverStop(
            self, self._steady, lambda: bool(self._estop.reason), self._publish_status
        )
        self._drivers.use(self.get_parameter("drivers").value or ())
        # To end from the control loop's thread: the shutdown joins that thread.
        self._gave_up = self.create_guard_condition(self._give_up)
        self._diagnostics = DiagnosticsPublisher(self, executor_diagnostics)
        self._serve("~/start", Execution.start)
        self._serve("~/stop", _stop)
        self._serve("~/take_over", Execution.take_over)
        self._serve("~/give_back", Execution.give_back)
        self._serve("~/home", Execution.go_home)
        # Whatever the node's lifecycle state. While they wait for the drivers, all else goes on.
        group = ReentrantCallbackGroup()
        self.create_service(Trigger, "~/estop", self._on_estop_called, callback_group=group)
        self.create_service(Trigger, "~/reset_estop", self._on_reset_estop, callback_group=group)
        self._estop_topic = self.resolve_topic_name(ESTOP)
        self.create_subscription(Bool, ESTOP, self._on_estop, qos.instruction_qos())
        self._task_server = TaskServer(
            self,
            refusal=self._goal_refusal,
            joints=lambda: self._robot.joint_names if self._robot is not None else (),
            begin=self._begin,
            cancel=self._cancel,
        )
        self._ready = ReadyLine(self, lambda: self._status, self._output_without_listener)
        self._discovery = self.create_timer(
            DISCOVERY_TIME, self._subscribe_to_instructions, clock=self._steady
        )
        self.create_timer(1.0, self._check_publishers, clock=self._steady)
        self.create_timer(1.0, self._ready.look, clock=self._steady)
        self._publish_status()

    # What the base calls in the transitions.

    def configure(self, settings: ExecutorSettings) -> None:
        """Build the core and begin its control loop, which idles."""
        assert self._task_server is not None
        self._wait_for_start: bool = settings.wait_for_start
        self._drivers.use(settings.drivers)
        self._robot = robot = settings.body
        self._outputs = outputs = Outputs(
            self, settings.outputs, settings.joints, 1.0 / settings.rate
        )
        self._entities.append((Outputs.close, outputs))
        if settings.dry_run:
            self.get_logger().info(
                "DRY RUN: everything is computed, the arm gets no commands; dry_run false moves it"
            )
        requests = self.create_lifecycle_publisher(
            InferenceRequest, "smolvla/inference_request", qos.request_qos()
        )
        self._entities.append((self.destroy_lifecycle_publisher, requests))
        reports = Callbacks(
            self._on_status, self._task_server.end, self._task_server.feed_back, self._on_failure
        )
        self._execution = execution = Execution(
            self,
            settings,
            outputs,
            requests,
            reports,
            self._newest,
            self._estop,
            self._how_to_activate(),
        )
        self._diagnostics.limit(state_timeout=settings.state_timeout)
        chunks = self.create_subscription(
            ActionChunk, "smolvla/action_chunk", execution.on_chunk, qos.chunk_qos()
        )
        for subscription in (
            chunks,
            *subscribe_joint_states(self, robot.joint_states, execution.on_joint_state),
            *subscribe_joint_states(self, [StateTopic(settings.human_topic)], execution.on_human),
        ):
            self._entities.append((self.destroy_subscription, subscription))
        if settings.success_topic:
            topic = self.resolve_topic_name(settings.success_topic)
            judge = self.create_subscription(
                Bool,
                topic,
                lambda message: execution.on_verdict(message, topic),
                qos.instruction_qos(),
            )
            self._entities.append((self.destroy_subscription, judge))

    def check(self, settings: ExecutorSettings, changed: set[str]) -> None:
        """See whether the robot is the one that the control loop was made for."""
        old, new = self._robot, settings.body
        if self._execution is None or old is None:
            return
        if (old.joint_names, old.joint_states, old.outputs) != (
            new.joint_names,
            new.joint_states,
            new.outputs,
        ):
            remedy = self.reconfigure_first("robot")
            raise ValueError(
                f"robot {settings.robot} has other joints, topics or outputs: {remedy}"
            )

    def tune(self, settings: ExecutorSettings, names: set[str]) -> None:
        """Let the control loop take new settings."""
        self._wait_for_start = settings.wait_for_start
        self._drivers.use(settings.drivers)
        if self._execution is not None:
            self._execution.tune(settings)
            self._diagnostics.limit(state_timeout=settings.state_timeout)

    def activate(self) -> None:
        """Begin to execute, or wait for ~/start or a goal."""
        assert self._execution is not None
        if self._wait_for_start:
            self._execution.stop("", f"active: call {START} or send a RunTask goal")
        else:
            with contextlib.suppress(RefusedError):  # of the e-stop, which the status tells
                self._execution.start()

    def deactivate(self) -> None:
        """Stop, drop the plan and end the goal; the managed publishers are silent already."""
        assert self._execution is not None
        self._execution.stop(f"{self.get_name()} was deactivated", self._how_to_activate())

    def release(self) -> None:
        """End the control loop, then its publishers and subscriptions."""
        execution, self._execution = self._execution, None
        self._outputs = None
        if execution is not None:
            execution.close()
        while self._entities:
            destroy, entity = self._entities.pop()
            destroy(entity)

    def phase_changed(self) -> None:
        """Publish the lifecycle state where no control loop does."""
        if self.phase not in (ACTIVE, INACTIVE):
            self._on_status(self._idle_status())

    def finish(self) -> bool:
        """Stop and end the running goal with a message for its caller."""
        server, execution = self._task_server, self._execution
        if not self._ending and execution is not None:
            self._ending = True
            message = f"{self.get_name()} was ended"
            try:
                execution.stop(message, message)
            except TimeoutError:  # the loop is stuck or has ended
                if server is not None:
                    server.abort(message)
        return server is not None and server.busy

    def destroy_node(self) -> None:
        """End the goals, the control loop, the node."""
        server, self._task_server = self._task_server, None
        if server is not None:
            server.close()
        super().destroy_node()

    # From the control loop's thread.

    def _on_status(self, status: ExecutorStatus) -> None:
        self._status = status
        self._status_changed.trigger()

    def _on_failure(self, error: Exception) -> None:
        if self.context.ok():  # publishing fails once the context is shut down
            self.failed = True
            self._problem_of_loop = f"control loop ended: {type(error).__name__}: {error}"
            self.get_logger().fatal(self._problem_of_loop)
            self._gave_up.trigger()  # a node without its loop must not look alive

    # In the thread of ROS.

    def _give_up(self) -> None:
        """End the process, after the caller of the running goal got its result."""
        self._ending = True
        if self._task_server is None or not self._task_server.busy:
            self.context.try_shutdown()
            return
        self._task_server.abort(self._problem_of_loop)
        self.create_timer(LINGER, lambda: self.context.try_shutdown(), clock=self._steady)

    def _subscribe_to_instructions(self) -> None:
        self._discovery.cancel()
        self.create_subscription(
            String, "task_instruction", self._on_instruction, qos.instruction_qos()
        )

    def _on_instruction(self, message: String) -> None:
        if self._execution is not None:
            self._execution.on_instruction(message)
        else:
            self.get_logger().info(f"{self._newest.on_topic(message.data)} ({self.hint})")
            self._on_status(self._idle_status())

    def _goal_refusal(self) -> str:
        stopped = self._status.state == ExecutorStatus.STOPPED
        return self.hint or (self._status.reason if stopped else "")

    def _begin(self, goal: Goal) -> None:
        assert self._execution is not None  # else the goal was refused
        self._execution.begin(goal)

    def _cancel(self, goal_id: bytes) -> None:
        if self._execution is not None:
            self._execution.cancel(goal_id)

    def _serve(self, name: str, order: Callable[[Execution], str]) -> None:
        """Offer a service for an order that the control loop carries out, and its message."""

        def answer(request: Trigger.Request, response: Trigger.Response) -> Trigger.Response:
            response.message = self.hint
            if self._execution is not None and not self.hint:
                self._carry_out(response, partial(order, self._execution))
            return response

        self.create_service(Trigger, name, answer)

    def _on_estop(self, message: Bool) -> None:
        if self._execution is not None:
            self._execution.on_estop(message, self._estop_topic)
        else:
            self._estop.on_message(message.data, self._estop_topic, time.monotonic())
            self._on_status(self._idle_status())

    async def _on_estop_called(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        by, execution = f"{self.resolve_service_name('~/estop')} was called", self._execution
        if execution is not None:
            self._carry_out(response, lambda: execution.press_estop(by))
        else:
            self._estop.press(by)
            self._on_status(self._idle_status())
            self._carry_out(response, lambda: STOPPED)
        response.success &= await self._drivers.answered()
        if self._drivers.text:
            response.message += f"; {self._drivers.text}"
        return response

    async def _on_reset_estop(
        self, request: Trigger.Request, response: Trigger.Response
    ) -> Trigger.Response:
        # The drivers first: as long as one refuses, all stay stopped.
        if not self._carry_out(response, lambda: self._reset_estop(only_check=True)).success:
            return response
        problem = await self._drivers.reset()
        if problem:
            response.message, response.success = problem, False
        else:
            self._carry_out(response, self._reset_estop)
        if not response.success:
            self._drivers.ask()  # to stop anew: some may have been reset
        self._on_status(self._idle_status() if self._execution is None else self._status)
        return response

    def _reset_estop(self, only_check: bool = False) -> str:
        if self._execution is not None:
            return self._execution.reset_estop(only_check)
        return self._estop.check_reset(0.0, 0.0) if only_check else self._estop.reset(0.0, 0.0)

    def _carry_out(self, response: Trigger.Response, order: Callable[[], str]) -> Trigger.Response:
        """Answer with the message of an order, or with why it was not carried out."""
        try:
            response.message, response.success = order(), True
        except (RefusedError, TimeoutError) as error:
            response.message = str(error)
        return response

    def _check_publishers(self) -> None:
        """Warn if another publisher commands the arm, which would jerk between the two."""
        if self._status.state not in _MOVING or self._status.dry_run:
            return
        names: list[str] = []
        for topic in self._outputs.names if self._outputs is not None else ():
            if self.count_publishers(topic) > 1:
                names = [name for _, name in publishers_of(self, topic)]
                break
        if names and names != self._commanders:
            self.get_logger().warning(
                f"the arm gets commands from {len(names)} publishers on {topic}: "
                f"{', '.join(names)}; end all but one of them, or give this arm a namespace of "
                "its own"
            )
        self._commanders = names

    def _output_without_listener(self) -> str:
        """Return an output that nobody listens to; empty for none, or none yet."""
        return "" if self._outputs is None else self._outputs.without_listener()

    def _how_to_activate(self) -> str:
        if self.starts_itself:
            return self.hint
        return f"inactive: {self.order('activate')}"

    def _idle_status(self) -> ExecutorStatus:
        status = ExecutorStatus(reason=self.hint, source="none", joint_state_age=math.nan)
        status.level = int(Level.ERROR if self.problem else Level.OK)
        if self._estop.reason:
            status.state, status.level = ExecutorStatus.STOPPED, int(Level.ERROR)
            status.reason = self._estop.reason
        write_instruction(status, self._newest)
        status.latency_last = status.latency_p50 = status.latency_p95 = math.nan
        status.header.stamp = self.get_clock().now().to_msg()
        return status

    def _publish_status(self) -> None:
        self._drivers.follow()
        status = self._status
        if status.state == ExecutorStatus.STOPPED and self._drivers.text:
            status = copy(status)
            status.reason += f"; {self._drivers.text}"
        self._statuses.publish(status)
        self._diagnostics.add(status)


def _stop(execution: Execution) -> str:
    return execution.stop("stopped through ~/stop", f"stopped: call {START} to go on")


def main() -> int:
    """Run the node until it is interrupted; 78 when it cannot start, 1 when its loop ended."""
    return run("executor_node", ExecutorNode, settings_of(ExecutorSettings))


if __name__ == "__main__":
    raise SystemExit(main())
