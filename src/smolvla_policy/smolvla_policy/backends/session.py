# SPDX-License-Identifier: Apache-2.0
"""From a request and an observation to an answer: the policy node's core, without ROS."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from smolvla_core.backend import Backend, ChunkRequest, Observation


@dataclass(frozen=True)
class Answer:
    """What becomes of a request.

    Attributes:
        positions: (rows, joints) radians; None where the request is refused.
        error: why it is refused and what to do; empty on success.
        failed: True where the backend broke, False where an input was missing.
        instruction: the sentence that the actions obey.
        inference_time: seconds from taking the request to having the actions.
    """

    positions: NDArray[np.float64] | None
    error: str
    failed: bool
    instruction: str
    inference_time: float


def answer(
    backend: Backend,
    request: ChunkRequest,
    observe: Callable[[], Observation],
    clock: Callable[[], float] = time.monotonic,
    *,
    least_time: float = 0.0,
    sleep: Callable[[float], None] = time.sleep,
) -> Answer:
    """Observe, think, check; whatever goes wrong becomes a refusal with words.

    Args:
        backend: who thinks.
        request: what the executor asks for.
        observe: takes the observation; raises `ValueError` with words where one is missing,
            stale or broken.
        clock: seconds, monotonic.
        least_time: actions are held back until this long after the request was taken [s], to
            try a slower policy.
        sleep: waits so many seconds.

    Returns:
        An answer, always: a request without one would leave the executor waiting.
    """
    start = clock()
    instruction = ""

    def refuse(error: str, failed: bool) -> Answer:
        return Answer(None, error, failed, instruction, clock() - start)

    try:
        observation = observe()
    except ValueError as error:
        return refuse(str(error), failed=False)
    instruction = observation.instruction
    if not instruction.strip():
        return refuse(
            "the request has no instruction: its sender must fill in "
            "InferenceRequest.instruction, as executor_node does from the topic task_instruction",
            failed=False,
        )
    try:
        positions = np.asarray(backend.infer(observation, request), dtype=np.float64)
    except ValueError as error:
        return refuse(f"{backend.name}: {error}", failed=True)
    except Exception as error:  # the node must answer whatever a backend does
        return refuse(f"{backend.name} failed: {type(error).__name__}: {error}", failed=True)
    joints = len(backend.joint_names)
    if positions.ndim != 2 or positions.shape[1] != joints or len(positions) == 0:
        return refuse(
            f"{backend.name} returned actions of shape {positions.shape}, expected "
            f"(rows, {joints})",
            failed=True,
        )
    if not np.isfinite(positions).all():
        row, joint = np.argwhere(~np.isfinite(positions))[0]
        return refuse(
            f"{backend.name} returned {positions[row, joint]} for {backend.joint_names[joint]} "
            f"in row {row}; check the checkpoint's statistics, or try dtype float32",
            failed=True,
        )
    taken = clock() - start
    if taken < least_time:
        sleep(least_time - taken)
        taken = clock() - start
    return Answer(positions, "", False, instruction, taken)
