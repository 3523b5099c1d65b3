# SPDX-License-Identifier: Apache-2.0
"""The parameters of `visualization_node`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from smolvla_core.ros.parameters import Parameter

from smolvla_executor.visualization_node.kinematics import TIP_LINK
from smolvla_executor.visualization_node.markers import PathStyle, parse_colors

# One hue that grows evenly darker, so that the color-blind can read it too; stands out from an
# orange arm and from RViz's dark background.
_COLORS = ["#8ff7ff", "#2fb5ff", "#2f6bff", "#4a2fd0"]

VISUALIZATION_PARAMETERS = (
    Parameter(
        "robot_description",
        "",
        "The URDF as text. Empty: it is taken from the topic robot_description, as "
        "robot_state_publisher publishes it.",
    ),
    Parameter("tip_link", TIP_LINK, "Link of the URDF whose path is drawn."),
    Parameter(
        "frame",
        "",
        "Link of the URDF, above tip_link, in whose frame the path is given. Empty: the root.",
    ),
    Parameter(
        "frame_prefix",
        "",
        "Put before the frame's name, as robot_state_publisher's parameter of that name does.",
    ),
    Parameter(
        "rate",
        10.0,
        "How often the path is published at most [Hz].",
        minimum=0.5,
        maximum=60.0,
        live=True,
    ),
    Parameter(
        "fade",
        1.5,
        "The executed part, replaced chunks and seams fade away within this time [s].",
        minimum=0.1,
        maximum=60.0,
        live=True,
    ),
    Parameter(
        "timeout",
        3.0,
        "A path on which the arm does not move is removed after this time without a new chunk "
        "[s].",
        minimum=0.5,
        maximum=600.0,
        live=True,
    ),
    Parameter("width", 0.004, "Width of the path [m].", minimum=0.0005, maximum=0.1, live=True),
    Parameter(
        "colors", _COLORS, "Colors of the path from now to its end, as '#rrggbb'.", live=True
    ),
    Parameter("seam_color", "#ff2fb0", "Color of the seams, as '#rrggbb'.", live=True),
)


def path_style(values: Mapping[str, Any]) -> PathStyle:
    """Return how the path is drawn from the values of `VISUALIZATION_PARAMETERS` by name.

    Raises:
        ValueError: a color cannot be read; the text names the parameter.
    """
    return PathStyle(
        colors=parse_colors(values["colors"], "colors"),
        seam_color=parse_colors([values["seam_color"]], "seam_color")[0],
        width=values["width"],
        # A viewer shall not be left with markers whose node has died.
        lifetime=max(1.0, 5.0 / values["rate"]),
    )
