# SPDX-License-Identifier: Apache-2.0
"""Gives a running arm its tasks from a script, as nav2_simple_commander does for nav2.

    from smolvla_core.client import SmolVLAClient

    with SmolVLAClient.connect() as client:
        client.wait_until_ready(60.0)
        result = client.run_task("put the red cube into the bowl", time_limit=30.0)
        print(result.message)

All names are relative: a client whose node is in the namespace of an arm talks to that arm.
"""

from __future__ import annotations

import contextlib
import functools
import math
import time
from array import array
from collections.abc import Callable, Iterator, Sequence
from typing import Any, TypeVar

import numpy as np
import rclpy
from numpy.typing import NDArray
from rclpy.action.client import ActionClient
from rclpy.client import Client
from rclpy.duration import Duration
from rclpy.exceptions import NameValidationException
from rclpy.executors import SingleThreadedExecutor, TimeoutException
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future
from rclpy.validate_namespace import validate_namespace
from std_msgs.msg import Float32, String
from std_srvs.srv import Trigger

from smolvla_core.console import raise_on_interrupt
from smolvla_core.instruction import AT_HOME
from smolvla_core.ros import qos
from smolvla_msgs.action import RunPlan, RunTask
from smolvla_msgs.msg import ActionChunk, ExecutorStatus, PlanStep, PolicyStatus
from smolvla_msgs.srv import ResetSim, SetTask

C = TypeVar("C", bound="SmolVLAClient")

CALL_TIMEOUT = 60.0
"""How long an answer of a service is awaited [s]: an episode is encoded, a scene is loaded."""
DISCOVERY_TIMEOUT = 10.0
"""How long nodes that run may take to be discovered [s]."""
FEEDBACK_TIMEOUT = 12.0
"""How long a goal may be without feedback [s], which comes at least every 10 s."""
_RESEND_PERIOD = 1.0  # [s] until the executor has the instruction
_SWEEP = 500  # messages at most in one look, so that a flood of them lets the time limits hold
_OLD_SCORE = 0.5  # [s] in which the success of the task before may still arrive
_ORDERS = ("start", "stop", "take_over", "give_back", "home", "estop", "reset_estop")
_ITS_LOG = "its log has the reason"
_PLAN_ORDERS = ("pause", "resume")
_NEEDED = ("executor_node/start", "executor_node/stop")
_READY = (PolicyStatus.WAITING, PolicyStatus.READY, PolicyStatus.INFERRING)


class ClientError(RuntimeError):
    """An order was refused, or nobody answered; the text has the reason and what to do."""


class SmolVLAClient:
    """Talks to executor, policy and, where there is one, the simulation of one arm.

    While a method waits, the client spins the node; nobody else may spin it meanwhile. Outside of
    its methods nothing is received: call `spin` to hear the newest status.

    Args:
        node: that talks, in the namespace of the arm.
        on_wait: called before each look for messages while a method waits; what it raises ends
            the wait.
        period: time between two looks [s].

    Attributes:
        executor_status, policy_status: newest status, or None before the first.
        score: newest score of the simulation's task, 0..1; None before the first.
    """

    def __init__(
        self, node: Node, on_wait: Callable[[], None] | None = None, period: float = 0.01
    ) -> None:
        self.node = node
        self.executor_status: ExecutorStatus | None = None
        self.policy_status: PolicyStatus | None = None
        self.score: float | None = None
        self._old_until = 0.0
        self._unconfirmed = False  # whether an instruction may be on its way
        self._on_wait = on_wait
        self._period = period
        self._executor: Any = node.executor
        if self._executor is None:
            self._executor = SingleThreadedExecutor(context=node.context)
            self._executor.add_node(node)
        self._instruction = node.create_publisher(
            String, "task_instruction", qos.instruction_qos()
        )
        # Made at once, so that all are discovered together.
        self._services: dict[str, Client[Any, Any]] = {}
        for kind, name in (
            *((Trigger, f"executor_node/{order}") for order in _ORDERS),
            *((Trigger, f"plan_node/{order}") for order in _PLAN_ORDERS),
            (ResetSim, "sim/reset"),
            (SetTask, "sim/set_task"),
        ):
            self.add_service(kind, name)
        for kind, topic, receive, profile in (
            (ExecutorStatus, "executor_node/status", self._on_executor, qos.status_qos()),
            (PolicyStatus, "policy_node/status", self._on_policy, qos.status_qos()),
            (Float32, "sim/score", self._on_score, qos.instruction_qos()),
        ):
            node.create_subscription(kind, topic, receive, profile)

    @classmethod
    @contextlib.contextmanager
    def connect(
        cls: type[C], name: str = "smolvla_client", namespace: str = "", **options: Any
    ) -> Iterator[C]:
        """Give a client with a ROS context and a node of its own, which end with the block.

        Ctrl-C raises KeyboardInterrupt in it, and ROS still works then.

        Args:
            name: of the node.
            namespace: of the arm.
            options: of the client.

        Raises:
            ClientError: ROS does not take a name.
        """
        with contextlib.ExitStack() as stack:
            try:
                # Before create_node, which adds a warning of its own.
                validate_namespace(f"/{namespace.strip('/')}")
                context = rclpy.Context()
                # Nor must an interrupt end the process before a goal could be canceled.
                raise_on_interrupt()
                # rclpy's own handlers would shut down before that.
                handlers = SignalHandlerOptions.NO
                rclpy.init(args=[], context=context, signal_handler_options=handlers)
                stack.callback(rclpy.try_shutdown, context=context)
                node = rclpy.create_node(name, namespace=namespace, context=context)
                stack.callback(node.destroy_node)
                client = cls(node, **options)
                stack.callback(client._close)
            except NameValidationException as error:
                raise ClientError(" ".join(str(error).split()[:-1])) from error
            yield client

    def _close(self) -> None:
        """Let who listens get what was published; the middleware takes up to 3 s to know."""
        if self._unconfirmed:
            self._instruction.wait_for_all_acked(Duration(seconds=DISCOVERY_TIMEOUT))
        self._executor.shutdown()

    # Waiting.

    def until(self, done: Callable[[], Any], timeout: float) -> bool:
        """Receive until `done()`.

        Args:
            done: asked after each look for messages.
            timeout: how long at most [s].

        Returns:
            False when the time is over.
        """
        deadline = time.monotonic() + timeout
        while not done():
            if self._on_wait is not None:
                self._on_wait()
            if time.monotonic() >= deadline:
                return False
            # In sweeps: a wake-up for each message would cost a control loop on the same machine.
            self._serve()
            if not done():
                time.sleep(self._period)
        return True

    def spin(self, seconds: float = 0.0) -> None:
        """Receive for so many seconds, at least what is there."""
        self._serve()
        self.until(lambda: False, seconds)

    def _serve(self) -> None:
        """Take all messages that are there."""
        idle = 0
        for _ in range(_SWEEP):
            try:
                task, _, _ = self._executor.wait_for_ready_callbacks(timeout_sec=0.0)
            except TimeoutException:  # the end of a look that takes one message of each topic
                idle += 1
                if idle == 2:
                    return
            else:
                idle = 0
                task()
                task.result()  # raises what the callback raised

    # Orders.

    def unready(self, simulation: bool = False) -> dict[str, str]:
        """Return node -> what is missing, for each node that is not ready.

        Args:
            simulation: whether there shall be a simulation, too.
        """
        missing = {}
        policy, executor = self.policy_status, self.executor_status
        if policy is None:
            missing["policy_node"] = "no status yet"
        elif policy.state not in _READY:
            missing["policy_node"] = policy.message or "loading"
        if executor is None:
            missing["executor_node"] = "no status yet"
        elif not executor.joint_state_age < math.inf:
            missing["executor_node"] = executor.reason
        elif not self._instruction.get_subscription_count():
            missing["executor_node"] = "does not listen to instructions yet"
        for name, client in self._services.items():
            node = "sim_node" if name.startswith("sim/") else "executor_node"
            wanted = name in _NEEDED or (simulation and node == "sim_node")
            if wanted and not client.service_is_ready():
                missing.setdefault(node, f"does not offer the service {client.srv_name} yet")
        return missing

    def wait_until_ready(self, timeout: float, simulation: bool = False) -> None:
        """Wait until policy, executor and the joint states are there.

        Args:
            timeout: how long at most [s]; a checkpoint takes its time to load.
            simulation: whether there shall be a simulation, too.

        Raises:
            ClientError: the policy cannot start, or the time is over; the text names the nodes.
        """

        def ready() -> bool:
            if self.policy_status is not None and self.policy_status.state == PolicyStatus.ERROR:
                raise ClientError(f"policy_node cannot start: {self.policy_status.message}")
            return not self.unready(simulation)

        if not self.until(ready, timeout):
            missing = "; ".join(f"{n}: {text}" for n, text in self.unready(simulation).items())
            raise ClientError(f"not ready after {timeout:g} s: {missing}")

    def instruct(self, sentence: str, timeout: float = DISCOVERY_TIMEOUT) -> None:
        """Give the arm an instruction; return when the executor has it.

        Where there is none, as where a leader arm is followed, it is on its way to who listens.

        Args:
            sentence: what to do; blank: nothing any more.
            timeout: how long at most [s].

        Raises:
            ClientError: nobody listens, or the executor does not take it.
        """
        topic = self._instruction.topic_name
        wanted = sentence if sentence.strip() else ""
        sent = -math.inf

        def matched() -> bool:
            known = self.node.get_subscriptions_info_by_topic(topic)
            return 0 < len(known) <= self._instruction.get_subscription_count()

        def taken() -> bool:
            nonlocal sent
            if time.monotonic() >= sent + _RESEND_PERIOD:
                sent = time.monotonic()
                self._instruction.publish(String(data=sentence))
                return False
            if self.executor_status is None or not self.has_service("executor_node/start"):
                self._unconfirmed = True
                return True
            return self.executor_status.instruction == wanted

        if not self.until(matched, timeout):
            raise ClientError(
                f"nobody listens to {topic}: is executor_node running, on this ROS_DOMAIN_ID and "
                "in this namespace?"
            )
        if not self.until(taken, timeout):
            assert self.executor_status is not None
            raise ClientError(
                f"executor_node has not taken the instruction after {timeout:g} s: "
                f"{self.executor_status.reason}"
            )

    def start(self) -> str:
        """Let the executor execute the instruction. Returns its answer."""
        return self.call("executor_node/start", Trigger.Request())

    def stop(self) -> str:
        """Let the executor stop; the arm holds its position. Returns its answer."""
        return self.call("executor_node/stop", Trigger.Request())

    def take_over(self) -> str:
        """Let the arm follow a human's targets. Returns the executor's answer."""
        return self.call("executor_node/take_over", Trigger.Request())

    def give_back(self) -> str:
        """Let the policy go on from where the human has brought the arm. Returns the answer."""
        return self.call("executor_node/give_back", Trigger.Request())

    def home(self, timeout: float = CALL_TIMEOUT) -> str:
        """Bring the arm to its home pose; return the answer when it is there.

        Raises:
            ClientError: it is refused, broken off, or takes longer than `timeout` [s].
        """
        heard = self.executor_status
        self.call("executor_node/home", Trigger.Request())

        def over() -> bool:
            status = self.executor_status
            return status is not None and status is not heard and status.source != "home"

        arrived = self.until(over, timeout)
        assert self.executor_status is not None
        reason = self.executor_status.reason
        if not arrived or not reason.startswith(AT_HOME):
            raise ClientError(f"the arm is not at home: {reason}")
        return reason

    def estop(self) -> str:
        """Stop the arm and latch the stop until `reset_estop`.

        Returns:
            The executor's answer, with what the arm's driver confirms.

        Raises:
            ClientError: the executor did not answer; or it has stopped, but the driver does not
                confirm that the servos have.
        """
        response = self.answer("executor_node/estop", Trigger.Request())
        if not response.success:
            raise ClientError(response.message)
        return str(response.message)

    def reset_estop(self) -> str:
        """Release the e-stop; the arm stays idle. Returns the executor's answer.

        Raises:
            ClientError: what stopped the arm goes on, or a servo does not answer.
        """
        return self.call("executor_node/reset_estop", Trigger.Request())

    def replay(
        self,
        actions: NDArray[np.float64],
        joint_names: Sequence[str],
        period: float,
        instruction: str = "",
        **options: Any,
    ) -> RunTask.Result:
        """Let the arm execute recorded actions and wait for the end, as `run_task` does.

        Args:
            actions: (rows, joints) [rad].
            joint_names: of the columns, as the robot file has them.
            period: time between two rows [s].
            instruction: what was done in them, for who records.
            options: others of `run_task`.

        Raises:
            ClientError: see `run_task`.
        """
        chunk = ActionChunk(joint_names=list(joint_names), positions=array("d", actions.ravel()))
        chunk.period = Duration(seconds=period).to_msg()
        return self.run_task(instruction, replay=chunk, **options)

    def run_task(
        self,
        instruction: str,
        time_limit: float = 0.0,
        on_feedback: Callable[[RunTask.Feedback], None] | None = None,
        silence: float = FEEDBACK_TIMEOUT,
        go_home: bool = False,
        replay: ActionChunk | None = None,
    ) -> RunTask.Result:
        """Run a task and wait for its end. An exception meanwhile, as Ctrl-C, cancels it.

        Args:
            instruction: what to do.
            time_limit: [s]; 0 for none.
            on_feedback: called with how it goes.
            silence: how long without feedback until the executor is taken for dead [s].
            go_home: go to the home pose when the task is done or its time is over.
            replay: recorded actions to execute in place of a policy's; see `replay`.

        Returns:
            How it ended: `reason` is RunTask.Result.SUCCEEDED when the task is done.

        Raises:
            ClientError: nobody serves smolvla/run_task, the goal is rejected, or the executor
                has ended meanwhile.
        """
        goal = RunTask.Goal(instruction=instruction, time_limit=time_limit, go_home=go_home)
        goal.replay = replay or ActionChunk()
        return self._perform(
            self._run_task, "smolvla/run_task", "executor_node", goal, on_feedback, silence
        )

    def run_plan(
        self,
        steps: Sequence[str | PlanStep],
        on_feedback: Callable[[RunPlan.Feedback], None] | None = None,
        silence: float = FEEDBACK_TIMEOUT,
    ) -> RunPlan.Result:
        """Run a plan and wait for its end. An exception meanwhile, as Ctrl-C, cancels it.

        Args:
            steps: what to do, in this order; a sentence stands for a step with the usual limits.
            on_feedback: called with how it goes.
            silence: how long without feedback until plan_node is taken for dead [s].

        Returns:
            How it ended: `reason` is RunPlan.Result.SUCCEEDED when all steps are done, and `steps`
            has a report for each.

        Raises:
            ClientError: nobody serves smolvla/run_plan, the plan is rejected, or plan_node has
                ended meanwhile.
        """
        given = [PlanStep(instruction=one) if isinstance(one, str) else one for one in steps]
        goal = RunPlan.Goal(steps=given)
        return self._perform(
            self._run_plan, "smolvla/run_plan", "plan_node", goal, on_feedback, silence
        )

    def pause(self) -> str:
        """Let the running plan pause; the arm holds. Returns the answer of plan_node."""
        return self.call("plan_node/pause", Trigger.Request())

    def resume(self) -> str:
        """Let a paused plan go on. Returns the answer of plan_node."""
        return self.call("plan_node/resume", Trigger.Request())

    def _perform(
        self,
        client: Any,
        action: str,
        server: str,
        goal: Any,
        on_feedback: Callable[[Any], None] | None,
        silence: float,
    ) -> Any:
        """Send a goal to the action of the node `server` and wait for its result."""
        name = self.node.resolve_service_name(action)
        if not self.until(client.server_is_ready, DISCOVERY_TIMEOUT):
            raise ClientError(
                f"nobody serves {name} within {DISCOVERY_TIMEOUT:g} s: is {server} running, "
                "on this ROS_DOMAIN_ID and in this namespace?"
            )
        received = time.monotonic()

        def on_message(message: Any) -> None:
            nonlocal received
            received = time.monotonic()
            if on_feedback is not None:
                on_feedback(message.feedback)

        def wait(future: Future[Any]) -> Any:
            # A killed server seems to be there for up to 20 s, and one that was started in its
            # place does not know the goal.
            while not self.until(future.done, 0.5):
                if not client.server_is_ready():
                    raise ClientError(f"{name} is gone: did {server} end?")
                if (silent := time.monotonic() - received) > silence:
                    raise ClientError(
                        f"{server} has sent nothing for {silent:.0f} s: was it killed? One "
                        "that was started again does not know the goal: send it again"
                    )
            return future.result()

        sent = client.send_goal_async(goal, feedback_callback=on_message)
        try:
            handle = wait(sent)
            if not handle.accepted:
                why = self._why_rejected() if server == "executor_node" else _ITS_LOG
                raise ClientError(f"{server} rejected the goal: {why}")
            return wait(handle.get_result_async()).result
        except ClientError:
            raise
        except BaseException:
            # Either may be what has raised.
            on_feedback = None
            on_wait, self._on_wait = self._on_wait, None
            handle = wait(sent)  # it may be accepted all the same
            if handle.accepted:
                handle.cancel_goal_async()
                wait(handle.get_result_async())
            self._on_wait = on_wait
            raise

    def _why_rejected(self) -> str:
        status = self.executor_status
        stopped = status is not None and status.state == ExecutorStatus.STOPPED
        return status.reason if status is not None and stopped else _ITS_LOG

    def reset(self, seed: int) -> None:
        """Put the simulation into its initial state: the arm at home and the scene of `seed`."""
        self.call("sim/reset", ResetSim.Request(seed=seed))
        self._forget_score()

    def set_task(self, sentence: str) -> None:
        """Choose the task whose success the simulation judges."""
        self.call("sim/set_task", SetTask.Request(task=sentence))
        self._forget_score()

    @property
    def succeeded(self) -> bool:
        """Whether the simulation says that the task of `set_task` is done."""
        return self.score is not None and self.score >= 1.0

    # For clients that know more nodes.

    def add_service(self, kind: Any, name: str) -> None:
        """Let `call` and `answer` know the service `name`."""
        self._services[name] = self.node.create_client(kind, name)

    def has_service(self, name: str) -> bool:
        """Whether the service `name` is offered."""
        return bool(self._services[name].service_is_ready())

    def call(self, name: str, request: Any) -> str:
        """Call a service that says whether it succeeded. Returns its message.

        Raises:
            ClientError: it is not offered, does not answer, or refuses; the text is its message.
        """
        response = self.answer(name, request)
        if not response.success:
            raise ClientError(f"{self._full_name(name)} refused: {response.message}")
        return str(response.message)

    def answer(self, name: str, request: Any) -> Any:
        """Call a service and return its response.

        Raises:
            ClientError: it is not offered or does not answer.
        """
        client = self._services[name]
        if not self.until(client.service_is_ready, DISCOVERY_TIMEOUT):
            raise ClientError(f"no service {self._full_name(name)}: is its node running?")
        future = client.call_async(request)
        if not self.until(future.done, CALL_TIMEOUT):
            raise ClientError(f"no answer from {self._full_name(name)}; see the log of its node")
        return future.result()

    def _full_name(self, service: str) -> str:
        return str(self.node.resolve_service_name(service))

    @functools.cached_property
    def _run_task(self) -> Any:
        return ActionClient(self.node, RunTask, "smolvla/run_task")

    @functools.cached_property
    def _run_plan(self) -> Any:
        return ActionClient(self.node, RunPlan, "smolvla/run_plan")

    def _on_executor(self, status: ExecutorStatus) -> None:
        self.executor_status = status

    def _on_policy(self, status: PolicyStatus) -> None:
        self.policy_status = status

    def _forget_score(self) -> None:
        self.score, self._old_until = None, time.monotonic() + _OLD_SCORE

    def _on_score(self, message: Float32) -> None:
        if message.data < 1.0:
            self._old_until = 0.0
        elif time.monotonic() < self._old_until:
            return
        self.score = message.data
