# SPDX-License-Identifier: Apache-2.0
"""What there is to see: the predicted path, and RViz."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from smolvla_bringup.system.description import description_file, robot_description
from smolvla_bringup.system.environment import apt_line, installed
from smolvla_bringup.system.node_spec import NodeSpec, make_spec, temporary_file
from smolvla_bringup.system.options import Options, SetupError

_RVIZ = "rviz2"
_ROBOT = "rviz_default_plugins/RobotModel"


def visualization_nodes(options: Options, say: Callable[[str], None]) -> list[NodeSpec]:
    """Return the node that draws chunks and, where wanted, RViz; the arm works without both.

    Args:
        options: how the system shall be started.
        say: told what is left out and why.

    Raises:
        SetupError: RViz is asked for and cannot be opened.
    """
    nodes = []
    if options.policy != "none":
        nodes.append(
            make_spec(
                options,
                "smolvla_executor",
                "visualization_node",
                texts={"robot_description": robot_description(options, with_drivers=False)},
                parameters={"frame_prefix": options.frame_prefix},
                critical=False,
            )
        )
    if _wants_rviz(options, os.environ, say):
        file = adapted_rviz_file(description_file("rviz", "so100.rviz"), options.frame_prefix)
        nodes.append(
            make_spec(
                options,
                _RVIZ,
                _RVIZ,
                arguments=("--display-config", str(file)),
                remappings={
                    f"camera/{camera.name}/image_raw": camera.topic
                    for camera in options.body.cameras
                    if camera.topic
                },
                critical=False,
            )
        )
    return nodes


def _wants_rviz(
    options: Options, environment: Mapping[str, str], say: Callable[[str], None]
) -> bool:
    display = any(environment.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))
    problem = ""
    if not installed(_RVIZ):
        problem = f"{_RVIZ} is not installed ({apt_line(_RVIZ)})"
    elif not display:
        problem = "there is no display (DISPLAY is not set)"
    if options.rviz and problem:
        raise SetupError(f"RViz is asked for, but {problem}; or leave it out: rviz:=false")
    if options.rviz is None and problem:
        say(f"no RViz: {problem}")
    return not problem and options.rviz is not False


def adapted_rviz_file(file: Path, frame_prefix: str) -> Path:
    """Return `file`, or a temporary copy of it whose frames begin with `frame_prefix`.

    An arm in a namespace has frames of other names. Topics need no change: RViz resolves relative
    names in its namespace.

    Raises:
        SetupError: the file cannot be read.
    """
    try:
        text = file.read_text(encoding="utf-8")
    except OSError as error:
        raise SetupError(f"{file} cannot be read: {error.strerror}") from error
    if not frame_prefix:
        return file
    content = prefixed(yaml.safe_load(text), frame_prefix)
    return temporary_file(file.name, yaml.safe_dump(content, sort_keys=False))


def prefixed(content: Any, frame_prefix: str) -> Any:
    """Return RViz's display file `content` (parsed YAML) with `frame_prefix` at its frames."""
    if isinstance(content, list):
        return [prefixed(element, frame_prefix) for element in content]
    if not isinstance(content, dict):
        return content
    result = {key: prefixed(value, frame_prefix) for key, value in content.items()}
    for key in ("Fixed Frame", "Target Frame", "Reference Frame"):
        frame = result.get(key)
        if isinstance(frame, str) and frame and not frame.startswith("<"):
            result[key] = frame_prefix + frame
    if result.get("Class") == _ROBOT:
        # RViz adds the slash.
        result["TF Prefix"] = frame_prefix.rstrip("/")
    return result
