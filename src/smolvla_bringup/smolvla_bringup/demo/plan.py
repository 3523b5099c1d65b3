# SPDX-License-Identifier: Apache-2.0
"""The plan as the cameras see it: where the gripper goes by the queued actions."""

from __future__ import annotations

from math import radians, tan

import numpy as np
from numpy.typing import NDArray
from smolvla_executor.core.kinematics import KinematicChain
from smolvla_sim.world.scene import CAMERAS, CameraSpec, camera_axes

from smolvla_bringup.system.run_log import RunLog

_ASPECT = 4 / 3  # of sim_node's pictures
_FIXED = {name: camera for name, camera in CAMERAS.items() if not camera.on_gripper}


class PlanView:
    """Projects the plan of a run into the pictures of the simulation's fixed cameras.

    A few pixels beside it at most: the seed varies the mounts of cameras by some millimeters.

    Args:
        urdf: of the arm, whose root is the simulation's base.
    """

    def __init__(self, urdf: str) -> None:
        self._chain = KinematicChain(urdf)

    def paths(self, log: RunLog) -> dict[str, NDArray[np.float64]]:
        """Return camera -> (n, 2) places of the gripper at the actions still to come, 0 to 1 of
        the picture's width and height; empty where there is no plan.
        """
        rows = rows_ahead(log)
        if not len(rows) or not set(self._chain.joint_names) <= set(log.joints):
            return {}
        points = self._chain.positions(log.joints, rows)
        return {name: _projected(points, camera) for name, camera in _FIXED.items()}


def _projected(points: NDArray[np.float64], camera: CameraSpec) -> NDArray[np.float64]:
    right, up, back = ((points - camera.position) @ camera_axes(camera)).T
    half_height = -back * tan(radians(camera.fovy) / 2)
    return 0.5 + 0.5 * np.column_stack([right / (_ASPECT * half_height), -up / half_height])


def rows_ahead(log: RunLog) -> NDArray[np.float64]:
    """Return (rows, joints) of the newest chunk that are still to be executed [rad]."""
    chunks = [chunk for chunk in log.chunks[-5:] if len(chunk.positions)]
    if not chunks or not log.progress:
        return np.empty((0, len(log.joints)))
    done = max(0, log.progress[-1].tick - chunks[-1].first_tick)
    return chunks[-1].positions[done:]
