# SPDX-License-Identifier: Apache-2.0
"""Puts cubes back on the table, so that continuous operation does not run out of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import atan2, cos, hypot, pi, sin

import numpy as np
from numpy.random import Generator

from smolvla_sim.world.layout import (
    BOWL_SPACING,
    CUBE_RADII,
    CUBE_SPACING,
    SECTOR,
    Placement,
    in_bowl,
)
from smolvla_sim.world.scene import BOWLS, CUBE_EDGE, CUBES
from smolvla_sim.world.simulation import Simulation
from smolvla_sim.world.tasks import ObjectState

# A cube whose center is higher lies on something, meters.
_ON_TABLE = CUBE_EDGE
# So far outside of the ring of `layout` a cube may be pushed and is still left where it is.
_PUSHED = 0.015
# Room around the TCP in which no cube appears, meters.
_GRIPPER_SPACING = 0.09
_TRIES = 10_000

Point = tuple[float, float]


def restock_rng(seed: int) -> Generator:
    """Return the source of places of a run, apart from all other draws of the seed."""
    return np.random.default_rng([seed, 5])


def restock(simulation: Simulation, rng: Generator) -> tuple[str, ...]:
    """Put every cube that is in the bowl, on something or out of reach at a free random place.

    A cube that the gripper touches stays where it is. The arm does not move.

    Args:
        simulation: that is in motion.
        rng: source of the places.

    Returns:
        The cubes that were moved.

    Raises:
        RuntimeError: there is no free place.
    """
    objects = simulation.objects()
    pan = (float(simulation.kinematics.pan_axis[0]), float(simulation.kinematics.pan_axis[1]))
    tcp = simulation.kinematics.forward(simulation.positions).tcp
    bowls = [objects[name] for name in BOWLS if name in objects]
    astray = [name for name in CUBES if _astray(objects[name], bowls, pan)]
    taken = {
        name: (float(state.position[0]), float(state.position[1]))
        for name, state in objects.items()
        if name not in astray
    }
    for name in astray:
        place = free_place(rng, pan, taken, (float(tcp[0]), float(tcp[1])))
        simulation.move_object(name, np.array([place.x, place.y, place.z]), yaw=place.yaw)
        taken[name] = (place.x, place.y)
    return tuple(astray)


def _astray(cube: ObjectState, bowls: Sequence[ObjectState], pan: Point) -> bool:
    if cube.touched:
        return False
    if any(in_bowl(*(cube.position - bowl.position)) for bowl in bowls):
        return True
    if cube.position[2] > _ON_TABLE:
        return True
    x, y = cube.position[0] - pan[0], cube.position[1] - pan[1]
    radius, angle = hypot(x, y), abs(atan2(y, x))
    near, far = CUBE_RADII[0] - _PUSHED, CUBE_RADII[1] + _PUSHED
    return not near <= radius <= far or angle > SECTOR + _PUSHED / radius


def free_place(
    rng: Generator, pan: Point, taken: Mapping[str, Point], gripper: Point
) -> Placement:
    """Draw a place for a cube, apart from everything as `layout.random_layout` does.

    Args:
        rng: source of randomness.
        pan: x and y of the shoulder_pan axis [m].
        taken: name -> x and y of all other things [m].
        gripper: x and y of the TCP [m].

    Raises:
        RuntimeError: there is no free place.
    """
    for _ in range(_TRIES):
        radius = float(np.sqrt(rng.uniform(CUBE_RADII[0] ** 2, CUBE_RADII[1] ** 2)))
        angle = float(rng.uniform(-SECTOR, SECTOR))
        x, y = pan[0] + radius * cos(angle), pan[1] + radius * sin(angle)
        apart = all(
            hypot(x - at[0], y - at[1]) >= (BOWL_SPACING if name in BOWLS else CUBE_SPACING)
            for name, at in taken.items()
        )
        if apart and hypot(x - gripper[0], y - gripper[1]) >= _GRIPPER_SPACING:
            return Placement(x, y, CUBE_EDGE / 2, float(rng.uniform(-pi, pi)))
    raise RuntimeError("found no free place on the table for a cube")
