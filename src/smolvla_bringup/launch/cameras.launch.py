# SPDX-License-Identifier: Apache-2.0
"""``ros2 launch smolvla_bringup cameras.launch.py``: the drivers of the cameras."""

from launch import LaunchDescription
from smolvla_bringup.system.launch_description import describe


def generate_launch_description() -> LaunchDescription:
    """Return the launch description."""
    return describe("cameras")
