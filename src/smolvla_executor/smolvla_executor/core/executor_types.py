# SPDX-License-Identifier: Apache-2.0
"""The plain types that go into and come out of `executor.ExecutorCore`."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum, IntEnum

import numpy as np
from numpy.typing import NDArray
from smolvla_core.level import Level

from smolvla_executor.core.guard import Limited


class State(IntEnum):
    """What the executor does; the values are those of ``smolvla_msgs/ExecutorStatus``."""

    IDLE = 0
    WAITING = 1
    APPROACHING = 2
    RUNNING = 3
    HOLDING = 4
    FAULT = 5
    STOPPED = 6


class Source(str, Enum):
    """Whose actions are executed; the values are those of ``smolvla_msgs/ExecutorStatus``."""

    POLICY = "policy"
    HUMAN = "human"
    REPLAY = "replay"
    HOME = "home"
    NONE = "none"


class RefusedError(ValueError):
    """An order cannot be carried out; the text says why and what to do."""


@dataclass(frozen=True)
class Request:
    """A request for a chunk; the fields of ``smolvla_msgs/InferenceRequest``.

    Attributes:
        request_id: unique for this executor and its restarts.
        tick: the tick of the chunk's first row: the one that the executor runs next.
        committed: (rows, joints) actions still queued from `tick` on [rad]; maybe 0 rows.
        period: time between two rows of `committed` [s]; 0 before the first chunk.
        expected_delay: ticks that will be executed before the answer comes.
        must_go: the queue is empty: the arm waits for this answer.
        command: (joints,) that the tick before `tick` began with, or that is held [rad]; None:
            nothing was commanded yet.
    """

    request_id: int
    tick: int
    committed: NDArray[np.float64]
    period: float
    expected_delay: int
    must_go: bool
    command: NDArray[np.float64] | None = None


@dataclass(frozen=True)
class CycleOutput:
    """What one control cycle decided.

    Attributes:
        command: (joints,) positions to publish now [rad], or None: publish nothing.
        request: request to publish now, or None.
        state: what the executor does.
        reason: why, and what to do where a person must act; never empty.
        executed_tick: the tick whose action began in this cycle, or None.
        limited: what the guard changed in `command`; empty when it is as wanted.
        done: a replay has come to its end, or the arm to its home.
    """

    command: NDArray[np.float64] | None
    request: Request | None
    state: State
    reason: str
    executed_tick: int | None = None
    limited: tuple[Limited, ...] = ()
    done: bool = False


@dataclass(kw_only=True)
class Counters:
    """What has happened since the start; see ``smolvla_msgs/ExecutorStatus``."""

    requests: int = 0
    requests_timed_out: int = 0
    requests_refused: int = 0
    last_refusal: str = ""
    chunks_merged: int = 0
    chunks_late: int = 0
    chunks_invalid: int = 0
    rows_trimmed: int = 0
    seam_jump_last: float = 0.0
    seam_jump_max: float = 0.0
    starved_cycles: int = 0
    starvations: int = 0


@dataclass(kw_only=True)
class Status(Counters):
    """The fields of ``smolvla_msgs/ExecutorStatus``, less the header and the instructions."""

    state: State
    reason: str
    source: Source
    level: Level
    dry_run: bool
    tick: int
    queue_depth: int
    chunk_size: int
    execution: str
    chunk_size_threshold: float
    action_period: float
    joint_state_age: float
    request_in_flight: bool
    request_age: float
    latency_last: float
    latency_p50: float
    latency_p95: float
    guard_limited: int
    period_p50: float
    period_p99: float
    period_max: float
    overruns: int
