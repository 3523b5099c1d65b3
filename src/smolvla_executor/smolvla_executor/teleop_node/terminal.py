# SPDX-License-Identifier: Apache-2.0
"""A person moves the arm by the keys of a terminal: the node behind ``smolvla teleop``."""

from __future__ import annotations

import math
import shutil
import sys
import time

from rclpy.clock import Clock
from rclpy.clock_type import ClockType
from smolvla_core.client import SmolVLAClient
from smolvla_core.console import DONE
from smolvla_core.keys import Keys
from smolvla_core.node_settings import JogSettings
from smolvla_core.ros.diagnostics import EXECUTOR_STATES
from smolvla_core.ros.sparse_log import SparseLog

from smolvla_executor.teleop_node.keyboard import TOGGLE, Keyboard
from smolvla_executor.teleop_node.orders import Orders
from smolvla_executor.teleop_node.targets import HumanTargets
from smolvla_msgs.msg import ExecutorStatus

_TAKING = 2.0  # [s] that there are targets for an executor that is to follow them
_LOOK = 0.1  # [s] between two live lines
_SPIN = 0.01  # [s]
_TELLING = (ExecutorStatus.HOLDING, ExecutorStatus.FAULT, ExecutorStatus.STOPPED)
_NOBODY = "looks for the executor"
_CLEAR = "\r\x1b[K"


def run(settings: JogSettings, namespace: str = "") -> int:
    """Serve the keys of standard input, a terminal, until Ctrl-D; return the exit status.

    Args:
        settings: of the arm and the motion.
        namespace: of the arm.

    Raises:
        smolvla_core.client.ClientError: ROS does not take the namespace.
        ValueError: the URDF does not fit.
        KeyboardInterrupt: Ctrl-C.
    """
    with SmolVLAClient.connect("teleop_keyboard", namespace) as client:
        teleoperation = _Teleoperation(client, settings)
        with Keys(sys.stdin, lambda: client.spin(_SPIN)) as keys:
            try:
                while (key := keys.read()) is not None:
                    teleoperation.take(key)
            finally:
                teleoperation.end()
    return DONE


class _Teleoperation:
    """Keys -> targets and orders, and one line that says how it goes."""

    def __init__(self, client: SmolVLAClient, settings: JogSettings) -> None:
        self._keyboard = Keyboard(settings.body)
        self._client = client
        self._targets = HumanTargets(client.node, settings, SparseLog(self._say))
        self._orders = Orders(client.node, lambda text, done: self._say(text))
        steady = Clock(clock_type=ClockType.STEADY_TIME)
        client.node.create_timer(1.0 / settings.rate, self._publish, clock=steady)
        self._taking_until = self._look_at = -math.inf
        self._told = ""
        print(self._keyboard.help, flush=True)

    def take(self, key: str) -> None:
        """Take a key, empty where none was pressed, and show how it goes."""
        now = time.monotonic()
        if key == "?":
            self._say(self._keyboard.help)
        elif self._keyboard.moves(key) and not self._targets.following:
            there = self._targets.status is not None
            self._say("Enter takes over; then keys move the arm" if there else _NOBODY)
        elif order := self._keyboard.press(key, now):
            if order == TOGGLE:
                order = "give_back" if self._targets.following else "take_over"
            if order == "take_over":
                self._taking_until = now + _TAKING
                self._publish()  # with a target the arm follows at once
            self._orders.give(order)
            if order == "estop":  # a key is let go at once
                self._orders.give("release_estop")
        if key or now >= self._look_at:
            self._look_at = now + _LOOK
            self._show()

    def end(self) -> None:
        """Leave the terminal a line of its own, and say who has the arm."""
        print(_CLEAR, end="", flush=True)
        if self._targets.following:
            print(
                "the arm holds; `smolvla order give-back` lets the policy go on, if there is one",
                flush=True,
            )

    def _publish(self) -> None:
        now = time.monotonic()
        wanted = self._targets.following or now < self._taking_until
        self._targets.publish(self._keyboard.motion(now) if wanted else None)

    def _show(self) -> None:
        status = self._targets.status
        if status is None:
            line = _NOBODY
        else:
            told = status.reason if status.state in _TELLING else ""
            if told.partition(":")[0] != self._told.partition(":")[0]:
                if told:
                    self._say(told)
                self._told = told
            state = EXECUTOR_STATES.get(status.state, "?")
            feedback = self._targets.jog.feedback
            here = feedback.positions if feedback.seen else None
            line = self._keyboard.line(status.source, state, here)
        columns = shutil.get_terminal_size().columns - 1
        print(f"{_CLEAR}{line[:columns]}", end="", flush=True)

    def _say(self, text: str) -> None:
        print(f"{_CLEAR}{text}", flush=True)
