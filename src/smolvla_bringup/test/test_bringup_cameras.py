# SPDX-License-Identifier: Apache-2.0
"""The cameras file, and the drivers and listeners that follow from it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from smolvla_bringup.system.camera_file import Camera, parse_cameras, read_cameras
from smolvla_bringup.system.camera_nodes import camera_nodes, camera_parameters, camera_remappings
from smolvla_bringup.system.options import Options, SetupError

CONFIG = Path(__file__).resolve().parents[1] / "config"

pytestmark = pytest.mark.usefixtures("bare_workspace")

DRIVEN = {"name": "top", "driver": "usb_cam", "device": "/dev/null"}
FOREIGN = {"name": "wrist", "driver": "none", "topic": "/real/image"}


def write(tmp_path: Path, *cameras: dict[str, Any], **rest: Any) -> str:
    file = tmp_path / "cameras.yaml"
    file.write_text(yaml.safe_dump({"cameras": list(cameras), **rest}))
    return str(file)


def test_the_example_is_valid_and_names_what_the_policies_use() -> None:
    setup = read_cameras(CONFIG / "cameras.yaml")
    assert [camera.name for camera in setup.cameras] == ["top", "wrist"]
    assert all(camera.device.startswith("/dev/v4l/by-id/") for camera in setup.cameras)
    assert {(camera.width, camera.height, camera.fps) for camera in setup.cameras} == {
        (640, 480, 30)
    }


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (None, "needs a key 'cameras'"),
        ({"cameras": {"top": {}}}, "needs a key 'cameras' with a list"),
        ({"cameras": []}, "lists no camera"),
        ({"cameras": [DRIVEN], "transprt": "raw"}, "has no key 'transprt'; known are: transport"),
        ({"cameras": [DRIVEN], "transport": "h264"}, "not one of: raw, compressed"),
        ({"cameras": ["top"]}, "camera 1 is no mapping"),
        ({"cameras": [{"driver": "none"}]}, "camera 1: name is ''"),
        ({"cameras": [{**DRIVEN, "name": "top cam"}]}, "name is 'top cam'; it must be letters"),
        ({"cameras": [{**DRIVEN, "driver": "gscam"}]}, "one of: usb_cam, v4l2_camera, none"),
        ({"cameras": [{**DRIVEN, "widht": 640}]}, "no key 'widht'; known are: .*width"),
        ({"cameras": [{**FOREIGN, "fps": 30}]}, "'wrist' with driver none has no key 'fps'"),
        ({"cameras": [{**DRIVEN, "width": "640"}]}, "width is '640'; it must be a whole number"),
        ({"cameras": [{**DRIVEN, "fps": True}]}, "fps is True; it must be a whole number"),
        ({"cameras": [{**DRIVEN, "fps": 0}]}, "fps is 0; it must be 1 to 240"),
        ({"cameras": [{**DRIVEN, "device": 0}]}, "device is 0; it must be a text"),
        ({"cameras": [{"name": "top", "driver": "usb_cam"}]}, "device is missing; ls /dev/v4l"),
        ({"cameras": [{**FOREIGN, "topic": "a b"}]}, "topic is 'a b', which is no name"),
        ({"cameras": [{**FOREIGN, "topic": "/a/compressed"}]}, "'transport: compressed' adds"),
        ({"cameras": [DRIVEN, DRIVEN]}, "two cameras have the name 'top'"),
        ({"cameras": [DRIVEN, {**DRIVEN, "name": "b"}]}, "two cameras have the device '/dev/n"),
        (
            {"cameras": [{**DRIVEN, "feature": "f"}, {**FOREIGN, "feature": "f"}]},
            "two cameras have the feature 'f'",
        ),
    ],
)
def test_mistakes_in_the_file_are_named(content: Any, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        parse_cameras(content)


def test_a_file_that_cannot_be_read_is_explained_in_one_line(tmp_path: Path) -> None:
    file = tmp_path / "cameras.yaml"
    with pytest.raises(SetupError, match="cannot be read: No such file"):
        read_cameras(file)
    file.write_text("cameras: [\n")
    with pytest.raises(SetupError, match="is no YAML") as caught:
        read_cameras(file)
    assert "\n" not in str(caught.value)
    file.write_text("cameras: []\n")
    with pytest.raises(SetupError, match=f"cameras_file {file}: lists no camera"):
        read_cameras(file)


def test_usb_cam_gets_its_own_parameters(tmp_path: Path, install: Callable[..., None]) -> None:
    install("usb_cam")
    camera = {**DRIVEN, "width": 800, "height": 600, "fps": 15, "pixel_format": "yuyv2rgb"}
    (node,) = camera_nodes(Options(cameras_file=write(tmp_path, camera)))
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
    (node,) = camera_nodes(Options(cameras_file=write(tmp_path, camera), namespace="left"))
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
    assert camera_nodes(Options(cameras_file=write(tmp_path, FOREIGN))) == []
    assert camera_nodes(Options()) == []


def test_missing_driver_plugin_and_device_are_named(
    tmp_path: Path, install: Callable[..., None]
) -> None:
    options = Options(cameras_file=write(tmp_path, DRIVEN))
    with pytest.raises(SetupError, match=r"'top' needs .*install ros-jazzy-usb-cam, or let"):
        camera_nodes(options)
    install("usb_cam")
    compressed = Options(cameras_file=write(tmp_path, DRIVEN, transport="compressed"))
    with pytest.raises(SetupError, match="ros-jazzy-compressed-image-transport, or choose"):
        camera_nodes(compressed)
    gone = {**DRIVEN, "device": "/dev/v4l/by-id/none"}
    with pytest.raises(SetupError, match=r"'top': there is no device /dev/v4l/by-id/none; .*ls"):
        camera_nodes(Options(cameras_file=write(tmp_path, gone)))


def test_the_simulation_draws_its_cameras_itself(tmp_path: Path) -> None:
    with pytest.raises(SetupError, match="leave out cameras_file"):
        camera_nodes(Options(hardware="sim", cameras_file=write(tmp_path, DRIVEN)))


def test_listeners_are_remapped_to_a_foreign_topic() -> None:
    setup = parse_cameras({"cameras": [DRIVEN, FOREIGN]})
    assert camera_remappings(setup) == {
        "camera/wrist/image_raw": "/real/image",
        "camera/wrist/image_raw/compressed": "/real/image/compressed",
    }


def test_the_policy_hears_of_transport_and_features() -> None:
    plain = parse_cameras({"cameras": [DRIVEN, FOREIGN]})
    assert camera_parameters(plain) == {"image_transport": "raw"}
    named = parse_cameras(
        {
            "cameras": [{**DRIVEN, "feature": "observation.images.camera1"}, FOREIGN],
            "transport": "compressed",
        }
    )
    assert camera_parameters(named) == {
        "image_transport": "compressed",
        "cameras": ["top:observation.images.camera1"],
    }
    assert camera_parameters(parse_cameras({"cameras": [DRIVEN]})).keys() == {"image_transport"}
    assert Camera("top", "none").topic == ""
