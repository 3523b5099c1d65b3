# SPDX-License-Identifier: Apache-2.0
"""The drivers of the cameras, and what the listeners must know about them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smolvla_bringup.system.camera_file import Camera, CameraSetup, read_cameras
from smolvla_bringup.system.environment import require
from smolvla_bringup.system.node_spec import NodeSpec, make_spec
from smolvla_bringup.system.options import Options, SetupError

_EXECUTABLES = {"usb_cam": "usb_cam_node_exe", "v4l2_camera": "v4l2_camera_node"}
_DEFAULT_FORMATS = {"usb_cam": "mjpeg2rgb", "v4l2_camera": "YUYV"}
_COMPRESSION = "compressed_image_transport"


def camera_setup(options: Options) -> CameraSetup:
    """Return what the cameras file says; without one there are no cameras in it.

    Raises:
        SetupError: see `read_cameras`; or the simulation is asked to use real cameras.
    """
    if not options.cameras_file:
        return CameraSetup()
    if options.hardware == "sim":
        raise SetupError(
            "the simulation draws its cameras itself; leave out cameras_file, or choose another "
            "hardware"
        )
    return read_cameras(Path(options.cameras_file).expanduser().resolve())


def camera_nodes(options: Options) -> list[NodeSpec]:
    """Return a driver for each camera that has one.

    Raises:
        SetupError: see `camera_setup`; or a device or the driver's package is missing.
    """
    setup = camera_setup(options)
    nodes = []
    for camera in setup.cameras:
        if camera.driver == "none":
            continue
        where = f"camera '{camera.name}'"
        require(camera.driver, where, "let another driver publish (driver: none)")
        if setup.transport == "compressed":
            require(_COMPRESSION, f"{where} with transport 'compressed'", "choose transport 'raw'")
        if not Path(camera.device).exists():
            raise SetupError(
                f"{where}: there is no device {camera.device}; plug it in, or correct device in "
                f"{options.cameras_file} (ls /dev/v4l/by-id/ lists them)"
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


def camera_remappings(setup: CameraSetup) -> dict[str, str]:
    """Return what a listener to ``camera/<name>/image_raw`` must remap to hear the cameras."""
    remappings = {}
    for camera in setup.cameras:
        if camera.topic:
            topic = f"camera/{camera.name}/image_raw"
            remappings[topic] = camera.topic
            remappings[f"{topic}/compressed"] = f"{camera.topic}/compressed"
    return remappings


def camera_parameters(setup: CameraSetup) -> dict[str, Any]:
    """Return the parameters of policy_node that follow from the cameras file."""
    parameters: dict[str, Any] = {}
    if setup.cameras:
        parameters["image_transport"] = setup.transport
    # Without a feature the policy's own cameras are looked for by their names; the file may then
    # list more cameras than the policy uses.
    named = [f"{camera.name}:{camera.feature}" for camera in setup.cameras if camera.feature]
    if named:
        parameters["cameras"] = named
    return parameters


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
