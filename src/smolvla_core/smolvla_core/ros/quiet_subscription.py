# SPDX-License-Identifier: Apache-2.0
"""Subscriptions of nodes that only look: they take messages when they want some."""

from __future__ import annotations

import time
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


class QuietSubscription:
    """Subscribes without waking the node up.

    Args:
        node: that subscribes.
        kind: type of the messages.
        topic: name of the topic.
        profile: quality of service; its depth is how many messages wait to be taken.
        raw: whether messages stay serialized.
    """

    def __init__(
        self, node: Node, kind: Any, topic: str, profile: QoSProfile, raw: bool = False
    ) -> None:
        self._kind, self._raw, self._depth = kind, raw, profile.depth
        self._subscription = node.create_subscription(
            kind, topic, lambda message: None, profile, callback_group=_Never(), raw=raw
        )

    def take(self) -> Any | None:
        """Return the newest message, or None when none has come since the last call."""
        messages = self.take_all()
        return messages[-1][1] if messages else None

    def take_all(self) -> list[tuple[int, Any]]:
        """Return the messages since the last call, and when each was received [ns, system clock].

        A middleware that does not say when gets the time of this call.
        """
        taken: list[tuple[int, Any]] = []
        with self._subscription.handle:
            # What comes meanwhile is for the next call.
            while len(taken) < self._depth:
                one = self._subscription.handle.take_message(self._kind, self._raw)
                if one is None:
                    break
                message, info = one
                received = info.get("received_timestamp") or time.time_ns()
                taken.append((int(received), message))
        return taken
