# SPDX-License-Identifier: Apache-2.0
"""Markers as RViz would show them, drawn into a picture of the simulation."""

from __future__ import annotations

from collections.abc import Iterable

import mujoco
import numpy as np
from numpy.typing import NDArray
from visualization_msgs.msg import Marker

Array = NDArray[np.float64]

# RViz draws lines flat and in their own color; a little light of their own comes near to it.
_EMISSION = 0.25


def add_markers(scene: mujoco.MjvScene, markers: Iterable[Marker]) -> None:
    """Add markers to a scene: line strips, spheres and texts; their frame is the scene's.

    Raises:
        ValueError: a marker of another type, or more than the scene has room for.
    """
    for marker in markers:
        if marker.type == Marker.LINE_STRIP:
            _add_line(scene, marker)
        elif marker.type == Marker.SPHERE:
            size = np.array([marker.scale.x, marker.scale.y, marker.scale.z]) / 2.0
            _next_geom(scene, mujoco.mjtGeom.mjGEOM_SPHERE, size, _place(marker), _color(marker))
        elif marker.type == Marker.TEXT_VIEW_FACING:
            geom = _next_geom(
                scene, mujoco.mjtGeom.mjGEOM_LABEL, np.ones(3), _place(marker), _color(marker)
            )
            geom.label = marker.text
        else:
            raise ValueError(f"a marker of type {marker.type} ('{marker.ns}') cannot be drawn")


def _add_line(scene: mujoco.MjvScene, marker: Marker) -> None:
    points = np.array([[p.x, p.y, p.z] for p in marker.points]).reshape(-1, 3)
    if marker.colors:
        colors = np.array([[c.r, c.g, c.b, c.a] for c in marker.colors])
    else:
        colors = np.tile(_color(marker), (len(points), 1))
    for i in range(len(points) - 1):
        if np.allclose(points[i], points[i + 1], atol=1e-6):
            continue  # a capsule without a direction
        geom = _next_geom(
            scene,
            mujoco.mjtGeom.mjGEOM_CAPSULE,
            np.zeros(3),
            np.zeros(3),
            (colors[i] + colors[i + 1]) / 2.0,
        )
        mujoco.mjv_connector(
            geom,
            mujoco.mjtGeom.mjGEOM_CAPSULE.value,
            marker.scale.x / 2.0,
            points[i],
            points[i + 1],
        )


def _next_geom(
    scene: mujoco.MjvScene, kind: mujoco.mjtGeom, size: Array, place: Array, rgba: Array
) -> mujoco.MjvGeom:
    if scene.ngeom >= scene.maxgeom:
        raise ValueError(f"the scene has no room for more than {scene.maxgeom} geoms")
    geom = scene.geoms[scene.ngeom]
    mujoco.mjv_initGeom(geom, kind.value, size, place, np.eye(3).ravel(), rgba.astype(np.float32))
    geom.emission = _EMISSION
    geom.category = mujoco.mjtCatBit.mjCAT_DECOR.value
    scene.ngeom += 1
    return geom


def _place(marker: Marker) -> Array:
    p = marker.pose.position
    return np.array([p.x, p.y, p.z])


def _color(marker: Marker) -> Array:
    c = marker.color
    return np.array([c.r, c.g, c.b, c.a])
