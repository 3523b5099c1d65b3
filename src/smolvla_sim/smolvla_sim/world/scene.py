# SPDX-License-Identifier: Apache-2.0
"""Objects on and around the table: cubes, bowls and cameras."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from smolvla_sim.world.arm import Vector

CUBE_EDGE = 0.025
CUBE_MASS = 0.020
CUBE_COLORS: dict[str, tuple[float, float, float]] = {
    "red": (0.83, 0.10, 0.10),
    "green": (0.12, 0.60, 0.20),
    "blue": (0.10, 0.28, 0.80),
}
CUBES = tuple(f"{color}_cube" for color in CUBE_COLORS)
BOWL = "bowl"
# What is in every scene.
OBJECTS = (*CUBES, BOWL)
# What only the tasks with two bowls have; BOWL is the left one then.
RIGHT_BOWL = "right_bowl"
BOWLS = (BOWL, RIGHT_BOWL)

BOWL_RADIUS = 0.055
BOWL_FLOOR_RADIUS = 0.034
BOWL_HEIGHT = 0.032
BOWL_FLOOR = 0.004
BOWL_MASS = 0.15

OBJECT_SIZES: dict[str, Vector] = {
    **dict.fromkeys(CUBES, (CUBE_EDGE, CUBE_EDGE, CUBE_EDGE)),
    **dict.fromkeys(BOWLS, (2 * BOWL_RADIUS, 2 * BOWL_RADIUS, BOWL_HEIGHT)),
}


@dataclass(frozen=True)
class CameraSpec:
    """A camera that looks from one point at another.

    Attributes:
        position: meters, in the base frame, or for `on_gripper` in the gripper's axes
            (x along the fingers, y left, z from the fixed to the moving jaw) from wrist_roll.
        target: the point in the middle of the picture, same frame.
        right: direction that points roughly right in the picture, same frame.
        fovy: vertical field of view, degrees.
        on_gripper: whether the gripper carries it.
    """

    position: Vector
    target: Vector
    right: Vector
    fovy: float
    on_gripper: bool = False


# `top` sees the table as the robot does: its base at the lower edge, its left on the left.
CAMERAS: dict[str, CameraSpec] = {
    "top": CameraSpec((0.175, 0.0, 0.66), (0.175, 0.0, 0.0), (0.0, -1.0, 0.0), 40.0),
    "side": CameraSpec((0.34, -0.50, 0.30), (0.145, 0.0, 0.065), (1.0, 0.4, 0.0), 42.0),
    "wrist": CameraSpec((0.020, 0.062, 0.0), (0.105, 0.0, 0.0), (0.0, 0.0, 1.0), 72.0, True),
    "beauty": CameraSpec((0.56, -0.40, 0.34), (0.125, 0.012, 0.085), (0.66, 0.75, 0.0), 38.0),
}
DEFAULT_CAMERAS = ("top", "side", "wrist")

# A multiple of the usual rates of control (30), cameras (30) and joint states (100).
PHYSICS_RATE = 300.0


def camera_axes(camera: CameraSpec) -> NDArray[np.float64]:
    """Return the (3, 3) axes right, up, back of a camera as columns, in its frame."""
    view = np.subtract(camera.target, camera.position)
    view = view / np.linalg.norm(view)
    right = np.array(camera.right) - np.dot(camera.right, view) * view
    right = right / np.linalg.norm(right)
    return np.column_stack([right, np.cross(right, view), -view])
