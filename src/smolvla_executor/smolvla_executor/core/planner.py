# SPDX-License-Identifier: Apache-2.0
"""Keeps the queue filled: when to ask for a chunk, and which of the answers count."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from smolvla_core.latency import (
    LEAST,
    LatencyWindow,
    best_threshold,
    starvation_reason,
    wants_chunk,
)
from smolvla_core.level import Level
from smolvla_core.node_settings import ExecutorSettings

from smolvla_executor.core.chunk_queue import Chunk, ChunkQueue, Upsampler, chosen_aggregation
from smolvla_executor.core.executor_types import Counters, Request
from smolvla_executor.core.guard import Guard

PERIOD_TOLERANCE = 1e-3
SILENCE = 2.0
SILENCE_FACTOR = 2.0
"""After `SILENCE` without an answer [s], or `SILENCE_FACTOR` times the p95 latency where that is
longer, `Planner.obstacle` asks whether the policy runs."""
TIMEOUT_FACTOR = 3.0
"""A request is given up no sooner than after so many times the p95 latency."""
REMEMBERED = 100


class _Sent(NamedTuple):
    tick: int
    time: float


class Planner:
    """The executor's side of the dialog with the policy.

    At most one request is in flight, and none is waited for without end. One that timed out
    makes room for the next, yet its answer is welcome until a newer one has been merged: a slow
    policy makes progress even when every request times out.

    Args:
        settings: of the executor.
        guard: checks chunks before they reach the queue.
        first_request_id: see `ExecutorCore`; ids count up from it for ever.
    """

    def __init__(self, settings: ExecutorSettings, guard: Guard, first_request_id: int) -> None:
        self._settings = settings
        self._guard = guard
        self.latency = LatencyWindow()
        self._next_id = first_request_id
        self._sent: dict[int, _Sent] = {}  # whose answers count
        self._dropped: deque[int] = deque(maxlen=REMEMBERED)
        self._no_listener = ""
        self.uninstructed = ""
        """Why there is no instruction to ask a chunk for; empty where there is one."""
        self.reset()

    def reconfigure(self, settings: ExecutorSettings, guard: Guard) -> None:
        """Go by other settings from now on; queue and requests stay."""
        self._settings, self._guard = settings, guard
        self.queue.reconfigure(settings)
        self._choose()

    def reset(self) -> None:
        """Begin anew at tick 0 with all counters at zero; latencies stay known."""
        self.queue = ChunkQueue(len(self._settings.joints), self._settings)
        self.counters = Counters()
        self.period = 0.0
        """Time between two queued actions [s]; 0 before the first chunk."""
        self.chunk_size = 0
        self._newest: Chunk | None = None
        self._choose()
        self._problem = ""
        self._problem_level = Level.OK
        self._offered = 0
        self.drop_requests()

    def drop(self) -> None:
        """Drop the queued actions and take no answer to the requests made so far."""
        self.queue.clear()
        self.drop_requests()

    def load(self, positions: NDArray[np.float64], period: float) -> None:
        """Queue only these actions (rows, joints) [rad], `period` [s] apart, of no policy."""
        self.drop()
        self.period = period
        self.queue.merge(Chunk(0, self.queue.next_tick, positions, period))

    def drop_requests(self) -> None:
        """Take no answer to the requests made so far; the next one may go at once."""
        self._dropped.extend(self._sent)
        self._sent.clear()
        self._in_flight: int | None = None
        self._not_before = -math.inf
        self._silent_since: float | None = None

    def dropped(self, request_id: int) -> bool:
        """Say whether a request was dropped: an answer to it is nothing odd."""
        return request_id in self._dropped

    def on_listener(self, problem: str) -> None:
        """Take note of whether anybody receives the requests; empty when somebody does."""
        if self._no_listener and not problem:
            self.drop_requests()  # what nobody received is asked again at once
        self._no_listener = problem

    @property
    def no_listener(self) -> str:
        """Why nobody receives requests; empty where somebody does."""
        return self._no_listener

    @property
    def in_flight(self) -> bool:
        """Whether a request waits for its answer."""
        return self._in_flight is not None

    def request_age(self, now: float) -> float:
        """Return how long the request in flight has been waiting [s]; 0 without one."""
        return 0.0 if self._in_flight is None else now - self._sent[self._in_flight].time

    def expire(self, now: float) -> None:
        """Give the request in flight up when it has waited too long."""
        slow = TIMEOUT_FACTOR * self.latency.p95
        shortest = self._settings.request_timeout
        timeout = shortest if math.isnan(slow) else max(shortest, slow)
        if self.in_flight and self.request_age(now) >= timeout:
            self._in_flight = None
            self.counters.requests_timed_out += 1

    def request(self, now: float, command: NDArray[np.float64] | None = None) -> Request | None:
        """Return the request to send now, None when none is due.

        Args:
            now: the time.
            command: see `Request`.
        """
        if self.uninstructed or self.in_flight or now < self._not_before:
            return None
        queued = len(self.queue)
        if not wants_chunk(self.threshold, queued, self.chunk_size):
            return None
        request_id = self._next_id
        self._next_id += 1
        tick = self.queue.next_tick
        self._sent[request_id] = _Sent(tick, now)
        if len(self._sent) > REMEMBERED:  # a dead policy must not fill the memory
            del self._sent[min(self._sent)]
        self._in_flight = request_id
        self.counters.requests += 1
        if self._silent_since is None:
            self._silent_since = now
        return Request(
            request_id=request_id,
            tick=tick,
            committed=self.queue.committed(),
            period=self.period,
            # Ticks stand still once the queue is empty.
            expected_delay=min(self._delay, queued),
            must_go=queued == 0,
            command=None if command is None else command.copy(),
        )

    def on_chunk(self, chunk: Chunk, now: float) -> str:
        """Merge a chunk; return why it was not used, empty when it was.

        Not used are chunks with an unknown id, second answers, and answers to requests older
        than that of a chunk that was merged.
        """
        sent = self._answered(chunk.request_id)
        if sent is None:
            return f"chunk {chunk.request_id} answers no open request: ignored"
        self.latency.add(max(0.0, now - sent.time))
        problem = self._chunk_problem(chunk, sent.tick)
        if problem:
            self._reject(problem, now)
            return problem
        if not self._has_period(chunk.period):
            self.period = chunk.period
        self._offered = len(chunk.positions)
        if self._settings.actions_per_chunk:
            chunk = replace(chunk, positions=chunk.positions[: self._settings.actions_per_chunk])
        result = self.queue.merge(chunk)
        self.counters.rows_trimmed += result.rows_trimmed
        if result.late:
            self.counters.chunks_late += 1
            return (
                f"chunk {chunk.request_id} came after all of its {result.rows_trimmed} ticks "
                "were over"
            )
        for older in [sent for sent in self._sent if sent < chunk.request_id]:
            del self._sent[older]
        self.chunk_size, self._newest = len(chunk.positions), chunk
        self._choose()
        self.counters.chunks_merged += 1
        self.counters.seam_jump_last = result.seam_jump
        self.counters.seam_jump_max = max(self.counters.seam_jump_max, result.seam_jump)
        self._problem = ""
        return ""

    def on_refusal(self, request_id: int, error: str, now: float, waiting: bool = False) -> str:
        """Take a refusal; return why it is ignored, empty when it counts."""
        if self._answered(request_id) is None:
            return f"refusal {request_id} answers no open request: ignored"
        self.counters.requests_refused += 1
        self.counters.last_refusal = error
        self._pause(now)
        self._problem = error if waiting else f"the policy refused: {error}"
        self._problem_level = Level.OK if waiting else Level.WARN
        return ""

    def reject_plan(self, problem: str, now: float) -> None:
        """Drop the plan, because the arm must not follow it, and ask for another later."""
        self.drop()
        self._reject(problem, now)

    def obstacle(self, now: float) -> tuple[str, Level | None]:
        """Return what keeps the next chunk from coming; empty when it is only on its way.

        Returns:
            A message, and how bad it is; None where only time tells, as nobody answers at all.
        """
        if self._no_listener:
            return self._no_listener, None
        if self.uninstructed:
            return self.uninstructed, Level.OK
        silence = 0.0 if self._silent_since is None else now - self._silent_since
        usual = self.latency.p95
        if silence >= max(SILENCE, 0.0 if math.isnan(usual) else SILENCE_FACTOR * usual):
            return f"no answer from the policy for {silence:.1f} s: is policy_node running?", None
        return self._problem, self._problem_level if self._problem else Level.OK

    def request_progress(self, now: float) -> str:
        """Say how far the request for the next chunk is."""
        if self.in_flight:
            return f"asked {self.request_age(now):.2f} s ago"
        return "asks for the next chunk"

    def starvation_reason(self) -> str:
        """Say why there are too few actions, though the policy answers, and what to do."""
        latency = self.latency
        return starvation_reason(
            latency.p50,
            latency.p95,
            self.threshold,
            self.chunk_size,
            self.period,
            self._offered,
            chosen=self._chooses,
        )

    @property
    def execution(self) -> str:
        """How chunks are executed, in words; empty before the first."""
        if self._newest is None:
            return ""
        how = f"asynchronous, g {self.threshold:g}" if self.threshold else "synchronous"
        if self._chooses:
            how += f" (chosen for a delay of {self._delay} actions)"
        continues = self._newest.continues
        how += f", {chosen_aggregation(self._settings.aggregate, continues)}"
        return how + (f", chunks continue by {continues}" if continues not in ("", "off") else "")

    @property
    def _chooses(self) -> bool:
        return self._settings.chunk_size_threshold < 0.0

    @property
    def _delay(self) -> int:
        return self.latency.expected_delay(self.period) if self.period else 0

    def _choose(self) -> None:
        """Choose g, where the settings leave it to the executor."""
        self.threshold = self._settings.chunk_size_threshold
        if not self._chooses:
            return
        self.threshold = LEAST
        if self._newest is not None:
            newest = self._newest
            rows = newest.chunk_size or len(newest.positions)
            most = self._settings.actions_per_chunk or rows + newest.state_offset
            rows = min(rows, most)
            self.threshold = best_threshold(
                self._delay, rows, min(newest.state_offset, most - rows)
            )

    def _answered(self, request_id: int) -> _Sent | None:
        """Return the request that an answer is for, once; None for an answer to ignore."""
        sent = self._sent.pop(request_id, None)
        if sent is None:
            return None
        self._silent_since = None
        if self._in_flight == request_id:
            self._in_flight = None
        elif self._in_flight is not None:
            self._silent_since = self._sent[self._in_flight].time
        return sent

    def _pause(self, now: float) -> None:
        self._not_before = now + self._settings.retry_delay

    def _reject(self, problem: str, now: float) -> None:
        self.counters.chunks_invalid += 1
        self._problem, self._problem_level = problem, Level.ERROR
        self._pause(now)

    def _has_period(self, period: float) -> bool:
        return abs(period - self.period) <= PERIOD_TOLERANCE * self.period

    def _chunk_problem(self, chunk: Chunk, tick: int) -> str:
        problem = self._guard.chunk_problem(chunk)
        if problem:
            return problem
        if chunk.first_tick != tick:
            return (
                f"chunk {chunk.request_id} begins at tick {chunk.first_tick}, but tick {tick} "
                "was asked for: the policy must echo InferenceRequest.tick"
            )
        if self._has_period(chunk.period):
            return ""
        if len(self.queue):
            return (
                f"the chunk's period is {chunk.period:.6g} s, that of the queued actions "
                f"{self.period:.6g} s: it is refused until the queue is empty"
            )
        try:
            Upsampler(self._settings.rate, chunk.period)
        except ValueError as error:
            return str(error)
        return ""
