# SPDX-License-Identifier: Apache-2.0
"""Markers become geoms of a picture, and the instant with the longest visible path is drawn."""

from __future__ import annotations

from contextlib import closing

import mujoco
import numpy as np
import pytest
from geometry_msgs.msg import Point
from smolvla_executor.visualization_node.markers import AHEAD, EXECUTED
from smolvla_sim.node import draw_path
from smolvla_sim.node.draw_path import Instant, Painter, add_markers, most_to_be_seen
from smolvla_sim.world.simulation import HOME
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker

RED, BLUE = ColorRGBA(r=1.0, a=1.0), ColorRGBA(b=1.0, a=0.5)


def line(points, namespace=AHEAD, colors=()):
    marker = Marker(ns=namespace, type=Marker.LINE_STRIP, color=RED, colors=list(colors))
    marker.scale.x = 0.01
    marker.points = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in points]
    return marker


@pytest.fixture
def scene():
    model = mujoco.MjModel.from_xml_string("<mujoco/>")
    return mujoco.MjvScene(model, maxgeom=4)


def test_a_line_becomes_capsules_in_the_colors_of_its_points(scene):
    add_markers(scene, [line([(0, 0, 0), (0, 0, 0.1), (0, 0, 0.1), (0.2, 0, 0.1)])])
    assert scene.ngeom == 2  # a step of no length has no direction
    first, second = scene.geoms[:2]
    assert first.type == mujoco.mjtGeom.mjGEOM_CAPSULE
    np.testing.assert_allclose(first.pos, [0, 0, 0.05], atol=1e-6)
    np.testing.assert_allclose(first.size, [0.005, 0.005, 0.05], atol=1e-6)
    np.testing.assert_allclose(second.pos, [0.1, 0, 0.1], atol=1e-6)
    np.testing.assert_allclose(first.rgba, [1, 0, 0, 1])
    scene.ngeom = 0
    add_markers(scene, [line([(0, 0, 0), (0, 0, 0.1)], colors=[RED, BLUE])])
    np.testing.assert_allclose(scene.geoms[0].rgba, [0.5, 0, 0.5, 0.75])


def test_spheres_and_texts(scene):
    sphere = Marker(type=Marker.SPHERE, color=BLUE)
    sphere.scale.x = sphere.scale.y = sphere.scale.z = 0.02
    sphere.pose.position.x = 0.3
    text = Marker(type=Marker.TEXT_VIEW_FACING, text="12 mm")
    add_markers(scene, [sphere, text])
    ball, label = scene.geoms[:2]
    np.testing.assert_allclose(ball.size, [0.01] * 3)
    np.testing.assert_allclose(ball.pos, [0.3, 0, 0], atol=1e-6)
    assert label.label == "12 mm"


def test_what_cannot_be_drawn_is_an_error(scene):
    with pytest.raises(ValueError, match=r"type 1 \('box'\)"):
        add_markers(scene, [Marker(type=Marker.CUBE, ns="box")])
    with pytest.raises(ValueError, match="no room for more than 4"):
        add_markers(scene, [line([(0, 0, 0.1 * i) for i in range(6)])])


def instant(*markers):
    return Instant(np.array(HOME), {}, markers)


def test_the_longest_visible_path_is_chosen_and_drawn():
    # In front of the arm, next to each other; and far below the table.
    short = instant(line([(0.3, -0.02, 0.1), (0.3, 0.0, 0.1)]))
    both = instant(
        line([(0.3, -0.1, 0.1), (0.3, 0.0, 0.1)]),
        line([(0.3, 0.0, 0.1), (0.3, 0.1, 0.1)], EXECUTED),
    )
    hidden = instant(line([(0.3, -0.3, -0.3), (0.3, 0.3, -0.3)]))
    with closing(Painter("so100", "beauty", (96, 72), 1.0, fine=False)) as painter:
        assert most_to_be_seen([short, both, hidden], painter) is both
        empty, picture = painter.draw(instant()), painter.draw(both)
    assert picture.shape == (72, 96, 3)
    assert np.abs(picture.astype(int) - empty).max() > 50


def test_objects_stand_where_they_were():
    def at(y):
        return Instant(np.array(HOME), {"red_cube": np.array([0.25, y, 0.02, 1, 0, 0, 0])}, ())

    with closing(Painter("so100", "top", (96, 72), 1.0, fine=False)) as painter:
        left, right = painter.draw(at(0.1)).astype(int), painter.draw(at(-0.1)).astype(int)
    redness = (left - right)[:, :, 0] - (left - right)[:, :, 1]
    # The robot's left is on the left.
    assert redness[:, :48].max() > 50
    assert redness[:, 48:].min() < -50


def test_without_a_path_it_says_what_to_start(tmp_path, capsys):
    out = tmp_path / "x.png"
    assert draw_path.main(["--output", str(out), "--seconds", "0.1"]) == 1
    assert "start the simulation, the policy, the executor" in capsys.readouterr().err
    assert not out.exists()


@pytest.mark.parametrize("out", ["path", "path.jpeg", "taken/path.png"])
def test_a_picture_that_cannot_be_written_is_said_before_listening(tmp_path, capsys, out):
    (tmp_path / "taken").write_text("")
    with pytest.raises(SystemExit) as ended:
        draw_path.main(["--output", str(tmp_path / out), "--seconds", "3600"])
    assert ended.value.code == 2
    assert str(tmp_path / out) in capsys.readouterr().err
