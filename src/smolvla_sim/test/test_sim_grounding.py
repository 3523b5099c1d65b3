# SPDX-License-Identifier: Apache-2.0
"""Grounding labels agree with the geometry of the cameras."""

from __future__ import annotations

from contextlib import closing

import mujoco
import numpy as np
import pytest
from smolvla_sim.demonstrations.demonstrator import GroundingLabeler
from smolvla_sim.world.rendering import SEGMENTATION_SIZE, CameraRenderer
from smolvla_sim.world.scene import CAMERAS, OBJECTS
from smolvla_sim.world.simulation import Simulation

SIZE = (160, 120)


@pytest.fixture(scope="module")
def rig():
    simulation = Simulation()
    renderer = CameraRenderer(simulation.model, ["top", "wrist"], SIZE)
    yield simulation, renderer, GroundingLabeler(simulation.model, renderer)
    renderer.close()


def projected(simulation, camera, point):
    """Return u and v of a point in the world."""
    mujoco.mj_forward(simulation.model, simulation.data)
    frame = simulation.data.camera(camera)
    x, y, z = frame.xmat.reshape(3, 3).T @ (point - frame.xpos)
    half = np.tan(np.radians(CAMERAS[camera].fovy) / 2)
    return 0.5 + x / -z / half / 2 * SIZE[1] / SIZE[0], 0.5 - y / -z / half / 2


def test_labels_are_where_the_objects_are(rig):
    simulation, _, labeler = rig
    seen = 0
    for seed in range(4):
        simulation.reset(seed)
        labels = labeler.label(simulation.data)["top"]
        assert labels.shape == (len(OBJECTS), 3)
        assert labels.dtype == np.float32
        for name, (u, v, visible) in zip(OBJECTS, labels, strict=True):
            if visible:
                seen += 1
                point = simulation.objects()[name].position
                np.testing.assert_allclose((u, v), projected(simulation, "top", point), atol=0.02)
    assert seen >= 14


def test_hidden_objects_have_zeros(rig):
    simulation, _, labeler = rig
    simulation.reset(0)
    under = simulation.objects()["red_cube"].position - np.array([0.0, 0.0, 0.2])
    simulation.move_object("red_cube", under)
    beside = np.array([2.0, 0.0, 0.1])
    simulation.move_object("blue_cube", beside)
    mujoco.mj_forward(simulation.model, simulation.data)
    labels = labeler.label(simulation.data)["top"]
    np.testing.assert_array_equal(labels[OBJECTS.index("red_cube")], (0, 0, 0))
    np.testing.assert_array_equal(labels[OBJECTS.index("blue_cube")], (0, 0, 0))
    assert labels[OBJECTS.index("green_cube")][2] == 1


def test_what_the_arm_hides_is_not_seen(rig):
    simulation, _, labeler = rig
    simulation.reset(0)
    tcp = simulation.kinematics.forward(simulation.positions).tcp
    simulation.move_object("red_cube", np.array([tcp[0] - 0.05, tcp[1], 0.0125]))
    mujoco.mj_forward(simulation.model, simulation.data)
    assert labeler.label(simulation.data)["top"][OBJECTS.index("red_cube")][2] == 0


def test_pictures_are_the_same_after_labeling(rig):
    simulation, renderer, labeler = rig
    simulation.reset(1)
    before = renderer.render(simulation.data)
    labeler.label(simulation.data)
    after = renderer.render(simulation.data)
    for camera, picture in before.items():
        assert picture.shape == (SIZE[1], SIZE[0], 3)
        np.testing.assert_array_equal(after[camera], picture)


def test_segments_of_a_picture_smaller_than_they_are(rig):
    simulation, large, _ = rig
    with closing(CameraRenderer(simulation.model, ["top"], (32, 24))) as small:
        expected = large.segment(simulation.data)["top"]
        assert expected.shape == SEGMENTATION_SIZE[::-1]
        np.testing.assert_array_equal(small.segment(simulation.data)["top"], expected)
