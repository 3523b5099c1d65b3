# SPDX-License-Identifier: Apache-2.0
"""Forward kinematics from a URDF: hand-computed points, and words for what does not fit."""

import math
import re

import numpy as np
import pytest
from smolvla_executor.core.kinematics import KinematicChain, rotation_rpy

HALF_PI = math.pi / 2


def robot(*joints: str, links: str = "base a b c tip") -> str:
    names = "".join(f'<link name="{name}"/>' for name in links.split())
    return f'<?xml version="1.0"?><robot name="r">{names}{"".join(joints)}</robot>'


def joint(name, parent, child, kind="revolute", xyz="0 0 0", rpy="0 0 0", axis="0 0 1", more=""):
    line = "" if kind == "fixed" else f'<axis xyz="{axis}"/>'
    return (
        f'<joint name="{name}" type="{kind}"><parent link="{parent}"/><child link="{child}"/>'
        f'<origin xyz="{xyz}" rpy="{rpy}"/>{line}{more}</joint>'
    )


# Two links of 1 m in a plane, turning about z, and a finger of 0.5 m.
PLANAR = robot(
    joint("shoulder", "base", "a", xyz="0 0 2"),
    joint("elbow", "a", "b", xyz="1 0 0"),
    joint("hand", "b", "tip", kind="fixed", xyz="0.5 0 0"),
)


def test_hand_computed_points_of_a_planar_arm():
    chain = KinematicChain(PLANAR, "tip")
    assert (chain.base, chain.tip, chain.joint_names) == ("base", "tip", ("shoulder", "elbow"))
    rows = [[0, 0], [HALF_PI, 0], [0, HALF_PI], [HALF_PI, -HALF_PI]]
    points = chain.positions(["shoulder", "elbow"], rows)
    expected = [[1.5, 0, 2], [0, 1.5, 2], [1, 0.5, 2], [0.5, 1, 2]]
    np.testing.assert_allclose(points, expected, atol=1e-12)


def test_columns_are_found_by_name_and_others_ignored():
    chain = KinematicChain(PLANAR, "tip")
    points = chain.positions(["elbow", "gripper", "shoulder"], [[HALF_PI, 9.0, 0.0]])
    np.testing.assert_allclose(points, [[1, 0.5, 2]], atol=1e-12)


def test_poses_hold_the_rotation_too():
    poses = KinematicChain(PLANAR, "tip").poses(["shoulder", "elbow"], [[0.3, 0.4]])
    assert poses.shape == (1, 4, 4)
    np.testing.assert_allclose(poses[0, :3, :3], rotation_rpy(0, 0, 0.7), atol=1e-12)
    np.testing.assert_array_equal(poses[0, 3], [0, 0, 0, 1])


def test_roll_pitch_yaw_turn_about_fixed_axes_in_this_order():
    # x turns into y by yaw last; z into -y by roll first.
    turn = rotation_rpy(HALF_PI, 0, HALF_PI)
    np.testing.assert_allclose(turn @ [1, 0, 0], [0, 1, 0], atol=1e-12)
    np.testing.assert_allclose(turn @ [0, 0, 1], [1, 0, 0], atol=1e-12)


def test_a_prismatic_joint_slides_along_its_normalised_axis():
    urdf = robot(joint("slide", "base", "tip", kind="prismatic", axis="0 3 4", rpy="0 0 0"))
    points = KinematicChain(urdf, "tip").positions(["slide"], [[0.5], [-1.0]])
    np.testing.assert_allclose(points, [[0, 0.3, 0.4], [0, -0.6, -0.8]], atol=1e-12)


def test_a_joint_that_mimics_one_that_mimics():
    urdf = robot(
        joint("a", "base", "a", kind="prismatic"),
        joint("b", "base", "b", more='<mimic joint="a" multiplier="3" offset="0.5"/>'),
        joint(
            "c",
            "base",
            "tip",
            kind="prismatic",
            more='<mimic joint="b" multiplier="2" offset="0.1"/>',
        ),
    )
    chain = KinematicChain(urdf, "tip")
    assert chain.joint_names == ("a",)
    np.testing.assert_allclose(chain.positions(["a"], [[0.2]]), [[0, 0, 2.3]], atol=1e-12)


def test_the_jacobian_is_the_derivative_of_the_pose():
    urdf = robot(
        joint("lift", "base", "a", kind="prismatic", axis="0 1 2"),
        joint("pan", "a", "b", xyz="0.1 0 0.2", rpy="0.3 0.2 0.1"),
        joint("half", "b", "c", xyz="0.4 0 0", axis="0 1 0", more='<mimic joint="pan" '
              'multiplier="-0.5" offset="0.2"/>'),
        joint("roll", "c", "tip", xyz="0.2 0 0.1", axis="1 0 0"),
    )  # fmt: skip
    chain, names = KinematicChain(urdf, "tip"), ["roll", "gripper", "pan", "lift"]
    here, step = np.array([0.3, 0.7, -0.4, 0.1]), 1e-6
    jacobian = chain.jacobian(names, here)
    for column, by in enumerate(step * np.eye(4)):
        before, after = chain.poses(names, [here - by, here + by])
        change = (after - before) / (2 * step)
        np.testing.assert_allclose(jacobian[:3, column], change[:3, 3], atol=1e-8)
        turn = change[:3, :3] @ chain.poses(names, here[None])[0, :3, :3].T
        spin = [turn[2, 1], turn[0, 2], turn[1, 0]]
        np.testing.assert_allclose(jacobian[3:, column], spin, atol=1e-8)


def test_a_base_on_the_way_leaves_out_what_is_above_it():
    chain = KinematicChain(PLANAR, "tip", base="a")
    assert (chain.base, chain.joint_names) == ("a", ("elbow",))
    np.testing.assert_allclose(chain.positions(["elbow"], [[HALF_PI]]), [[1, 0.5, 0]], atol=1e-12)


def test_the_tip_may_be_the_root():
    chain = KinematicChain(PLANAR, "base")
    np.testing.assert_array_equal(chain.positions(["x"], [[1.0], [2.0]]), np.zeros((2, 3)))


@pytest.mark.parametrize(
    ("urdf", "tip", "words"),
    [
        ("", "tip", "the URDF is empty"),
        ("/opt/so100.urdf", "tip", "not the name of a file"),
        ("<sdf/>", "tip", "<sdf> instead of <robot>"),
        (
            '<robot xmlns:xacro="http://www.ros.org/wiki/xacro"><xacro:arm/></robot>',
            "tip",
            "run it through the command xacro",
        ),
        (PLANAR, "hand", "has no link 'hand'; it has base, a, b, c, tip"),
        (robot(joint("j", "base", "tip", kind="floating")), "tip", "type 'floating'"),
        (robot(joint("j", "base", "tip", axis="0 0 0")), "tip", "axis of joint 'j'"),
        (robot(joint("j", "base", "nowhere")), "tip", "no known child link"),
        (robot(joint("j", "base", "tip"), joint("k", "a", "tip")), "tip", "hangs on two joints"),
        (robot(joint("j", "a", "tip"), joint("k", "tip", "a")), "tip", "form a circle"),
        (robot(joint("j", "base", "tip", xyz="0 0")), "tip", "xyz must be three numbers"),
        (robot(joint("j", "base", "tip", xyz="0 0 nan")), "tip", "'nan' is no number"),
        (
            robot(joint("j", "base", "tip", more='<mimic joint="k"/>')),
            "tip",
            "mimics 'k', which leads nowhere",
        ),
    ],
)
def test_what_is_no_usable_urdf_is_refused_with_words(urdf, tip, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        KinematicChain(urdf, tip)


def test_a_base_elsewhere_is_refused():
    with pytest.raises(ValueError, match="'c' is not on the way from the root to 'tip'"):
        KinematicChain(PLANAR, "tip", base="c")


def test_a_missing_joint_and_a_wrong_shape_are_named():
    chain = KinematicChain(PLANAR, "tip")
    with pytest.raises(ValueError, match="no elbow among the joints shoulder"):
        chain.positions(["shoulder"], [[0.0]])
    with pytest.raises(ValueError, match=r"shape \(1, 3\) do not fit 2"):
        chain.positions(["shoulder", "elbow"], [[0.0, 0.0, 0.0]])
