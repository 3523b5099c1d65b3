# SPDX-License-Identifier: Apache-2.0
"""A small rig around the executor: an arm that follows at once, a policy that answers late."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from robot_files import robot_file
from smolvla_core.node_settings import ExecutorSettings
from smolvla_executor.core.chunk_queue import Chunk
from smolvla_executor.core.executor import ExecutorCore
from smolvla_executor.core.executor_types import CycleOutput, Request, State

JOINTS = ("pan", "lift", "gripper")
PERIOD = 0.05
SETTINGS = ExecutorSettings(
    robot=robot_file(JOINTS, -1.0, 1.0),
    max_speed=4.0,
    max_step=9.0,
    rate=1.0 / PERIOD,
    chunk_size_threshold=0.5,
    approach_speed=2.0,
    approach_duration=0.1,
    state_timeout=0.2,
    request_timeout=5.0,
)


def path(tick: float) -> np.ndarray:
    """The action of a tick: every consistent policy predicts this, whenever it is asked."""
    return 0.4 * np.sin(0.05 * tick + np.arange(len(JOINTS)))


def chunk_for(request: Request, rows: int = 10, period: float = PERIOD) -> Chunk:
    positions = np.array([path(request.tick + i) for i in range(rows)])
    return Chunk(request.request_id, request.tick, positions, period)


class Rig:
    """Steps an executor; `policy` gets each request and posts what arrives, and when."""

    def __init__(self, settings: ExecutorSettings = SETTINGS, **changes: object) -> None:
        self.settings = replace(settings, **changes)
        self.core = ExecutorCore(self.settings, first_request_id=1000)
        self.now = 100.0
        self.measured = path(0) + 0.05
        self.publish_states = True
        self.policy: Callable[[Request], None] = self.answer
        self.requests: list[Request] = []
        self.outputs: list[CycleOutput] = []
        self._mail: list[tuple[float, int, Callable[[], object]]] = []
        self._letters = 0
        self.awaited: int | None = None
        self._timed_out = 0

    def post(self, delay: float, deliver: Callable[[], object]) -> None:
        self._letters += 1
        heapq.heappush(self._mail, (self.now + delay, self._letters, deliver))

    def post_chunk(self, delay: float, chunk: Chunk) -> None:
        def deliver() -> None:
            self._resolve(chunk.request_id)
            self.core.planner.on_chunk(chunk, self.now)

        self.post(delay, deliver)

    def post_refusal(self, delay: float, request_id: int, error: str) -> None:
        def deliver() -> None:
            self._resolve(request_id)
            self.core.planner.on_refusal(request_id, error, self.now)

        self.post(delay, deliver)

    def discard_plan(self) -> None:
        self.core.discard_plan()
        self.awaited = None

    def _resolve(self, request_id: int) -> None:
        if request_id == self.awaited:
            self.awaited = None

    def check_single_request(self, request: Request) -> None:
        """At most one request is in flight: the one before was answered or given up."""
        timed_out = self.status().requests_timed_out
        assert self.awaited is None or timed_out > self._timed_out
        self._timed_out = timed_out
        self.awaited = request.request_id

    @staticmethod
    def path(tick: float) -> np.ndarray:
        return path(tick)

    @staticmethod
    def chunk_for(request: Request, rows: int = 10, period: float = PERIOD) -> Chunk:
        return chunk_for(request, rows, period)

    def answer(self, request: Request) -> None:
        self.post_chunk(0.1, chunk_for(request))

    def cycle(self, count: int = 1) -> CycleOutput:
        for _ in range(count):
            self.now += 1.0 / self.settings.rate
            if self.publish_states:
                self.core.on_joint_state(self.measured, self.now)
            while self._mail and self._mail[0][0] <= self.now + 1e-9:
                heapq.heappop(self._mail)[2]()
            output = self.core.cycle(self.now)
            self.outputs.append(output)
            if output.command is not None:
                self.measured = output.command.copy()
            if output.state in (State.IDLE, State.FAULT):
                self.awaited = None
            if output.request is not None:
                self.check_single_request(output.request)
                self.requests.append(output.request)
                self.policy(output.request)
        return output

    def run_until(self, state: State, limit: int = 200) -> CycleOutput:
        for _ in range(limit):
            output = self.cycle()
            if output.state == state:
                return output
        raise AssertionError(f"never {state!r}, but {output.state!r}: {output.reason}")

    def start(self) -> None:
        self.core.start(self.now)
        self._timed_out = 0

    def status(self):
        return self.core.status(self.now)

    @property
    def executed(self) -> list[int]:
        return [o.executed_tick for o in self.outputs if o.executed_tick is not None]

    @property
    def commands(self) -> np.ndarray:
        return np.array([o.command for o in self.outputs if o.command is not None])


@pytest.fixture
def make_rig() -> type[Rig]:
    return Rig


@pytest.fixture
def rig() -> Rig:
    return Rig()
