# SPDX-License-Identifier: Apache-2.0
"""Turns states of the simulation into ROS messages."""

from __future__ import annotations

from array import array
from collections.abc import Mapping
from math import radians, tan

import numpy as np
from builtin_interfaces.msg import Time
from numpy.typing import NDArray
from sensor_msgs.msg import CameraInfo, Image, JointState
from smolvla_core.ros.converters import image_message
from visualization_msgs.msg import Marker, MarkerArray

from smolvla_sim.world.scene import BOWLS, CAMERAS, CUBE_COLORS, OBJECT_SIZES
from smolvla_sim.world.tasks import ObjectState

_BOWL_COLOR = (0.93, 0.93, 0.91)


def camera_frame(camera: str, prefix: str = "") -> str:
    """Return the frame of a camera's images (REP-103: z into the picture, x right)."""
    return f"{prefix}{camera}_camera_optical_frame"


def joint_state(
    stamp: Time,
    names: tuple[str, ...],
    positions: NDArray[np.float64],
    velocities: NDArray[np.float64],
    efforts: NDArray[np.float64],
) -> JointState:
    """Return a message of (joints,) radians, rad/s and N m."""
    message = JointState(name=list(names))
    message.header.stamp = stamp
    message.position = array("d", positions)
    message.velocity = array("d", velocities)
    message.effort = array("d", efforts)
    return message


def image(stamp: Time, camera: str, pixels: NDArray[np.uint8], prefix: str = "") -> Image:
    """Return an rgb8 message of uint8 (height, width, 3) pixels."""
    message = image_message(pixels)
    message.header.stamp = stamp
    message.header.frame_id = camera_frame(camera, prefix)
    return message


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
    return MarkerArray(
        markers=[_marker(stamp, base_frame, name, state) for name, state in objects.items()]
    )


def _marker(stamp: Time, base_frame: str, name: str, state: ObjectState) -> Marker:
    marker = Marker(ns=name, id=0, action=Marker.ADD)
    marker.type = Marker.CYLINDER if name in BOWLS else Marker.CUBE
    marker.header.stamp = stamp
    marker.header.frame_id = base_frame
    position, orientation = marker.pose.position, marker.pose.orientation
    position.x, position.y, position.z = map(float, state.position)
    orientation.w, orientation.x, orientation.y, orientation.z = map(float, state.quaternion)
    marker.scale.x, marker.scale.y, marker.scale.z = OBJECT_SIZES[name]
    color = _BOWL_COLOR if name in BOWLS else CUBE_COLORS[name.removesuffix("_cube")]
    marker.color.r, marker.color.g, marker.color.b = color
    marker.color.a = 0.4 if name in BOWLS else 1.0  # a cube in it is to be seen
    return marker
