# SPDX-License-Identifier: Apache-2.0
"""The path as markers: colors by time, stable ids, deletions, nothing without need."""

import numpy as np
import pytest
from builtin_interfaces.msg import Time
from smolvla_executor.visualization_node.markers import (
    PathMarkers,
    VisualizationSettings,
    rgb,
    time_colors,
)
from smolvla_executor.visualization_node.predicted_path import PathPicture, ReplacedPath, Seam
from visualization_msgs.msg import Marker

STYLE = VisualizationSettings(
    colors=("#ffff00", "#0000ff"), seam_color="#ff00ff", width=0.004, rate=5.0 / 1.5
)
STAMP = Time(sec=7)


def picture(ahead=3, executed=0, replaced=(), seams=()):
    ahead_points = np.column_stack([np.arange(ahead), np.zeros(ahead), np.ones(ahead)])
    return PathPicture(
        ahead_points,
        0.5 * np.arange(ahead),
        2.0,
        np.zeros((executed, 3)),
        np.linspace(0.0, 1.0, executed),
        tuple(replaced),
        tuple(seams),
    )


def seam(number, jump):
    return Seam(number, np.array([1.0, 2.0, 3.0]), jump, 0.5)


def by_key(message):
    return {(marker.ns, marker.id): marker for marker in message.markers}


def test_the_path_ahead_is_a_line_colored_by_time():
    message = PathMarkers(STYLE).message(picture(), "base_link", STAMP)
    (line,) = message.markers
    assert (line.ns, line.id, line.action) == ("ahead", 0, Marker.ADD)
    assert line.type == Marker.LINE_STRIP
    assert (line.header.frame_id, line.header.stamp) == ("base_link", STAMP)
    assert (line.scale.x, line.pose.orientation.w) == (0.004, 1.0)
    assert (line.lifetime.sec, line.lifetime.nanosec) == (1, 500_000_000)
    assert [(p.x, p.y, p.z) for p in line.points] == [(0, 0, 1), (1, 0, 1), (2, 0, 1)]
    colors = [(c.r, c.g, c.b, c.a) for c in line.colors]
    assert colors == [(1, 1, 0, 1), (0.75, 0.75, 0.25, 1), (0.5, 0.5, 0.5, 1)]


def test_the_executed_part_fades_point_by_point():
    markers = by_key(PathMarkers(STYLE).message(picture(executed=3), "base", STAMP))
    alphas = [color.a for color in markers["executed", 0].colors]
    np.testing.assert_allclose(alphas, [0.0, 0.35, 0.7], atol=1e-6)
    assert markers["executed", 0].scale.x < markers["ahead", 0].scale.x


def test_replaced_paths_are_thin_and_pale():
    old = ReplacedPath(104, np.zeros((5, 3)), 0.5)
    markers = by_key(PathMarkers(STYLE).message(picture(replaced=[old]), "base", STAMP))
    line = markers["replaced", 4]
    assert line.scale.x < 0.5 * markers["ahead", 0].scale.x
    assert line.color.a == pytest.approx(0.3)
    assert len(line.points) == 5


def test_a_seam_is_a_sphere_as_large_as_its_jump_with_the_number():
    message = PathMarkers(STYLE).message(picture(seams=[seam(1, 0.01)]), "base", STAMP)
    markers = by_key(message)
    sphere, text = markers["seam", 1], markers["seam_jump", 0]
    assert (sphere.type, text.type) == (Marker.SPHERE, Marker.TEXT_VIEW_FACING)
    assert sphere.scale.x == sphere.scale.y == sphere.scale.z == 0.01
    assert sphere.color.a == 0.5
    assert text.text == "10mm"
    assert text.pose.position.z > sphere.pose.position.z + 0.01


@pytest.mark.parametrize(("jump", "size"), [(0.0, 0.006), (0.5, 0.012)])
def test_the_sphere_can_be_seen_and_hides_nothing(jump, size):
    markers = by_key(PathMarkers(STYLE).message(picture(seams=[seam(1, jump)]), "base", STAMP))
    assert markers["seam", 1].scale.x == size
    assert (("seam_jump", 0) in markers) == (jump > 0)


def test_only_the_newest_seam_has_a_number():
    seams = [seam(1, 0.02), seam(2, 0.03)]
    markers = by_key(PathMarkers(STYLE).message(picture(seams=seams), "base", STAMP))
    assert {key for key in markers if key[0] == "seam"} == {("seam", 1), ("seam", 2)}
    assert [m.text for m in markers.values() if m.ns == "seam_jump"] == ["30mm"]


def test_what_is_over_is_deleted_once_and_then_there_is_silence():
    markers = PathMarkers(STYLE)
    markers.message(picture(seams=[seam(1, 0.0), seam(2, 0.0)]), "base", STAMP)
    message = markers.message(picture(seams=[seam(2, 0.0)]), "base", STAMP)
    actions = {key: marker.action for key, marker in by_key(message).items()}
    assert actions == {
        ("seam", 1): Marker.DELETE,
        ("seam", 2): Marker.ADD,
        ("ahead", 0): Marker.ADD,
    }
    gone = markers.message(picture(ahead=0), "base", STAMP)
    assert {m.action for m in gone.markers} == {Marker.DELETE}
    assert set(by_key(gone)) == {("seam", 2), ("ahead", 0)}
    assert {m.header.frame_id for m in gone.markers} == {"base"}
    assert markers.message(picture(ahead=0), "base", STAMP) is None


def test_a_single_point_is_no_line():
    assert PathMarkers(STYLE).message(picture(ahead=1), "base", STAMP) is None


def test_a_chunk_of_one_row_has_a_color():
    np.testing.assert_array_equal(time_colors(np.zeros(1), 0.0, rgb(*STYLE.colors)), [[1, 1, 0]])


def test_colors_are_read_and_refused_with_the_parameters_name():
    np.testing.assert_allclose(rgb("#ff0080"), [[1.0, 0.0, 128 / 255]])
    with pytest.raises(ValueError, match=r"^colors holds 'red', no color; write it as '#rrggbb'"):
        VisualizationSettings(colors=("#ff0000", "red"))
    with pytest.raises(ValueError, match=r"^seam_color holds '', no color"):
        VisualizationSettings(seam_color="")
    with pytest.raises(ValueError, match=r"^colors is empty"):
        VisualizationSettings(colors=())


def test_the_default_colors_grow_evenly_darker():
    brightness = rgb(*VisualizationSettings().colors) @ [0.2126, 0.7152, 0.0722]
    assert np.all(np.diff(brightness) < -0.05)
