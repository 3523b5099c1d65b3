# SPDX-License-Identifier: Apache-2.0
"""Runs a node as a process: from the command line to a clean end."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Callable, Iterable

import rclpy
from rclpy.exceptions import (
    InvalidParameterTypeException,
    InvalidParameterValueException,
)
from rclpy.executors import ExternalShutdownException, SingleThreadedExecutor
from rclpy.node import Node

from smolvla_policy.ros.managed_node import ManagedNode
from smolvla_policy.ros.parameter_names import check_arguments
from smolvla_policy.ros.parameters import Parameter
from smolvla_policy.ros.parent import end_with_launch

_WRONG = (ValueError, InvalidParameterTypeException, InvalidParameterValueException)


def _init() -> None:
    try:
        rclpy.init()
    except RuntimeError as error:  # what rcl makes of a broken argument or parameter file
        raise ValueError(str(error)) from error


def run(name: str, create: Callable[[], Node], parameters: Iterable[Parameter] = ()) -> int:
    """Spin the node that `create` returns until it is interrupted or gives up.

    A `managed_node.ManagedNode` starts up as its parameters say.

    Args:
        name: of the node, without remapping.
        create: makes it.
        parameters: all that it has; what the command line and the parameter files name beside
            them is looked through for typing errors.

    Returns:
        The exit code: 0 after an interrupt; ``os.EX_CONFIG`` (78) when arguments or parameters are
        wrong, so that a new start would fail again; 1 when the node set `failed` otherwise.
    """
    end_with_launch()
    interrupts: list[int] = []

    def interrupt(number: int, frame: object) -> None:
        interrupts.append(number)
        if len(interrupts) == 1:  # a second one must not cut the way down short
            raise KeyboardInterrupt

    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    names = [parameter.name for parameter in parameters]
    begun = False
    try:
        if names:
            check_arguments(sys.argv[1:], {name: names})
        _init()
        begun = True
        node = create()
    except KeyboardInterrupt:
        rclpy.try_shutdown()
        return 0
    except Exception as error:
        # rclpy's own handler comes first, and what is made of an ended context fails.
        interrupted = interrupts or (begun and not rclpy.ok())
        rclpy.try_shutdown()
        if interrupted:
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
        executor.spin()
    except (KeyboardInterrupt, ExternalShutdownException):
        pass
    except Exception:
        # A signal between two steps of spinning ends in some error of rcl, and one while a
        # message is converted in one of pybind11, which swallows the KeyboardInterrupt.
        if rclpy.ok() and not interrupts:
            raise
    finally:
        # A second Ctrl-C, or the terminal's beside the launch's, must not cut the way down short.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
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
