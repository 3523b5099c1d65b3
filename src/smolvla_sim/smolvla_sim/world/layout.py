# SPDX-License-Identifier: Apache-2.0
"""Random places for cubes, bowls and arm: reachable, apart, and the same for a seed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from math import atan2, cos, hypot, pi, sin
from typing import NamedTuple

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from smolvla_sim.world.kinematics import ArmKinematics
from smolvla_sim.world.scene import (
    BOWL,
    BOWL_FLOOR_RADIUS,
    BOWL_HEIGHT,
    BOWL_RADIUS,
    BOWLS,
    CUBE_EDGE,
    CUBES,
    RIGHT_BOWL,
)

Array = NDArray[np.float64]
Point = tuple[float, float]

# Distances between centers, meters: the open gripper must fit between two objects.
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

# While the arm works: a cube whose center is higher lies on something, meters.
_ON_TABLE = CUBE_EDGE
# So far outside of the ring a cube may be pushed and is still left where it is.
_PUSHED = 0.015
# Room around the TCP in which no cube appears, meters.
_GRIPPER = "gripper"
_GRIPPER_SPACING = 0.09

# Where the TCP may be at a start: distance from the shoulder_pan axis and height, meters. The
# fingers end 10 mm beyond the TCP, so the lowest one clears the bowl by 3 cm.
_START_RADII = (0.12, 0.25)
_START_HEIGHTS = (0.075, 0.17)
_START_ROLL = 1.2
_START_OPENING = (0.0, 1.0)
# The pitch that the kinematics choose is varied by up to this, radians.
_START_PITCH = 0.25


class Placement(NamedTuple):
    """Where an object stands: x, y and the height of its middle in meters, yaw in radians."""

    x: float
    y: float
    z: float
    yaw: float


def random_layout(
    rng: Generator, pan_axis: Array, *, two_bowls: bool = False
) -> dict[str, Placement]:
    """Draw places for all objects.

    Args:
        rng: source of randomness.
        pan_axis: (2,) x and y of the shoulder_pan axis, meters.
        two_bowls: a bowl on the left, one on the right and the cubes between them.

    Raises:
        RuntimeError: no free place was found; the ring is too small for the distances.
    """
    sectors = dict.fromkeys((BOWL, *CUBES), (-SECTOR, SECTOR))
    if two_bowls:
        left, right = _OUTER_BOWL, (-_OUTER_BOWL[1], -_OUTER_BOWL[0])
        sectors = {BOWL: left, RIGHT_BOWL: right}
        sectors |= dict.fromkeys(CUBES, (-_INNER_SECTOR, _INNER_SECTOR))
    for _ in range(_LAYOUTS):
        placed: dict[str, Placement] = {}
        for name, sector in sectors.items():
            taken = {other: place[:2] for other, place in placed.items()}
            place = _free_place(rng, pan_axis, name, sector, taken, _TRIES)
            if place is None:
                break
            placed[name] = place
        else:
            return placed
    raise RuntimeError("found no room for all objects; make the sectors in layout.py larger")


def restocked(
    rng: Generator,
    pan_axis: Array,
    places: Mapping[str, Array],
    held: set[str],
    tcp: Array,
) -> dict[str, Placement]:
    """Draw places for the cubes that are in a bowl, on something or out of reach.

    Args:
        rng: source of randomness.
        pan_axis: (2,) x and y of the shoulder_pan axis, meters.
        places: where all objects are, name -> (3,) meters.
        held: what the gripper touches; it stays where it is.
        tcp: (3,) of the gripper, meters; no cube appears near it.

    Raises:
        RuntimeError: there is no free place.
    """
    bowls = [places[name] for name in BOWLS if name in places]
    astray = [c for c in CUBES if c not in held and _astray(places[c], bowls, pan_axis)]
    taken = {n: (float(at[0]), float(at[1])) for n, at in places.items() if n not in astray}
    taken[_GRIPPER] = (float(tcp[0]), float(tcp[1]))
    placed: dict[str, Placement] = {}
    for name in astray:
        place = _free_place(rng, pan_axis, name, (-SECTOR, SECTOR), taken, 10 * _TRIES)
        if place is None:
            raise RuntimeError("found no free place on the table for a cube")
        placed[name], taken[name] = place, place[:2]
    return placed


def _astray(cube: Array, bowls: list[Array], pan: Array) -> bool:
    if cube[2] > _ON_TABLE or any(in_bowl(*(cube - bowl)) for bowl in bowls):
        return True
    x, y = cube[0] - pan[0], cube[1] - pan[1]
    radius, angle = hypot(x, y), abs(atan2(y, x))
    near, far = CUBE_RADII[0] - _PUSHED, CUBE_RADII[1] + _PUSHED
    return not near <= radius <= far or angle > SECTOR + _PUSHED / radius


def _free_place(
    rng: Generator,
    pan: Array,
    name: str,
    sector: tuple[float, float],
    taken: Mapping[str, Point],
    tries: int,
) -> Placement | None:
    """Draw a place within a sector of the ring, apart from what is `taken`; None for none."""
    radii = BOWL_RADII if name in BOWLS else CUBE_RADII
    for _ in range(tries):
        # Uniform over the area of the sector.
        radius = float(np.sqrt(rng.uniform(radii[0] ** 2, radii[1] ** 2)))
        angle = float(rng.uniform(*sector))
        x, y = pan[0] + radius * cos(angle), pan[1] + radius * sin(angle)
        if all(hypot(x - at[0], y - at[1]) >= _spacing(name, n) for n, at in taken.items()):
            height = BOWL_HEIGHT / 2 if name in BOWLS else CUBE_EDGE / 2
            return Placement(x, y, height, float(rng.uniform(-pi, pi)))
    return None


def _spacing(first: str, second: str) -> float:
    if second == _GRIPPER:
        return _GRIPPER_SPACING
    return BOWL_SPACING if {first, second}.intersection(BOWLS) else CUBE_SPACING


def random_start(rng: Generator, kinematics: ArmKinematics) -> Array:
    """Return (6,) joint positions above the work space, clear of everything, radians."""
    while True:
        radius, angle = rng.uniform(*_START_RADII), rng.uniform(-SECTOR, SECTOR)
        x, y = kinematics.pan_axis + radius * np.array([cos(angle), sin(angle)])
        height, roll = rng.uniform(*_START_HEIGHTS), rng.uniform(-_START_ROLL, _START_ROLL)
        opening, pitch = rng.uniform(*_START_OPENING), rng.uniform(-_START_PITCH, _START_PITCH)
        arm = kinematics.reach(np.array([x, y, height]), None, roll)
        if arm is None:
            continue
        start = np.append(arm, opening)
        start[3] += pitch
        limits = np.array([(joint.lower, joint.upper) for joint in kinematics.spec.joints])
        inside = np.all((start > limits[:, 0]) & (start < limits[:, 1]))
        if inside and kinematics.forward(start).tcp[2] > _START_HEIGHTS[0]:
            return start


def in_bowl(offset_x: float, offset_y: float, height: float) -> bool:
    """Whether a cube's center lies inside the bowl, at this offset from the bowl [m]."""
    above_foot = height + BOWL_HEIGHT / 2
    return hypot(offset_x, offset_y) < BOWL_FLOOR_RADIUS and 0.0 < above_foot < 1.3 * CUBE_EDGE


def inside(cube: Array, bowl: Array, others: Iterable[Array]) -> bool:
    """Whether a cube lies in the bowl: on its floor, or on a cube that does.

    Args:
        cube, bowl, others: (3,) centers of the cube, the bowl and the other cubes [m].
    """
    if in_bowl(*(cube - bowl)):
        return True
    x, y, _ = cube - bowl
    # It may lean against the rim.
    return hypot(x, y) < BOWL_RADIUS - CUBE_EDGE / 2 and any(
        in_bowl(*(other - bowl)) and _lies_on(cube - other) for other in others
    )


def _lies_on(offset: Array) -> bool:
    """Whether a cube is so near above another one that it lies on it, at this offset [m]."""
    return bool(offset[2] > CUBE_EDGE / 2 and np.linalg.norm(offset) < 1.5 * CUBE_EDGE)


def on_top(offset_x: float, offset_y: float, height: float) -> bool:
    """Whether a cube stands on another one, at this offset from the lower one [m]."""
    return hypot(offset_x, offset_y) < CUBE_EDGE / 2 and abs(height - CUBE_EDGE) < 0.005
