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
        sources = PublisherNames(node, state.topic)

        def on_message(message: JointState, info: Mapping[str, Any]) -> None:
            names = [state.prefix + name for name in message.name]
            receive(names, message, sources.of(info))

        return node.create_subscription(JointState, state.topic, on_message, qos.joint_state_qos())

    return [subscribe(state) for state in topics]


def publishers_of(node: Node, topic: str) -> list[tuple[bytes, str]]:
    """Return who publishes on `topic`: id and name of the node with its namespace, by name."""
    found = []
    for info in node.get_publishers_info_by_topic(topic):
        name = f"{info.node_namespace.rstrip('/')}/{info.node_name}".lstrip("/")
        found.append((bytes(info.endpoint_gid), name))
    return sorted(found, key=lambda publisher: publisher[1])


class PublisherNames:
    """Names the publisher of each message on a topic.

    Args:
        node: that subscribes.
        topic: as subscribed to.
    """

    def __init__(self, node: Node, topic: str) -> None:
        self._node = node
        self._topic = node.resolve_topic_name(topic)
        self._names: dict[bytes, str] = {}

    def of(self, info: Mapping[str, Any]) -> str:
        """Return the name of the node that published a message; no two publishers have one name.

        Args:
            info: rclpy's information on a message; before ROS 2 Kilted not who sent it, and the
                name is empty.
        """
        sender = info.get("publisher_gid")
        if not sender:
            return ""
        gid = bytes(sender["data"])
        if gid not in self._names:
            name = self._look_up(gid)
            if not name:  # not discovered yet, though its message is here
                return "a node that is not known yet"
            known = sum(other.split(" (")[0] == name for other in self._names.values())
            self._names[gid] = f"{name} (publisher {known + 1})" if known else name
        return self._names[gid]

    def _look_up(self, gid: bytes) -> str:
        for known, name in publishers_of(self._node, self._topic):
            # The two have different lengths in some middlewares; what is longer ends with zeros.
            shorter = min(len(known), len(gid))
            if known[:shorter] == gid[:shorter]:
                return name
        return ""
