# SPDX-License-Identifier: Apache-2.0
"""``ros2 launch smolvla_bringup so100.launch.py``: arm, cameras, policy and RViz."""

from launch import LaunchDescription
from smolvla_bringup.system.launch_description import describe
from smolvla_bringup.system.options import PARTS


def generate_launch_description() -> LaunchDescription:
    """Return the launch description."""
    return describe(*PARTS)
