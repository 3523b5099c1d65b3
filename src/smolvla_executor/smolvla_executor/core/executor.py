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
from smolvla_core.instruction import AT_HOME, START, order
from smolvla_core.joints import Part
from smolvla_core.level import PATIENCE, Level
from smolvla_core.node_settings import PER_JOINT, ExecutorSettings

from smolvla_executor.core.approach import Approach
from smolvla_executor.core.chunk_queue import Chunk, Upsampler, chunk_problem, interpolate
from smolvla_executor.core.estop import EStop
from smolvla_executor.core.executor_types import (
    CycleOutput,
    RefusedError,
    Request,
    Source,
    State,
    Status,
)
from smolvla_executor.core.guard import ROUNDING, Guard, Limited
from smolvla_executor.core.joint_feedback import JointFeedback
from smolvla_executor.core.planner import Planner
from smolvla_executor.core.tick_clock import CycleStatistics

DRY_RUN = "DRY RUN, the arm gets no commands: "
"""What every reason begins with in a dry run."""
_LEVELS = {State.HOLDING: Level.WARN, State.FAULT: Level.ERROR, State.STOPPED: Level.ERROR}
_GOALS = {
    Source.POLICY: "to the first action",
    Source.HUMAN: "to where the human wants it",
    Source.REPLAY: "to the first recorded action",
    Source.HOME: "home",
}
_RUNNING = {
    Source.POLICY: "executing actions",
    Source.REPLAY: "replaying recorded actions",
    Source.HOME: "at home",
}


class ExecutorCore:
    """Execution behind a guard: of a policy's chunks, a human's targets, or recorded actions.

    * Nothing is commanded before the first valid joint state, and every motion begins with
      an approach from the measured position: after `start` and after a fault. So it does, from
      the last command, after a change of the source.
    * Ticks advance only when an action is executed, so not while approaching or holding.
    * Without a known action the last command is repeated.
    * With joint states that are stale, invalid or contradict each other nothing is published and
      the plan is dropped.
    * While the e-stop is pressed nothing is published, whatever else there is, until it is reset.

    Attributes:
        planner: takes chunks and refusals; counts them.
        feedback: of the joints.
        human: the human's newest targets.
        state: what it does.
        source: whose actions it executes, or would execute while it is idle.

    Args:
        settings: of the executor. `ExecutorSettings.dry_run` is echoed in the status: commands are
            computed all the same, and whoever publishes them must leave that out.
        first_request_id: id of the first request; give ``time.time_ns()``, so that a restarted
            executor never takes an answer meant for its predecessor.
        estop: stops it, maybe already.
    """

    def __init__(
        self,
        settings: ExecutorSettings,
        first_request_id: int = 1,
        estop: EStop | None = None,
    ) -> None:
        self._settings = settings
        self.estop = estop or EStop()
        self._guard = Guard(settings)
        self.planner = Planner(settings, self._guard, first_request_id)
        self._cycles = CycleStatistics(1.0 / settings.rate, settings.period_window)
        self.feedback = JointFeedback(settings.joints, settings.state_timeout)
        who = f"does a leader arm or teleop_node publish {settings.human_topic}, all joints of it?"
        self.human = JointFeedback(
            settings.joints, settings.human_timeout, "target of the human", who, who
        )
        self.source = Source(settings.source)
        self._idle_before = False  # when the human took over
        self._at_end = ""  # why it is idle after a replay, or at home
        self._enter(State.IDLE, f"not started: call {START}")
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
        self._began: NDArray[np.float64] | None = None  # the command that the action began with
        self._wanted: NDArray[np.float64] | None = None
        self._action: NDArray[np.float64] | None = None

    def _change_source(self, source: Source) -> None:
        """Let another source command the arm; the next motion is an approach from where it is."""
        command = self._command
        self._stand_still()
        self._command, self._began, self.source = command, command, source

    def start(self, now: float) -> str:
        """Begin: counters and ticks from 0. Returns a message for the caller.

        Raises:
            RefusedError: the e-stop is pressed.
        """
        self._refuse_while_stopped()
        self._idle_before = False
        if self.state != State.IDLE:
            return "was started already"
        self._reset()
        self.source = Source(self._settings.source)
        self._waiting_since = now
        self._enter(State.WAITING, self.feedback.problem(now) or "asks for the first chunk")
        return "started"

    def stop(self, now: float, reason: str = f"stopped: call {START} to go on") -> str:
        """Stop publishing commands and drop the plan. Returns a message for the caller.

        Args:
            now: the time.
            reason: why, and what to do to go on; shown in the status.
        """
        was_idle = self.state in (State.IDLE, State.STOPPED)
        self._stand_still()
        self.source = Source(self._settings.source)
        if self.state != State.STOPPED:
            self._enter(State.IDLE, reason)
        return "was stopped already" if was_idle else "stopped"

    def _refuse_while_stopped(self) -> None:
        if self.estop.reason:
            raise RefusedError(self.estop.reason)

    # Sources.

    def take_over(self, now: float) -> str:
        """Follow the human from now on, whatever is executed. Returns a message for the caller.

        Raises:
            RefusedError: the e-stop is pressed.
        """
        self._refuse_while_stopped()
        if self.source == Source.HUMAN and self.state != State.IDLE:
            return "was taken over already"
        idle = self.state == State.IDLE
        if idle:
            self.start(now)
        self._idle_before = idle
        self._change_source(Source.HUMAN)
        problem = self.human.problem(now)
        return f"taken over, but the arm holds: {problem}" if problem else "taken over"

    def give_back(self, now: float) -> str:
        """Let the policy go on from the present state; be idle where it was idle before.

        Returns:
            A message for the caller.

        Raises:
            RefusedError: there is no policy that could go on.
        """
        if self.source != Source.HUMAN or self.state in (State.IDLE, State.STOPPED):
            return "was given back already"
        if self._idle_before:
            self.stop(now, f"given back, idle as before: call {START} or send a RunTask goal")
            return "given back: the arm holds, idle as before"
        if self.planner.no_listener:
            raise RefusedError(f"there is no policy to go on: {self.planner.no_listener}")
        self._change_source(Source.POLICY)
        return "given back: the policy goes on"

    def leave_to_human(self) -> bool:
        """Be idle once a human gives back what he has taken over; False where nobody has."""
        if self.source != Source.HUMAN or self.state in (State.IDLE, State.STOPPED):
            return False
        self._idle_before = True
        return True

    def replay(self, positions: NDArray[np.float64], period: float, now: float) -> str:
        """Execute recorded actions to their end, then be idle. Returns a message for the caller.

        Args:
            positions: (rows, joints) [rad].
            period: time between two rows [s].
            now: the time.

        Raises:
            RefusedError: they do not fit, a human has taken over, or the e-stop is pressed.
        """
        chunk = Chunk(0, 0, positions, period)
        problem = chunk_problem(chunk, self._settings.joints)
        problem = problem or self._settings.body.foreign_problem(positions)
        if problem:
            raise RefusedError(f"the recorded actions do not fit: {problem}")
        try:
            Upsampler(self._settings.rate, period)
        except ValueError as error:
            raise RefusedError(str(error)) from error
        self._play(Source.REPLAY, positions, period, now)
        self._at_end = f"replayed to the end: call {START} or send another goal"
        return f"replays {len(positions)} actions"

    def go_home(self, now: float, then: str = f"{AT_HOME}: call {START} to go on") -> str:
        """Go to the robot's home pose, then be idle. Returns a message for the caller.

        Args:
            now: the time.
            then: why it is idle after it.

        Raises:
            RefusedError: there is no home pose or no joint state, a human has taken over, or the
                e-stop is pressed.
        """
        home = self._settings.body.home
        if np.isnan(home).all():
            raise RefusedError(
                f"robot {self._settings.robot} has no home pose: give its joints 'home' in the "
                "robot file"
            )
        if problem := self.feedback.problem(now):
            raise RefusedError(problem)
        pose = np.where(np.isnan(home), self._here, home)
        self._play(Source.HOME, pose[None], 1.0 / self._settings.rate, now)
        self._at_end = then
        return "on the way home"

    def _play(
        self, source: Source, positions: NDArray[np.float64], period: float, now: float
    ) -> None:
        self._refuse_while_stopped()
        if self.source == Source.HUMAN and self.state != State.IDLE:
            raise RefusedError(f"a human has taken over: call {order('give_back')} first")
        if self.state == State.IDLE:
            self.start(now)
        self._change_source(source)
        self.planner.load(positions, period)

    def discard_plan(self) -> None:
        """Drop queued actions and expected answers, as for a new instruction.

        The arm holds its last command until a chunk that was asked for afterwards comes. A replay
        and the way home end; a human goes on, and the policy after him.
        """
        self._idle_before = False
        if self.source in (Source.REPLAY, Source.HOME):
            self._change_source(Source.POLICY)
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
        self.human.timeout = settings.human_timeout
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
        part, problem = self._part("positions", positions, joints)
        if problem:
            self.feedback.reject(problem)
            return problem
        return self.feedback.update(part, now, source)

    def on_human(
        self,
        positions: ArrayLike,
        now: float,
        source: str = "",
        joints: NDArray[np.intp] | None = None,
    ) -> str:
        """Take where a human wants the joints; arguments and result as of `on_joint_state`.

        Positions far outside the limits do not count: the leader is of other units or calibration.
        """
        part, problem = self._part("targets", positions, joints)
        if not problem and part.joints.size and np.isfinite(part.values).all():
            problem = self._settings.body.foreign_problem(part.values, part.joints)
        if problem:
            self.human.reject(problem)
            return problem
        return self.human.update(part, now, source)

    def _part(
        self, noun: str, positions: ArrayLike, joints: NDArray[np.intp] | None
    ) -> tuple[Part, str]:
        """Return positions with their joints, and what is wrong with them; empty for nothing."""
        array = np.array(positions, dtype=np.float64)
        index = np.arange(len(self._settings.joints)) if joints is None else joints
        fits = array.shape == index.shape
        return Part(index, array), "" if fits else f"{array.shape} {noun} for {len(index)} joints"

    # One control cycle.

    def cycle(self, now: float) -> CycleOutput:
        """Decide what to publish now; call it `rate` times per second."""
        self._cycles.record(now)
        if now < self._now:
            problem = f"the clock went back by {self._now - now:.3f} s"
            self.feedback.forget(problem)
            self.human.forget(problem)
            self.planner.drop_requests()
        self._now = now
        if self.state != State.WAITING:
            self._waiting_since = now
        not_watched = self.estop.watch(self._settings.estop_timeout, now)
        if self.estop.reason:
            self.stop(now)
            self._enter(State.STOPPED, self.estop.reason)
        elif self.state == State.STOPPED:
            self._enter(State.IDLE, f"the e-stop was reset: call {START} or send a RunTask goal")
        if self.state in (State.IDLE, State.STOPPED):
            return self._output(None)
        self.planner.expire(now)

        problem = self.feedback.problem(now)
        if problem and self.feedback.seen:
            self._stand_still()
            self._enter(State.FAULT, problem)
            self._at_end = f"the {self.source.value} was broken off: {problem}; send another order"
            return self._output(None)
        if problem or not_watched:
            self._command, self._began = None, None
            self._approach, self._arrived = None, False
            self._enter(State.WAITING, problem or not_watched, self._impatience(now))
            return self._output(None)
        if self.source == Source.HUMAN:
            return self._follow(now)
        if self._resumes_far_away():
            self._arrived, self._approach = False, None
        if self._arrived or self._on_the_way(now):
            return self._execute(now) if self._arrived else self._move_to_first_action()
        if self.source != Source.POLICY:
            self.stop(now, self._at_end)
            return self._output(None)
        request = self.planner.request(now, self._command)
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
        if problem and self.source != Source.HOME:  # which nobody can have mistaken
            self.planner.reject_plan(problem, now)
            self._approach, self._at_end = None, problem
            return False
        self._approach = self._approach_to(first)
        # What takes no more than this cycle is the action itself.
        self._arrived = self._approach.cycles == 1
        return True

    @property
    def _here(self) -> NDArray[np.float64]:
        """(joints,) where the next motion begins [rad]."""
        return self.feedback.positions if self._command is None else self._command

    @property
    def _approach_speed(self) -> NDArray[np.float64]:
        """(joints,) of an approach [rad/s]."""
        return np.minimum(self._settings.approach_speed, self._guard.max_speed)

    def _approach_to(self, goal: NDArray[np.float64]) -> Approach:
        return Approach(
            self._here,
            goal,
            self._settings.rate,
            self._approach_speed,
            self._settings.approach_duration,
        )

    def _move_to_first_action(self) -> CycleOutput:
        assert self._approach is not None
        wanted = self._approach.advance()
        self._enter(State.APPROACHING, f"moving {_GOALS[self.source]}, {self._approach}")
        return self._output(wanted)

    def _follow(self, now: float) -> CycleOutput:
        """Go to the human's target at the speed of an approach, then wherever it goes."""
        problem = self.human.problem(now)
        if problem:
            self._approach, self._arrived = None, False
            if self._command is None:
                self._enter(State.WAITING, problem, self._impatience(now))
            else:
                self._enter(State.HOLDING, problem)
            return self._output(self._command)
        target = self._guard.clamp(self.human.positions)
        if self._arrived:
            self._enter(State.RUNNING, "follows the human")
            return self._output(target)
        if self._approach is None:
            self._approach = self._approach_to(target)
        wanted = self._approach.advance(target)
        self._enter(State.APPROACHING, f"moving {_GOALS[self.source]}, {self._approach}")
        # The target moves meanwhile, maybe faster than an approach may.
        step = self._approach_speed / self._settings.rate
        command = np.clip(wanted, self._here - step, self._here + step)
        self._arrived = self._approach.done and bool((command == target).all())
        return self._output(command)

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
            if self.source == Source.POLICY:
                command = self._began if len(queue) else self._command
                request = self.planner.request(now, command)
            elif len(queue) == 0:
                self.stop(now, self._at_end)
                return self._output(None, done=True)
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
        self._enter(State.RUNNING, _RUNNING[self.source])
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
        done: bool = False,
    ) -> CycleOutput:
        """Let the command pass the guard: the only way out."""
        limited: tuple[Limited, ...] = ()
        command = None
        if wanted is not None:
            command, limited = self._guard.limit(wanted, self._here, self.feedback.positions)
            self._command, self._wanted = command.copy(), wanted.copy()
            if executed is not None or self.state != State.RUNNING:
                self._began = self._command
        return CycleOutput(command, request, self.state, self._reason, executed, limited, done)

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
            source=Source.NONE if self.state in (State.IDLE, State.STOPPED) else self.source,
            level=self._level,
            dry_run=self._settings.dry_run,
            tick=planner.queue.next_tick,
            queue_depth=len(planner.queue),
            chunk_size=planner.chunk_size,
            execution=planner.execution,
            chunk_size_threshold=planner.threshold,
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
