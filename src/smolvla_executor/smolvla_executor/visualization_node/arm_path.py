# SPDX-License-Identifier: Apache-2.0
"""The predicted path of an arm, from its messages: what every viewer draws."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray
from sensor_msgs.msg import JointState
from smolvla_core.joints import JointOrder
from smolvla_core.ros import converters

from smolvla_executor.core.chunk_queue import Chunk, chunk_problem
from smolvla_executor.core.kinematics import KinematicChain
from smolvla_executor.visualization_node.predicted_path import PathPicture, Plan, PredictedPath
from smolvla_msgs.msg import ActionChunk


class ArmPath:
    """Follows an arm along the chunks of its policy. Without `chain` it does nothing.

    Args:
        path: that is filled.
        warn: called with what is wrong with a message.

    Attributes:
        chain: to the link whose path it is; None while no URDF is known.
    """

    def __init__(self, path: PredictedPath, warn: Callable[[str], object]) -> None:
        self.chain: KinematicChain | None = None
        self._path, self._warn = path, warn
        self._order: JointOrder | None = None

    def on_chunk(self, message: ActionChunk, now: float) -> None:
        """Go on with a newer chunk; one that cannot be drawn is left out with a warning."""
        # The policy refused: what it said before still holds.
        if message.error or self.chain is None:
            return
        try:
            plan, order = _plan(message, self.chain)
        except ValueError as error:
            self._warn(f"action chunk not drawn: {error}")
            return
        self._order = order
        self._path.on_chunk(plan, now)

    def on_joint_state(self, message: JointState, now: float) -> None:
        """Follow the arm; a message without the joints of the chunk is left out with a warning."""
        if self._order is None or self.chain is None:
            return
        try:
            positions = self._order.pick(message.name, message.position)
        except ValueError as error:
            self._warn(f"progress on the path is unknown: joint state: {error}")
            return
        point = self.chain.positions(self._order.joints, positions[None])[0]
        self._path.on_joint_state(positions, point, now)

    def picture(self, now: float) -> PathPicture:
        """Return what is to be seen at `now` [s, of the clock of the messages]."""
        return self._path.picture(now)

    def clear(self) -> None:
        """Forget everything, the URDF too."""
        self.chain = None
        self._path.clear()


def _plan(message: ActionChunk, chain: KinematicChain) -> tuple[Plan, JointOrder]:
    """Return the path of a chunk, and the order of its joints.

    Raises:
        ValueError: it cannot be executed, or a joint of the URDF is missing in it.
    """
    names = tuple(message.joint_names)
    order = JointOrder(names)
    rows: NDArray[np.float64] = converters.chunk_positions(message, order)
    period = converters.from_duration(message.period)
    problem = chunk_problem(Chunk(message.request_id, message.first_tick, rows, period), names)
    if problem:
        raise ValueError(problem)
    return Plan(message.first_tick, period, rows, chain.positions(names, rows)), order
