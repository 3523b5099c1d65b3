# SPDX-License-Identifier: Apache-2.0
"""Turns states of the simulation into ROS messages."""

from __future__ import annotations

from collections.abc import Mapping
from math import radians, tan

from builtin_interfaces.msg import Time
from sensor_msgs.msg import CameraInfo
from visualization_msgs.msg import Marker, MarkerArray

from smolvla_sim.world.scene import BOWLS, CAMERAS, CUBE_COLORS, OBJECT_SIZES
from smolvla_sim.world.tasks import ObjectState

_BOWL_COLOR = (0.93, 0.93, 0.91)


def camera_frame(camera: str, prefix: str = "") -> str:
    """Return the frame of a camera's images (REP-103: z into the picture, x right)."""
    return f"{prefix}{camera}_camera_optical_frame"


def camera_info(stamp: Time, camera: str, width: int, height: int, prefix: str = "") -> CameraInfo:
    """Return the pinhole model of a camera: square pixels, no distortion."""
    focal = height / 2 / tan(radians(CAMERAS[camera].fovy) / 2)
    center_x, center_y = (width - 1) / 2, (height - 1) / 2
    message = CameraInfo(width=width, height=height, distortion_model="plumb_bob")
    message.header.stamp = stamp
    message.header.frame_id = camera_frame(camera, prefix)
    message.d = [0.0] * 5
    message.k = [focal, 0.0, center_x, 0.0, focal, center_y, 0.0, 0.0, 1.0]
    message.r = [1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0]
    message.p = [focal, 0.0, center_x, 0.0, 0.0, focal, center_y, 0.0, 0.0, 0.0, 1.0, 0.0]
    return message


def object_markers(
    stamp: Time, base_frame: str, objects: Mapping[str, ObjectState]
) -> MarkerArray:
    """Return one marker per object: its name as namespace, its bounding box as scale."""
    array = MarkerArray()
    for name, state in objects.items():
        bowl = name in BOWLS
        marker = Marker(ns=name, id=0, action=Marker.ADD)
        marker.type = Marker.CYLINDER if bowl else Marker.CUBE
        marker.header.stamp = stamp
        marker.header.frame_id = base_frame
        position, orientation = marker.pose.position, marker.pose.orientation
        position.x, position.y, position.z = map(float, state.position)
        orientation.w, orientation.x, orientation.y, orientation.z = map(float, state.quaternion)
        marker.scale.x, marker.scale.y, marker.scale.z = OBJECT_SIZES[name]
        color = _BOWL_COLOR if bowl else CUBE_COLORS[name.removesuffix("_cube")]
        marker.color.r, marker.color.g, marker.color.b = color
        marker.color.a = 0.4 if bowl else 1.0  # a cube in it is to be seen
        array.markers.append(marker)
    return array
