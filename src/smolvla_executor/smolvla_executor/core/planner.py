# SPDX-License-Identifier: Apache-2.0
"""Keeps the queue filled: when to ask for a chunk, and what becomes of the answers."""

from __future__ import annotations

import math
from dataclasses import replace

from smolvla_core.latency import LatencyWindow, starvation_reason, wants_chunk
from smolvla_core.level import Level
from smolvla_core.node_settings import ExecutorSettings

from smolvla_executor.core.chunk_queue import Chunk, ChunkQueue
from smolvla_executor.core.executor_types import Request
from smolvla_executor.core.guard import Guard
from smolvla_executor.core.interpolation import Upsampler
from smolvla_executor.core.request_tracker import RequestTracker

PERIOD_TOLERANCE = 1e-3
SILENCE = 2.0
SILENCE_FACTOR = 2.0
"""After `SILENCE` without an answer [s], or `SILENCE_FACTOR` times the p95 latency where that is
longer, `Planner.outlook` asks whether the policy runs."""


class Planner:
    """The executor's side of the dialog with the policy.

    Args:
        settings: of the executor.
        guard: checks chunks before they reach the queue.
        first_request_id: see `ExecutorCore`.
    """

    def __init__(self, settings: ExecutorSettings, guard: Guard, first_request_id: int) -> None:
        self._settings = settings
        self._guard = guard
        self.latency = LatencyWindow()
        self.requests = RequestTracker(
            first_request_id, settings.request_timeout, settings.retry_delay, self.latency
        )
        self._unheard = ""
        self.uninstructed = ""
        """Why there is no instruction to ask a chunk for; empty where there is one."""
        self.reset()

    def reconfigure(self, settings: ExecutorSettings, guard: Guard) -> None:
        """Go by other settings from now on; queue and requests stay."""
        self._settings, self._guard = settings, guard
        self.queue.reconfigure(settings)
        self.requests.reconfigure(settings.request_timeout, settings.retry_delay)

    def reset(self) -> None:
        """Begin anew at tick 0 with all counters at zero; latencies stay known."""
        self.queue = ChunkQueue(len(self._settings.joints), self._settings)
        self.requests.reset()
        self.period = 0.0
        """Time between two queued actions [s]; 0 before the first chunk."""
        self.chunk_size = 0
        self.chunks_merged = 0
        self.chunks_late = 0
        self.chunks_invalid = 0
        self.rows_trimmed = 0
        self.seam_jump_last = 0.0
        self.seam_jump_max = 0.0
        self._problem = ""
        self._problem_level = Level.OK
        self._offered = 0

    def drop(self) -> None:
        """Drop the queued actions and take no answer to the requests made so far."""
        self.queue.clear()
        self.requests.forget()

    def on_listener(self, problem: str) -> None:
        """Take note of whether anybody hears the requests; empty when somebody does."""
        if self._unheard and not problem:
            self.requests.forget()  # what nobody heard is asked again at once
        self._unheard = problem

    def request(self, now: float) -> Request | None:
        """Return the request to send now, None when none is due."""
        if self.uninstructed:
            return None
        queued = len(self.queue)
        share = self._settings.chunk_size_threshold
        if not wants_chunk(share, queued, self.chunk_size) or not self.requests.free(now):
            return None
        tick = self.queue.next_tick
        delay = self.latency.expected_delay(self.period) if self.period else 0
        return Request(
            request_id=self.requests.send(tick, now),
            tick=tick,
            committed=self.queue.committed(),
            period=self.period,
            # Ticks stand still once the queue is empty.
            expected_delay=min(delay, queued),
            must_go=queued == 0,
        )

    def on_chunk(self, chunk: Chunk, now: float) -> str:
        """Merge a chunk; return why it was not used, empty when it was."""
        tick = self.requests.answer(chunk.request_id, now)
        if tick is None:
            return f"chunk {chunk.request_id} answers no open request: ignored"
        problem = self._chunk_problem(chunk, tick)
        if problem:
            self._reject(problem, now)
            return problem
        if not self._has_period(chunk.period):
            self.period = chunk.period
        self._offered = len(chunk.positions)
        if self._settings.actions_per_chunk:
            chunk = replace(chunk, positions=chunk.positions[: self._settings.actions_per_chunk])
        result = self.queue.merge(chunk)
        self.rows_trimmed += result.rows_trimmed
        if result.late:
            self.chunks_late += 1
            return (
                f"chunk {chunk.request_id} came after all of its {result.rows_trimmed} ticks "
                "were over"
            )
        self.requests.supersede(chunk.request_id)
        self.chunk_size = len(chunk.positions)
        self.chunks_merged += 1
        self.seam_jump_last = result.seam_jump
        self.seam_jump_max = max(self.seam_jump_max, result.seam_jump)
        self._problem = ""
        return ""

    def on_refusal(self, request_id: int, error: str, now: float, waiting: bool = False) -> str:
        """Take a refusal; return why it is ignored, empty when it counts."""
        if not self.requests.refuse(request_id, error, now):
            return f"refusal {request_id} answers no open request: ignored"
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
            Words, and how bad it is; None where only time tells, as nobody answers at all.
        """
        if self._unheard:
            return self._unheard, None
        if self.uninstructed:
            return self.uninstructed, Level.OK
        silence = self.requests.silence(now)
        usual = self.latency.p95
        if silence >= max(SILENCE, 0.0 if math.isnan(usual) else SILENCE_FACTOR * usual):
            return f"no answer from the policy for {silence:.1f} s: is policy_node running?", None
        return self._problem, self._problem_level if self._problem else Level.OK

    def outlook(self, now: float) -> str:
        """Say when the next chunk may come, or what keeps it from coming."""
        words, _ = self.obstacle(now)
        if words:
            return words
        if self.requests.in_flight:
            return f"asked {self.requests.age(now):.2f} s ago"
        return "asks for the next chunk"

    def starvation_reason(self) -> str:
        """Say why there are too few actions, though the policy answers, and what to do."""
        latency, share = self.latency, self._settings.chunk_size_threshold
        return starvation_reason(
            latency.p50, latency.p95, share, self.chunk_size, self.period, self._offered
        )

    def _reject(self, problem: str, now: float) -> None:
        self.chunks_invalid += 1
        self._problem, self._problem_level = problem, Level.ERROR
        self.requests.pause(now)

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
