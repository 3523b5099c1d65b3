# SPDX-License-Identifier: Apache-2.0
"""The file that lists the cameras: read and checked, without ROS.

`config/cameras.yaml` explains it by example.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from smolvla_bringup.system.options import SetupError

DRIVERS = ("usb_cam", "v4l2_camera", "none")
TRANSPORTS = ("raw", "compressed")
_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]*")
_TOPIC = re.compile(r"/?[A-Za-z_][A-Za-z0-9_]*(/[A-Za-z_][A-Za-z0-9_]*)*")

_DRIVEN = {
    "device": str,
    "width": int,
    "height": int,
    "fps": int,
    "pixel_format": str,
    "frame_id": str,
}
_KEYS: dict[str, dict[str, type]] = {
    "usb_cam": _DRIVEN,
    "v4l2_camera": _DRIVEN,
    "none": {"topic": str},
}
_COMMON = {"name": str, "driver": str, "feature": str}
_RANGES = {"width": (16, 7680), "height": (16, 4320), "fps": (1, 240)}


@dataclass(frozen=True)
class Camera:
    """One camera.

    Attributes:
        name: the policy listens to ``camera/<name>/image_raw``.
        driver: of `DRIVERS`; ``none``: somebody else publishes.
        feature: the checkpoint's name of this camera; empty: the one that ends in `name`.
        topic: where somebody else publishes; empty: ``camera/<name>/image_raw``.
        device: path of the video device.
        width, height: of the images [pixels].
        fps: images per second [Hz].
        pixel_format: what the device is asked for, in the driver's words; empty: its default.
        frame_id: of the images; empty: ``<name>_camera_optical_frame``.
    """

    name: str
    driver: str
    feature: str = ""
    topic: str = ""
    device: str = ""
    width: int = 640
    height: int = 480
    fps: int = 30
    pixel_format: str = ""
    frame_id: str = ""


@dataclass(frozen=True)
class CameraSetup:
    """What a cameras file says.

    Attributes:
        cameras: in the order of the file.
        transport: of `TRANSPORTS`, what the policy subscribes to.
    """

    cameras: tuple[Camera, ...] = ()
    transport: str = "raw"


def read_cameras(file: Path) -> CameraSetup:
    """Return what `file` says.

    Raises:
        SetupError: it cannot be read, or something in it is wrong; the text says what and where.
    """
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise SetupError(f"cameras_file {file} cannot be read: {error.strerror}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        words = " ".join(str(error).split())
        raise SetupError(f"cameras_file {file} is no YAML: {words}") from error
    try:
        return parse_cameras(content)
    except ValueError as error:
        raise SetupError(f"cameras_file {file}: {error}") from error


def parse_cameras(content: Any) -> CameraSetup:
    """Return the setup that the parsed YAML `content` describes.

    Raises:
        ValueError: the text names the camera and the key that are wrong.
    """
    if not isinstance(content, Mapping) or not isinstance(content.get("cameras"), list):
        raise ValueError("needs a key 'cameras' with a list of cameras")
    _check_keys("it", content, ("transport", "cameras"))
    transport = content.get("transport", "raw")
    if transport not in TRANSPORTS:
        raise ValueError(f"transport is '{transport}', which is not one of: raw, compressed")
    cameras = tuple(
        _camera(number, entry) for number, entry in enumerate(content["cameras"], start=1)
    )
    if not cameras:
        raise ValueError("lists no camera; leave out cameras_file if there is none")
    _check_unique("name", [camera.name for camera in cameras])
    _check_unique("device", [camera.device for camera in cameras if camera.device])
    _check_unique("feature", [camera.feature for camera in cameras if camera.feature])
    return CameraSetup(cameras, transport)


def _camera(number: int, entry: Any) -> Camera:
    where = f"camera {number}"
    if not isinstance(entry, Mapping):
        raise ValueError(f"{where} is no mapping of keys to values")
    if not isinstance(entry.get("name"), str) or not _NAME.fullmatch(entry["name"]):
        raise ValueError(
            f"{where}: name is '{entry.get('name', '')}'; it must be letters, digits and _, as "
            "it becomes part of a topic"
        )
    where = f"camera '{entry['name']}'"
    driver = entry.get("driver")
    if driver not in DRIVERS:
        raise ValueError(
            f"{where}: driver is '{driver}', which is not one of: {', '.join(DRIVERS)}"
        )
    kinds = {**_COMMON, **_KEYS[driver]}
    _check_keys(f"{where} with driver {driver}", entry, tuple(kinds))
    for key, value in entry.items():
        if not isinstance(value, kinds[key]) or isinstance(value, bool):
            word = "a whole number" if kinds[key] is int else "a text"
            raise ValueError(f"{where}: {key} is {value!r}; it must be {word}")
        low, high = _RANGES.get(key, (0, 0))
        if isinstance(value, int) and not low <= value <= high:
            raise ValueError(f"{where}: {key} is {value}; it must be {low} to {high}")
    if driver != "none" and not entry.get("device"):
        raise ValueError(
            f"{where}: device is missing; ls /dev/v4l/by-id/ lists names that stay when replugged"
        )
    if entry.get("topic") and not _TOPIC.fullmatch(entry["topic"]):
        raise ValueError(f"{where}: topic is '{entry['topic']}', which is no name of a topic")
    if str(entry.get("topic", "")).endswith("/compressed"):
        raise ValueError(
            f"{where}: topic must be that of the raw images; 'transport: compressed' adds "
            "/compressed"
        )
    return Camera(**entry)


def _check_keys(where: str, entry: Mapping[str, Any], known: tuple[str, ...]) -> None:
    unknown = [str(key) for key in entry if key not in known]
    if unknown:
        raise ValueError(f"{where} has no key '{unknown[0]}'; known are: {', '.join(known)}")


def _check_unique(key: str, values: list[str]) -> None:
    doubled = {value for value in values if values.count(value) > 1}
    if doubled:
        raise ValueError(f"two cameras have the {key} '{sorted(doubled)[0]}'")
