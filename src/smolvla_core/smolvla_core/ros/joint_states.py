# SPDX-License-Identifier: Apache-2.0
"""Subscriptions to the joint states of a robot, on all its topics, and who publishes them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from rclpy.node import Node
from sensor_msgs.msg import JointState

from smolvla_core.robot import StateTopic
from smolvla_core.ros import qos


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
        topic = node.resolve_topic_name(state.topic)
        known: dict[bytes, str] = {}  # the publishers

        def on_message(message: JointState, info: Mapping[str, Any]) -> None:
            names = [state.prefix + name for name in message.name]
            # Before ROS 2 Kilted a message does not say who sent it.
            sender = info.get("publisher_gid")
            gid = bytes(sender["data"]) if sender else b""
            receive(names, message, _source(node, topic, gid, known) if gid else "")

        return node.create_subscription(JointState, state.topic, on_message, qos.joint_state_qos())

    return [subscribe(state) for state in topics]


def publishers_of(node: Node, topic: str) -> list[tuple[bytes, str]]:
    """Return who publishes on `topic`: id and name of the node with its namespace, by name."""
    found = []
    for info in node.get_publishers_info_by_topic(topic):
        name = f"{info.node_namespace.rstrip('/')}/{info.node_name}".lstrip("/")
        found.append((bytes(info.endpoint_gid), name))
    return sorted(found, key=lambda publisher: publisher[1])


def _source(node: Node, topic: str, gid: bytes, known: dict[bytes, str]) -> str:
    """Return the name of the publisher `gid`, and remember it; no two have one name."""
    if gid not in known:
        for other, name in publishers_of(node, topic):
            # The two have different lengths in some middlewares; what is longer ends with zeros.
            shorter = min(len(other), len(gid))
            if other[:shorter] == gid[:shorter]:
                count = sum(one.split(" (")[0] == name for one in known.values())
                known[gid] = f"{name} (publisher {count + 1})" if count else name
                break
        else:  # not discovered yet, though its message is here
            return "a node that is not known yet"
    return known[gid]
