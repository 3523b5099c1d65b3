# SPDX-License-Identifier: Apache-2.0
"""Builds the MuJoCo model of an arm on its table: ``scene.xml`` and the tables of this package."""

from __future__ import annotations

from collections.abc import Sequence
from math import atan2, cos, hypot, pi, sin
from pathlib import Path

import mujoco
import numpy as np
from numpy.typing import ArrayLike, NDArray

from smolvla_sim.world.arm import ARM_SERVO, GRIPPER_SERVO, ArmSpec, Link, ServoSpec, arm_spec
from smolvla_sim.world.arm_shapes import arm_shapes, quarter_turn
from smolvla_sim.world.kinematics import (
    Array,
    canonical_axes,
    link_frames,
    quaternion_from_rotation,
    rotation_about,
    rotation_rpy,
)
from smolvla_sim.world.scene import (
    BOWL,
    BOWL_FLOOR,
    BOWL_FLOOR_RADIUS,
    BOWL_HEIGHT,
    BOWL_MASS,
    BOWL_RADIUS,
    CAMERAS,
    CUBE_COLORS,
    CUBE_EDGE,
    CUBE_MASS,
    PHYSICS_RATE,
    RIGHT_BOWL,
    camera_axes,
)

_Y = np.array([0.0, 1.0, 0.0])
_WALL = 0.003  # of the bowls
_WALL_PIECES = 20
_TYPES = {
    "box": mujoco.mjtGeom.mjGEOM_BOX,
    "cylinder": mujoco.mjtGeom.mjGEOM_CYLINDER,
    "sphere": mujoco.mjtGeom.mjGEOM_SPHERE,
    "capsule": mujoco.mjtGeom.mjGEOM_CAPSULE,
}


def servo_of(joint: str) -> ServoSpec:
    """Return the servo constants of a joint."""
    return GRIPPER_SERVO if joint == "gripper" else ARM_SERVO


def build_model(
    model: str, *, physics_rate: float = PHYSICS_RATE, shadows: bool = False
) -> mujoco.MjModel:
    """Compile the model: ``scene.xml`` with the arm, the cubes, the bowls and the cameras.

    Args:
        model: ``so100`` or ``so101``.
        physics_rate: steps per second.
        shadows: shadows and multisampling, for still pictures and films; in software a
            frame then takes some 30 times as long.
    """
    scene = mujoco.MjSpec.from_file(str(Path(__file__).with_name("scene.xml")))
    scene.modelname = f"smolvla_{model}"
    scene.option.timestep = _numbers(1.0 / physics_rate)[0]
    if shadows:
        scene.visual.quality.shadowsize, scene.visual.quality.offsamples = 4096, 8
    for name, camera in CAMERAS.items():
        if not camera.on_gripper:
            _add_camera(scene.worldbody, name, np.eye(3))
    _add_arm(scene, arm_spec(model))
    _add_cubes(scene)
    vertices, faces = _bowl_mesh()
    scene.add_mesh(
        name=BOWL,
        uservert=_numbers(vertices),
        userface=faces.ravel().tolist(),
        inertia=mujoco.mjtMeshInertia.mjMESH_INERTIA_SHELL,
    )
    # The right bowl cannot be moved by the arm: without a joint it costs no time in the scenes
    # that do not have it. `simulation` puts it into its place or out of the way.
    _add_bowl(scene, BOWL, free=True)
    _add_bowl(scene, RIGHT_BOWL, free=False)
    return scene.compile()


def _numbers(values: ArrayLike) -> list[float]:
    """Return values without what rounding left of them behind the 15th digit."""
    return [float(f"{value:.15g}") for value in np.ravel(np.asarray(values, float))]


def _quaternion(rotation: Array) -> list[float]:
    return _numbers(quaternion_from_rotation(rotation))


def _add_arm(scene: mujoco.MjSpec, spec: ArmSpec) -> None:
    zero = link_frames(spec, np.zeros(6))
    base_rotation = rotation_rpy(*spec.base.rpy)
    body = _add_link(scene.worldbody, spec.base)
    pan_foot = np.array([zero[0][0][0], zero[0][0][1], 0.0])
    _add_shapes(scene, body, "base", base_rotation.T, base_rotation.T @ pan_foot)
    for index, joint in enumerate(spec.joints):
        body = _add_link(body, joint)
        servo = servo_of(joint.name)
        limits = _numbers((joint.lower, joint.upper))
        body.add_joint(
            name=joint.name,
            axis=joint.axis,
            range=limits,
            damping=servo.damping,
            frictionloss=servo.friction,
            armature=servo.armature,
        )
        origin, to_link = shape_placement(spec, index)
        _add_shapes(scene, body, joint.name, to_link, origin)
        if joint.name == "wrist_roll":
            _add_camera(body, "wrist", to_link)
        actuator = scene.add_actuator(
            name=joint.name,
            target=joint.name,
            trntype=mujoco.mjtTrn.mjTRN_JOINT,
            ctrlrange=limits,
            forcerange=(-servo.torque, servo.torque),
        )
        actuator.set_to_position(kp=servo.kp, kv=servo.kv)


def _add_link(parent: mujoco.MjsBody, link: Link) -> mujoco.MjsBody:
    return parent.add_body(
        name=link.name,
        pos=_numbers(link.xyz),
        quat=_quaternion(rotation_rpy(*link.rpy)),
        explicitinertial=True,
        ipos=link.center,
        mass=link.mass,
        fullinertia=link.tensor,
    )


def shape_placement(spec: ArmSpec, index: int) -> tuple[Array, Array]:
    """Return where the shapes of a moved link belong in the link's frame.

    Args:
        spec: the arm.
        index: number of the joint that moves the link.

    Returns:
        The point (3,) from which `arm_shapes` measures, meters, and the rotation (3, 3) from
        the base's axes at the zero pose to the link's.
    """
    zero = link_frames(spec, np.zeros(6))
    to_link = canonical_axes(zero[index][1])
    if spec.joints[index].name == "shoulder_pan":
        # Its shapes are placed from the shoulder_lift axis: the frames of the two arms sit at
        # different heights on the pan axis.
        lift = zero[1][0] * np.array([1.0, 0.0, 1.0])
        return to_link @ (lift - zero[0][0]), to_link
    return to_link @ np.array([0.0, -spec.joints[index].side_shift, 0.0]), to_link


def _add_shapes(
    scene: mujoco.MjSpec, body: mujoco.MjsBody, link: str, to_link: Array, origin: Array
) -> None:
    for shape in arm_shapes():
        if shape.link != link:
            continue
        turn = quarter_turn(shape.axis)
        angle = float(np.linalg.norm(turn))
        rotation = rotation_about(_Y, shape.tilt)
        if angle > 0.0:
            rotation = rotation @ rotation_about(np.array(turn) / angle, angle)
        kind = "gripping" if shape.grips else "touching" if shape.touches else "arm"
        body.add_geom(
            scene.find_default(kind),
            type=_TYPES[shape.kind],
            pos=_numbers(origin + to_link @ np.array(shape.position)),
            quat=_quaternion(to_link @ rotation),
            size=_size(shape.size),
            material=shape.material,
        )


def _size(values: Sequence[float]) -> list[float]:
    return [*_numbers(values), 0.0, 0.0][:3]


def _add_camera(body: mujoco.MjsBody, name: str, to_link: Array) -> None:
    camera = CAMERAS[name]
    body.add_camera(
        name=name,
        pos=_numbers(to_link @ np.array(camera.position)),
        quat=_quaternion(to_link @ camera_axes(camera)),
        fovy=camera.fovy,
    )


def _add_cubes(scene: mujoco.MjSpec) -> None:
    for index, (color, rgb) in enumerate(CUBE_COLORS.items()):
        name = f"{color}_cube"
        scene.add_material(name=name, rgba=(*rgb, 1.0), specular=0.2, shininess=0.3)
        body = scene.worldbody.add_body(name=name, pos=(0.2, 0.08 * (index - 1), CUBE_EDGE / 2))
        body.add_freejoint(name=name)
        body.add_geom(
            scene.find_default("cube"),
            name=name,
            size=[CUBE_EDGE / 2] * 3,
            mass=CUBE_MASS,
            material=name,
        )


def _add_bowl(scene: mujoco.MjSpec, name: str, *, free: bool) -> None:
    # The frame of every object is the center of its bounding box.
    foot = -BOWL_HEIGHT / 2
    bowl = scene.worldbody.add_body(name=name, pos=(0.14, 0.15, -foot))
    if free:
        bowl.add_freejoint(name=name)
    default = scene.find_default("object")
    half = BOWL_FLOOR / 2
    bowl.add_geom(
        default,
        type=mujoco.mjtGeom.mjGEOM_CYLINDER,
        pos=_numbers((0.0, 0.0, foot + half)),
        size=_size((BOWL_FLOOR_RADIUS, half)),
        mass=_numbers(0.6 * BOWL_MASS)[0],
        group=3,
    )
    slant = atan2(BOWL_RADIUS - BOWL_FLOOR_RADIUS, BOWL_HEIGHT - 0.002)
    length = hypot(BOWL_RADIUS - BOWL_FLOOR_RADIUS, BOWL_HEIGHT - 0.002)
    radius = (BOWL_RADIUS + BOWL_FLOOR_RADIUS) / 2 - _WALL / 2
    for piece in range(_WALL_PIECES):
        angle = 2 * pi * piece / _WALL_PIECES
        out = np.array([cos(angle), sin(angle), 0.0])
        along = sin(slant) * out + cos(slant) * np.array([0.0, 0.0, 1.0])
        across = np.array([-sin(angle), cos(angle), 0.0])
        bowl.add_geom(
            default,
            type=mujoco.mjtGeom.mjGEOM_BOX,
            pos=_numbers((*(radius * out[:2]), 0.001)),
            quat=_quaternion(np.column_stack([np.cross(across, along), across, along])),
            size=_numbers((_WALL / 2, BOWL_RADIUS * pi / _WALL_PIECES, length / 2)),
            mass=_numbers(0.4 * BOWL_MASS / _WALL_PIECES)[0],
            group=3,
        )
    bowl.add_geom(
        scene.find_default("arm"),
        name=name,
        type=mujoco.mjtGeom.mjGEOM_MESH,
        meshname=BOWL,
        pos=(0.0, 0.0, foot),
        material=BOWL,
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
