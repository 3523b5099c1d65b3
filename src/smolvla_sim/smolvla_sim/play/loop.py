# SPDX-License-Identifier: Apache-2.0
"""The one episode loop: executor, policy and arm under one clock of simulated time.

Evaluation, benchmark and demonstrations all run through `EpisodeLoop`. The executor is that of
`executor_node`, the policy is asked as `policy_node` asks it, and nothing in here reads a clock:
an answer is computed from the observation of the instant of its request and handed over when the
delay is over, however long the computation took. So runs are exact and repeatable anywhere.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from smolvla_core.backend import Backend, ChunkRequest, Observation, SceneObject
from smolvla_core.node_settings import ExecutorSettings
from smolvla_core.robot import load_robot
from smolvla_core.settings import from_values
from smolvla_executor.core.chunk_queue import Chunk
from smolvla_executor.core.executor import ExecutorCore
from smolvla_executor.core.executor_types import Request, State
from smolvla_policy.backends.session import Answer, answer

from smolvla_sim.play.measures import Trace
from smolvla_sim.world.arm import JOINT_NAMES
from smolvla_sim.world.rendering import CameraRenderer
from smolvla_sim.world.scene import OBJECT_SIZES
from smolvla_sim.world.simulation import Simulation, substeps
from smolvla_sim.world.tasks import Task

Array = NDArray[np.float64]
Size = tuple[int, int]

DONE, LOST, OVER, REFUSED = "done", "lost", "over", "refused"
"""How a task ends: done, nothing can make it a success any more, out of time, or refused."""

NO_APPROACH = 10.0
"""A `Execution.resume_jump` that no joint reaches: the arm goes on at once, as with LeRobot."""

_USUAL = ExecutorSettings()


@dataclass(frozen=True)
class Execution:
    """How chunks are executed, where runs differ; the other settings are `executor_node`'s own.

    Attributes:
        chunk_size_threshold: g, the share of a chunk below which the next one is asked for; 0:
            only when none is left; below 0: chosen by the executor.
        aggregate: how chunks are blended; without meaning where the threshold is 0.
        actions_per_chunk: rows of a chunk that are used; 0 all.
        resume_jump: an action that ends a hold is approached slowly when it is farther than
            this from the held command [rad].
        real_time_chunking: how chunks continue the queued actions (parameter of `policy_node`).
        alignment: where in a chunk to go on that comes in motion, ``pose`` or ``tick``.
    """

    chunk_size_threshold: float = _USUAL.chunk_size_threshold
    aggregate: str = _USUAL.aggregate
    actions_per_chunk: int = _USUAL.actions_per_chunk
    resume_jump: float = _USUAL.resume_jump
    real_time_chunking: str = "off"
    alignment: str = _USUAL.alignment

    @property
    def synchronous(self) -> bool:
        """Whether inference and motion take turns."""
        return self.chunk_size_threshold == 0.0

    @property
    def name(self) -> str:
        """E.g. ``sync, 5 actions``, ``async g=0.7 weighted`` or ``async g=0.7 RTC guided``."""
        if self.synchronous:
            if not self.actions_per_chunk:
                return "sync, whole chunk"
            return f"sync, {self.actions_per_chunk} actions"
        rows = f", {self.actions_per_chunk} actions" if self.actions_per_chunk else ""
        method = self.real_time_chunking
        if self.chunk_size_threshold < 0.0:
            return "auto"
        seam = self.aggregate if method == "off" else f"RTC {method.replace('_', ' ')}"
        by = "" if self.alignment == _USUAL.alignment else f" by {self.alignment}"
        return f"async g={self.chunk_size_threshold:g} {seam}{by}{rows}"

    def executor(self, rate: float, robot: str = "so100") -> ExecutorSettings:
        """Return the settings of an executor at `rate` [Hz] with the limits of `robot`."""
        return from_values(ExecutorSettings, {**asdict(self), "rate": rate, "robot": robot})


USUAL = Execution(real_time_chunking="auto")
"""As `executor_node` and `policy_node` do it by themselves."""


def direct(
    simulation: Simulation, rate: float, actions: int, threshold: float = 0.0
) -> ExecutorSettings:
    """Return an executor that leaves everything as it is: no guard, no approach.

    With `threshold` 0 this is LeRobot's synchronous loop: observe, infer, execute
    ``n_action_steps`` rows, and again.

    Args:
        simulation: the arm.
        rate: of the actions [Hz].
        actions: rows of a chunk that are executed.
        threshold: ``chunk_size_threshold`` of `executor_node`.
    """
    anything = 1e6
    robot = load_robot("so100")
    # The arm's own limits, to which its servos clamp every command.
    limits = zip(robot.joints, simulation.lower.tolist(), simulation.upper.tolist(), strict=True)
    joints = tuple(
        replace(joint, lower=lower, upper=upper, speed=anything) for joint, lower, upper in limits
    )
    return ExecutorSettings(
        rate=rate,
        chunk_size_threshold=threshold,
        aggregate="latest",
        alignment="tick",
        actions_per_chunk=actions,
        max_step=(anything,),
        max_start_jump=(anything,),
        approach_speed=1000.0,
        approach_duration=0.0,
        resume_jump=NO_APPROACH,
        # After a refusal it asks again in the next cycle.
        retry_delay=0.5 / rate,
    ).with_body(replace(robot, joints=joints))


class Observer:
    """What a policy observes of the simulation; pictures are drawn only when it asks for them.

    Args:
        simulation: what is observed.
        backend: the policy.
        size: of the pictures: width and height in pixels.
        joint_noise: standard deviation of the noise on the joint positions that the policy is
            given [rad].

    Raises:
        ValueError: a camera does not exist.
        smolvla_sim.world.rendering.RenderingError: cameras are needed and no OpenGL works.
    """

    def __init__(
        self, simulation: Simulation, backend: Backend, size: Size, joint_noise: float = 0.0
    ) -> None:
        self.simulation = simulation
        self.backend = backend
        self._joint_noise = joint_noise
        self._noise = np.random.default_rng(0)
        self._renderer: CameraRenderer | None = None
        # A backend that is given the poses of the objects uses no pictures.
        if backend.cameras and not backend.needs_objects:
            self._renderer = CameraRenderer(simulation.model, backend.cameras, size)

    def reseed(self, seed: int) -> None:
        """Begin the noise on the joint positions anew."""
        self._noise = np.random.default_rng([seed, 1])

    def observe(self, instruction: str) -> Observation:
        """Return the observation of this instant."""
        simulation = self.simulation
        positions = simulation.positions
        if self._joint_noise:
            positions += self._joint_noise * self._noise.standard_normal(len(positions))
        objects = simulation.objects() if self.backend.needs_objects else {}
        return Observation(
            images={} if self._renderer is None else self._renderer.render(simulation.data),
            joint_names=JOINT_NAMES,
            positions=positions,
            instruction=instruction,
            objects={
                name: SceneObject(
                    state.position, np.roll(state.quaternion, -1), np.array(OBJECT_SIZES[name])
                )
                for name, state in objects.items()
            },
        )

    def close(self) -> None:
        """Free renderer and backend."""
        if self._renderer is not None:
            self._renderer.close()
        self.backend.close()


class _Reply(NamedTuple):
    """An answer that is on its way."""

    due: int
    observed: float
    request: Request
    answer: Answer


class EpisodeLoop:
    """One run: the executor from its start on, the arm from where it stands.

    Args:
        observer: of the arm, with the policy that it is for.
        executor: settings.
        delay: from a request to its answer [s], rounded up to whole control cycles; with 0 the
            answer comes within the cycle of the request.
        delay_spread: standard deviation of the logarithm of the delay, of which `delay` is the
            median then.
        lost: share of the answers that never come.
        seed: of the policy's noise; chunk k of every run with this seed has the same.
        real_time_chunking: how chunks continue the queued actions (parameter of `policy_node`).
        on_command: is given each command and returns the one that the arm gets.

    Raises:
        ValueError: the rate is below the policy's, or does not divide the physics rate.

    Attributes:
        instruction: the sentence that the policy is given from now on, as by a message on
            ``/task_instruction``; plans made for the old one are not dropped. Blank: it is asked
            for nothing.
        core: the executor; between two steps a human may take over, or a replay begin.
        trace: what happened so far.
    """

    def __init__(
        self,
        observer: Observer,
        executor: ExecutorSettings,
        *,
        delay: float = 0.0,
        delay_spread: float = 0.0,
        lost: float = 0.0,
        seed: int = 0,
        real_time_chunking: str = "off",
        on_command: Callable[[Array], Array] | None = None,
    ) -> None:
        self._observer = observer
        self._simulation = observer.simulation
        self._backend = observer.backend
        self._rate = executor.rate
        if self.cycles_per_action < 1.0 - 1e-6:
            raise ValueError(
                f"a control rate of {self._rate:g} Hz is below the policy's "
                f"{1.0 / self._backend.period:g} Hz; raise --rate"
            )
        self._substeps = substeps(self._rate, 1.0 / self._simulation.period)
        self._delay = delay
        self._delay_spread, self._lost = delay_spread, lost
        self._network = np.random.default_rng([seed, 2])
        self.core = ExecutorCore(executor)
        # A backend without `tune` has no settings to change.
        tune = getattr(self._backend, "tune", None)
        if tune is not None:
            tune({"seed": seed, "real_time_chunking": real_time_chunking})
        observer.reseed(seed)
        self._on_command = on_command
        self._replies: list[_Reply] = []
        self._cycle = 0
        self._observed = math.nan
        self.instruction = ""
        self.trace = Trace()
        self.core.start(self.now)

    @property
    def now(self) -> float:
        """Simulated seconds since the start."""
        return self._cycle / self._rate

    @property
    def cycles_per_action(self) -> float:
        """Control cycles from one action to the next."""
        return self._rate * self._backend.period

    def play(
        self,
        limit: float = math.inf,
        *,
        end: float = math.inf,
        give_up: bool = True,
        patient: bool = True,
    ) -> str:
        """Ask for the simulation's task until it is `DONE`, `LOST`, `REFUSED` or time is `OVER`.

        Args:
            limit: time for it [s].
            end: of the run [s].
            give_up: end a task that is lost at once, instead of when its time is over.
            patient: go on and ask again when the policy refuses.
        """
        simulation, begun = self._simulation, self.now
        self.instruction = simulation.task.sentence
        while self.now < end and self.now - begun < limit:
            self.step()
            if simulation.score() >= 1.0:
                return DONE
            if give_up and simulation.lost:
                return LOST
            if not patient and self.trace.refusals:
                return REFUSED
        return OVER

    def play_all(
        self,
        tasks: Iterator[Task],
        end: float,
        rng: Generator,
        limit: float = math.inf,
        *,
        give_up: bool = True,
    ) -> tuple[list[float], int]:
        """Do one task after another until `end` [s], with the cubes put back in between.

        The last one is not ended; it is the simulation's task then.

        Args:
            tasks: what to do; there must be enough of them.
            end: of the run [s].
            rng: draws where cubes go.
            limit: time for each task [s].
            give_up: see `play`.

        Returns:
            The time of each task that was done [s], and how many were lost or not done in time.
        """
        done: list[float] = []
        failed = 0
        self._simulation.set_task(next(tasks).sentence)
        while True:
            begun = self.now
            ended = self.play(limit, end=end, give_up=give_up)
            taken = self.now - begun
            if ended == OVER and taken < limit:
                return done, failed
            if ended == DONE:
                done.append(round(taken, 6))
            else:
                failed += 1
            self._simulation.set_task(next(tasks).sentence)
            self._simulation.restock(rng)

    def step(self) -> None:
        """Run one control cycle and let its time pass."""
        now = self.now
        self._deliver()
        self.core.on_joint_state(self._simulation.positions, now)
        self.core.planner.uninstructed = "" if self.instruction.strip() else "no instruction"
        output = self.core.cycle(now)
        if output.request is not None:
            self._ask(output.request)
            if self._delay == 0.0:
                self._deliver()
                if output.executed_tick is None:
                    # It waited for this answer, so the cycle begins again with it.
                    output = self.core.cycle(now)
                    if output.request is not None:
                        self._ask(output.request)
        if output.command is not None:
            command = output.command
            self.trace.commands.append(command)
            self._simulation.command(
                command if self._on_command is None else self._on_command(command)
            )
        if output.executed_tick is not None:
            self.trace.ages.append(now - self._observed)
        if self.trace.ages:
            self.trace.cycles += 1
            self.trace.starved += output.state == State.HOLDING
            self.trace.approaching += output.state == State.APPROACHING
        self._simulation.step(self._substeps)
        self._cycle += 1

    def _ask(self, request: Request) -> None:
        self.trace.requests += 1
        reply = answer(
            self._backend,
            ChunkRequest(
                request.request_id,
                request.tick,
                request.committed,
                request.expected_delay,
                request.command,
            ),
            lambda: self._observer.observe(self.instruction),
        )
        if self._network.random() < self._lost:
            return
        delay = self._delay * math.exp(self._delay_spread * self._network.standard_normal())
        due = self._cycle + math.ceil(delay * self._rate - 1e-9)
        self._replies.append(_Reply(due, self.now, request, reply))
        self._replies.sort(key=lambda reply: reply.due)

    def _deliver(self) -> None:
        while self._replies and self._replies[0].due <= self._cycle:
            reply = self._replies.pop(0)
            request_id = reply.request.request_id
            if reply.answer.positions is None:
                self.trace.refusals += 1
                self.trace.refusal = reply.answer.error
                self.core.planner.on_refusal(request_id, reply.answer.error, self.now)
                continue
            chunk = Chunk(
                request_id,
                reply.request.tick,
                reply.answer.positions,
                self._backend.period,
                reply.answer.continues,
                self._backend.chunk_size,
                getattr(self._backend, "state_offset", 0),
            )
            if not self.core.planner.on_chunk(chunk, self.now):
                self._observed = reply.observed
                self.trace.merges.append(len(self.trace.commands))
