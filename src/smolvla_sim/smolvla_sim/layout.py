# SPDX-License-Identifier: Apache-2.0
"""Random places for the cubes and the bowl: reachable, apart, and the same for a seed."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, hypot, pi, sin

import numpy as np
from numpy.random import Generator

from smolvla_sim.scene import BOWL, BOWL_FLOOR_RADIUS, BOWL_HEIGHT, CUBE_EDGE, CUBES

# Distances between centers, meters: the open gripper must fit between two things.
CUBE_SPACING = 0.065
BOWL_SPACING = 0.105
# Ring sector around the shoulder_pan axis in which the gripper reaches the table.
CUBE_RADII = (0.14, 0.235)
BOWL_RADII = (0.155, 0.225)
SECTOR = 1.15
_TRIES = 10_000


@dataclass(frozen=True)
class Placement:
    """Where a thing stands: x, y and the height of its middle in meters, yaw in radians."""

    x: float
    y: float
    z: float
    yaw: float


def random_layout(rng: Generator, pan_axis: tuple[float, float]) -> dict[str, Placement]:
    """Draw places for all things.

    Args:
        rng: source of randomness.
        pan_axis: x and y of the shoulder_pan axis, meters.

    Raises:
        RuntimeError: no free place was found; the ring is too small for the distances.
    """
    placed: dict[str, Placement] = {}
    for name in (BOWL, *CUBES):
        radii = BOWL_RADII if name == BOWL else CUBE_RADII
        for _ in range(_TRIES):
            # Uniform over the area of the sector.
            radius = float(np.sqrt(rng.uniform(radii[0] ** 2, radii[1] ** 2)))
            angle = float(rng.uniform(-SECTOR, SECTOR))
            x, y = pan_axis[0] + radius * cos(angle), pan_axis[1] + radius * sin(angle)
            if all(hypot(x - p.x, y - p.y) >= _spacing(name, n) for n, p in placed.items()):
                break
        else:
            raise RuntimeError(
                f"found no free place for {name}; make SECTOR or the radii in layout.py larger"
            )
        height = BOWL_HEIGHT / 2 if name == BOWL else CUBE_EDGE / 2
        placed[name] = Placement(x, y, height, float(rng.uniform(-pi, pi)))
    return placed


def _spacing(first: str, second: str) -> float:
    return BOWL_SPACING if BOWL in (first, second) else CUBE_SPACING


def in_bowl(offset_x: float, offset_y: float, height: float) -> bool:
    """Whether a cube's center lies inside the bowl.

    Args:
        offset_x: cube minus bowl along x, meters.
        offset_y: cube minus bowl along y, meters.
        height: cube minus bowl along z, meters.
    """
    above_foot = height + BOWL_HEIGHT / 2
    return hypot(offset_x, offset_y) < BOWL_FLOOR_RADIUS and 0.0 < above_foot < 1.3 * CUBE_EDGE
