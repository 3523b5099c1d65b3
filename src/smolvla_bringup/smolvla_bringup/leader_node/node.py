# SPDX-License-Identifier: Apache-2.0
"""`leader_node`: lets ros2_control read a leader arm, and again after each failure.

The arm's driver is configured, which reads it with the torque off, and never activated.
ros2_control activates no broadcaster by itself, nor does it try again when an arm was unplugged or
its own process was started anew.
"""

from __future__ import annotations

import functools
import sys
import threading
import time
from dataclasses import dataclass
from typing import Any

from controller_manager_msgs.srv import (
    ConfigureController,
    ListControllers,
    ListHardwareComponents,
    LoadController,
    SetHardwareComponentState,
    SwitchController,
)
from lifecycle_msgs.msg import State
from rclpy.node import Node
from smolvla_core.controllers import BROADCASTER
from smolvla_core.level import Level
from smolvla_core.ros import qos
from smolvla_core.ros.parameters import read
from smolvla_core.ros.run import run
from smolvla_core.ros.sparse_log import SparseLog, log_at
from smolvla_core.settings import Settings, setting, settings_of
from std_msgs.msg import String

_PERIOD, _RETRY = 1.0, 3.0
"""From one look to the next [s]; after a failure."""
_PATIENCE, _PATIENCE_TO_CONFIGURE = 2.0, 10.0
"""For an answer [s]; to configure the arm asks each servo several times."""


@dataclass(frozen=True, kw_only=True)
class LeaderSettings(Settings):
    """Of `leader_node`."""

    robot_description: str = setting("", "URDF of the leader arm, with its ros2_control tag.")


class _NotYetError(Exception):
    """The arm cannot be read; the text says why."""


class LeaderNode(Node):
    """Publishes the description of the leader arm and looks after its controller manager."""

    def __init__(self, **node_options: Any) -> None:
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None  # `destroy_node` needs both
        super().__init__("leader_node", **node_options)
        settings = read(self, LeaderSettings)
        description = self.create_publisher(
            String, "leader/robot_description", qos.description_qos()
        )
        description.publish(String(data=settings.robot_description))
        self._warn = SparseLog(functools.partial(log_at, self.get_logger(), Level.WARN))
        self._calls: dict[Any, Any] = {
            kind: self.create_client(kind, f"leader/controller_manager/{name}")
            for kind, name in (
                (ListHardwareComponents, "list_hardware_components"),
                (SetHardwareComponentState, "set_hardware_component_state"),
                (ListControllers, "list_controllers"),
                (LoadController, "load_controller"),
                (ConfigureController, "configure_controller"),
                (SwitchController, "switch_controller"),
            )
        }
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)
        self._thread.start()

    def destroy_node(self) -> None:
        """End the thread, then the node."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join()
        super().destroy_node()

    def _watch(self) -> None:
        wait = 0.0
        while not self._stop.wait(wait):
            wait = _PERIOD
            try:
                if self._start():
                    topic = self.resolve_topic_name("leader/joint_states")
                    self.get_logger().info(f"the leader arm is read: {topic}")
            except _NotYetError as problem:
                self._warn(f"no leader arm yet: {problem}")
                wait = _RETRY

    def _start(self) -> bool:
        """Start what does not run; say whether something did not.

        Raises:
            _NotYetError: it cannot be started.
        """
        components = self._call(ListHardwareComponents.Request()).component
        if not components:
            raise _NotYetError("its driver has not read the description")
        for component in components:
            if component.state.id == State.PRIMARY_STATE_UNCONFIGURED:
                request = SetHardwareComponentState.Request(name=component.name)
                request.target_state.id = State.PRIMARY_STATE_INACTIVE
                request.target_state.label = "inactive"
                self._succeed(request, "its driver does not come to read it, and says why")
        known = self._call(ListControllers.Request()).controller
        state = next((one.state for one in known if one.name == BROADCASTER), "")
        if state == "active":
            return False
        if not state:
            self._succeed(LoadController.Request(name=BROADCASTER), "no broadcaster is loaded")
        if state in ("", "unconfigured"):
            self._succeed(ConfigureController.Request(name=BROADCASTER), "it is not configured")
        switch = SwitchController.Request(
            activate_controllers=[BROADCASTER], strictness=SwitchController.Request.STRICT
        )
        self._succeed(switch, f"{BROADCASTER} is not activated")
        return True

    def _succeed(self, request: Any, otherwise: str) -> None:
        if not self._call(request).ok:
            raise _NotYetError(otherwise)

    def _call(self, request: Any) -> Any:
        """Return the answer to a request.

        Raises:
            _NotYetError: there is none.
        """
        kind, client = next(
            (kind, client)
            for kind, client in self._calls.items()
            if isinstance(request, kind.Request)
        )
        if not client.service_is_ready():
            raise _NotYetError("its controller manager does not run")
        came = threading.Event()
        future = client.call_async(request)
        future.add_done_callback(lambda _: came.set())
        patience = _PATIENCE_TO_CONFIGURE if kind is SetHardwareComponentState else _PATIENCE
        end = time.monotonic() + patience
        while time.monotonic() < end and not self._stop.is_set():
            if came.wait(0.1):
                return future.result()
        client.remove_pending_request(future)
        raise _NotYetError(f"{client.srv_name} does not answer")


def main() -> None:
    """Run the node; the console script `leader_node`."""
    sys.exit(run("leader_node", LeaderNode, settings_of(LeaderSettings)))
