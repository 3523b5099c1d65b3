# SPDX-License-Identifier: Apache-2.0
"""``ros2 launch smolvla_bringup policy.launch.py``: policy and executor."""

from launch import LaunchDescription
from smolvla_bringup.system.launch_description import describe


def generate_launch_description() -> LaunchDescription:
    """Return the launch description."""
    return describe("policy")
