# SPDX-License-Identifier: Apache-2.0
"""What a button or a key orders, as calls of the services that there are."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from rclpy.node import Node
from smolvla_core.ros import qos
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from smolvla_executor.core.estop import TOPIC
from smolvla_executor.teleop_node.joystick import ESTOP, RELEASE

SERVICES: Mapping[str, tuple[str, ...]] = {
    "take_over": ("executor_node/take_over",),
    "give_back": ("executor_node/give_back",),
    # The executor sends no arm home that a human has.
    "home": ("executor_node/give_back", "executor_node/home"),
    "start": ("executor_node/start",),
    "stop": ("executor_node/stop",),
    "reset_estop": ("executor_node/reset_estop",),
    "record_start": ("record_node/start_episode",),
    "record_save": ("record_node/save_episode",),
    "record_discard": ("record_node/discard_episode",),
    "re_record": ("record_node/discard_episode", "record_node/start_episode"),
}
"""Order -> the services (std_srvs/Trigger) that are called one after the other."""


class Orders:
    """Gives orders without waiting for them; those to one node one after the other.

    Args:
        node: that gives them.
        tell: called with what became of an order, and whether it was carried out.
    """

    def __init__(self, node: Node, tell: Callable[[str, bool], object]) -> None:
        self._node, self._tell = node, tell
        self._estop = node.create_publisher(Bool, TOPIC, qos.instruction_qos())
        names = {service for services in SERVICES.values() for service in services}
        self._clients: dict[str, Any] = {
            name: node.create_client(Trigger, name) for name in sorted(names)
        }
        self._waiting: dict[str, deque[tuple[str, tuple[str, ...]]]] = {}  # by node

    def ready(self, order: str) -> bool:
        """Say whether the services of an order are there."""
        return all(self._clients[name].service_is_ready() for name in SERVICES[order])

    def give(self, order: str) -> None:
        """Give an order: one of `SERVICES`, ``estop``, or ``release_estop``."""
        if order in (ESTOP, RELEASE):
            self._estop.publish(Bool(data=order == ESTOP))
            if order == ESTOP:
                self._tell(f"estop: true on {self._estop.topic_name}", True)
            return
        services = SERVICES[order]
        waiting = self._waiting.setdefault(services[0].partition("/")[0], deque())
        if waiting and not self._clients[waiting[0][1][0]].service_is_ready():
            self._tell(f"{waiting[0][0]}: no answer", False)
            waiting.clear()  # nobody will answer it
        waiting.append((order, services))
        if len(waiting) == 1:
            self._call(waiting)

    def _call(self, waiting: deque[tuple[str, tuple[str, ...]]]) -> None:
        while waiting:
            order, services = waiting[0]
            client = self._clients[services[0]]
            if client.service_is_ready():
                future = client.call_async(Trigger.Request())
                future.add_done_callback(partial(self._answered, waiting, waiting[0]))
                return
            name = self._node.resolve_service_name(services[0])
            node = name.rpartition("/")[0]
            self._tell(f"{order}: no service {name}: is {node} running?", False)
            waiting.popleft()

    def _answered(
        self,
        waiting: deque[tuple[str, tuple[str, ...]]],
        given: tuple[str, tuple[str, ...]],
        future: Any,
    ) -> None:
        if not waiting or waiting[0] is not given:  # it was given up
            return
        order, services = waiting.popleft()
        answer = future.result()
        if answer.success and len(services) > 1:
            waiting.appendleft((order, services[1:]))
        else:
            refused = "" if answer.success else "refused: "
            self._tell(f"{order}: {refused}{answer.message}", answer.success)
        self._call(waiting)
