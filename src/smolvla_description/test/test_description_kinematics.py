# SPDX-License-Identifier: Apache-2.0
"""The URDF is the arm of the simulation, which its own tests hold to the published files."""

import mujoco
import numpy as np
import pytest
from smolvla_sim.world.arm import ARM_SERVO, JOINT_NAMES, arm_spec
from smolvla_sim.world.kinematics import TCP_FORWARD, ArmKinematics
from smolvla_sim.world.mjcf import build_model
from smolvla_sim.world.scene import CAMERAS

LINKS = {
    "shoulder_pan": "shoulder_link",
    "shoulder_lift": "upper_arm_link",
    "elbow_flex": "lower_arm_link",
    "wrist_flex": "wrist_link",
    "wrist_roll": "gripper_link",
    "gripper": "moving_jaw_link",
}
TENSOR = ("ixx", "iyy", "izz", "ixy", "ixz", "iyz")


def values(element, attribute):
    return np.array(element.get(attribute).split(), dtype=float)


def random_poses(model, count, seed=3):
    spec = arm_spec(model)
    rng = np.random.default_rng(seed)
    lower, upper = ([getattr(j, end) for j in spec.joints] for end in ("lower", "upper"))
    return rng.uniform(lower, upper, (count, len(spec.joints)))


def at(description, positions):
    return description.poses(dict(zip(JOINT_NAMES, positions, strict=True)))


def inertial(link):
    """Mass, center of mass (3,) and the six numbers of the tensor of a link."""
    element = link.find("inertial")
    assert element.find("origin").get("rpy") == "0 0 0"
    tensor = [float(element.find("inertia").get(name)) for name in TENSOR]
    mass = float(element.find("mass").get("value"))
    return mass, values(element.find("origin"), "xyz"), tensor


def test_limits_are_those_of_the_simulation(arm):
    model, description = arm
    for spec in arm_spec(model).joints:
        joint = description.joints[spec.name]
        limit = joint.find("limit")
        assert float(limit.get("lower")) == spec.lower
        assert float(limit.get("upper")) == spec.upper
        assert float(limit.get("velocity")) == ARM_SERVO.speed
        # Half of the torque: max_torque_limit 500 in so100_hardware, as LeRobot sets it.
        share = 0.5 if spec.name == "gripper" else 1.0
        assert float(limit.get("effort")) == pytest.approx(share * ARM_SERVO.torque)
        assert float(joint.find("dynamics").get("damping")) == ARM_SERVO.damping
        assert float(joint.find("dynamics").get("friction")) == ARM_SERVO.friction


def test_masses_and_inertias_are_those_of_the_simulation(arm):
    model, description = arm
    spec = arm_spec(model)
    links = {"base_link": spec.base, **{LINKS[j.name]: j for j in spec.joints}}
    for name, expected in links.items():
        mass, center, tensor = inertial(description.links[name])
        assert mass == expected.mass
        assert tuple(center) == expected.center
        assert tuple(tensor) == expected.tensor


def test_inertias_are_possible(arm):
    _, description = arm
    with_mass = [link for link in description.links.values() if link.find("inertial") is not None]
    assert len(with_mass) == 7
    for link in with_mass:
        mass, _, (xx, yy, zz, xy, xz, yz) = inertial(link)
        assert mass > 0.0
        moments = np.linalg.eigvalsh([[xx, xy, xz], [xy, yy, yz], [xz, yz, zz]])
        assert np.all(moments > 0.0), link.get("name")
        assert moments[2] <= moments[0] + moments[1], link.get("name")


def test_forward_kinematics_is_that_of_the_simulation(arm):
    model, description = arm
    simulation = build_model(model)
    data = mujoco.MjData(simulation)
    for positions in random_poses(model, 50):
        data.qpos[:6] = positions
        mujoco.mj_kinematics(simulation, data)
        poses = at(description, positions)
        for joint, link in LINKS.items():
            body = data.body(joint)
            np.testing.assert_allclose(poses[link][:3, 3], body.xpos, atol=1e-6, err_msg=link)
            np.testing.assert_allclose(
                poses[link][:3, :3], body.xmat.reshape(3, 3), atol=1e-6, err_msg=link
            )


def test_the_tip_is_the_tool_center_point_of_the_simulation(arm):
    model, description = arm
    kinematics = ArmKinematics(arm_spec(model))
    for positions in random_poses(model, 50):
        poses = at(description, positions)
        tip, roll = poses["gripper_frame_link"], poses["gripper_link"]
        expected = kinematics.forward(positions)
        fingers, left, to_moving_jaw = expected.axes.T
        # The SO-101's wrist_roll lies 0.2 mm beside the arm's plane, which the closed form
        # neglects.
        np.testing.assert_allclose(tip[:3, 3], expected.tcp, atol=3e-4)
        np.testing.assert_allclose(tip[:3, 3], roll[:3, 3] + TCP_FORWARD * tip[:3, 2], atol=1e-9)
        np.testing.assert_allclose(
            tip[:3, :3], np.column_stack([-to_moving_jaw, left, fingers]), atol=1e-6
        )


def test_cameras_are_where_the_simulation_has_them(arm):
    model, description = arm
    simulation = build_model(model)
    data = mujoco.MjData(simulation)
    for positions in random_poses(model, 5):
        data.qpos[:6] = positions
        mujoco.mj_forward(simulation, data)
        poses = at(description, positions)
        for name in CAMERAS:
            camera = data.cam(name)
            right, up, back = camera.xmat.reshape(3, 3).T
            optical = poses[f"{name}_camera_optical_frame"]
            np.testing.assert_allclose(optical[:3, 3], camera.xpos, atol=1e-6, err_msg=name)
            np.testing.assert_allclose(
                optical[:3, :3], np.column_stack([right, -up, -back]), atol=2e-6, err_msg=name
            )
            body = poses[f"{name}_camera_link"]
            np.testing.assert_allclose(
                body[:3, :3], np.column_stack([-back, -right, up]), atol=2e-6, err_msg=name
            )


def test_cameras_of_two_arms_sit_alike(expand):
    one, two = expand(), expand("two_arms.urdf.xacro")
    for joint in ("wrist_camera_joint", "wrist_camera_optical_joint"):
        origin = one.joints[joint].find("origin").attrib
        assert two.joints[f"left_{joint}"].find("origin").attrib == origin
        assert two.joints[f"right_{joint}"].find("origin").attrib == origin


@pytest.mark.parametrize("hardware", ["real", "mock", "sim"])
@pytest.mark.parametrize("name", ["so100", "so101"])
def test_mujoco_loads_it(expand, name, hardware):
    model = mujoco.MjModel.from_xml_string(expand(model=name, hardware=hardware).text)
    joints = arm_spec(name).joints
    assert [model.joint(index).name for index in range(model.njnt)] == list(JOINT_NAMES)
    np.testing.assert_allclose(model.jnt_range, [(j.lower, j.upper) for j in joints])
    # The base is merged into the world, which weighs nothing.
    moved = sum(joint.mass for joint in joints)
    assert model.body_mass.sum() == pytest.approx(moved, rel=1e-6)
