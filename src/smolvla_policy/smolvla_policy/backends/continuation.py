# SPDX-License-Identifier: Apache-2.0
"""How a chunk continues the actions that are queued while it is computed.

Four ways, which the parameter `real_time_chunking` chooses:

* guided, jacobian: each denoising step is pulled to the queued actions, see `model.sampler`;
* trained: the network reads those that will have been executed when the chunk arrives, and one
  more, so that there is no seam ("Training-Time Action Conditioning for Efficient Real-Time
  Chunking", arXiv 2512.05964);
* future state: the chunk begins where the arm will be by then ("VLASH: Real-Time VLAs via
  Future-State-Aware Asynchronous Inference", arXiv 2512.01031). The queued actions up to there
  stand before it, so it also reaches farther.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from smolvla_core.backend import ChunkRequest

from smolvla_policy.backends.smolvla_settings import JACOBIAN

Rows = NDArray[np.float64]
FUTURE_STATE = "future_state"


@dataclass(frozen=True)
class Continuation:
    """What a chunk continues.

    Attributes:
        first: (rows, joints) queued actions that stand before the chunk [rad].
        motion: (joints,) from now to where the chunk begins [rad].
        decided: (rows, joints) queued actions from there on [rad]; of no rows: it is drawn freely.
        delay: so many of these will have been executed when the chunk arrives.
        trained: the network reads them; else it is guided to `decided`.
    """

    first: Rows
    motion: NDArray[np.float64]
    decided: Rows
    delay: int = 0
    trained: bool = False


def check_chunking(method: str, rtc_delay: int, state_offset: int) -> None:
    """Check that a checkpoint was trained for a value of `real_time_chunking`.

    Args:
        method: the value.
        rtc_delay, state_offset: see `RobotFacts`.

    Raises:
        ValueError: it was not; the text says what to do.
    """
    options = {
        "trained": ("--rtc-delay", rtc_delay),
        FUTURE_STATE: ("--state-offset", state_offset),
    }
    option, limit = options.get(method, ("", 1))
    if not limit:
        raise ValueError(
            f"real_time_chunking is '{method}', but the checkpoint was not trained for it "
            f"(smolvla train {option}); use 'guided' or 'auto'"
        )


def chosen_method(method: str, rtc_delay: int, state_offset: int) -> str:
    """Turn ``auto`` into what the checkpoint was trained for: ``off`` where for nothing.

    Of both the future state, with which more tasks succeeded (docs/reference/sync_async.md).

    Args:
        method: value of `real_time_chunking`.
        rtc_delay, state_offset: see `RobotFacts`.
    """
    if method != "auto":
        return method
    if state_offset:
        return FUTURE_STATE
    return "trained" if rtc_delay else "off"


def continuation(
    method: str, rtc_delay: int, state_offset: int, request: ChunkRequest
) -> Continuation:
    """Return what a chunk continues.

    Args:
        method: of `chosen_method`.
        rtc_delay, state_offset: see `RobotFacts`.
        request: with the queued actions.
    """
    queued, delay = request.committed, request.expected_delay
    joints = queued.shape[1]
    nothing, still = np.empty((0, joints)), np.zeros(joints)
    if method == "off" or not len(queued):
        return Continuation(nothing, still, nothing)
    if method in ("guided", JACOBIAN):
        return Continuation(nothing, still, queued, delay)
    if method == "trained":
        rest = queued[: min(delay + 1, rtc_delay)]
        return Continuation(nothing, still, rest, len(rest), trained=True)
    ahead = min(delay, state_offset, len(queued) - 1)
    return Continuation(queued[:ahead], queued[ahead] - queued[0], nothing)
