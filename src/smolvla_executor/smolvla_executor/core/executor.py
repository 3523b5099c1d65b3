# SPDX-License-Identifier: Apache-2.0
"""The executor: turns chunks that come whenever they come into commands at a fixed rate.

`ExecutorCore` is a state machine without threads, ROS or a clock of its own. Whoever drives
it, a node or a simulation, hands over what arrived and calls `ExecutorCore.cycle` once per
control cycle, all from one thread:

    core = ExecutorCore(ExecutorSettings(rate=60.0), first_request_id=time.time_ns())
    core.start(now)
    while running:
        for message in inbox:                    # filled by subscriptions
            core.on_joint_state(positions, now)      # or core.feedback.reject(problem)
            core.planner.on_chunk(chunk, now)        # returns why it was not used, or ""
            core.planner.on_refusal(request_id, error, now)
        output = core.cycle(now)
        if output.command is not None: publish(output.command)
        if output.request is not None: publish(output.request)

`now` is in seconds of any clock that only goes forward, the same for all calls.
"""

from __future__ import annotations

from dataclasses import asdict

import numpy as np
from numpy.typing import ArrayLike, NDArray
from smolvla_core.joints import Part
from smolvla_core.level import PATIENCE, Level
from smolvla_core.node_settings import PER_JOINT, ExecutorSettings

from smolvla_executor.core.chunk_queue import Upsampler, interpolate
from smolvla_executor.core.executor_types import CycleOutput, Request, State, Status
from smolvla_executor.core.guard import ROUNDING, Guard, Limited
from smolvla_executor.core.joint_feedback import JointFeedback
from smolvla_executor.core.planner import Planner
from smolvla_executor.core.tick_clock import CycleStatistics

DRY_RUN = "DRY RUN, the arm gets no commands: "
"""What every reason begins with in a dry run."""
_LEVELS = {State.HOLDING: Level.WARN, State.FAULT: Level.ERROR}
MIN_JERK_PEAK = 1.875
"""Peak speed of a minimum-jerk motion over its mean speed (30/16)."""


class Approach:
    """A minimum-jerk motion between two positions (Flash and Hogan 1985), cycle by cycle.

    All joints start and arrive together, at rest.

    Args:
        start: (joints,) [rad].
        goal: (joints,) [rad].
        control_rate: control cycles per second [Hz].
        max_speed: no joint is faster than this [rad/s]; one number, or (joints,).
        min_duration: it takes at least this long [s].
    """

    def __init__(
        self,
        start: NDArray[np.float64],
        goal: NDArray[np.float64],
        control_rate: float,
        max_speed: float | NDArray[np.float64],
        min_duration: float,
    ) -> None:
        self.start = start.copy()
        self.goal = goal.copy()
        longest = float(np.max(np.abs(goal - start) / max_speed))
        self.duration = max(min_duration, MIN_JERK_PEAK * longest)
        self.cycles = max(1, int(np.ceil(self.duration * control_rate - 1e-9)))
        self._cycle = 0

    @property
    def progress(self) -> float:
        """Share of the time that is over, in [0, 1]."""
        return self._cycle / self.cycles

    @property
    def done(self) -> bool:
        """Whether the goal has been commanded."""
        return self._cycle >= self.cycles

    def advance(self) -> NDArray[np.float64]:
        """Return the command of the next cycle (joints,) [rad]; the goal exactly at the end."""
        self._cycle = min(self._cycle + 1, self.cycles)
        if self.done:
            return self.goal.copy()
        s = self.progress
        return self.start + (self.goal - self.start) * (s**3 * (10.0 - 15.0 * s + 6.0 * s**2))


class ExecutorCore:
    """Asynchronous execution of chunks behind a guard.

    * Nothing is commanded before the first valid joint state, and every motion begins with
      an approach from the measured position: after `start` and after a fault.
    * Ticks advance only when an action is executed, so not while approaching or holding.
    * Without a known action the last command is repeated.
    * With joint states that are stale, invalid or contradict each other nothing is published and
      the plan is dropped.

    Attributes:
        planner: takes chunks and refusals; counts them.
        feedback: of the joints.
        state: what it does.

    Args:
        settings: of the executor. `ExecutorSettings.dry_run` is echoed in the status: commands are
            computed all the same, and whoever publishes them must leave that out.
        first_request_id: id of the first request; give ``time.time_ns()``, so that a restarted
            executor never takes an answer meant for its predecessor.
    """

    def __init__(self, settings: ExecutorSettings, first_request_id: int = 1) -> None:
        self._settings = settings
        self._guard = Guard(settings)
        self.planner = Planner(settings, self._guard, first_request_id)
        self._cycles = CycleStatistics(1.0 / settings.rate, settings.period_window)
        self.feedback = JointFeedback(settings.joints, settings.state_timeout)
        self._enter(State.IDLE, "not started: call ~/start")
        self._now = self._waiting_since = -np.inf
        self._reset()

    def _reset(self) -> None:
        self.planner.reset()
        self._guard.limited_commands = 0
        self._cycles.reset()
        self._plan_dropped = False
        self._stand_still()

    def _stand_still(self) -> None:
        """Forget plan and motion; the next motion begins with an approach."""
        self.planner.drop()
        self._upsampler: Upsampler | None = None
        self._approach: Approach | None = None
        self._arrived = False
        self._command: NDArray[np.float64] | None = None
        self._wanted: NDArray[np.float64] | None = None
        self._action: NDArray[np.float64] | None = None

    def start(self, now: float) -> str:
        """Begin: counters and ticks from 0. Returns a message for the caller."""
        if self.state != State.IDLE:
            return "was started already"
        self._reset()
        self._waiting_since = now
        self._enter(State.WAITING, self.feedback.problem(now) or "asks for the first chunk")
        return "started"

    def stop(self, now: float, reason: str = "stopped: call ~/start to go on") -> str:
        """Stop publishing commands and drop the plan. Returns a message for the caller.

        Args:
            now: the time.
            reason: why, and what to do to go on; shown in the status.
        """
        was_idle = self.state == State.IDLE
        self._stand_still()
        self._enter(State.IDLE, reason)
        return "was stopped already" if was_idle else "stopped"

    def discard_plan(self) -> None:
        """Drop queued actions and expected answers, as for a new instruction.

        The arm holds its last command until a chunk that was asked for afterwards comes.
        """
        self.planner.drop()
        self._plan_dropped = True
        # Else the arm, on its way between two actions, would turn back to the first.
        self._upsampler = None

    def reconfigure(self, settings: ExecutorSettings) -> None:
        """Go by other settings from the next cycle on.

        Plan, counters and ticks stay. Where the settings before kept the arm from its plan, or the
        new limits leave it outside, it does not rush: an approach leads it to the next action. So
        it does, from the measured position, once commands are published that were not (`dry_run`).

        Args:
            settings: with the joints, the rate and the window of the present ones.

        Raises:
            ValueError: one of those is another.
        """
        old = self._settings
        for name in ("joints", "rate", "period_window"):
            if getattr(settings, name) != getattr(old, name):
                raise ValueError(f"{name} stays as it is: make another executor")
        guard = Guard(settings)
        self.planner.reconfigure(settings, guard)
        guard.limited_commands = self._guard.limited_commands
        self._settings, self._guard = settings, guard
        self.feedback.timeout = settings.state_timeout
        if old.dry_run and not settings.dry_run:
            self._stand_still()  # the arm did not follow: it may be anywhere
            return

        def differ(*names: str) -> bool:
            return any(getattr(settings, name) != getattr(old, name) for name in names)

        limits_differ = settings.body != old.body or differ(*PER_JOINT)
        if limits_differ and self._would_rush():
            self._arrived, self._approach, self._upsampler = False, None, None
        elif limits_differ or differ("approach_speed", "approach_duration"):
            self._approach = None

    def _would_rush(self) -> bool:
        """Say whether the arm is outside the limits, or far from where the plan is."""
        if self._command is None or self._wanted is None:
            return False
        back = np.abs(self._guard.clamp(self._command) - self._command).max()
        on = np.abs(self._guard.clamp(self._wanted) - self._command).max()
        return bool(back > ROUNDING or on > self._settings.resume_jump)

    def on_joint_state(
        self,
        positions: ArrayLike,
        now: float,
        source: str = "",
        joints: NDArray[np.intp] | None = None,
    ) -> str:
        """Take measured positions (joints,) [rad] in the order of the configuration.

        Args:
            positions: measured; of all joints, or of `joints`.
            now: when they came.
            source: who published them; empty where that is not known.
            joints: which of the joints they are of, where they come in parts.

        Returns:
            Why they do not count, empty when they do.
        """
        array = np.array(positions, dtype=np.float64)
        index = np.arange(len(self._settings.joints)) if joints is None else joints
        if array.shape != index.shape:
            problem = f"{array.shape} positions came for {len(index)} joints"
            self.feedback.reject(problem)
            return problem
        return self.feedback.update(Part(index, array), now, source)

    # One control cycle.

    def cycle(self, now: float) -> CycleOutput:
        """Decide what to publish now; call it `rate` times per second."""
        self._cycles.record(now)
        if now < self._now:
            self.feedback.forget(f"the clock went back by {self._now - now:.3f} s")
            self.planner.drop_requests()
        self._now = now
        if self.state != State.WAITING:
            self._waiting_since = now
        if self.state == State.IDLE:
            return self._output(None)
        self.planner.expire(now)

        problem = self.feedback.problem(now)
        if problem:
            if self.feedback.seen:
                self._stand_still()
                self._enter(State.FAULT, problem)
            else:
                self._enter(State.WAITING, problem, self._impatience(now))
            return self._output(None)
        if self._resumes_far_away():
            self._arrived, self._approach = False, None
        if self._arrived or self._on_the_way(now):
            return self._execute(now) if self._arrived else self._move_to_first_action()
        request = self.planner.request(now)
        obstacle, level = self.planner.obstacle(now)
        reason = obstacle
        if not obstacle or obstacle != self.planner.uninstructed:
            reason = f"no chunk yet: {obstacle or self.planner.request_progress(now)}"
        self._enter(State.WAITING, reason, self._impatience(now) if level is None else level)
        return self._output(self._command, request)

    def _impatience(self, now: float) -> Level:
        """Say how bad it is to be still waiting for what comes by itself."""
        return Level.WARN if now - self._waiting_since > PATIENCE else Level.OK

    def _resumes_far_away(self) -> bool:
        """Say whether a hold ends with an action too far away to go there in one step."""
        if self.state != State.HOLDING or len(self.planner.queue) == 0:
            return False
        assert self._command is not None
        first = self._guard.clamp(self.planner.queue.peek(0))
        return bool(np.abs(first - self._command).max() > self._settings.resume_jump)

    def _on_the_way(self, now: float) -> bool:
        """Plan the approach, see whether it has arrived. False while there is no goal."""
        if len(self.planner.queue) == 0:
            self._approach = None
            return False
        first = self._guard.clamp(self.planner.queue.peek(0))
        if self._approach is not None:
            if not self._approach.done:
                return True
            # Another chunk may have changed the first action meanwhile.
            self._arrived = bool((self._approach.goal == first).all())
            if self._arrived:
                return True
        problem = self._guard.approach_problem(self.feedback.positions, first)
        if problem:
            self.planner.reject_plan(problem, now)
            self._approach = None
            return False
        self._approach = Approach(
            self.feedback.positions if self._command is None else self._command,
            first,
            self._settings.rate,
            np.minimum(self._settings.approach_speed, self._guard.max_speed),
            self._settings.approach_duration,
        )
        # What takes no more than this cycle is the action itself.
        self._arrived = self._approach.cycles == 1
        return True

    def _move_to_first_action(self) -> CycleOutput:
        assert self._approach is not None
        wanted = self._approach.advance()
        self._enter(
            State.APPROACHING,
            f"moving to the first action, {100 * self._approach.progress:.0f} % of "
            f"{self._approach.duration:.1f} s",
        )
        return self._output(wanted)

    def _execute(self, now: float) -> CycleOutput:
        queue = self.planner.queue
        upsampler = self._upsampler
        if upsampler is None or upsampler.period != self.planner.period:
            upsampler = self._upsampler = Upsampler(self._settings.rate, self.planner.period)
        executed: int | None = None
        request: Request | None = None
        if upsampler.due:
            # Now, and before the pop: the observation is then of the instant at which the
            # answer's first row is to begin.
            request = self.planner.request(now)
            if len(queue) == 0:
                self._upsampler = None  # the next action begins at its very start
                return self._hold(now, request)
            executed = queue.next_tick
            self._action = queue.pop()
            upsampler.begin()
        assert self._action is not None
        following = queue.peek(0) if len(queue) else self._action
        wanted = interpolate(self._action, following, upsampler.fraction)
        upsampler.advance()
        self._plan_dropped = False
        self._enter(State.RUNNING, "executing actions")
        return self._output(wanted, request, executed)

    def _hold(self, now: float, request: Request | None) -> CycleOutput:
        counters = self.planner.counters
        if not self._plan_dropped:
            counters.starvations += self.state != State.HOLDING
            counters.starved_cycles += 1
        obstacle, _ = self.planner.obstacle(now)
        progress = self.planner.request_progress(now)
        if obstacle and obstacle == self.planner.uninstructed:
            self._enter(State.HOLDING, obstacle, Level.OK)
        elif obstacle:
            self._enter(State.HOLDING, f"no action is known: {obstacle}")
        elif self._plan_dropped:
            reason = f"the plan was dropped, the next one is yet to come: {progress}"
            self._enter(State.HOLDING, reason, Level.OK)
        elif self._settings.chunk_size_threshold == 0:
            reason = f"each chunk is waited for, as chunk_size_threshold (g) is 0: {progress}"
            self._enter(State.HOLDING, reason, Level.OK)
        else:
            reason = f"no action is known: {self.planner.starvation_reason()}"
            self._enter(State.HOLDING, reason)
        return self._output(self._command, request)

    def _output(
        self,
        wanted: NDArray[np.float64] | None,
        request: Request | None = None,
        executed: int | None = None,
    ) -> CycleOutput:
        """Let the command pass the guard: the only way out."""
        limited: tuple[Limited, ...] = ()
        command = None
        if wanted is not None:
            measured = self.feedback.positions
            previous = measured if self._command is None else self._command
            command, limited = self._guard.limit(wanted, previous, measured)
            self._command, self._wanted = command.copy(), wanted.copy()
        return CycleOutput(command, request, self.state, self._reason, executed, limited)

    @property
    def _reason(self) -> str:
        return DRY_RUN + self._state_reason if self._settings.dry_run else self._state_reason

    def _enter(self, state: State, reason: str, level: Level | None = None) -> None:
        """Be in a state, with its reason and how bad that is; None: as usual for the state."""
        self.state = state
        self._state_reason = reason.replace(DRY_RUN, "")
        self._level = _LEVELS.get(state, Level.OK) if level is None else level

    def status(self, now: float) -> Status:
        """Return all fields of ``smolvla_msgs/ExecutorStatus``."""
        planner = self.planner
        p50, p99, longest = self._cycles.percentiles()
        return Status(
            **asdict(planner.counters),
            state=self.state,
            reason=self._reason,
            source="none" if self.state == State.IDLE else "policy",
            level=self._level,
            dry_run=self._settings.dry_run,
            tick=planner.queue.next_tick,
            queue_depth=len(planner.queue),
            chunk_size=planner.chunk_size,
            chunk_size_threshold=self._settings.chunk_size_threshold,
            action_period=planner.period,
            joint_state_age=self.feedback.age(now),
            request_in_flight=planner.in_flight,
            request_age=planner.request_age(now),
            latency_last=planner.latency.last,
            latency_p50=planner.latency.p50,
            latency_p95=planner.latency.p95,
            guard_limited=self._guard.limited_commands,
            period_p50=p50,
            period_p99=p99,
            period_max=longest,
            overruns=self._cycles.overruns,
        )
