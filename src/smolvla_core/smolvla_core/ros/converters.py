# SPDX-License-Identifier: Apache-2.0
"""Messages of the suite to and from the plain types of the core. No state, no node."""

from __future__ import annotations

import math
import secrets
import sys
from array import array
from collections.abc import Sequence

import numpy as np
from builtin_interfaces.msg import Duration
from numpy.typing import NDArray
from sensor_msgs.msg import Image
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from visualization_msgs.msg import MarkerArray

from smolvla_core.backend import Backend, SceneObject
from smolvla_core.joints import JointOrder
from smolvla_msgs.msg import ActionChunk, InferenceRequest


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
        real_time_chunking=getattr(backend, "continues", ""),
        chunk_size=backend.chunk_size,
        state_offset=getattr(backend, "state_offset", 0),
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


def request_command(message: InferenceRequest, order: JointOrder) -> NDArray[np.float64] | None:
    """Return what `message` says was commanded last as (joints,), in the order `order`, or None.

    Raises:
        ValueError: a joint is missing, the length does not fit or a number is not finite.
    """
    if not message.command:
        return None
    rows = unflatten(message.command, len(message.joint_names), "command of the inference request")
    if len(rows) != 1 or not np.isfinite(rows).all():
        raise ValueError(f"its command is {list(message.command)}, not one position per joint")
    row: NDArray[np.float64] = rows[0, order.indices(message.joint_names)]
    return row


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


def image_message(pixels: NDArray[np.uint8]) -> Image:
    """Return an rgb8 message (without header) of uint8 (height, width, 3) pixels."""
    if pixels.dtype != np.uint8 or pixels.ndim != 3 or pixels.shape[2] != 3:
        raise ValueError(f"expected uint8 (height, width, 3), got {pixels.dtype} {pixels.shape}")
    height, width, _ = pixels.shape
    message = Image(height=height, width=width, encoding="rgb8", step=3 * width)
    message.is_bigendian = int(sys.byteorder == "big")
    message.data.frombytes(np.ascontiguousarray(pixels).tobytes())
    return message
