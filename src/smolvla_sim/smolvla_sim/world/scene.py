# SPDX-License-Identifier: Apache-2.0
"""Things on and around the table: cubes, bowl, lights, materials and cameras."""

from __future__ import annotations

from dataclasses import dataclass
from math import atan2, cos, hypot, pi, sin
from xml.etree.ElementTree import Element, SubElement

import numpy as np
from numpy.typing import NDArray

from smolvla_sim.world.arm import Vector
from smolvla_sim.world.kinematics import quaternion_from_rotation

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
_WALL = 0.003
_WALL_PIECES = 20
_CONTACT = {"contype": "2", "conaffinity": "3", "condim": "4", "friction": "1 0.005 0.0001"}

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


def camera_axes(camera: CameraSpec) -> NDArray[np.float64]:
    """Return the (3, 3) axes right, up, back of a camera as columns, in its frame."""
    view = np.subtract(camera.target, camera.position)
    view = view / np.linalg.norm(view)
    right = np.array(camera.right) - np.dot(camera.right, view) * view
    right = right / np.linalg.norm(right)
    return np.column_stack([right, np.cross(right, view), -view])


def text(values: object) -> str:
    """Return numbers as an MJCF attribute."""
    return " ".join(f"{float(value):.15g}" for value in np.ravel(np.asarray(values, dtype=float)))


def add_assets(asset: Element) -> None:
    """Add materials, the sky and the bowl's mesh to ``<asset>``."""
    SubElement(
        asset,
        "texture",
        type="skybox",
        builtin="gradient",
        rgb1="0.93 0.95 0.97",
        rgb2="0.62 0.68 0.75",
        width="64",
        height="384",
    )
    surfaces: dict[str, tuple[tuple[float, float, float], float, float]] = {
        "printed": ((0.98, 0.70, 0.12), 0.25, 0.35),
        "printed_dark": ((0.90, 0.56, 0.06), 0.25, 0.35),
        "servo": ((0.10, 0.10, 0.115), 0.35, 0.45),
        "metal": ((0.72, 0.73, 0.75), 0.7, 0.7),
        "rubber": ((0.20, 0.20, 0.22), 0.05, 0.1),
        "board": ((0.05, 0.30, 0.16), 0.3, 0.4),
        "tabletop": ((0.80, 0.755, 0.70), 0.05, 0.1),
        "mat": ((0.70, 0.705, 0.71), 0.02, 0.1),
        "bowl": ((0.93, 0.93, 0.91), 0.4, 0.6),
        **{f"{color}_cube": (rgb, 0.2, 0.3) for color, rgb in CUBE_COLORS.items()},
    }
    for name, (rgb, specular, shininess) in surfaces.items():
        SubElement(
            asset,
            "material",
            name=name,
            rgba=text((*rgb, 1.0)),
            specular=text(specular),
            shininess=text(shininess),
        )
    vertices, faces = _bowl_mesh()
    SubElement(
        asset,
        "mesh",
        name="bowl",
        vertex=text(vertices),
        face=" ".join(str(index) for index in faces.ravel()),
        inertia="shell",
    )


def _bowl_mesh() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return vertices (n, 3) and triangles (m, 3) of the bowl, a turned profile."""
    profile = [(0.0, 0.0), (BOWL_FLOOR_RADIUS - 0.004, 0.0), (BOWL_FLOOR_RADIUS, 0.002)]
    steps = 6
    for step in range(1, steps + 1):
        share = step / steps
        radius = BOWL_FLOOR_RADIUS + (BOWL_RADIUS - BOWL_FLOOR_RADIUS) * share**0.75
        profile.append((radius, 0.002 + (BOWL_HEIGHT - 0.002) * share))
    inner = [(radius - _WALL, height + 0.0005) for radius, height in reversed(profile[3:])]
    profile += [*inner, (BOWL_FLOOR_RADIUS - _WALL, BOWL_FLOOR), (0.0, BOWL_FLOOR)]
    around = 48
    angles = np.arange(around) * 2 * pi / around
    rings = [
        np.column_stack([r * np.cos(angles), r * np.sin(angles), np.full(around, z)])
        for r, z in profile[1:-1]
    ]
    vertices = np.vstack([*rings, [[0.0, 0.0, 0.0]], [[0.0, 0.0, BOWL_FLOOR]]])
    faces = []
    bottom, floor = len(vertices) - 2, len(vertices) - 1
    last = (len(rings) - 1) * around
    for i in range(around):
        j = (i + 1) % around
        for ring in range(len(rings) - 1):
            a, b = ring * around, (ring + 1) * around
            faces += [(a + i, a + j, b + j), (a + i, b + j, b + i)]
        faces += [(bottom, j, i), (floor, last + i, last + j)]
    return vertices, np.array(faces)


def add_surroundings(world: Element) -> None:
    """Add the table, lights and fixed cameras to ``<worldbody>``."""
    SubElement(
        world,
        "light",
        directional="true",
        pos="0.4 -0.5 1.5",
        dir="-0.35 0.45 -1",
        diffuse=".46 .45 .44",
    )
    SubElement(
        world,
        "light",
        directional="true",
        pos="-0.3 0.6 1.2",
        dir="0.5 -0.6 -0.7",
        diffuse=".16 .17 .19",
        specular="0 0 0",
        castshadow="false",
    )
    SubElement(
        world,
        "geom",
        name="table",
        type="box",
        pos="0.18 0 -0.02",
        size="0.6 0.6 0.02",
        material="tabletop",
        contype="1",
        conaffinity="0",
        friction="1 0.005 0.0001",
    )
    SubElement(
        world,
        "geom",
        type="box",
        pos="0.165 0 0.0001",
        size="0.225 0.27 0.0004",
        material="mat",
        contype="0",
        conaffinity="0",
    )
    for name, camera in CAMERAS.items():
        if not camera.on_gripper:
            axes = camera_axes(camera)
            SubElement(
                world,
                "camera",
                name=name,
                pos=text(camera.position),
                quat=text(quaternion_from_rotation(axes)),
                fovy=text(camera.fovy),
            )


def add_objects(world: Element) -> None:
    """Add the cubes and the bowls to ``<worldbody>``.

    The right bowl cannot be moved by the arm: without a joint it costs no time in the scenes
    that do not have it. `simulation` puts it into its place or out of the way.
    """
    for index, cube in enumerate(CUBES):
        body = SubElement(
            world, "body", name=cube, pos=text((0.2, 0.08 * (index - 1), CUBE_EDGE / 2))
        )
        SubElement(body, "freejoint", name=cube)
        SubElement(
            body,
            "geom",
            _CONTACT,
            name=cube,
            type="box",
            size=text([CUBE_EDGE / 2] * 3),
            mass=text(CUBE_MASS),
            material=cube,
            solref="0.008 1",
            solimp="0.95 0.99 0.001",
        )
    _add_bowl(world, BOWL, free=True)
    _add_bowl(world, RIGHT_BOWL, free=False)


def _add_bowl(world: Element, name: str, *, free: bool) -> None:
    # The frame of every thing is the center of its bounding box.
    foot = -BOWL_HEIGHT / 2
    bowl = SubElement(world, "body", name=name, pos=text((0.14, 0.15, -foot)))
    if free:
        SubElement(bowl, "freejoint", name=name)
    half = BOWL_FLOOR / 2
    SubElement(
        bowl,
        "geom",
        _CONTACT,
        type="cylinder",
        pos=text((0, 0, foot + half)),
        size=text((BOWL_FLOOR_RADIUS, half)),
        mass=text(0.6 * BOWL_MASS),
        group="3",
    )
    slant = atan2(BOWL_RADIUS - BOWL_FLOOR_RADIUS, BOWL_HEIGHT - 0.002)
    length = hypot(BOWL_RADIUS - BOWL_FLOOR_RADIUS, BOWL_HEIGHT - 0.002)
    radius = (BOWL_RADIUS + BOWL_FLOOR_RADIUS) / 2 - _WALL / 2
    for piece in range(_WALL_PIECES):
        angle = 2 * pi * piece / _WALL_PIECES
        out = np.array([cos(angle), sin(angle), 0.0])
        along = sin(slant) * out + cos(slant) * np.array([0.0, 0.0, 1.0])
        across = np.array([-sin(angle), cos(angle), 0.0])
        axes = np.column_stack([np.cross(across, along), across, along])
        SubElement(
            bowl,
            "geom",
            _CONTACT,
            type="box",
            pos=text((*(radius * out[:2]), 0.001)),
            quat=text(quaternion_from_rotation(axes)),
            size=text((_WALL / 2, BOWL_RADIUS * pi / _WALL_PIECES, length / 2)),
            mass=text(0.4 * BOWL_MASS / _WALL_PIECES),
            group="3",
        )
    SubElement(
        bowl,
        "geom",
        name=name,
        type="mesh",
        mesh="bowl",
        pos=text((0, 0, foot)),
        mass="0",
        material="bowl",
        contype="0",
        conaffinity="0",
    )
