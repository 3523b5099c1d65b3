# SPDX-License-Identifier: Apache-2.0
"""Executor, policy and arm under one clock of simulated time.

The executor is that of `executor_node`, the policy is asked as `policy_node` asks it, and
nothing in here reads a clock: an answer is computed from the observation of the instant of its
request and handed over when the delay is over, however long the computation took. So runs are
exact and repeatable, on any machine.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from smolvla_core.backend import ChunkRequest
from smolvla_executor.core.chunk_queue import Chunk
from smolvla_executor.core.executor import ExecutorCore
from smolvla_executor.core.executor_types import Request, State
from smolvla_policy.backends.session import Answer, answer

from smolvla_sim.play.episodes import substeps
from smolvla_sim.play.execution import Execution
from smolvla_sim.play.observer import Observer
from smolvla_sim.play.policies import LoadedPolicy
from smolvla_sim.play.trace import Trace
from smolvla_sim.world.simulation import Simulation


@dataclass(frozen=True)
class _Letter:
    """An answer under way."""

    due: int
    observed: float
    request: Request
    reply: Answer


class ControlLoop:
    """One run: the executor from its start on.

    Args:
        simulation: the arm; stands where it stands.
        observer: looks at it.
        policy: who thinks.
        execution: how chunks are executed.
        rate: of the control loop [Hz].
        delay: from a request to its answer [s]; rounded up to whole control cycles.

    Raises:
        ValueError: the rate is below the policy's, or does not divide the physics rate.

    Attributes:
        instruction: the sentence that the policy is given from now on, as by a message on
            ``/task_instruction``; plans made for the old one are not dropped. Blank: it is asked
            for nothing.
        trace: what happened so far.
    """

    def __init__(
        self,
        simulation: Simulation,
        observer: Observer,
        policy: LoadedPolicy,
        execution: Execution,
        rate: float,
        delay: float,
    ) -> None:
        self._simulation = simulation
        self._observer = observer
        self._backend = policy.backend
        if rate * policy.backend.period < 1.0 - 1e-6:
            raise ValueError(
                f"a control rate of {rate:g} Hz is below the policy's "
                f"{1.0 / policy.backend.period:g} Hz; raise --rate"
            )
        self._rate = rate
        self._substeps = substeps(simulation, self._rate)
        # An answer cannot come earlier than at the cycle after its request.
        self._delay = max(1, math.ceil(delay * self._rate - 1e-9))
        self._core = ExecutorCore(execution.executor(rate))
        policy.set_real_time_chunking(execution.real_time_chunking)
        self._mail: list[_Letter] = []
        self._cycle = 0
        self._observed = math.nan
        self.instruction = ""
        self.trace = Trace()
        self._core.start(self.now)

    @property
    def now(self) -> float:
        """Simulated seconds since the start."""
        return self._cycle / self._rate

    @property
    def cycles_per_action(self) -> float:
        """Control cycles from one action to the next."""
        return self._rate * self._backend.period

    def step(self) -> None:
        """Run one control cycle and let its time pass."""
        now = self.now
        self._deliver()
        self._core.on_joint_state(self._simulation.positions, now)
        self._core.on_instruction("" if self.instruction.strip() else "no instruction")
        output = self._core.cycle(now)
        if output.command is not None:
            self._simulation.command(output.command)
            self.trace.commands.append(output.command)
        if output.executed_tick is not None:
            self.trace.ages.append(now - self._observed)
        self._count(output.state)
        if output.request is not None:
            self._ask(output.request)
        self._simulation.step(self._substeps)
        self._cycle += 1

    def _count(self, state: State) -> None:
        trace = self.trace
        if trace.ages:
            trace.cycles += 1
            trace.starved += state == State.HOLDING
            trace.approaching += state == State.APPROACHING

    def _ask(self, request: Request) -> None:
        self.trace.requests += 1
        reply = answer(
            self._backend,
            ChunkRequest(
                request.request_id, request.tick, request.committed, request.expected_delay
            ),
            lambda: self._observer.observe(self.instruction),
        )
        self._mail.append(_Letter(self._cycle + self._delay, self.now, request, reply))

    def _deliver(self) -> None:
        while self._mail and self._mail[0].due <= self._cycle:
            letter = self._mail.pop(0)
            request_id = letter.request.request_id
            if letter.reply.positions is None:
                self.trace.refusals += 1
                self._core.on_refusal(request_id, letter.reply.error, self.now)
                continue
            chunk = Chunk(
                request_id, letter.request.tick, letter.reply.positions, self._backend.period
            )
            if not self._core.on_chunk(chunk, self.now):
                self._observed = letter.observed
                self.trace.merges.append(len(self.trace.commands))
