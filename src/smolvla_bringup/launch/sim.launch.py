# SPDX-License-Identifier: Apache-2.0
"""``ros2 launch smolvla_bringup sim.launch.py``: simulated arm, policy and executor.

Nodes and arguments come from `smolvla_bringup.nodes` and `smolvla_bringup.options`, which the
starter uses too; ``--show-args`` lists the arguments.
"""

from __future__ import annotations

import dataclasses

from launch import LaunchContext, LaunchDescription
from launch.actions import DeclareLaunchArgument, OpaqueFunction, Shutdown
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from smolvla_bringup.nodes import node_list
from smolvla_bringup.options import Options


def _nodes(context: LaunchContext) -> list[Node]:
    values = {
        field.name: LaunchConfiguration(field.name).perform(context)
        for field in dataclasses.fields(Options)
    }
    return [
        Node(
            **spec.launch_arguments(),
            on_exit=Shutdown(reason=f"{spec.name} has ended") if spec.critical else None,
        )
        for spec in node_list(Options.from_text(values))
    ]


def _argument(field: dataclasses.Field) -> DeclareLaunchArgument:
    default = "" if field.default is None else str(field.default)
    # An empty text keeps the default, so it is always allowed where the default is empty.
    choices = list(field.metadata["choices"]) + ([""] if default == "" else [])
    return DeclareLaunchArgument(
        field.name,
        default_value=default,
        description=field.metadata["description"],
        choices=choices if field.metadata["choices"] else None,
    )


def generate_launch_description() -> LaunchDescription:
    """Return the launch description."""
    arguments = [_argument(field) for field in dataclasses.fields(Options)]
    return LaunchDescription([*arguments, OpaqueFunction(function=_nodes)])
