# SPDX-License-Identifier: Apache-2.0
"""How the predicted path looks: the parameters, and the markers for RViz and Foxglove."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from builtin_interfaces.msg import Time
from geometry_msgs.msg import Point
from numpy.typing import NDArray
from smolvla_core.ros.converters import to_duration
from smolvla_core.settings import SettingError, Settings, live_setting, setting
from std_msgs.msg import ColorRGBA
from visualization_msgs.msg import Marker, MarkerArray

from smolvla_executor.core.kinematics import TIP_LINK
from smolvla_executor.visualization_node.predicted_path import PathPicture, Seam

Array = NDArray[np.float64]
Key = tuple[str, int]

AHEAD, EXECUTED, REPLACED, SEAM, SEAM_TEXT = "ahead", "executed", "replaced", "seam", "seam_jump"
"""Namespaces of the markers; RViz offers each to be switched off."""
_IDS = 100
_SMALLEST_JUMP = 0.001
"""A jump below it [m] gets no number."""


# One hue that grows evenly darker, so that the color-blind can read it too; stands out from an
# orange arm and from RViz's dark background.
_COLORS = ("#8ff7ff", "#2fb5ff", "#2f6bff", "#4a2fd0")


@dataclass(frozen=True, kw_only=True)
class VisualizationSettings(Settings):
    """Of `visualization_node`."""

    robot_description: str = setting(
        "",
        "The URDF as text. Empty: it is taken from the topic robot_description, as "
        "robot_state_publisher publishes it.",
    )
    tip_link: str = setting(TIP_LINK, "Link of the URDF whose path is drawn.")
    frame: str = setting(
        "",
        "Link of the URDF, above tip_link, in whose frame the path is given. Empty: the root.",
    )
    frame_prefix: str = setting(
        "",
        "Put before the frame's name, as robot_state_publisher's parameter of that name does.",
    )
    rate: float = live_setting(10.0, "How often the path is published at most [Hz].", 0.5, 60.0)
    fade: float = live_setting(
        1.5,
        "The executed part, replaced chunks and seams fade away within this time [s].",
        0.1,
        60.0,
    )
    timeout: float = live_setting(
        3.0,
        "A path on which the arm does not move is removed after this time without a new chunk "
        "[s].",
        0.5,
        600.0,
    )
    width: float = live_setting(0.004, "Width of the path [m].", 0.0005, 0.1)
    colors: tuple[str, ...] = live_setting(
        _COLORS, "Colors of the path from now to its end, as '#rrggbb'."
    )
    seam_color: str = live_setting("#ff2fb0", "Color of the seams, as '#rrggbb'.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.colors:
            raise SettingError("colors", "is empty: name at least one color as '#rrggbb'")
        for name, colors in (("colors", self.colors), ("seam_color", (self.seam_color,))):
            for color in colors:
                if not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
                    raise SettingError(name, f"holds '{color}', no color; write it as '#rrggbb'")

    @property
    def lifetime(self) -> float:
        """Viewers forget markers that are not repeated for so long [s]: a node may have died."""
        return max(1.0, 5.0 / self.rate)


def rgb(*colors: str) -> NDArray[np.float64]:
    """Return (n, 3) RGB in 0..1 of colors written as ``#rrggbb``."""
    return np.array([[int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)] for text in colors])


def time_colors(times: Array, horizon: float, colors: Array) -> Array:
    """Return (n, 3) colors for (n,) times in 0..horizon, interpolated between (k, 3) `colors`."""
    share = np.clip(times / horizon, 0.0, 1.0) if horizon > 0 else np.zeros_like(times)
    stops = np.linspace(0.0, 1.0, len(colors))
    return np.stack([np.interp(share, stops, colors[:, i]) for i in range(3)], axis=1)


class PathMarkers:
    """Turns pictures into messages and removes what the picture before had in addition.

    Args:
        style: how it is drawn.
    """

    def __init__(self, style: VisualizationSettings) -> None:
        self.style = style
        self._shown: dict[Key, str] = {}

    def message(self, picture: PathPicture, frame: str, stamp: Time) -> MarkerArray | None:
        """Return the markers of `picture`, or None when there is nothing to show or remove."""
        markers = path_markers(picture, self.style)
        for marker in markers:
            marker.header.frame_id = frame
            marker.header.stamp = stamp
        now = {(marker.ns, marker.id): frame for marker in markers}
        gone = [
            _deletion(key, old_frame, stamp)
            for key, old_frame in self._shown.items()
            if key not in now
        ]
        self._shown = now
        return MarkerArray(markers=[*gone, *markers]) if gone or markers else None


def path_markers(picture: PathPicture, style: VisualizationSettings) -> list[Marker]:
    """Return the markers of `picture`, without header; a line of less than two points is none."""
    markers = []
    if len(picture.ahead) > 1:
        colors = time_colors(picture.ahead_times, picture.horizon, rgb(*style.colors))
        line = _line(AHEAD, 0, picture.ahead, style.width, style)
        line.colors = _colors(colors, np.ones(len(colors)))
        markers.append(line)
    if len(picture.executed) > 1:
        line = _line(EXECUTED, 0, picture.executed, 0.6 * style.width, style)
        colors = np.repeat(rgb(style.colors[0]), len(picture.executed), axis=0)
        line.colors = _colors(colors, 0.7 * picture.executed_strengths)
        markers.append(line)
    for old in picture.replaced:
        line = _line(REPLACED, old.number % _IDS, old.points, 0.35 * style.width, style)
        line.color = ColorRGBA(r=0.75, g=0.75, b=0.75, a=0.6 * old.strength)
        markers.append(line)
    for seam in picture.seams:
        sphere = _marker(SEAM, seam.number % _IDS, Marker.SPHERE, style)
        size = _seam_size(seam, style)
        sphere.scale.x = sphere.scale.y = sphere.scale.z = size
        sphere.pose.position = _point(seam.point)
        sphere.color = _seam_color(seam, style)
        markers.append(sphere)
    # Seams follow each other closely; the numbers of all would hide the path.
    if picture.seams and picture.seams[-1].jump >= _SMALLEST_JUMP:
        seam = picture.seams[-1]
        text = _marker(SEAM_TEXT, 0, Marker.TEXT_VIEW_FACING, style)
        # Without a space: RViz makes one as wide as the picture.
        text.text = f"{1000 * seam.jump:.0f}mm"
        text.scale.z = 4.0 * style.width
        text.pose.position = _point(seam.point)
        text.pose.position.z += 0.5 * _seam_size(seam, style) + 0.7 * text.scale.z
        text.color = _seam_color(seam, style)
        markers.append(text)
    return markers


def _seam_size(seam: Seam, style: VisualizationSettings) -> float:
    """Return the sphere's diameter: the jump, within what is seen and hides nothing [m]."""
    return min(max(seam.jump, 1.5 * style.width), 3.0 * style.width)


def _seam_color(seam: Seam, style: VisualizationSettings) -> ColorRGBA:
    r, g, b = map(float, rgb(style.seam_color)[0])
    return ColorRGBA(r=r, g=g, b=b, a=seam.strength)


def _marker(namespace: str, number: int, kind: int, style: VisualizationSettings) -> Marker:
    marker = Marker(ns=namespace, id=number, type=kind, action=Marker.ADD)
    marker.pose.orientation.w = 1.0
    marker.lifetime = to_duration(style.lifetime)
    return marker


def _line(
    namespace: str, number: int, points: Array, width: float, style: VisualizationSettings
) -> Marker:
    marker = _marker(namespace, number, Marker.LINE_STRIP, style)
    marker.scale.x = width
    marker.points = [_point(point) for point in points]
    return marker


def _deletion(key: Key, frame: str, stamp: Time) -> Marker:
    marker = Marker(ns=key[0], id=key[1], action=Marker.DELETE)
    marker.header.frame_id = frame
    marker.header.stamp = stamp
    return marker


def _point(point: Array) -> Point:
    x, y, z = map(float, point)
    return Point(x=x, y=y, z=z)


def _colors(rgb: Array, alpha: Array) -> list[ColorRGBA]:
    rows = np.column_stack([rgb, alpha]).tolist()
    return [ColorRGBA(r=r, g=g, b=b, a=a) for r, g, b, a in rows]
