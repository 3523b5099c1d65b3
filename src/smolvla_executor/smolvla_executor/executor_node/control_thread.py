# SPDX-License-Identifier: Apache-2.0
"""The thread of the control loop: a fixed rate, and an inbox as its only door."""

from __future__ import annotations

import os
import queue
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from typing import TypeVar

from smolvla_executor.core.tick_clock import TickClock

T = TypeVar("T")

_LOOK = 0.1
"""How often a caller sees whether the loop is still alive [s]."""


class ControlThread:
    """Calls `step` at absolute deadlines; runs what others post before each step.

    Whatever `step` works on is touched by this thread alone, and the thread waits for nothing
    but its deadline.

    Args:
        rate: steps per second [Hz].
        step: called with the time [s, monotonic].
        failed: called with the exception of a step or of posted work; the loop has then ended.
        priority: SCHED_FIFO priority; 0 for none.
        warn: called where the priority was not granted.
    """

    def __init__(
        self,
        rate: float,
        step: Callable[[float], None],
        failed: Callable[[Exception], None],
        *,
        priority: int = 0,
        warn: Callable[[str], object] = lambda words: None,
    ) -> None:
        self._rate = rate
        self._step = step
        self._failed = failed
        self._priority = priority
        self._warn = warn
        self._inbox: queue.SimpleQueue[Callable[[float], object]] = queue.SimpleQueue()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, name="control", daemon=True)
        self._thread.start()

    def post(self, work: Callable[[float], object]) -> None:
        """Have `work` called with the time before the next step."""
        self._inbox.put(work)

    def call(self, work: Callable[[float], T], timeout: float = 10.0) -> T:
        """Post `work` and wait for what it returns.

        `timeout` is long for a loop at 30 Hz: while other nodes load, a crowded machine has left
        it alone for more than a second.

        Raises:
            TimeoutError: the loop has ended, or did not come to it within `timeout` seconds.
        """
        result: Future[T] = Future()

        def run(now: float) -> None:
            result.set_result(work(now))

        self.post(run)
        deadline = time.monotonic() + timeout
        while self._thread.is_alive() and time.monotonic() < deadline:
            try:
                return result.result(_LOOK)
            except FutureTimeoutError:  # before Python 3.11 it is no TimeoutError
                continue
        if result.done():
            return result.result()
        why = "is stuck" if self._thread.is_alive() else "has ended"
        raise TimeoutError(f"the control loop {why}; see the log, then start the process anew")

    def close(self) -> None:
        """End the loop after the step that runs."""
        self._stopping.set()
        self._thread.join(timeout=2.0)

    def _run(self) -> None:
        try:
            self._raise_priority()
            clock = TickClock(1.0 / self._rate, time.monotonic, time.sleep)
            while not self._stopping.is_set():
                now = clock.wait()
                self._drain(now)
                self._step(now)
        except Exception as error:
            self._failed(error)

    def _drain(self, now: float) -> None:
        try:
            while True:
                self._inbox.get_nowait()(now)
        except queue.Empty:
            return

    def _raise_priority(self) -> None:
        if not self._priority:
            return
        try:
            os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(self._priority))
        except PermissionError:
            self._warn(
                f"no right to SCHED_FIFO priority {self._priority}: grant CAP_SYS_NICE or raise "
                "the rtprio limit (/etc/security/limits.conf); going on without"
            )
