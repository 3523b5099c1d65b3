# SPDX-License-Identifier: Apache-2.0
"""The messages that the executor publishes, from what its core returns."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from smolvla_core.instruction import NewestInstruction
from smolvla_core.ros.converters import flatten, to_duration
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint

from smolvla_executor.core.executor_types import Request, Status
from smolvla_executor.core.task import Goal
from smolvla_msgs.msg import ExecutorStatus, InferenceRequest


def request_message(
    request: Request,
    executor: str,
    joints: Sequence[str],
    stamp: Time,
    instruction: str,
    goal: Goal | None = None,
) -> InferenceRequest:
    """Return the message of a request of `executor`, for `goal` if any (its id has 16 bytes)."""
    message = InferenceRequest(
        executor=executor,
        request_id=request.request_id,
        tick=request.tick,
        joint_names=list(joints),
        committed=flatten(request.committed),
        period=to_duration(request.period),
        expected_delay=request.expected_delay,
        must_go=request.must_go,
        instruction=instruction,
    )
    message.header.stamp = stamp
    if goal is not None:
        message.goal_id = np.frombuffer(goal.goal_id, dtype=np.uint8)
    return message


def write_instruction(message: ExecutorStatus, newest: NewestInstruction) -> None:
    """Write what the next request asks for, and how it came, into a status."""
    message.instruction, message.instruction_source = newest.current, int(newest.source)
    message.instructions = newest.heard


def status_message(
    status: Status, stamp: Time, newest: NewestInstruction, chunk_instruction: str = ""
) -> ExecutorStatus:
    """Return the message of an executor's status.

    Args:
        status: of its core.
        stamp: now.
        newest: what the next request asks for.
        chunk_instruction: what the newest chunk obeys.
    """
    numbers = {"state": int(status.state), "level": int(status.level)}
    message = ExecutorStatus(**{**asdict(status), **numbers})
    write_instruction(message, newest)
    message.chunk_instruction = chunk_instruction
    message.header.stamp = stamp
    return message


def command_message(command: NDArray[np.float64]) -> Float64MultiArray:
    """Return joint positions [rad] as forward_command_controller takes them."""
    return Float64MultiArray(data=array("d", command))


def command_trajectory(
    joints: Sequence[str], command: NDArray[np.float64], duration: float
) -> JointTrajectory:
    """Return joint positions [rad] to be reached in `duration` seconds, one point.

    The stamp stays zero: joint_trajectory_controller then starts at once.
    """
    point = JointTrajectoryPoint(
        positions=array("d", command), time_from_start=to_duration(duration)
    )
    return JointTrajectory(joint_names=list(joints), points=[point])
