# SPDX-License-Identifier: Apache-2.0
"""The plain types that go into and come out of `executor.ExecutorCore`."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import IntEnum

import numpy as np
from numpy.typing import NDArray
from smolvla_core.level import Level

from smolvla_executor.core.guard import GuardConfig, Limited


class State(IntEnum):
    """What the executor does; the values are those of ``smolvla_msgs/ExecutorStatus``."""

    IDLE = 0
    WAITING = 1
    APPROACHING = 2
    RUNNING = 3
    HOLDING = 4
    FAULT = 5


@dataclass(frozen=True)
class ExecutorConfig:
    """Settings of the executor.

    Attributes:
        joints: names, the order of every array that goes in or out.
        guard: limits of the commands.
        control_rate: control cycles per second [Hz], at least the rate of the actions.
        trigger_share: the threshold g of asynchronous inference: ask for the next chunk when
            the queue is empty or shorter than g times a chunk. 0 asks only when the queue is
            empty (synchronous), 1 asks again after every executed action.
        aggregation: how actions that two chunks hold for one tick are combined; one of
            `aggregation.AGGREGATIONS`.
        alignment: where in a chunk that comes late to go on; one of `alignment.ALIGNMENTS`.
        actions_per_chunk: only so many of a chunk's first actions are used; 0 for all. With
            ``trigger_share`` 0 it is LeRobot's ``n_action_steps``, else its
            ``actions_per_chunk``.
        state_timeout: a joint state older than this stops the commands [s].
        request_timeout: a request unanswered for this long is given up and asked anew [s];
            never less than three times the 95th percentile of the latency.
        retry_delay: pause after a refusal or an invalid chunk before asking anew [s].
        approach_speed: largest joint speed of the approach to the first action [rad/s].
        approach_duration: shortest duration of an approach [s].
        resume_jump: an action that ends a hold is approached first when it is farther than
            this from the held command [rad].
        period_window: over so many cycles the status gives the period.
        first_request_id: id of the first request; give ``time.time_ns()``, so that a
            restarted executor never takes an answer meant for its predecessor.
        dry_run: echoed in the status. The core computes commands all the same; whoever
            publishes them must leave that out.

    Raises:
        ValueError: a setting is out of range; the text names it.
    """

    joints: tuple[str, ...]
    guard: GuardConfig
    control_rate: float = 100.0
    trigger_share: float = 0.7
    aggregation: str = "weighted"
    alignment: str = "pose"
    actions_per_chunk: int = 0
    state_timeout: float = 0.2
    request_timeout: float = 5.0
    retry_delay: float = 0.2
    approach_speed: float = 0.5
    approach_duration: float = 0.5
    resume_jump: float = 0.2
    period_window: int = 1000
    first_request_id: int = 1
    dry_run: bool = False

    def __post_init__(self) -> None:
        if not self.joints or len(set(self.joints)) != len(self.joints):
            raise ValueError(
                f"joints must be a list of different names, but is {list(self.joints)}"
            )
        positive = ("control_rate", "state_timeout", "request_timeout", "approach_speed")
        for name in (*positive, "retry_delay", "approach_duration", "resume_jump"):
            value = getattr(self, name)
            if not math.isfinite(value) or value < 0 or (value == 0 and name in positive):
                bound = "greater than 0" if name in positive else "0 or greater"
                raise ValueError(f"{name} must be {bound} and finite, but is {value}")
        if self.actions_per_chunk < 0:
            raise ValueError(f"actions_per_chunk must be 0 or greater: {self.actions_per_chunk}")
        if self.period_window < 2:
            raise ValueError(f"period_window must be 2 or greater, but is {self.period_window}")
        if self.first_request_id < 0:
            raise ValueError(f"first_request_id must be 0 or greater: {self.first_request_id}")


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
    """

    request_id: int
    tick: int
    committed: NDArray[np.float64]
    period: float
    expected_delay: int
    must_go: bool


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
    """

    command: NDArray[np.float64] | None
    request: Request | None
    state: State
    reason: str
    executed_tick: int | None = None
    limited: tuple[Limited, ...] = ()


@dataclass(frozen=True)
class Status:
    """Names, units and meanings of ``smolvla_msgs/ExecutorStatus``.

    Less the header and the instructions.
    """

    state: State
    reason: str
    level: Level
    dry_run: bool
    tick: int
    queue_depth: int
    chunk_size: int
    chunk_size_threshold: float
    action_period: float
    joint_state_age: float
    request_in_flight: bool
    request_age: float
    latency_last: float
    latency_p50: float
    latency_p95: float
    requests: int
    requests_timed_out: int
    requests_refused: int
    last_refusal: str
    chunks_merged: int
    chunks_late: int
    chunks_invalid: int
    rows_trimmed: int
    starved_cycles: int
    starvations: int
    guard_limited: int
    seam_jump_last: float
    seam_jump_max: float
    period_p50: float
    period_p99: float
    period_max: float
    overruns: int
