# SPDX-License-Identifier: Apache-2.0
"""The kinematics that `visualization_node` reads from a URDF agree with MuJoCo's."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from smolvla_executor.visualization_node.kinematics import KinematicChain
from smolvla_sim.world.arm import ARMS, JOINT_NAMES, arm_spec
from smolvla_sim.world.kinematics import ArmKinematics
from smolvla_sim.world.mjcf import build_model


def text(values) -> str:
    return " ".join(f"{value:.15g}" for value in values)


def urdf_of(spec) -> str:
    """Return the arm's joint table as a URDF; each link is called after its joint."""
    links = ['<link name="world"/><link name="base_link"/>']
    joints = [
        '<joint name="mount" type="fixed"><parent link="world"/><child link="base_link"/>'
        f'<origin rpy="{text(spec.base.rpy)}"/></joint>'
    ]
    parent = "base_link"
    for joint in spec.joints:
        child = f"{joint.name}_link"
        links.append(f'<link name="{child}"/>')
        joints.append(
            f'<joint name="{joint.name}" type="revolute"><parent link="{parent}"/>'
            f'<child link="{child}"/><origin xyz="{text(joint.xyz)}" rpy="{text(joint.rpy)}"/>'
            f'<axis xyz="{text(joint.axis)}"/></joint>'
        )
        parent = child
    return f'<robot name="{spec.name}">{"".join(links + joints)}</robot>'


@pytest.mark.parametrize("name", sorted(ARMS))
def test_points_agree_with_mujoco_at_random_poses(name):
    spec = arm_spec(name)
    model = build_model(name)
    data = mujoco.MjData(model)
    limits = np.array([model.joint(joint).range for joint in JOINT_NAMES])
    rows = np.random.default_rng(0).uniform(limits[:, 0], limits[:, 1], (50, 6))
    urdf = urdf_of(spec)
    order = np.random.default_rng(1).permutation(6)
    for joint in JOINT_NAMES:
        chain = KinematicChain(urdf, f"{joint}_link")
        points = chain.positions([JOINT_NAMES[i] for i in order], rows[:, order])
        expected = []
        for row in rows:
            data.qpos[:6] = row
            mujoco.mj_kinematics(model, data)
            expected.append(data.joint(joint).xanchor.copy())
        np.testing.assert_allclose(points, expected, atol=1e-6, err_msg=joint)


@pytest.mark.parametrize("name", sorted(ARMS))
def test_the_gripper_turns_as_in_the_closed_form(name):
    spec = arm_spec(name)
    arm = ArmKinematics(spec)
    chain = KinematicChain(urdf_of(spec), "wrist_roll_link")
    rows = np.random.default_rng(2).uniform(-1.0, 1.0, (20, 6))
    poses = chain.poses(JOINT_NAMES, rows)
    at_zero = chain.poses(JOINT_NAMES, np.zeros((1, 6)))[0, :3, :3]
    zero_axes = arm.forward(np.zeros(6)).axes
    for pose, row in zip(poses, rows, strict=True):
        # What turned the link from its zero pose turned the gripper's axes too.
        turned = pose[:3, :3] @ at_zero.T @ zero_axes
        np.testing.assert_allclose(turned, arm.forward(row).axes, atol=1e-6)
