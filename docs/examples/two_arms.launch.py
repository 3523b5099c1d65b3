# SPDX-License-Identifier: Apache-2.0
"""Two arms in one graph: a namespace each, and both below the frame world.

ros2 launch ./two_arms.launch.py hardware:=sim

What so100.launch.py takes besides (policy:=…, view:=…, dry_run:=…) can be given too and counts for
both; its --show-args lists it.
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument, GroupAction, IncludeLaunchDescription
from launch.substitutions import LaunchConfiguration, PathJoinSubstitution
from launch_ros.actions import PushROSNamespace
from launch_ros.substitutions import FindPackageShare

POSITIONS = {"left": "0 0.2 0", "right": "0 -0.2 0"}  # of base_link in world: x y z [m]


def arm(side: str) -> GroupAction:
    """Return one arm; the group keeps its namespace and arguments from the other."""
    file = PathJoinSubstitution([FindPackageShare("smolvla_bringup"), "launch/so100.launch.py"])
    arguments = {
        "hardware": LaunchConfiguration("hardware"),
        "port": LaunchConfiguration(f"{side}_port"),
        "calibration": LaunchConfiguration(f"{side}_calibration"),
        "parent_frame": "world",
        "xyz": POSITIONS[side],
    }
    include = IncludeLaunchDescription(file, launch_arguments=arguments.items())
    return GroupAction([PushROSNamespace(side), include])


def generate_launch_description() -> LaunchDescription:
    """Return the launch description."""
    declared = [DeclareLaunchArgument("hardware", description="real, mock or sim")]
    for side in POSITIONS:
        declared += [
            DeclareLaunchArgument(
                f"{side}_port", default_value="", description=f"serial port of the {side} arm"
            ),
            DeclareLaunchArgument(
                f"{side}_calibration",
                default_value="",
                description=f"LeRobot's calibration of the {side} arm: path or --robot.id",
            ),
        ]
    return LaunchDescription([*declared, *map(arm, POSITIONS)])
