# SPDX-License-Identifier: Apache-2.0
"""Runs a node as a process: from the command line to a clean end."""

from __future__ import annotations

import os
import shutil
import signal
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Mapping

import rclpy
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
)
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node
from rclpy.signals import SignalHandlerOptions
from rclpy.task import Future

from smolvla_core.console import end_with_launch, ros_problem
from smolvla_core.ros.managed_node import ManagedNode
from smolvla_core.ros.parameter_names import check_arguments
from smolvla_core.settings import REQUIRED, Setting, written

FINISH_LIMIT, LINGER = 2.0, 0.3
"""How long a node that is to end may take to finish, and receives and sends after that [s]."""
_WRONG = (ValueError, InvalidParameterTypeException, InvalidParameterValueException)


class Signals:
    """SIGINT and SIGTERM: the first interrupts what is being made, or ends the spinning.

    rclpy's own handlers shut the context down at once, and a node could not publish any more that
    it ends.

    Attributes:
        came: done once a signal came.
        received: their numbers.
        making: whether the first one raises a KeyboardInterrupt.
    """

    def __init__(self) -> None:
        self.came: Future[None] = Future()
        self.received: list[int] = []
        self.making = True
        receive, self._send = os.pipe()
        os.set_blocking(self._send, False)
        # The handler of Python runs when the main thread has come back from waiting for messages;
        # this wakes it up.
        signal.set_wakeup_fd(self._send)
        for number in (signal.SIGINT, signal.SIGTERM):
            if signal.getsignal(number) is not signal.SIG_IGN:
                signal.signal(number, self._on_signal)
        threading.Thread(target=self._wait, args=(receive,), name="signals", daemon=True).start()

    def close(self) -> None:
        """Take no notice of further signals: they must not cut the way down short."""
        signal.set_wakeup_fd(-1)
        os.close(self._send)

    def _wait(self, receive: int) -> None:
        while os.read(receive, 64):  # until `close`
            if not self.came.done():
                self.came.set_result(None)
        os.close(receive)

    def _on_signal(self, number: int, frame: object) -> None:
        self.received.append(number)
        if self.making:
            self.making = False
            raise KeyboardInterrupt


def _finish(node: ManagedNode, executor: SingleThreadedExecutor) -> None:
    """Let a node finish what others wait for, and what it says have time to leave."""
    if not node.finish():
        return
    deadline = time.monotonic() + FINISH_LIMIT
    while not node.finish() and time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.02)
    deadline = time.monotonic() + LINGER
    while time.monotonic() < deadline:
        executor.spin_once(timeout_sec=0.02)


def _help(name: str, parameters: Mapping[str, Setting]) -> str:
    """Return the help of a node: its parameters."""
    wrap = textwrap.TextWrapper(
        max(shutil.get_terminal_size().columns - 2, 40),
        initial_indent=" " * 6,
        subsequent_indent=" " * 6,
    )
    lines = [f"usage: {name} --ros-args -p NAME:=VALUE … --params-file FILE …", "", "parameters:"]
    for parameter in parameters.values():
        lines += [f"  {parameter.name}", wrap.fill(parameter.help())]
        if parameter.default not in (REQUIRED, None, "", ()):
            example = f"{parameter.name}:={written(parameter.default)}"
    return "\n".join([*lines, "", f"example: {name} --ros-args -p {example}"])


def run(
    name: str, create: Callable[[], Node], parameters: Mapping[str, Setting] | None = None
) -> int:
    """Spin the node that `create` returns until it is interrupted or gives up.

    A `managed_node.ManagedNode` starts up as its parameters demand.

    Args:
        name: of the node, without remapping.
        create: makes it.
        parameters: all that it has; what the command line and the parameter files name beside
            them is looked through for typing errors.

    Returns:
        The exit code: 0 after an interrupt and after ``--help``, which starts nothing;
        ``os.EX_CONFIG`` (78) when arguments or parameters are wrong, so that a new start would
        fail again; 1 when the node set `failed` otherwise.
    """
    own = sys.argv[1:]
    own = own[: own.index("--ros-args")] if "--ros-args" in own else own
    if parameters and {"-h", "--help"} & set(own):
        print(_help(name, parameters))
        return 0
    signals = Signals()
    try:
        return _run(name, create, parameters or {}, signals)
    finally:
        signals.close()


def _run(
    name: str, create: Callable[[], Node], parameters: Mapping[str, Setting], signals: Signals
) -> int:
    end_with_launch()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    try:
        if parameters:
            check_arguments(sys.argv[1:], {name: parameters})
        if problem := ros_problem():
            raise ValueError(problem)
        try:
            rclpy.init(signal_handler_options=SignalHandlerOptions.NO)
        except RuntimeError as error:  # what rcl makes of a broken argument or parameter file
            raise ValueError(str(error)) from error
        node = create()
    except KeyboardInterrupt:
        rclpy.try_shutdown()
        return 0
    except Exception as error:
        rclpy.try_shutdown()
        # One while something is converted ends in some error of pybind11.
        if signals.received:
            return 0
        if not isinstance(error, _WRONG):
            raise
        print(f"{name}: {error}", file=sys.stderr)
        return os.EX_CONFIG
    try:
        # Before the node starts up: once a signal came, rclpy cannot make one any more.
        executor = SingleThreadedExecutor()
        executor.add_node(node)
        if isinstance(node, ManagedNode):
            node.start_up()
        signals.making = False
        executor.spin_until_future_complete(signals.came)
        if isinstance(node, ManagedNode):
            _finish(node, executor)
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        # A signal while something is converted ends in some error of pybind11, which swallows
        # the KeyboardInterrupt.
        if rclpy.ok() and not signals.received:
            raise
    finally:
        signals.making = False
        node.destroy_node()
        rclpy.try_shutdown()
    code = int(getattr(node, "failed", False))
    if code and getattr(node, "misconfigured", False):
        code = os.EX_CONFIG
    if getattr(node, "abandoned", False):
        # A thread is deep in a library (a checkpoint that loads) and nothing can call it back.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    return code
