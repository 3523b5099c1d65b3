# SPDX-License-Identifier: Apache-2.0
"""The small interface between `policy_node` and whatever thinks up the actions.

A backend is a plain Python object: no ROS, no threads, no clocks. Other packages offer
theirs through the entry-point group ``smolvla_policy.backends`` (see `registry`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class SceneObject:
    """Pose and size of a thing in the scene, in the robot's base frame.

    Attributes:
        position: (3,) meters.
        quaternion: (4,) unit quaternion in ROS order x, y, z, w.
        size: (3,) edge lengths of the bounding box, meters.
    """

    position: NDArray[np.float64]
    quaternion: NDArray[np.float64]
    size: NDArray[np.float64]


@dataclass(frozen=True)
class Observation:
    """What the robot sees and feels at one instant.

    Attributes:
        images: camera name -> uint8 (height, width, 3) RGB; as it came until it is decoded.
        joint_names: order of `positions`.
        positions: (joints,) radians, the gripper included.
        instruction: the sentence to obey.
        objects: name -> pose; filled only for backends with `needs_objects`.
        stamp_ns: that instant by the clock of the sources [ns]; 0 where it is not known.
    """

    images: Mapping[str, Any]
    joint_names: tuple[str, ...]
    positions: NDArray[np.float64]
    instruction: str
    objects: Mapping[str, SceneObject] = field(default_factory=dict)
    stamp_ns: int = 0


@dataclass(frozen=True)
class ChunkRequest:
    """What the executor sends when it asks for a chunk.

    Attributes:
        request_id: unique for this executor.
        tick: the tick of the chunk's first row.
        committed: (rows, joints) actions still queued from `tick` on, radians.
        expected_delay: ticks until the answer is expected to arrive.
        command: (joints,) commanded for the tick before `tick`, radians; None: nothing yet.
    """

    request_id: int
    tick: int
    committed: NDArray[np.float64]
    expected_delay: int
    command: NDArray[np.float64] | None = None


class Backend(Protocol):
    """Turns an observation into a chunk of actions.

    Attributes:
        name: short name, e.g. ``smolvla``.
        description: checkpoint (folder or hub id) or what it is.
        device: where it computes, e.g. ``cpu``.
        dtype: number type it computes in.
        cameras: camera names it must be given, in its order.
        joint_names: joints it must be given and commands, in its order.
        chunk_size: rows of a chunk.
        period: seconds between two rows.
        needs_objects: whether it reads `Observation.objects`.

    It may also have ``notes`` and ``warnings``, lines that `policy_node` logs once it is loaded,
    ``tasks``, the only instructions that it learned, so that another one gets a warning, and
    ``tune(changes)``, which takes those of its own `live` settings by name that were set, between
    two calls of `infer`; without it they are read when it is made. ``check(changes)`` raises
    ValueError where it cannot take them; it is called from another thread, also during `infer`.
    Where its chunks continue the queued actions, ``continues`` and ``state_offset`` say how, as
    in ``smolvla_msgs/ActionChunk``.
    """

    name: str
    description: str
    device: str
    dtype: str
    cameras: tuple[str, ...]
    joint_names: tuple[str, ...]
    chunk_size: int
    period: float
    needs_objects: bool

    def infer(self, observation: Observation, request: ChunkRequest) -> NDArray[np.float64]:
        """Return the actions for ticks ``request.tick`` and following.

        Returns:
            (rows, joints) radians in the order of `joint_names`, at least one row: up to
            `chunk_size`, behind the first of the queued actions if it begins with them.

        Raises:
            ValueError: the observation or the instruction does not fit; the text says what
                to do about it.
        """
        ...

    def close(self) -> None:
        """Free what the backend holds (memory, renderers)."""
        ...
