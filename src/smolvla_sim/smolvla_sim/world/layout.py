# SPDX-License-Identifier: Apache-2.0
"""Random places for the cubes and the bowls: reachable, apart, and the same for a seed."""

from __future__ import annotations

from dataclasses import dataclass
from math import cos, hypot, pi, sin

import numpy as np
from numpy.random import Generator

from smolvla_sim.world.scene import (
    BOWL,
    BOWL_FLOOR_RADIUS,
    BOWL_HEIGHT,
    BOWLS,
    CUBE_EDGE,
    CUBES,
    RIGHT_BOWL,
)

# Distances between centers, meters: the open gripper must fit between two things.
CUBE_SPACING = 0.065
BOWL_SPACING = 0.105
# Ring sector around the shoulder_pan axis in which the gripper reaches the table.
CUBE_RADII = (0.14, 0.235)
BOWL_RADII = (0.155, 0.225)
SECTOR = 1.15
# Angles of the left bowl in scenes with two, the right one's are their mirror image; the cubes
# are between them.
_OUTER_BOWL = (0.95, 1.40)
_INNER_SECTOR = 0.75
_TRIES = 1_000
_LAYOUTS = 100


@dataclass(frozen=True)
class Placement:
    """Where a thing stands: x, y and the height of its middle in meters, yaw in radians."""

    x: float
    y: float
    z: float
    yaw: float


def random_layout(
    rng: Generator, pan_axis: tuple[float, float], *, two_bowls: bool = False
) -> dict[str, Placement]:
    """Draw places for all things.

    Args:
        rng: source of randomness.
        pan_axis: x and y of the shoulder_pan axis, meters.
        two_bowls: a bowl on the left, one on the right and the cubes between them.

    Raises:
        RuntimeError: no free place was found; the ring is too small for the distances.
    """
    angles = dict.fromkeys((BOWL, *CUBES), (-SECTOR, SECTOR))
    if two_bowls:
        left, right = _OUTER_BOWL, (-_OUTER_BOWL[1], -_OUTER_BOWL[0])
        angles = {BOWL: left, RIGHT_BOWL: right}
        angles |= dict.fromkeys(CUBES, (-_INNER_SECTOR, _INNER_SECTOR))
    for _ in range(_LAYOUTS):
        placed = _place_all(rng, pan_axis, angles)
        if placed is not None:
            return placed
    raise RuntimeError("found no room for all things; make the sectors in layout.py larger")


def _place_all(
    rng: Generator, pan_axis: tuple[float, float], angles: dict[str, tuple[float, float]]
) -> dict[str, Placement] | None:
    """Place one thing after the other; None where one finds no free place."""
    placed: dict[str, Placement] = {}
    for name, sector in angles.items():
        radii = BOWL_RADII if name in BOWLS else CUBE_RADII
        for _ in range(_TRIES):
            # Uniform over the area of the sector.
            radius = float(np.sqrt(rng.uniform(radii[0] ** 2, radii[1] ** 2)))
            angle = float(rng.uniform(*sector))
            x, y = pan_axis[0] + radius * cos(angle), pan_axis[1] + radius * sin(angle)
            if all(hypot(x - p.x, y - p.y) >= _spacing(name, n) for n, p in placed.items()):
                break
        else:
            return None
        height = BOWL_HEIGHT / 2 if name in BOWLS else CUBE_EDGE / 2
        placed[name] = Placement(x, y, height, float(rng.uniform(-pi, pi)))
    return placed


def _spacing(first: str, second: str) -> float:
    return BOWL_SPACING if {first, second}.intersection(BOWLS) else CUBE_SPACING


def in_bowl(offset_x: float, offset_y: float, height: float) -> bool:
    """Whether a cube's center lies inside the bowl.

    Args:
        offset_x: cube minus bowl along x, meters.
        offset_y: cube minus bowl along y, meters.
        height: cube minus bowl along z, meters.
    """
    above_foot = height + BOWL_HEIGHT / 2
    return hypot(offset_x, offset_y) < BOWL_FLOOR_RADIUS and 0.0 < above_foot < 1.3 * CUBE_EDGE


def on_top(offset_x: float, offset_y: float, height: float) -> bool:
    """Whether a cube stands on another one.

    Args:
        offset_x: upper minus lower along x, meters.
        offset_y: upper minus lower along y, meters.
        height: upper minus lower along z, meters.
    """
    return hypot(offset_x, offset_y) < CUBE_EDGE / 2 and abs(height - CUBE_EDGE) < 0.005
