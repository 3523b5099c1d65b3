# SPDX-License-Identifier: Apache-2.0
"""The robot description of a node: from its parameter, else from the topic."""

from __future__ import annotations

from collections.abc import Callable

from rclpy.node import Node
from std_msgs.msg import String

from smolvla_core.ros import qos


def take_description(
    node: Node, given: str, take: Callable[[str], object], refused: Callable[[str], object]
) -> None:
    """Hand a node its URDF, and each other one that the topic ``robot_description`` brings.

    Args:
        node: whose parameter ``robot_description`` it is.
        given: its value; empty: the topic, as robot_state_publisher publishes it.
        take: is called with the URDF; raises `ValueError` where it does not fit.
        refused: is called with why one of the topic does not fit.

    Raises:
        ValueError: the parameter does not fit.
    """
    if given:
        try:
            take(given)
        except ValueError as error:
            raise ValueError(f"parameter 'robot_description': {error}") from error
        return
    newest = ""

    def on_description(message: String) -> None:
        nonlocal newest
        if message.data == newest:
            return
        newest = message.data
        try:
            take(newest)
        except ValueError as error:
            refused(f"robot_description: {error}")

    node.create_subscription(String, "robot_description", on_description, qos.description_qos())
