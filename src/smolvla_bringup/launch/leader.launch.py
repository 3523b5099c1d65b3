# SPDX-License-Identifier: Apache-2.0
"""``ros2 launch smolvla_bringup leader.launch.py``: a leader arm, beside an arm elsewhere."""

from launch import LaunchDescription
from smolvla_bringup.system.launch_description import describe


def generate_launch_description() -> LaunchDescription:
    """Return the launch description."""
    return describe("leader", required=("leader",))
