# SPDX-License-Identifier: Apache-2.0
"""Gives orders to a recorder, and with a simulation puts scene and arm back for each episode."""

from __future__ import annotations

import contextlib
import random
import time
from collections.abc import Callable
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.duration import Duration
from rclpy.node import Node
from smolvla_core.ros import qos
from std_msgs.msg import Float32, String
from std_srvs.srv import Trigger

from smolvla_learning.recording.motion import REST_WINDOW, SUCCESS
from smolvla_learning.recording.recorder import SIMULATED
from smolvla_msgs.msg import ExecutorStatus
from smolvla_msgs.srv import ResetSim, SetTask

ANSWER_TIMEOUT = 60.0  # [s], more than the recorder itself waits for its encoder
RETRY_PERIOD = 0.2  # [s]
DISCOVERY = 1.0  # [s] without a new node, after which all are taken to be found
START_WAIT = REST_WINDOW + 3.0
"""How long a start is tried again by default [s]: an arm that stands is known to be at rest."""
EPILOGUE = 0.5  # [s] recorded after the success


class RecorderClient:
    """Calls the services of a recorder and, where they are, of a simulation and an executor.

    All methods raise ValueError when an order was refused or nobody answered; the text says why.

    Args:
        node: that calls; in the namespace of the recorder.
        spin: lets the node receive for so many seconds.
        recorder: name of the recorder's node.
        timeout: how long to wait for the recorder to appear [s].

    Attributes:
        status: what the recorder said last; empty before.
    """

    def __init__(
        self, node: Node, spin: Callable[[float], None], recorder: str, timeout: float
    ) -> None:
        self._node = node
        self._spin = spin
        self._recorder = recorder
        self._timeout = timeout
        self._found = False
        self._score: float | None = None
        self._executor_state: int | None = None
        self.status = ""
        self._instruction = node.create_publisher(
            String, "task_instruction", qos.instruction_qos()
        )
        # Made at once, so that all are discovered together.
        self._clients: dict[str, Any] = {
            name: node.create_client(kind, name)
            for name, kind in (
                *(
                    (f"{recorder}/{order}_episode", Trigger)
                    for order in ("start", "save", "discard")
                ),
                (f"{recorder}/set_parameters", SetParameters),
                ("sim/reset", ResetSim),
                ("sim/set_task", SetTask),
                ("executor_node/start", Trigger),
                ("executor_node/stop", Trigger),
            )
        }
        for kind, topic, receive in (
            (String, f"{recorder}/status", self._on_status),
            (Float32, "sim/score", self._on_score),
            (ExecutorStatus, "executor_node/status", self._on_executor),
        ):
            node.create_subscription(kind, topic, receive, qos.status_qos())

    def _on_status(self, message: String) -> None:
        self.status = message.data

    def _on_score(self, message: Float32) -> None:
        self._score = message.data

    def _on_executor(self, message: ExecutorStatus) -> None:
        self._executor_state = message.state

    # Orders.

    def find(self, recorder: bool = True) -> None:
        """Wait once until the recorder is there and no further node appears."""
        if self._found:
            return
        name = f"{self._recorder}/start_episode"
        client = self._clients[name]
        if recorder and not self._until(
            lambda: client.service_is_ready() and self.status, self._timeout
        ):
            raise ValueError(
                f"no service {self._full_name(name)}: is the recorder running, in the same domain "
                "(ROS_DOMAIN_ID, ROS_AUTOMATIC_DISCOVERY_RANGE) and namespace?"
            )
        seen: Any = None
        since = time.monotonic()

        def settled() -> bool:
            nonlocal seen, since
            now = self._node.get_service_names_and_types()
            if now != seen:
                seen, since = now, time.monotonic()
            return time.monotonic() - since >= DISCOVERY

        self._until(settled, self._timeout + DISCOVERY)
        self._found = True

    def start(
        self,
        task: str,
        wait: float = START_WAIT,
        seed: int | None = None,
        reset: bool = True,
    ) -> str:
        """Begin an episode; the arm moves only after the recorder is ready for it.

        With a simulation the scene and the arm are put back first. Then the recorder gets the
        instruction and is armed, and only then everybody else gets the instruction.

        Args:
            task: the instruction; empty: the one that the recorder has.
            wait: how long to try again while it is refused [s].
            seed: of the simulated scene; None: a new one each time.
            reset: whether to put a simulation back.

        Returns:
            The recorder's answer, with the seed.
        """
        self.find()
        self._refuse_if_busy()
        scene, was_running = "", False
        if reset and self._simulated:
            seed, was_running = self._put_back(task, seed, forget=bool(task))
            scene = f" (scene {seed})"
        begun = False
        try:
            if task:
                self._set_task(task)
            words = self._order("start", wait)
            begun = True
            if reset and not scene and self._simulated:
                # The simulation came up only while the start was refused.
                self._order("discard")
                begun = False
                return self.start(task, wait, seed)
            if task:
                self._instruct(task)
        except BaseException:
            # Nobody shall obey the last instruction in an episode that has not begun.
            with contextlib.suppress(ValueError):
                if begun:
                    self._order("discard")
                if was_running:
                    self._instruct("")
            raise
        finally:
            if was_running:
                self._call("executor_node/start", Trigger.Request())
        return words + scene

    def save(self, wait: float = 0.0) -> str:
        """Save the episode; with a simulation, wait so many seconds for the success first [s]."""
        self.find()
        end = time.monotonic() + wait
        while self._score is not None and self._recording and time.monotonic() < end:
            if self._score >= SUCCESS:
                self._spin(EPILOGUE)
                break
            self._spin(0.05)
        return self._order("save")

    def discard(self) -> str:
        """Give the episode up."""
        self.find()
        return self._order("discard")

    def reset(self, task: str, seed: int | None = None) -> str:
        """Put the simulation back: another scene, the arm at home, nobody obeys anything.

        Args:
            task: that the simulation judges from now on; empty: the one that it has.
            seed: of the scene; None: a new one.
        """
        self.find(recorder=False)
        if not self._until(self._clients["sim/reset"].service_is_ready, self._timeout):
            raise ValueError(f"no service {self._full_name('sim/reset')}: there is no simulation")
        self._refuse_if_busy()
        seed, was_running = self._put_back(task, seed, forget=True)
        if was_running:
            self._call("executor_node/start", Trigger.Request())
        return f"scene {seed}, the arm is at home" + (f'; task: "{task}"' if task else "")

    @property
    def busy(self) -> bool:
        """Whether an episode has begun and is neither saved nor discarded."""
        return self._recording or self.status.startswith("full")

    # Parts of orders.

    @property
    def _simulated(self) -> bool:
        there = self._clients["sim/reset"].service_is_ready
        # The recorder runs longer and knows the graph better.
        known = SIMULATED in self.status or self._score is not None
        return self._until(there, self._timeout if known else 0.0)

    @property
    def _recording(self) -> bool:
        return self.status.startswith(("armed", "recording"))

    def _refuse_if_busy(self) -> None:
        """Raise ValueError before a running episode is disturbed."""
        self._spin(RETRY_PERIOD)  # what the recorder said just now
        if self.busy:
            raise ValueError(f"save or discard the episode first ({self.status})")

    def _put_back(self, task: str, seed: int | None, forget: bool) -> tuple[int, bool]:
        """Reset the simulation, maybe let everybody forget the instruction.

        Returns the seed, and whether the executor was stopped for it.
        """
        if task:
            try:
                self._call("sim/set_task", SetTask.Request(task=task))
            except ValueError as error:
                raise ValueError(
                    f"{error}. Take one of these, or record it without a reset (--keep-scene) and "
                    "save it twice, as its success is not known"
                ) from error
        was_running = self._executor_state not in (None, ExecutorStatus.IDLE)
        if was_running:
            self._call("executor_node/stop", Trigger.Request())
        if forget:
            self._instruct("")
        if seed is None:
            seed = random.randrange(2**31)
        self._call("sim/reset", ResetSim.Request(seed=seed))
        return seed, was_running

    def _set_task(self, task: str) -> None:
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=task)
        request = SetParameters.Request(parameters=[Parameter(name="task", value=value)])
        results = self._answer(f"{self._recorder}/set_parameters", request).results
        if not results[0].successful:
            raise ValueError(f"the recorder does not take the instruction: {results[0].reason}")

    def _instruct(self, task: str) -> None:
        """Publish an instruction so that all who listen have it."""
        topic = self._instruction.topic_name

        def matched() -> bool:
            known = self._node.get_subscriptions_info_by_topic(topic)
            return 0 < len(known) <= self._instruction.get_subscription_count()

        if not self._until(matched, self._timeout):
            raise ValueError(f"nobody listens to {topic}")
        self._instruction.publish(String(data=task))

    def close(self) -> None:
        """Wait until all who listen have what was published; a second or two."""
        self._instruction.wait_for_all_acked(Duration(seconds=self._timeout))

    def _order(self, order: str, wait: float = 0.0) -> str:
        """Call a service of the recorder; while it is refused, again for `wait` seconds."""
        end = time.monotonic() + wait
        while True:
            try:
                return self._call(f"{self._recorder}/{order}_episode", Trigger.Request())
            except ValueError:
                if time.monotonic() >= end:
                    raise
            self._spin(RETRY_PERIOD)

    def _call(self, name: str, request: Any) -> str:
        """Call a service that says whether it succeeded. Returns its message."""
        answer = self._answer(name, request)
        if not answer.success:
            raise ValueError(answer.message)
        return str(answer.message)

    def _answer(self, name: str, request: Any) -> Any:
        client = self._clients[name]
        if not client.service_is_ready():
            raise ValueError(f"no service {self._full_name(name)}: did its node end?")
        future = client.call_async(request)
        if not self._until(future.done, ANSWER_TIMEOUT):
            raise ValueError(f"no answer from {self._full_name(name)}; see the log of its node")
        return future.result()

    def _full_name(self, service: str) -> str:
        return str(self._node.resolve_service_name(service))

    def _until(self, condition: Callable[[], Any], timeout: float) -> bool:
        end = time.monotonic() + timeout
        while not condition():
            if time.monotonic() >= end:
                return False
            self._spin(0.05)
        return True
