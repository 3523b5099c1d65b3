# SPDX-License-Identifier: Apache-2.0
"""What happened on the topics of one run, as plain data, and the listener that writes it down."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rclpy.node import Node
from rclpy.qos import QoSProfile, ReliabilityPolicy
from sensor_msgs.msg import JointState
from smolvla_core.ros import qos
from smolvla_core.ros.converters import from_duration
from std_msgs.msg import Float32, Float64MultiArray

from smolvla_msgs.msg import ActionChunk, ExecutorStatus, InferenceRequest

SUCCESS = 1.0
"""The score of a task that is done."""

# Deep enough that none is lost between two looks.
_ALL = QoSProfile(depth=200, reliability=ReliabilityPolicy.RELIABLE)

Sample = tuple[float, tuple[float, ...]]


@dataclass(frozen=True)
class ReceivedChunk:
    """A chunk as it arrived.

    Attributes:
        time: arrival [s].
        first_tick: tick of row 0.
        period: time between two rows [s].
        positions: (rows, joints) [rad]; 0 rows when the policy refused.
        observed: when the observation was made that it comes from [s].
    """

    time: float
    first_tick: int
    period: float
    positions: NDArray[np.float64]
    observed: float = 0.0


@dataclass(frozen=True)
class Progress:
    """The executor's state, tick and queue depth [ticks] at one time [s]."""

    time: float
    tick: int
    depth: int
    state: int = ExecutorStatus.RUNNING


@dataclass
class RunLog:
    """One run; all times are seconds since its beginning, by the listener's clock.

    Attributes:
        joints: names, the columns of all positions.
        states: (time, measured positions [rad]).
        commands: (time, commanded positions [rad]).
        requests: times of inference requests.
        chunks: chunks in the order of arrival.
        progress: samples of the executor's status.
        scores: (time, task score 0..1).
        end_time: when the run ended.
    """

    joints: tuple[str, ...]
    states: list[Sample] = field(default_factory=list)
    commands: list[Sample] = field(default_factory=list)
    requests: list[float] = field(default_factory=list)
    chunks: list[ReceivedChunk] = field(default_factory=list)
    progress: list[Progress] = field(default_factory=list)
    scores: list[tuple[float, float]] = field(default_factory=list)
    end_time: float = 0.0

    @property
    def success_time(self) -> float | None:
        """When the task was done first [s], or None."""
        return next((time for time, score in self.scores if score >= SUCCESS), None)

    def tick_times(self, ticks: NDArray[np.int64], period: float) -> NDArray[np.float64]:
        """Return when `ticks` were executed [s], from the executor's status.

        A sample names the next tick: the ticks before it are over at its time, and it comes
        after the last sample that names it. In between the ticks are spread evenly; outside
        of all samples they follow with `period` [s]. Without samples all are NaN.
        """
        first: dict[int, float] = {}
        last: dict[int, float] = {}
        for sample in self.progress:
            first.setdefault(sample.tick, sample.time)
            last[sample.tick] = sample.time
        if not last:
            return np.full(len(ticks), np.nan)
        known = np.array(sorted(last))
        just_before = known - 1e-6
        at = [time for tick in known for time in (first[tick], last[tick])]
        inside = np.interp(ticks, np.column_stack((just_before, known)).ravel(), at)
        before = np.minimum(ticks - known[0], 0) * period
        after = np.maximum(ticks - known[-1], 0) * period
        return np.asarray(inside + before + after, dtype=np.float64)


class RunLogger:
    """Listens to an arm, its executor and its policy, and writes a `RunLog`.

    Joint states, which come fast, are only sampled: of those that came since the last look for
    messages the newest.

    Args:
        node: that listens, in the namespace of the arm.
        joints: joint names in the order of the executor's commands.
    """

    def __init__(self, node: Node, joints: tuple[str, ...]) -> None:
        self._clock = node.get_clock()
        self._joints = joints
        self._begun = 0.0
        self._log: RunLog | None = None
        newest = QoSProfile(depth=1, reliability=ReliabilityPolicy.BEST_EFFORT)
        topics: tuple[tuple[Any, str, Callable[[RunLog, Any], None], QoSProfile], ...] = (
            (ExecutorStatus, "executor_node/status", self._on_status, _ALL),
            (JointState, "joint_states", self._on_joints, newest),
            (Float64MultiArray, "arm_controller/commands", self._on_command, _ALL),
            (InferenceRequest, "smolvla/inference_request", self._on_request, _ALL),
            (ActionChunk, "smolvla/action_chunk", self._on_chunk, _ALL),
            (Float32, "sim/score", self._on_score, qos.instruction_qos()),
        )
        for kind, topic, write, profile in topics:
            node.create_subscription(kind, topic, self._receiver(write), profile)

    def _receiver(self, write: Callable[[RunLog, Any], None]) -> Callable[[Any], None]:
        def receive(message: Any) -> None:
            if self._log is not None:
                write(self._log, message)

        return receive

    def begin(self) -> RunLog:
        """Begin a new log and return it: now is time 0."""
        self._begun = self._seconds()
        self._log = RunLog(self._joints)
        return self._log

    def end(self) -> None:
        """End the log now; without one it does nothing."""
        if self._log is not None:
            self._log.end_time = self.now()
            self._log = None

    def now(self) -> float:
        """Return the seconds since `begin`."""
        return self._seconds() - self._begun

    def _seconds(self) -> float:
        # Of the clock that stamps observations.
        return float(self._clock.now().nanoseconds) * 1e-9

    def _on_status(self, log: RunLog, status: ExecutorStatus) -> None:
        log.progress.append(Progress(self.now(), status.tick, status.queue_depth, status.state))

    def _on_joints(self, log: RunLog, message: JointState) -> None:
        positions = dict(zip(message.name, message.position, strict=False))
        if all(joint in positions for joint in self._joints):
            log.states.append((self.now(), tuple(positions[joint] for joint in self._joints)))

    def _on_command(self, log: RunLog, message: Float64MultiArray) -> None:
        if len(message.data) == len(self._joints):
            log.commands.append((self.now(), tuple(message.data)))

    def _on_request(self, log: RunLog, message: InferenceRequest) -> None:
        log.requests.append(self.now())

    def _on_chunk(self, log: RunLog, message: ActionChunk) -> None:
        try:
            columns = [message.joint_names.index(joint) for joint in self._joints]
            positions = np.reshape(message.positions, (-1, len(message.joint_names)))[:, columns]
        except ValueError:
            if not message.error:
                return  # the executor refuses such a chunk and counts it
            positions = np.empty((0, len(self._joints)))
        stamp = message.header.stamp
        log.chunks.append(
            ReceivedChunk(
                self.now(),
                message.first_tick,
                from_duration(message.period),
                positions,
                stamp.sec + 1e-9 * stamp.nanosec - self._begun,
            )
        )

    def _on_score(self, log: RunLog, message: Float32) -> None:
        log.scores.append((self.now(), message.data))
