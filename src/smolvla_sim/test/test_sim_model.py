# SPDX-License-Identifier: Apache-2.0
"""The model agrees with the published kinematics and holds what the facts say."""

from __future__ import annotations

import mujoco
import numpy as np
import pytest
from smolvla_executor.core.kinematics import KinematicChain
from smolvla_sim.world.arm import ARMS, JOINT_NAMES, arm_spec
from smolvla_sim.world.arm_shapes import GRASP_ANGLE, HALF_GAP
from smolvla_sim.world.kinematics import (
    DOWN,
    TCP_FORWARD,
    ArmKinematics,
    link_frames,
    quaternion_from_rotation,
    rotation_rpy,
)
from smolvla_sim.world.mjcf import build_model
from smolvla_sim.world.scene import CAMERAS, CUBE_EDGE

# Positions of the joint frames at zero in the REP-103 base frame, meters, to 0.1 mm.
PUBLISHED = {
    "so100": {
        "shoulder_pan": (0.0452, 0.0, 0.0165),
        "shoulder_lift": (0.0758, 0.0, 0.1190),
        "elbow_flex": (0.1038, 0.0, 0.2316),
        "wrist_flex": (0.2387, 0.0, 0.2368),
        "wrist_roll": (0.2988, 0.0, 0.2368),
        "gripper": (0.3232, 0.0, 0.2570),
    },
    "so101": {
        "shoulder_pan": (0.0388, 0.0, 0.0624),
        "shoulder_lift": (0.0692, -0.0183, 0.1166),
        "elbow_flex": (0.0972, -0.0183, 0.2292),
        "wrist_flex": (0.2321, -0.0183, 0.2344),
        "wrist_roll": (0.2932, -0.0002, 0.2344),
        "gripper": (0.3166, 0.0176, 0.2555),
    },
}
AXES = {
    "shoulder_pan": (0, 0, -1),
    "shoulder_lift": (0, 1, 0),
    "elbow_flex": (0, 1, 0),
    "wrist_flex": (0, 1, 0),
    "wrist_roll": (-1, 0, 0),
    "gripper": (0, -1, 0),
}


@pytest.fixture(scope="module", params=sorted(ARMS))
def arm(request):
    model = build_model(request.param)
    data = mujoco.MjData(model)
    mujoco.mj_forward(model, data)
    return request.param, model, data


def test_joint_frames_at_zero(arm):
    name, _, data = arm
    for joint in JOINT_NAMES:
        np.testing.assert_allclose(
            data.joint(joint).xanchor, PUBLISHED[name][joint], atol=1e-4, err_msg=joint
        )
        # The SO-101's gripper is rolled by 0.0487 rad at zero.
        np.testing.assert_allclose(data.joint(joint).xaxis, AXES[joint], atol=0.05, err_msg=joint)


def test_masses_limits_and_servos(arm):
    name, model, _ = arm
    spec = arm_spec(name)
    for joint in spec.joints:
        assert model.body(joint.name).mass[0] == pytest.approx(joint.mass)
        np.testing.assert_allclose(model.joint(joint.name).range, (joint.lower, joint.upper))
    np.testing.assert_allclose(model.actuator("elbow_flex").forcerange, (-2.94, 2.94))
    assert model.actuator("elbow_flex").gainprm[0] == pytest.approx(998.22)


def test_closed_form_agrees_with_mujoco_at_random_poses(arm):
    name, model, _ = arm
    data = mujoco.MjData(model)
    kinematics = ArmKinematics(arm_spec(name))
    rng = np.random.default_rng(1)
    for _ in range(20):
        q = rng.uniform(model.jnt_range[:6, 0], model.jnt_range[:6, 1])
        data.qpos[:6] = q
        mujoco.mj_kinematics(model, data)
        pose = kinematics.forward(q)
        wrist = pose.tcp - TCP_FORWARD * pose.axes[:, 0]
        # The SO-101's wrist_roll lies 0.2 mm beside the arm's plane, which is neglected.
        np.testing.assert_allclose(wrist, data.joint("wrist_roll").xanchor, atol=3e-4)
        np.testing.assert_allclose(pose.axes[:, 0], -data.joint("wrist_roll").xaxis, atol=1e-6)
        frames = link_frames(arm_spec(name), q)
        np.testing.assert_allclose(frames[5][0], data.body("gripper").xpos, atol=1e-8)


def test_inverse_returns_to_the_point(arm):
    name, _, _ = arm
    kinematics = ArmKinematics(arm_spec(name))
    rng = np.random.default_rng(2)
    for _ in range(50):
        radius, angle, yaw = rng.uniform((0.14, -1.1, -3.0), (0.235, 1.1, 3.0))
        x, y = kinematics.pan_axis + radius * np.array([np.cos(angle), np.sin(angle)])
        target = np.array([x, y, rng.uniform(0.012, 0.03)])
        solution = kinematics.inverse(target, DOWN, yaw)
        assert solution is not None
        pose = kinematics.forward(np.append(solution, 0.0))
        np.testing.assert_allclose(pose.tcp, target, atol=1e-9)
        quarter_turns = (np.arctan2(pose.axes[1, 2], pose.axes[0, 2]) - yaw) / (np.pi / 2)
        assert quarter_turns == pytest.approx(round(quarter_turns), abs=1e-6)
    assert kinematics.reach(np.array([0.6, 0.0, 0.1]), 0.0) is None


def test_pads_hold_a_cube_between_them(arm):
    """Both pads are parallel and a cube apart, with the TCP in their middle."""
    name, model, _ = arm
    data = mujoco.MjData(model)
    data.qpos[5] = GRASP_ANGLE
    mujoco.mj_kinematics(model, data)
    pads = np.flatnonzero(model.geom_priority == 1)
    axes = ArmKinematics(arm_spec(name)).forward(data.qpos[:6]).axes
    heights = [axes[:, 2] @ data.geom_xpos[pad] for pad in pads]
    gap = abs(heights[0] - heights[1]) - 2 * min(model.geom_size[pads[0]])
    assert 2 * HALF_GAP == CUBE_EDGE
    assert gap == pytest.approx(CUBE_EDGE, abs=1.5e-3)
    for pad in pads:
        normal = data.geom_xmat[pad].reshape(3, 3)[:, 2]
        assert abs(normal @ axes[:, 2]) > 0.998


def test_quaternions_of_rotations():
    rng = np.random.default_rng(3)
    for _ in range(50):
        rotation = rotation_rpy(*rng.uniform(-np.pi, np.pi, 3))
        matrix = np.empty(9)
        mujoco.mju_quat2Mat(matrix, quaternion_from_rotation(rotation))
        np.testing.assert_allclose(matrix.reshape(3, 3), rotation, atol=1e-12)


def test_cameras_look_where_they_should(arm):
    """The wrist camera sees the TCP in its middle, moving jaw on the right, base behind it."""
    name, model, data = arm
    pose = ArmKinematics(arm_spec(name)).forward(np.zeros(6))
    rotation = data.camera("wrist").xmat.reshape(3, 3)
    offset = rotation.T @ (pose.tcp - data.camera("wrist").xpos)
    assert -offset[2] > 0.05
    assert np.hypot(offset[0], offset[1]) / -offset[2] < 0.2
    assert rotation[:, 0] @ pose.axes[:, 2] > 0.99
    top = data.camera("top").xmat.reshape(3, 3)
    np.testing.assert_allclose(top[:, 2], (0, 0, 1), atol=1e-9)
    np.testing.assert_allclose(top[:, 1], (1, 0, 0), atol=1e-9)
    assert {model.camera(index).name for index in range(model.ncam)} == set(CAMERAS)


def test_unknown_arm_is_explained():
    with pytest.raises(ValueError, match="so100, so101"):
        arm_spec("so102")


def urdf_of(spec):
    """Return the arm's joint table as a URDF; each link is called after its joint."""

    def text(values):
        return " ".join(f"{value:.15g}" for value in values)

    def joint_of(kind, parent, link, name, axis=""):
        return (
            f'<link name="{name}"/><joint name="{link.name}" type="{kind}">'
            f'<parent link="{parent}"/><child link="{name}"/>'
            f'<origin xyz="{text(link.xyz)}" rpy="{text(link.rpy)}"/>{axis}</joint>'
        )

    elements, parent = ['<link name="world"/>'], "base"
    elements.append(joint_of("fixed", "world", spec.base, parent))
    for joint in spec.joints:
        axis = f'<axis xyz="{text(joint.axis)}"/>'
        elements.append(joint_of("revolute", parent, joint, f"{joint.name}_link", axis))
        parent = f"{joint.name}_link"
    return f'<robot name="{spec.name}">{"".join(elements)}</robot>'


def test_the_chain_that_visualization_node_reads_from_a_urdf_agrees_with_mujoco(arm):
    name, model, _ = arm
    data = mujoco.MjData(model)
    rng = np.random.default_rng(0)
    rows = rng.uniform(*model.jnt_range[:6].T, (20, 6))
    order = rng.permutation(6)
    for joint in JOINT_NAMES:
        chain = KinematicChain(urdf_of(arm_spec(name)), f"{joint}_link")
        poses = chain.poses([JOINT_NAMES[i] for i in order], rows[:, order])
        for row, pose in zip(rows, poses, strict=True):
            data.qpos[:6] = row
            mujoco.mj_kinematics(model, data)
            body = data.body(joint)
            np.testing.assert_allclose(pose[:3, 3], body.xpos, atol=1e-6, err_msg=joint)
            np.testing.assert_allclose(pose[:3, :3], body.xmat.reshape(3, 3), atol=1e-6)
