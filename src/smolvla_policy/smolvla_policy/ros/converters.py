# SPDX-License-Identifier: Apache-2.0
"""Messages of the suite to and from the plain types of the core. No state, no node."""

from __future__ import annotations

import math
import secrets
from array import array
from collections.abc import Sequence
from dataclasses import asdict

import numpy as np
from builtin_interfaces.msg import Duration, Time
from numpy.typing import NDArray
from std_msgs.msg import Float64MultiArray
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from visualization_msgs.msg import MarkerArray

from smolvla_msgs.msg import ActionChunk, ExecutorStatus, InferenceRequest
from smolvla_policy.backends.protocol import Backend, SceneObject
from smolvla_policy.control.executor_types import Request, Status
from smolvla_policy.control.instruction import NewestInstruction
from smolvla_policy.control.joint_order import JointOrder
from smolvla_policy.control.task import Goal


def to_duration(seconds: float) -> Duration:
    """Return `seconds` (>= 0) as a duration, rounded to nanoseconds."""
    nanoseconds = round(seconds * 1e9)
    return Duration(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def from_duration(duration: Duration) -> float:
    """Return a duration in seconds."""
    return float(duration.sec) + float(duration.nanosec) * 1e-9


def flatten(rows: NDArray[np.float64]) -> array[float]:
    """Return (rows, joints) as the flat row-major array of a ``float64[]`` field."""
    flat = array("d")
    flat.frombytes(np.ascontiguousarray(rows, dtype=np.float64).tobytes())
    return flat


def unflatten(flat: Sequence[float], joints: int, what: str) -> NDArray[np.float64]:
    """Return a flat row-major field as (rows, joints).

    Raises:
        ValueError: the length is no multiple of `joints`; the text names `what`.
    """
    values = np.asarray(flat, dtype=np.float64)
    if joints <= 0 or values.size % joints:
        raise ValueError(
            f"{what} has {values.size} numbers, which do not make rows of {joints} joints"
        )
    return values.reshape(-1, joints)


def chunk_positions(message: ActionChunk, order: JointOrder) -> NDArray[np.float64]:
    """Return the actions of `message` as (rows, joints), columns in the order `order`.

    Raises:
        ValueError: a joint is missing or the length does not fit.
    """
    rows = unflatten(message.positions, len(message.joint_names), "action chunk")
    return rows[:, order.indices(message.joint_names)]


def chunk_message(
    request: InferenceRequest, backend: Backend, positions: NDArray[np.float64], stamp_ns: int
) -> ActionChunk:
    """Return a backend's answer to a request.

    Args:
        request: what is answered.
        backend: who answers.
        positions: (rows, joints) [rad] in the order of the backend's joints.
        stamp_ns: when the observation was taken [ns, ROS time].
    """
    message = ActionChunk(
        executor=request.executor,
        request_id=request.request_id,
        first_tick=request.tick,
        joint_names=list(backend.joint_names),
        period=to_duration(backend.period),
        positions=flatten(positions),
        policy=f"{backend.name}: {backend.description}",
    )
    message.header.stamp.sec, message.header.stamp.nanosec = divmod(stamp_ns, 10**9)
    return message


def request_committed(message: InferenceRequest, order: JointOrder) -> NDArray[np.float64]:
    """Return the queued actions of `message` as (rows, joints), in the order `order`.

    Raises:
        ValueError: a joint is missing or the length does not fit.
    """
    if not message.committed:
        return np.empty((0, len(order.joints)))
    rows = unflatten(message.committed, len(message.joint_names), "inference request")
    return rows[:, order.indices(message.joint_names)]


def node_name(namespace: str, name: str) -> str:
    """Return the fully qualified name of a node; a `name` with a slash in front is one already."""
    return name if name.startswith("/") else f"{namespace.rstrip('/')}/{name}"


def executor_id(name: str) -> str:
    """Return what the executor with the fully qualified `name` calls itself in its requests.

    Each call returns another text: a chunk for a process that has ended is not taken for one's
    own by the next of the same name.
    """
    return f"{name}#{secrets.token_hex(8)}"


def executor_name(identity: str) -> str:
    """Return the fully qualified name in an `executor_id`; empty where there is none."""
    return identity.partition("#")[0]


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


def chunk_to_joint_trajectory(message: ActionChunk) -> JointTrajectory:
    """Return the same actions for joint_trajectory_controller and RViz.

    Point i is reached at ``header.stamp + i * period``, as row i belongs to tick
    ``first_tick + i``. Positions only: the controller makes the velocities.

    Raises:
        ValueError: the length does not fit the joint names.
    """
    rows = unflatten(message.positions, len(message.joint_names), "action chunk")
    period = from_duration(message.period)
    return JointTrajectory(
        header=message.header,
        joint_names=list(message.joint_names),
        points=[
            JointTrajectoryPoint(
                positions=array("d", row), time_from_start=to_duration(index * period)
            )
            for index, row in enumerate(rows)
        ],
    )


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


def scene_objects(message: MarkerArray) -> dict[str, SceneObject]:
    """Return the poses of a scene's markers by their namespace.

    Raises:
        ValueError: a pose is not finite; the text names the object.
    """
    objects = {}
    for marker in message.markers:
        p, q, s = marker.pose.position, marker.pose.orientation, marker.scale
        numbers = (p.x, p.y, p.z, q.x, q.y, q.z, q.w, s.x, s.y, s.z)
        if not all(map(math.isfinite, numbers)):
            raise ValueError(f"the pose of '{marker.ns}' is not a number")
        objects[marker.ns] = SceneObject(
            position=np.array(numbers[:3]),
            quaternion=np.array(numbers[3:7]),
            size=np.array(numbers[7:]),
        )
    return objects
