# SPDX-License-Identifier: Apache-2.0
"""From a request to an answer, in a thread of its own: the policy node's core, without ROS."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

import numpy as np
from numpy.typing import NDArray
from smolvla_core.backend import Backend, ChunkRequest, Observation

Job = TypeVar("Job")


@dataclass(frozen=True)
class Answer:
    """What becomes of a request.

    Attributes:
        positions: (rows, joints) radians; None where the request is refused.
        error: why it is refused and what to do; empty on success.
        failed: True where the backend broke, False where an input was missing.
        inference_time: seconds from taking the request to having the actions.
        stamp_ns: when the observation was taken; see `Observation`.
        continues: how it continues the queued actions; see ``smolvla_msgs/ActionChunk``.
    """

    positions: NDArray[np.float64] | None
    error: str
    failed: bool
    inference_time: float
    stamp_ns: int = 0
    continues: str = ""


def answer(
    backend: Backend,
    request: ChunkRequest,
    observe: Callable[[], Observation],
    clock: Callable[[], float] = time.monotonic,
    *,
    least_time: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """Observe, infer, check; whatever goes wrong becomes a refusal with a message.

    Args:
        backend: that infers.
        request: what the executor asks for.
        observe: takes the observation; raises `ValueError` with a message where one is missing,
            stale or broken.
        clock: seconds, monotonic.
        least_time: actions are held back until this long after the request was taken [s], to
            try a slower policy.
        sleep: waits so many seconds.

    Returns:
        An answer, always: a request without one would leave the executor waiting.
    """
    start = clock()
    failed = False
    try:
        observation = observe()
        if not observation.instruction.strip():
            raise ValueError(
                "the request has no instruction: its sender must fill in "
                "InferenceRequest.instruction, as executor_node does from the topic "
                "task_instruction"
            )
        failed = True
        positions = _infer(backend, observation, request)
    except ValueError as error:
        return Answer(None, str(error), failed, clock() - start)
    taken = clock() - start
    if taken < least_time:
        sleep(least_time - taken)
        taken = clock() - start
    continues = getattr(backend, "continues", "")
    return Answer(positions, "", False, taken, observation.stamp_ns, continues)


def _infer(
    backend: Backend, observation: Observation, request: ChunkRequest
) -> NDArray[np.float64]:
    try:
        positions = np.asarray(backend.infer(observation, request), dtype=np.float64)
    except ValueError as error:
        raise ValueError(f"{backend.name}: {error}") from error
    except Exception as error:  # the node must answer whatever a backend does
        raise ValueError(f"{backend.name} failed: {type(error).__name__}: {error}") from error
    joints = len(backend.joint_names)
    if positions.ndim != 2 or positions.shape[1] != joints or len(positions) == 0:
        raise ValueError(
            f"{backend.name} returned actions of shape {positions.shape}, expected "
            f"(rows, {joints})"
        )
    if not np.isfinite(positions).all():
        row, joint = np.argwhere(~np.isfinite(positions))[0]
        raise ValueError(
            f"{backend.name} returned {positions[row, joint]} for {backend.joint_names[joint]} "
            f"in row {row}; check the checkpoint's statistics, or try dtype float32"
        )
    return positions


class LatestJobWorker(Generic[Job]):
    """Runs jobs one at a time in a thread of its own, so that receiving never waits.

    There is room for one waiting job: a newer one takes its place.

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
