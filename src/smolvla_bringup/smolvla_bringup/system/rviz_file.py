# SPDX-License-Identifier: Apache-2.0
"""RViz's display file for an arm in a namespace: its frames have other names there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from smolvla_bringup.system.options import SetupError
from smolvla_bringup.system.temporary_files import temporary_file

_ROBOT = "rviz_default_plugins/RobotModel"


def adapted_rviz_file(file: Path, frame_prefix: str) -> Path:
    """Return `file`, or a temporary copy of it whose frames begin with `frame_prefix`.

    Topics need no change: RViz resolves relative names in its namespace.

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
