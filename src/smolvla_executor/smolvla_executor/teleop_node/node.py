# SPDX-License-Identifier: Apache-2.0
"""`teleop_node`: a person moves the arm by a joystick (sensor_msgs/Joy).

It publishes where he wants the joints; the executor alone commands the arm.
"""

from __future__ import annotations

import time
from functools import partial
from pathlib import Path
from typing import Any

from ament_index_python import get_package_share_directory
from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from rclpy.node import Node
from sensor_msgs.msg import Joy
from smolvla_core.level import Level
from smolvla_core.node_settings import TeleopSettings
from smolvla_core.ros.parameters import Tuning, read
from smolvla_core.ros.run import run
from smolvla_core.ros.sparse_log import SparseLog, log_at
from smolvla_core.settings import settings_of

from smolvla_executor.teleop_node.joystick import Joystick, RunningTime, load_map
from smolvla_executor.teleop_node.orders import Orders
from smolvla_executor.teleop_node.targets import HumanTargets


class TeleopNode(Node):
    """Wires a joystick to targets and orders.

    Attributes:
        joystick, targets, orders: see `Joystick`, `HumanTargets`, `Orders`.

    Raises:
        ValueError: a parameter or the map does not fit.
    """

    def __init__(self, **node_options: Any) -> None:
        super().__init__("teleop_node", **node_options)
        settings = read(self, TeleopSettings)
        path = Path(settings.joy_map) if settings.joy_map else default_map()
        try:
            joy_map = load_map(path, settings.joints)
        except ValueError as error:
            raise ValueError(f"parameter 'joy_map': {error}") from error
        self.joystick = Joystick(joy_map, settings.joints, settings.joy_timeout)
        log = partial(log_at, self.get_logger())
        self._warn = SparseLog(partial(log, Level.WARN))
        self.targets = HumanTargets(self, settings, SparseLog(partial(log, Level.WARN)))
        self.orders = Orders(self, lambda text, done: log(Level.OK if done else Level.WARN, text))
        self._there = False
        self._time = RunningTime(time.monotonic, max(0.05, 2.0 / settings.rate))
        self._topic = self.resolve_topic_name("joy")
        self.create_subscription(Joy, "joy", self._on_joy, 10)
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        self.create_timer(1.0 / settings.rate, self._cycle, clock=steady)
        Tuning(self, TeleopSettings, take=self._tune)
        self.get_logger().info(f"map {path}; waits for a joystick on {self._topic}")

    def _tune(self, settings: TeleopSettings, names: set[str]) -> None:
        self.joystick.timeout = settings.joy_timeout
        self.targets.jog.max_lead = settings.max_lead

    def _on_joy(self, message: Joy) -> None:
        following = self.targets.following
        orders = self.joystick.on_message(message.axes, message.buttons, following, self._time())
        if self.joystick.problem:
            self._warn(f"{self._topic}: {self.joystick.problem}")
        for order in orders:
            if order == "take_over":
                self._cycle()  # with a target the arm follows at once
            if order == "home" and self.joystick.held:
                self.get_logger().warning("home: let go of the dead-man button first")
            else:
                self.orders.give(order)

    def _cycle(self) -> None:
        motion = self.joystick.motion(self._time())
        self._tell(motion is not None)
        if not (self.joystick.held or self.targets.following):
            motion = None
        self.targets.publish(motion)

    def _tell(self, there: bool) -> None:
        """Log that the joystick is there, or not any more."""
        if there == self._there:
            return
        self._there = there
        if there:
            self.get_logger().info("the joystick is there; hold the dead-man button to move")
            return
        holds = "the arm holds: " if self.targets.following else ""
        self.get_logger().warning(
            f"{holds}no valid message on {self._topic} for {self.joystick.timeout:g} s: is "
            "joy_node running, with an autorepeat_rate of 20 Hz or more?"
        )


def default_map() -> Path:
    """Return the path of the map that comes with the suite."""
    return Path(get_package_share_directory("smolvla_executor"), "config", "joy_map.yaml")


def main() -> int:
    """Run the node until it is interrupted; 78 when a parameter does not fit."""
    return run("teleop_node", TeleopNode, settings_of(TeleopSettings))


if __name__ == "__main__":
    raise SystemExit(main())
