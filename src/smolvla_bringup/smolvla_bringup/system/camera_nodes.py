# SPDX-License-Identifier: Apache-2.0
"""The drivers of the cameras."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smolvla_core.robot import Camera

from smolvla_bringup.system.environment import require
from smolvla_bringup.system.node_spec import NodeSpec, make_spec
from smolvla_bringup.system.options import Options, SetupError

_EXECUTABLES = {"usb_cam": "usb_cam_node_exe", "v4l2_camera": "v4l2_camera_node"}
_DEFAULT_FORMATS = {"usb_cam": "mjpeg2rgb", "v4l2_camera": "YUYV"}
_COMPRESSION = "compressed_image_transport"


def camera_nodes(options: Options) -> list[NodeSpec]:
    """Return a driver for each camera of the robot that has one; the simulation draws its own.

    Raises:
        SetupError: a device or the driver's package is missing.
    """
    if options.hardware == "sim":
        return []
    nodes = []
    for camera in options.body.cameras:
        if camera.driver == "none":
            continue
        where = f"camera '{camera.name}'"
        require(camera.driver, where, "let another driver publish (driver: none)")
        if camera.transport == "compressed":
            require(_COMPRESSION, f"{where} with transport 'compressed'", "choose transport 'raw'")
        if not Path(camera.device).exists():
            raise SetupError(
                f"{where}: there is no device {camera.device}; plug it in, or correct device in "
                f"{options.robot} (ls /dev/v4l/by-id/ lists them)"
            )
        parameters = {"usb_cam": _usb_cam, "v4l2_camera": _v4l2_camera}[camera.driver]
        nodes.append(
            make_spec(
                options,
                camera.driver,
                _EXECUTABLES[camera.driver],
                name=f"{camera.name}_camera",
                namespace=f"camera/{camera.name}",
                parameters=parameters(camera, _frame(options, camera)),
                critical=False,  # the policy waits for it, and names it
            )
        )
    return nodes


def _frame(options: Options, camera: Camera) -> str:
    return options.frame_prefix + (camera.frame_id or f"{camera.name}_camera_optical_frame")


def _usb_cam(camera: Camera, frame: str) -> dict[str, Any]:
    """Return the parameters of usb_cam (0.8)."""
    return {
        "video_device": camera.device,
        "image_width": camera.width,
        "image_height": camera.height,
        "framerate": float(camera.fps),
        "pixel_format": camera.pixel_format or _DEFAULT_FORMATS["usb_cam"],
        "camera_name": camera.name,
        "frame_id": frame,
        # By itself it sets a brightness of 50, which is dark on most cameras.
        "brightness": -1,
    }


def _v4l2_camera(camera: Camera, frame: str) -> dict[str, Any]:
    """Return the parameters of v4l2_camera (0.6 to 0.8)."""
    return {
        "video_device": camera.device,
        "image_size": [camera.width, camera.height],
        "time_per_frame": [1, camera.fps],
        "pixel_format": camera.pixel_format or _DEFAULT_FORMATS["v4l2_camera"],
        "output_encoding": "rgb8",
        "camera_frame_id": frame,
    }
