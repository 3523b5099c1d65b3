# SPDX-License-Identifier: Apache-2.0
"""The parameters of `visualization_node`."""

from __future__ import annotations

import re
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from smolvla_core.settings import SettingError, Settings, live_setting, setting

from smolvla_executor.visualization_node.kinematics import TIP_LINK

# One hue that grows evenly darker, so that the color-blind can read it too; stands out from an
# orange arm and from RViz's dark background.
_COLORS = ("#8ff7ff", "#2fb5ff", "#2f6bff", "#4a2fd0")


@dataclass(frozen=True, kw_only=True)
class VisualizationSettings(Settings):
    """Of `visualization_node`."""

    robot_description: str = setting(
        "",
        "The URDF as text. Empty: it is taken from the topic robot_description, as "
        "robot_state_publisher publishes it.",
    )
    tip_link: str = setting(TIP_LINK, "Link of the URDF whose path is drawn.")
    frame: str = setting(
        "",
        "Link of the URDF, above tip_link, in whose frame the path is given. Empty: the root.",
    )
    frame_prefix: str = setting(
        "",
        "Put before the frame's name, as robot_state_publisher's parameter of that name does.",
    )
    rate: float = live_setting(10.0, "How often the path is published at most [Hz].", 0.5, 60.0)
    fade: float = live_setting(
        1.5,
        "The executed part, replaced chunks and seams fade away within this time [s].",
        0.1,
        60.0,
    )
    timeout: float = live_setting(
        3.0,
        "A path on which the arm does not move is removed after this time without a new chunk "
        "[s].",
        0.5,
        600.0,
    )
    width: float = live_setting(0.004, "Width of the path [m].", 0.0005, 0.1)
    colors: tuple[str, ...] = live_setting(
        _COLORS, "Colors of the path from now to its end, as '#rrggbb'."
    )
    seam_color: str = live_setting("#ff2fb0", "Color of the seams, as '#rrggbb'.")

    def __post_init__(self) -> None:
        super().__post_init__()
        if not self.colors:
            raise SettingError("colors", "is empty: name at least one color as '#rrggbb'")
        for name, colors in (("colors", self.colors), ("seam_color", (self.seam_color,))):
            for color in colors:
                if not re.fullmatch(r"#[0-9a-fA-F]{6}", color):
                    raise SettingError(name, f"holds '{color}', no color; write it as '#rrggbb'")

    @property
    def lifetime(self) -> float:
        """Viewers forget markers that are not repeated for so long [s]: a node may have died."""
        return max(1.0, 5.0 / self.rate)


def rgb(*colors: str) -> NDArray[np.float64]:
    """Return (n, 3) RGB in 0..1 of colors written as ``#rrggbb``."""
    return np.array([[int(text[i : i + 2], 16) / 255 for i in (1, 3, 5)] for text in colors])
