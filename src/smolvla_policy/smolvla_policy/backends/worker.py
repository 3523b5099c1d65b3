# SPDX-License-Identifier: Apache-2.0
"""Runs jobs one at a time in a thread of its own, so that receiving never waits for thinking."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Job = TypeVar("Job")


class LatestJobWorker(Generic[Job]):
    """A worker with room for one waiting job: a newer one takes its place.

    Args:
        work: called with each job in the worker's thread. It must handle its own errors; one
            that escapes ends the worker and is raised by `close`.
        name: of the thread.
    """

    def __init__(self, work: Callable[[Job], None], name: str = "inference") -> None:
        self._work = work
        self._condition = threading.Condition()
        self._waiting: list[Job] = []  # empty or one
        self._busy = False
        self._closed = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name=name, daemon=True)
        self._thread.start()

    @property
    def busy(self) -> bool:
        """True while a job is being worked on."""
        return self._busy

    @property
    def alive(self) -> bool:
        """False after an error escaped from `work`, or after `close`."""
        return self._thread.is_alive()

    def submit(self, job: Job) -> Job | None:
        """Hand in `job`; return the waiting job that it replaces, if any.

        After `close` nothing is taken any more: then `job` itself comes back.
        """
        with self._condition:
            if self._closed:
                return job
            replaced, self._waiting = self._waiting, [job]
            self._condition.notify()
        return replaced[0] if replaced else None

    def withdraw(self) -> Job | None:
        """Take back the waiting job, if any; it will not be worked on."""
        with self._condition:
            waiting, self._waiting = self._waiting, []
        return waiting[0] if waiting else None

    def close(self, timeout: float = 10.0) -> None:
        """Let the running job end, drop a waiting one and end the thread.

        Raises:
            BaseException: what escaped from `work`.
            TimeoutError: the running job did not end within `timeout` seconds.
        """
        with self._condition:
            self._closed = True
            self._waiting = []
            self._condition.notify()
        self._thread.join(timeout)
        if self._thread.is_alive():
            raise TimeoutError(f"the running job did not end within {timeout:g} s")
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            while True:
                with self._condition:
                    self._condition.wait_for(lambda: self._closed or self._waiting)
                    if self._closed:
                        return
                    job = self._waiting.pop()
                    self._busy = True
                try:
                    self._work(job)
                finally:
                    self._busy = False
        except BaseException as error:
            self._error = error
