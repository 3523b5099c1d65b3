# SPDX-License-Identifier: Apache-2.0
"""Policy and executor beside a robot that has its own driver, controllers and cameras.

ros2 launch ./own_robot.launch.py params:=four_joint_arm.yaml checkpoint:=/path/to/model
"""

from launch import LaunchDescription
from launch.actions import DeclareLaunchArgument
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node


def generate_launch_description() -> LaunchDescription:
    """Return the launch description."""
    params = LaunchConfiguration("params")
    return LaunchDescription(
        [
            DeclareLaunchArgument("params", description="parameter file of both nodes"),
            DeclareLaunchArgument("checkpoint", description="folder or id on the hub"),
            Node(
                package="smolvla_policy",
                executable="policy_node",
                parameters=[
                    params,
                    {"checkpoint": LaunchConfiguration("checkpoint"), "autostart": True},
                ],
                output="both",
            ),
            Node(
                package="smolvla_policy",
                executable="executor_node",
                parameters=[params, {"autostart": True}],
                # This robot's controller has another name.
                remappings=[
                    ("arm_controller/joint_trajectory", "my_arm_controller/joint_trajectory")
                ],
                output="both",
            ),
        ]
    )
