# SPDX-License-Identifier: Apache-2.0
"""MuJoCo's own window, for people with a display."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from typing import Any

import mujoco


def require_display(
    environment: Mapping[str, str] | None = None, platform: str = sys.platform
) -> None:
    """Check that a window can open.

    Args:
        environment: the environment instead of the process's own, for tests.
        platform: `sys.platform`, for tests.

    Raises:
        ValueError: there is no display; the text says what to do.
    """
    variables = os.environ if environment is None else environment
    if platform.startswith("linux") and not (
        variables.get("DISPLAY") or variables.get("WAYLAND_DISPLAY")
    ):
        raise ValueError(
            "the parameter viewer is true but there is no display (neither DISPLAY nor "
            "WAYLAND_DISPLAY is set); start it on a desktop, or with viewer false watch the "
            "cameras in RViz or rqt"
        )


def open_viewer(model: mujoco.MjModel, data: mujoco.MjData) -> Any:
    """Open MuJoCo's passive viewer and return its handle (``sync()``, ``close()``).

    Raises:
        ValueError: there is no display.
    """
    require_display()
    import mujoco.viewer  # needs a window system, so only on demand

    return mujoco.viewer.launch_passive(model, data, show_left_ui=False, show_right_ui=False)
