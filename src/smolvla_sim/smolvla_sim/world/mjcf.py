# SPDX-License-Identifier: Apache-2.0
"""Builds the MuJoCo model (MJCF) of an arm on its table from the tables of this package.

Collision bits: the table is 1, objects are 2; the gripper collides with both, nothing of
the arm with the arm itself.
"""

from __future__ import annotations

from xml.etree.ElementTree import Element, SubElement, indent, tostring

import mujoco
import numpy as np

from smolvla_sim.world.arm import ARM_SERVO, GRIPPER_SERVO, ArmSpec, Inertial, ServoSpec, arm_spec
from smolvla_sim.world.arm_shapes import Shape, arm_shapes, quarter_turn
from smolvla_sim.world.kinematics import (
    Array,
    canonical_axes,
    link_frames,
    quaternion_from_rotation,
    rotation_about,
    rotation_rpy,
)
from smolvla_sim.world.scene import (
    CAMERAS,
    add_assets,
    add_objects,
    add_surroundings,
    camera_axes,
    text,
)

# A multiple of the usual rates of control (30), cameras (30) and joint states (100).
PHYSICS_RATE = 300.0
_Y = np.array([0.0, 1.0, 0.0])


def servo_of(joint: str) -> ServoSpec:
    """Return the servo constants of a joint."""
    return GRIPPER_SERVO if joint == "gripper" else ARM_SERVO


def build_model(
    model: str, *, physics_rate: float = PHYSICS_RATE, shadows: bool = False
) -> mujoco.MjModel:
    """Compile the model.

    Args:
        model: ``so100`` or ``so101``.
        physics_rate: steps per second.
        shadows: shadows and multisampling, for still pictures and films; in software a
            frame then takes some 30 times as long.
    """
    xml = build_mjcf(model, physics_rate=physics_rate, shadows=shadows)
    return mujoco.MjModel.from_xml_string(xml)


def build_mjcf(model: str, *, physics_rate: float = PHYSICS_RATE, shadows: bool = False) -> str:
    """Return the MJCF text; arguments as in `build_model`."""
    spec = arm_spec(model)
    root = Element("mujoco", model=f"smolvla_{model}")
    SubElement(root, "compiler", angle="radian", autolimits="true")
    # Fewer solver iterations than MuJoCo's defaults throw cubes out of the gripper.
    SubElement(
        root,
        "option",
        timestep=text(1.0 / physics_rate),
        integrator="implicitfast",
        cone="elliptic",
        impratio="10",
    )
    visual = SubElement(root, "visual")
    SubElement(
        visual, "headlight", ambient=".38 .38 .39", diffuse=".22 .22 .22", specular=".1 .1 .1"
    )
    SubElement(visual, "global", offwidth="1920", offheight="1440")
    SubElement(visual, "map", znear="0.01", zfar="20")
    SubElement(
        visual,
        "quality",
        shadowsize="4096" if shadows else "0",
        offsamples="8" if shadows else "0",
        numslices="28",
        # Cylinders are drawn in slices times stacks, which is slow in software.
        numstacks="3",
        numquads="2",
    )
    add_assets(SubElement(root, "asset"))
    world = SubElement(root, "worldbody")
    add_surroundings(world)
    _add_arm(world, spec)
    add_objects(world)
    _add_actuators(SubElement(root, "actuator"), spec)
    indent(root)
    return tostring(root, encoding="unicode")


def _add_arm(world: Element, spec: ArmSpec) -> None:
    zero = link_frames(spec, np.zeros(6))
    base_rotation = rotation_rpy(0.0, 0.0, spec.base_yaw)
    base = SubElement(
        world, "body", name="base_link", quat=text(quaternion_from_rotation(base_rotation))
    )
    _add_inertial(base, spec.base)
    shapes = arm_shapes()
    pan_foot = np.array([zero[0][0][0], zero[0][0][1], 0.0])
    for shape in shapes:
        if shape.link == "base":
            _add_shape(base, shape, base_rotation.T, base_rotation.T @ pan_foot)
    parent = base
    for index, joint in enumerate(spec.joints):
        body = SubElement(
            parent,
            "body",
            name=joint.name,
            pos=text(joint.xyz),
            quat=text(quaternion_from_rotation(rotation_rpy(*joint.rpy))),
        )
        _add_inertial(body, joint.inertial)
        servo = servo_of(joint.name)
        SubElement(
            body,
            "joint",
            name=joint.name,
            type="hinge",
            axis=text(joint.axis),
            range=text((joint.lower, joint.upper)),
            damping=text(servo.damping),
            frictionloss=text(servo.friction),
            armature=text(servo.armature),
        )
        origin, to_link = shape_placement(spec, index)
        for shape in shapes:
            if shape.link == joint.name:
                _add_shape(body, shape, to_link, origin)
        if joint.name == "wrist_roll":
            _add_gripper_cameras(body, to_link)
        parent = body


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


def _add_inertial(body: Element, inertial: Inertial) -> None:
    SubElement(
        body,
        "inertial",
        pos=text(inertial.center),
        mass=text(inertial.mass),
        fullinertia=text(inertial.tensor),
    )


def _add_shape(body: Element, shape: Shape, to_link: Array, origin: Array) -> None:
    turn = quarter_turn(shape.axis)
    angle = float(np.linalg.norm(turn))
    rotation = rotation_about(_Y, shape.tilt)
    if angle > 0.0:
        rotation = rotation @ rotation_about(np.array(turn) / angle, angle)
    attributes = {"contype": "0", "conaffinity": "0"}
    if shape.touches or shape.grips:
        attributes["conaffinity"] = "3"
    if shape.grips:
        attributes |= {
            "friction": "1.5 0.02 0.0005",
            "condim": "4",
            "solref": "0.008 1",
            "solimp": "0.95 0.99 0.001",
            "priority": "1",
        }
    SubElement(
        body,
        "geom",
        attributes,
        type=shape.kind,
        pos=text(origin + to_link @ np.array(shape.position)),
        quat=text(quaternion_from_rotation(to_link @ rotation)),
        size=text(shape.size),
        material=shape.material,
        mass="0",
    )


def _add_gripper_cameras(body: Element, to_link: Array) -> None:
    for name, camera in CAMERAS.items():
        if camera.on_gripper:
            SubElement(
                body,
                "camera",
                name=name,
                pos=text(to_link @ np.array(camera.position)),
                quat=text(quaternion_from_rotation(to_link @ camera_axes(camera))),
                fovy=text(camera.fovy),
            )


def _add_actuators(actuator: Element, spec: ArmSpec) -> None:
    for joint in spec.joints:
        servo = servo_of(joint.name)
        SubElement(
            actuator,
            "position",
            name=joint.name,
            joint=joint.name,
            kp=text(servo.kp),
            kv=text(servo.kv),
            ctrlrange=text((joint.lower, joint.upper)),
            forcerange=text((-servo.torque, servo.torque)),
        )
