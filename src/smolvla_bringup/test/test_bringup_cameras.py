# SPDX-License-Identifier: Apache-2.0
"""The drivers of the cameras in a robot file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from smolvla_bringup.system.node_list import camera_nodes
from smolvla_bringup.system.options import Options, SetupError
from smolvla_core.robot import load_robot

CONFIG = Path(__file__).resolve().parents[1] / "config"

pytestmark = pytest.mark.usefixtures("bare_workspace")

DRIVEN = {"name": "top", "driver": "usb_cam", "device": "/dev/null"}
FOREIGN = {"name": "wrist", "driver": "none", "topic": "/real/image"}


def write(tmp_path: Path, *cameras: dict[str, Any]) -> str:
    file = tmp_path / "robot.yaml"
    file.write_text(yaml.safe_dump({"base": "so100", "cameras": list(cameras)}))
    return str(file)


def test_the_example_is_valid_and_names_what_the_policies_use() -> None:
    robot = load_robot(str(CONFIG / "my_robot.yaml"))
    assert [camera.name for camera in robot.cameras] == ["top", "wrist"]
    assert all(camera.device.startswith("/dev/v4l/by-id/") for camera in robot.cameras)
    assert {(camera.width, camera.height, camera.fps) for camera in robot.cameras} == {
        (640, 480, 30)
    }


def test_usb_cam_gets_its_own_parameters(tmp_path: Path, install: Callable[..., None]) -> None:
    install("usb_cam")
    camera = {**DRIVEN, "width": 800, "height": 600, "fps": 15, "pixel_format": "yuyv2rgb"}
    (node,) = camera_nodes(Options(robot=write(tmp_path, camera)))
    assert (node.package, node.executable) == ("usb_cam", "usb_cam_node_exe")
    # It publishes image_raw: camera/top/image_raw.
    assert node.namespace == "camera/top"
    assert node.parameters == {
        "video_device": "/dev/null",
        "image_width": 800,
        "image_height": 600,
        "framerate": 15.0,
        "pixel_format": "yuyv2rgb",
        "camera_name": "top",
        "frame_id": "top_camera_optical_frame",
        "brightness": -1,
    }


def test_v4l2_camera_gets_its_own_parameters(tmp_path: Path, install: Callable[..., None]) -> None:
    install("v4l2_camera")
    camera = {**DRIVEN, "driver": "v4l2_camera", "frame_id": "my_frame"}
    (node,) = camera_nodes(Options(robot=write(tmp_path, camera), namespace="left"))
    assert (node.package, node.executable) == ("v4l2_camera", "v4l2_camera_node")
    assert node.namespace == "left/camera/top"
    assert node.parameters == {
        "video_device": "/dev/null",
        "image_size": [640, 480],
        "time_per_frame": [1, 30],
        "pixel_format": "YUYV",
        "output_encoding": "rgb8",
        "camera_frame_id": "left/my_frame",
    }


def test_a_camera_that_somebody_else_drives_starts_nothing(tmp_path: Path) -> None:
    assert camera_nodes(Options(robot=write(tmp_path, FOREIGN))) == []
    assert camera_nodes(Options()) == []


def test_missing_driver_plugin_and_device_are_named(
    tmp_path: Path, install: Callable[..., None]
) -> None:
    options = Options(robot=write(tmp_path, DRIVEN))
    with pytest.raises(SetupError, match=r"'top' needs .*install ros-jazzy-usb-cam, or let"):
        camera_nodes(options)
    install("usb_cam")
    compressed = Options(robot=write(tmp_path, {**DRIVEN, "transport": "compressed"}))
    with pytest.raises(SetupError, match="ros-jazzy-compressed-image-transport, or choose"):
        camera_nodes(compressed)
    gone = {**DRIVEN, "device": "/dev/v4l/by-id/none"}
    with pytest.raises(SetupError, match=r"'top': there is no device /dev/v4l/by-id/none; .*ls"):
        camera_nodes(Options(robot=write(tmp_path, gone)))


def test_the_simulation_draws_its_cameras_itself(tmp_path: Path) -> None:
    assert camera_nodes(Options(hardware="sim", robot=write(tmp_path, DRIVEN))) == []
