# SPDX-License-Identifier: Apache-2.0
"""The newest message of a fast topic, for whoever looks at it less often than it comes."""

from __future__ import annotations

from typing import Any

from rclpy.callback_groups import CallbackGroup
from rclpy.node import Node
from rclpy.qos import QoSProfile


class _Never(CallbackGroup):
    """Callback group that never wakes the executor: each wake-up costs half a millisecond."""

    def can_execute(self, entity: Any) -> bool:
        return False

    def beginning_execution(self, entity: Any) -> bool:
        return False

    def ending_execution(self, entity: Any) -> None:
        return None


class NewestMessage:
    """Subscribes without waking the node up.

    Args:
        node: that subscribes.
        kind: type of the messages.
        topic: name of the topic.
        profile: quality of service; of depth 1, or `take` gives an older message.
    """

    def __init__(self, node: Node, kind: Any, topic: str, profile: QoSProfile) -> None:
        self._kind = kind
        self._subscription = node.create_subscription(
            kind, topic, lambda message: None, profile, callback_group=_Never()
        )

    def take(self) -> Any | None:
        """Return the newest message, or None when none has come since the last call."""
        with self._subscription.handle:
            taken = self._subscription.handle.take_message(self._kind, False)
        return None if taken is None else taken[0]
