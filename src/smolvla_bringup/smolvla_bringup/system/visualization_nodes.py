# SPDX-License-Identifier: Apache-2.0
"""What there is to see: the predicted path, and RViz."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping

from smolvla_bringup.system.camera_nodes import camera_remappings, camera_setup
from smolvla_bringup.system.description import description_file, robot_description
from smolvla_bringup.system.environment import apt_line, installed
from smolvla_bringup.system.node_spec import NodeSpec
from smolvla_bringup.system.nodes_common import make_spec
from smolvla_bringup.system.options import Options, SetupError
from smolvla_bringup.system.rviz_file import adapted_rviz_file

_RVIZ = "rviz2"


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
                remappings=camera_remappings(camera_setup(options)),
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
