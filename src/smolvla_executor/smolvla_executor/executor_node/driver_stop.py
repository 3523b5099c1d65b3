# SPDX-License-Identifier: Apache-2.0
"""The e-stop at the arm's drivers: each is asked to stop, and says what its servos answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from functools import partial

from rclpy.client import Client
from rclpy.clock import Clock
from rclpy.node import Node
from rclpy.task import Future
from smolvla_core.level import Level
from smolvla_core.ros.sparse_log import log_at
from std_srvs.srv import Trigger

ASK_AGAIN = 0.5
"""How often a driver is asked while the e-stop is latched [s]: it may have been started anew, or a
servo may answer that was silent."""
PATIENCE = 1.0
"""A driver that has not answered for so long does not answer [s]."""
CUT = "cut the power"


class _Driver:
    """One driver: its services, and what it answered last."""

    def __init__(self, node: Node, name: str) -> None:
        self.name = node.resolve_service_name(name)
        self.stop: Client[Trigger.Request, Trigger.Response] = node.create_client(
            Trigger, f"{name}/stop"
        )
        self.reset: Client[Trigger.Request, Trigger.Response] = node.create_client(
            Trigger, f"{name}/reset_stop"
        )
        self.confirmed: bool | None = None
        """Whether it has stopped; None: it has not answered yet."""
        self.answer = ""
        self.asked: Future[Trigger.Response] | None = None
        self.asked_at = 0.0
        self.missing_since = 0.0

    def missing(self, now: float) -> str:
        """Say that it is not there; nothing yet where it may still be discovered."""
        self.missing_since = self.missing_since or now
        if now < self.missing_since + PATIENCE:
            return ""
        return f"{self.name} is not there: is the driver running? If not, {CUT}"


class DriverStop:
    """Has the drivers of the arm stop as long as the executor is stopped; waits for nothing.

    Used by the thread that receives.

    Args:
        node: that calls the services.
        clock: of its timers.
        stopped: returns whether the e-stop is latched.
        changed: called when `text` is another.

    Attributes:
        text: whether the drivers have stopped, and what to do; empty where none is asked.
    """

    def __init__(
        self, node: Node, clock: Clock, stopped: Callable[[], bool], changed: Callable[[], None]
    ) -> None:
        self._node = node
        self._stopped = stopped
        self._changed = changed
        self._clock = clock
        self._names: list[str] = []
        self._drivers: list[_Driver] = []
        self._resetting = False
        self._waiting: list[Future[None]] = []
        self.text = ""
        node.create_timer(ASK_AGAIN, self.ask, clock=clock)

    def use(self, names: Sequence[str]) -> None:
        """Ask the drivers with these node names from now on."""
        if list(names) == self._names:
            return
        self._names = list(names)
        for driver in self._drivers:
            self._node.destroy_client(driver.stop)
            self._node.destroy_client(driver.reset)
        self._drivers = [_Driver(self._node, name) for name in names]
        self._tell()

    def follow(self) -> None:
        """Ask the drivers at once where the e-stop has just been latched."""
        if self._stopped() != any(driver.asked_at for driver in self._drivers):
            self.ask()

    async def answered(self) -> bool:
        """Wait until all drivers have answered; say whether all have stopped."""
        if any(driver.confirmed is None for driver in self._drivers):
            done: Future[None] = Future(executor=self._node.executor)
            self._waiting.append(done)
            await done
        return all(driver.confirmed for driver in self._drivers)

    async def reset(self) -> str:
        """Have all drivers release their stop. Returns why one does not; empty for nothing.

        None is asked to stop meanwhile; `ask` does so where the e-stop stays latched.
        """
        self._resetting = True
        try:
            for driver in self._drivers:
                if not driver.reset.service_is_ready():
                    return f"{driver.name} is not there: is the driver running?"
                future = driver.reset.call_async(Trigger.Request())
                if not await self._in_time(future):
                    driver.reset.remove_pending_request(future)
                    return f"{driver.name} does not answer: {CUT}"
                response = future.result()
                assert response is not None
                if not response.success:
                    return f"{driver.name}: {response.message}"
            return ""
        finally:
            self._resetting = False

    async def _in_time(self, future: Future[Trigger.Response]) -> bool:
        """Wait for an answer; False where it does not come."""
        done: Future[None] = Future(executor=self._node.executor)

        def finish(_: object = None) -> None:
            if not done.done():
                done.set_result(None)

        timer = self._node.create_timer(PATIENCE, finish, clock=self._clock)
        future.add_done_callback(finish)
        await done
        self._node.destroy_timer(timer)
        return future.done()

    def ask(self) -> None:
        """Ask the drivers to stop, if the e-stop is latched, else forget what they answered."""
        if self._resetting:
            return
        if not self._stopped():
            for driver in self._drivers:
                driver.confirmed, driver.answer, driver.asked_at = None, "", 0.0
            self._tell()
            return
        now = time.monotonic()
        for driver in self._drivers:
            if driver.asked is not None:
                if now < driver.asked_at + PATIENCE:
                    continue
                driver.stop.remove_pending_request(driver.asked)
                driver.asked = None
                driver.confirmed = False
                driver.answer = f"no answer; {CUT}"
            driver.asked_at = now
            if driver.stop.service_is_ready():
                driver.missing_since = 0.0
                driver.asked = driver.stop.call_async(Trigger.Request())
                driver.asked.add_done_callback(partial(self._on_answer, driver))
            elif missing := driver.missing(now):
                driver.confirmed, driver.answer = False, missing
        self._tell()

    def _on_answer(self, driver: _Driver, future: Future[Trigger.Response]) -> None:
        driver.asked = None
        response = future.result()
        if response is not None and self._stopped():
            driver.confirmed, driver.answer = response.success, response.message
            self._tell()

    def _tell(self) -> None:
        """Make the text anew; log it where it is another."""
        parts = []
        several = len(self._drivers) > 1
        for driver in self._drivers:
            who = driver.name if several else "the driver"
            if driver.confirmed is not None:
                verb = "confirms" if driver.confirmed else "does not confirm"
                parts.append(f"{who} {verb}: {driver.answer}")
            elif driver.asked_at:
                parts.append(f"{who} is asked")
        text, known = "; ".join(parts), len(self._drivers) == len(self._known())
        if text != self.text:
            self.text = text
            if text and known:
                level = Level.OK if all(self._known()) else Level.ERROR
                log_at(self._node.get_logger(), level, text)
            self._changed()
        if known or not text:
            waiting, self._waiting = self._waiting, []
            for done in waiting:
                done.set_result(None)

    def _known(self) -> list[bool]:
        return [driver.confirmed for driver in self._drivers if driver.confirmed is not None]
