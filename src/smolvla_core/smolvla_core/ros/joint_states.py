# SPDX-License-Identifier: Apache-2.0
"""Hears the joint states of a robot, wherever it publishes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import JointState

from smolvla_core.robot import StateTopic
from smolvla_core.ros import qos
from smolvla_core.ros.publishers import PublisherNames


def subscribe_joint_states(
    node: Node,
    topics: Sequence[StateTopic],
    receive: Callable[[list[str], JointState, str], None],
) -> list[Any]:
    """Subscribe to all topics of joint states; return the subscriptions.

    Args:
        node: that subscribes.
        topics: of the robot.
        receive: gets the names of the joints, their topic's prefix before them, the message, and
            the publisher's name, empty where it is not known.
    """

    def subscribe(state: StateTopic) -> Any:
        sources = PublisherNames(node, state.topic)

        def on_message(message: JointState, info: Mapping[str, Any]) -> None:
            names = [state.prefix + name for name in message.name]
            receive(names, message, sources.of(info))

        return node.create_subscription(JointState, state.topic, on_message, qos.joint_state_qos())

    return [subscribe(state) for state in topics]
