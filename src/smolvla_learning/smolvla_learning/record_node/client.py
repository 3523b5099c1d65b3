# SPDX-License-Identifier: Apache-2.0
"""Gives orders to a recorder, and with a simulation puts scene and arm back for each episode."""

from __future__ import annotations

import contextlib
import random
import time
from typing import Any

from rcl_interfaces.msg import Parameter, ParameterType, ParameterValue
from rcl_interfaces.srv import SetParameters
from rclpy.node import Node
from smolvla_core.client import ClientError, SmolVLAClient
from smolvla_core.ros import qos
from std_msgs.msg import String
from std_srvs.srv import Trigger

from smolvla_learning.recording.episode import REST_WINDOW, START_WAIT
from smolvla_learning.recording.recorder import SIMULATED
from smolvla_msgs.msg import ExecutorStatus

RETRY_PERIOD = 0.2  # [s]
DISCOVERY = 1.0  # [s] without a new node, after which all are taken to be found
EPILOGUE = 0.5  # [s] recorded after the success


class RecorderClient(SmolVLAClient):
    """Calls the services of a recorder and, where they are, of a simulation and an executor.

    All methods raise ClientError when an order was refused or nobody answered.

    Args:
        node: that calls; in the namespace of the recorder.
        recorder: name of the recorder's node.
        timeout: how long to wait for the recorder to appear [s].
        options: of `SmolVLAClient`.

    Attributes:
        status: what the recorder said last; empty before.
    """

    def __init__(
        self, node: Node, recorder: str = "record_node", timeout: float = 10.0, **options: Any
    ) -> None:
        super().__init__(node, **options)
        self._recorder = recorder
        self._timeout = timeout
        self._found = False
        self.status = ""
        for order in ("start", "save", "discard"):
            self.add_service(Trigger, f"{recorder}/{order}_episode")
        self.add_service(SetParameters, f"{recorder}/set_parameters")
        node.create_subscription(String, f"{recorder}/status", self._on_status, qos.status_qos())

    def _on_status(self, message: String) -> None:
        self.status = message.data

    # Orders.

    def find(self, recorder: bool = True) -> None:
        """Wait once until the recorder is there and no further node appears."""
        if self._found:
            return
        name = f"{self._recorder}/start_episode"
        if recorder and not self.until(
            lambda: self.has_service(name) and self.status, self._timeout
        ):
            raise ClientError(
                f"no service {self.node.resolve_service_name(name)}: is the recorder running, "
                "in the same domain (ROS_DOMAIN_ID, ROS_AUTOMATIC_DISCOVERY_RANGE) and namespace?"
            )
        seen: Any = None
        since = time.monotonic()

        def settled() -> bool:
            nonlocal seen, since
            now = self.node.get_service_names_and_types()
            if now != seen:
                seen, since = now, time.monotonic()
            return time.monotonic() - since >= DISCOVERY

        self.until(settled, self._timeout + DISCOVERY)
        self._found = True

    def start_episode(
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
                self._instruct_recorder(task)
            text = self._order("start", wait)
            begun = True
            if reset and not scene and self._simulated:
                # The simulation came up only while the start was refused.
                self._order("discard")
                begun = False
                return self.start_episode(task, wait, seed)
            if task:
                self.instruct(task, self._timeout)
        except BaseException:
            # Nobody shall obey the last instruction in an episode that has not begun.
            with contextlib.suppress(ClientError):
                if begun:
                    self._order("discard")
                if was_running:
                    self.instruct("", self._timeout)
            raise
        finally:
            if was_running:
                self.start()
        return text + scene

    def save_episode(self, wait: float = 0.0) -> str:
        """Save the episode; with a simulation, wait so many seconds for the success first [s]."""
        self.find()
        end = time.monotonic() + wait
        while self.score is not None and self._recording and time.monotonic() < end:
            if self.succeeded:
                self.spin(EPILOGUE)
                break
            self.spin(0.05)
        return self._order("save")

    def discard_episode(self) -> str:
        """Give the episode up."""
        self.find()
        return self._order("discard")

    def new_scene(self, task: str, seed: int | None = None) -> str:
        """Put the simulation back: another scene, the arm at home, nobody obeys anything.

        Args:
            task: that the simulation judges from now on; empty: the one that it has.
            seed: of the scene; None: a new one.
        """
        self.find(recorder=False)
        if not self.until(lambda: self.has_service("sim/reset"), self._timeout):
            name = self.node.resolve_service_name("sim/reset")
            raise ClientError(f"no service {name}: there is no simulation")
        self._refuse_if_busy()
        seed, was_running = self._put_back(task, seed, forget=True)
        if was_running:
            self.start()
        return f"scene {seed}, the arm is at home" + (f'; task: "{task}"' if task else "")

    @property
    def busy(self) -> bool:
        """Whether an episode has begun and is neither saved nor discarded."""
        return self._recording or self.status.startswith("full")

    # Parts of orders.

    @property
    def _simulated(self) -> bool:
        # The recorder runs longer and knows the graph better.
        known = SIMULATED in self.status or self.score is not None
        return self.until(lambda: self.has_service("sim/reset"), self._timeout if known else 0.0)

    @property
    def _recording(self) -> bool:
        return self.status.startswith(("armed", "recording"))

    def _refuse_if_busy(self) -> None:
        """Raise ClientError before a running episode is disturbed."""
        self.spin(RETRY_PERIOD)  # what the recorder said just now
        if self.busy:
            raise ClientError(f"save or discard the episode first ({self.status})")

    def _put_back(self, task: str, seed: int | None, forget: bool) -> tuple[int, bool]:
        """Reset the simulation, maybe let everybody forget the instruction.

        Returns the seed, and whether the executor was stopped for it.
        """
        if task:
            try:
                self.set_task(task)
            except ClientError as error:
                raise ClientError(
                    f"{error}. Take one of these, or record it without a reset (--keep-scene) and "
                    "save it twice, as its success is not known"
                ) from error
        status = self.executor_status
        was_running = status is not None and status.state != ExecutorStatus.IDLE
        if was_running:
            self.stop()
        if forget:
            self.instruct("", self._timeout)
        if seed is None:
            seed = random.randrange(2**31)
        self.reset(seed)
        # Joint states and images from before are still under way: the arm would seem to jump.
        self.spin(REST_WINDOW)
        return seed, was_running

    def _instruct_recorder(self, task: str) -> None:
        value = ParameterValue(type=ParameterType.PARAMETER_STRING, string_value=task)
        request = SetParameters.Request(parameters=[Parameter(name="task", value=value)])
        results = self.answer(f"{self._recorder}/set_parameters", request).results
        if not results[0].successful:
            raise ClientError(f"the recorder does not take the instruction: {results[0].reason}")

    def _order(self, order: str, wait: float = 0.0) -> str:
        """Call a service of the recorder; while it is refused, again for `wait` seconds."""
        end = time.monotonic() + wait
        while True:
            answer = self.answer(f"{self._recorder}/{order}_episode", Trigger.Request())
            if answer.success:
                return str(answer.message)
            if time.monotonic() >= end:
                raise ClientError(answer.message)
            self.spin(RETRY_PERIOD)
