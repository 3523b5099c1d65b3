# SPDX-License-Identifier: Apache-2.0
"""``ros2 launch smolvla_bringup arm.launch.py``: the arm and its frames."""

from launch import LaunchDescription
from smolvla_bringup.system.launch_description import describe


def generate_launch_description() -> LaunchDescription:
    """Return the launch description."""
    return describe("arm", "description")
