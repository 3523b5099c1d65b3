# SPDX-License-Identifier: Apache-2.0
"""``ros2 launch smolvla_bringup teleop.launch.py``: a person moves the arm, no policy."""

from launch import LaunchDescription
from smolvla_bringup.system.launch_description import describe
from smolvla_bringup.system.options import PARTS


def generate_launch_description() -> LaunchDescription:
    """Return the launch description."""
    return describe(*PARTS, required=("leader",), policy="none")
