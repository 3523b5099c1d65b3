# SPDX-License-Identifier: Apache-2.0
"""The URDF looks like the simulation's arm and is simplified for collisions without gaps."""

import importlib.util
import itertools
from pathlib import Path

import mujoco
import numpy as np
import pytest
from smolvla_sim.world.arm import JOINT_NAMES
from smolvla_sim.world.arm_shapes import GRASP_ANGLE, HALF_GAP
from smolvla_sim.world.mjcf import build_model
from smolvla_sim.world.simulation import HOME

ROOT = Path(__file__).resolve().parents[3]
BODIES = {"base_link": "base_link"} | dict(
    zip(
        JOINT_NAMES,
        (
            "shoulder_link",
            "upper_arm_link",
            "lower_arm_link",
            "wrist_link",
            "gripper_link",
            "moving_jaw_link",
        ),
        strict=True,
    )
)
VISUAL, COLLISION = 1, 0


@pytest.fixture(scope="module")
def loaded(arm):
    """Name of the arm and MuJoCo's model of its URDF with everything that is drawn."""
    name, description = arm
    options = '<mujoco><compiler discardvisual="false" fusestatic="false"/></mujoco></robot>'
    model = mujoco.MjModel.from_xml_string(description.text.replace("</robot>", options))
    return name, model


def placed(model, positions):
    data = mujoco.MjData(model)
    for joint, position in zip(JOINT_NAMES, positions, strict=True):
        data.joint(joint).qpos = position
    mujoco.mj_forward(model, data)
    return data


def geoms_of(model, body, group):
    index = model.body(body).id
    return [
        geom
        for geom in range(model.ngeom)
        if model.geom_bodyid[geom] == index and model.geom_group[geom] == group
    ]


def test_the_files_are_what_the_generator_writes():
    path = ROOT / "scripts/generate_arm_shapes.py"
    module_spec = importlib.util.spec_from_file_location("generate_arm_shapes", path)
    generator = importlib.util.module_from_spec(module_spec)
    module_spec.loader.exec_module(generator)
    for model in ("so100", "so101"):
        written = (ROOT / f"src/smolvla_description/urdf/{model}_shapes.xacro").read_text()
        assert written == generator.shapes_xacro(model), (
            f"{model}_shapes.xacro is out of date: python scripts/generate_arm_shapes.py"
        )


def test_it_looks_like_the_arm_of_the_simulation(loaded):
    """Each primitive of the simulation is there: kind, size, place, turn and color."""
    name, urdf = loaded
    simulation = build_model(name)
    pose = [0.4, -0.5, 0.6, 0.7, -0.8, 0.9]
    seen, expected = placed(urdf, pose), placed(simulation, pose)
    for body, link in BODIES.items():
        ours = geoms_of(urdf, link, VISUAL)
        theirs = geoms_of(simulation, body, 0)
        assert len(ours) == len(theirs) > 0, link
        for a in ours:  # in another order: the printed parts first

            def apart(b, a=a):
                place = np.abs(seen.geom_xpos[a] - expected.geom_xpos[b]).max()
                size = np.abs(urdf.geom_size[a] - simulation.geom_size[b]).max()
                return (place + size, urdf.geom_type[a] != simulation.geom_type[b])

            b = min(theirs, key=apart)
            theirs.remove(b)
            where = f"{link}, shape {ours.index(a)}"
            assert urdf.geom_type[a] == simulation.geom_type[b], where
            np.testing.assert_allclose(
                urdf.geom_size[a], simulation.geom_size[b], atol=1e-6, err_msg=where
            )
            np.testing.assert_allclose(
                seen.geom_xpos[a], expected.geom_xpos[b], atol=1e-5, err_msg=where
            )
            np.testing.assert_allclose(
                seen.geom_xmat[a], expected.geom_xmat[b], atol=1e-5, err_msg=where
            )
            color = simulation.mat_rgba[simulation.geom_matid[b]]
            np.testing.assert_allclose(urdf.geom_rgba[a], color, atol=1e-6, err_msg=where)


def test_collision_boxes_enclose_what_is_drawn(loaded):
    _, urdf = loaded
    data = placed(urdf, np.zeros(6))
    for link in BODIES.values():
        boxes = geoms_of(urdf, link, COLLISION)
        assert 1 <= len(boxes) <= 3
        for shape in geoms_of(urdf, link, VISUAL):
            turn = data.geom_xmat[shape].reshape(3, 3)
            for corner in corners(urdf, shape):
                point = data.geom_xpos[shape] + turn @ corner
                sticks_out = min(
                    np.max(
                        np.abs(data.geom_xmat[box].reshape(3, 3).T @ (point - data.geom_xpos[box]))
                        - urdf.geom_size[box]
                    )
                    for box in boxes
                )
                assert sticks_out < 0.002, (link, shape, sticks_out)


def corners(model, geom):
    """Points (n, 3) on the edges of a box or a cylinder in its own frame."""
    size = model.geom_size[geom]
    if model.geom_type[geom] == mujoco.mjtGeom.mjGEOM_BOX:
        return size * list(itertools.product((-1, 1), repeat=3))
    radius, half, _ = size
    around = np.linspace(0.0, 2.0 * np.pi, 16, endpoint=False)
    ring = np.column_stack([radius * np.cos(around), radius * np.sin(around)])
    return np.vstack([np.insert(ring, 2, z, axis=1) for z in (-half, half)])


def test_the_fingers_leave_room_for_a_cube(loaded):
    """With the jaw at the angle of a grasp the two fingers are a cube apart at the tip."""
    _, urdf = loaded
    data = placed(urdf, [0.0, 0.0, 0.0, 0.0, 0.0, GRASP_ANGLE])
    tip = data.body("gripper_frame_link")
    to_fixed = tip.xmat.reshape(3, 3)[:, 0]
    geom = np.zeros(1, dtype=np.int32)
    for direction, link in ((to_fixed, "gripper_link"), (-to_fixed, "moving_jaw_link")):
        distance = mujoco.mj_ray(
            urdf, data, tip.xpos, direction, np.array([1, 0, 0, 0, 0, 0], np.uint8), 1, -1, geom
        )
        assert urdf.body(urdf.geom_bodyid[geom[0]]).name == link
        assert distance == pytest.approx(HALF_GAP, abs=1e-4)


@pytest.mark.parametrize(
    "pose",
    [(0.0,) * 6, HOME, (0.0, -1.745, 1.539, 1.18, 0.0, -0.174)],
    ids=["zero", "home", "rest"],
)
def test_the_arm_does_not_touch_itself(loaded, pose):
    """Only neighbors overlap, at their joint; a planner leaves those out."""
    name, urdf = loaded
    data = placed(urdf, pose)
    order = list(BODIES.values())
    for contact in data.contact:
        links = [urdf.body(urdf.geom_bodyid[geom]).name for geom in contact.geom]
        first, second = (order.index(link) for link in links)
        assert abs(first - second) == 1, (name, links, contact.dist)


def test_the_base_stands_on_the_table(arm):
    """base_link is at the height of the table, where the lowest collision box ends."""
    _, description = arm
    bottoms = [
        float(box.find("origin").get("xyz").split()[2])
        - float(box.find("geometry/box").get("size").split()[2]) / 2
        for box in description.links["base_link"].findall("collision")
    ]
    assert min(bottoms) == pytest.approx(0.0, abs=1e-9)


def test_the_first_shape_of_a_link_is_printed(loaded):
    """RViz paints all primitives of a link in the color of the first."""
    _, urdf = loaded
    for link in BODIES.values():
        red, green, blue, _ = urdf.geom_rgba[geoms_of(urdf, link, VISUAL)[0]]
        assert red > 0.8 > green > 0.5 > blue, link
