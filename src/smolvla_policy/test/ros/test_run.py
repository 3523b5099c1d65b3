# SPDX-License-Identifier: Apache-2.0
"""A node as a process ends without a traceback, whenever the interrupt comes."""

import contextlib
import signal

import pytest
import rclpy
from smolvla_policy.ros import run as module


class Ended:
    """A node that only notes its end."""

    destroyed = False

    def destroy_node(self):
        self.destroyed = True


@pytest.fixture(autouse=True)
def no_ros(monkeypatch):
    monkeypatch.setattr(module, "end_with_launch", lambda: None)
    monkeypatch.setattr(rclpy, "init", lambda: None)
    monkeypatch.setattr(rclpy, "ok", lambda: True)
    monkeypatch.setattr(rclpy, "try_shutdown", lambda: None)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def spinning(monkeypatch, spin):
    class Executor:
        def add_node(self, node):
            pass

        def spin(self):
            spin()

    monkeypatch.setattr(module, "SingleThreadedExecutor", Executor)
    node = Ended()
    return node, lambda: module.run("node", lambda: node)


def test_an_interrupt_while_the_node_is_made_ends_it_quietly():
    def interrupted():
        raise KeyboardInterrupt

    assert module.run("node", interrupted) == 0


def test_an_interrupt_that_a_library_turns_into_its_own_error_ends_it_quietly(monkeypatch):
    def convert():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise RuntimeError("Unable to convert call argument '0' to Python object")

    node, run = spinning(monkeypatch, convert)
    assert run() == 0
    assert node.destroyed


def test_an_error_without_an_interrupt_is_not_hidden(monkeypatch):
    def broken():
        raise RuntimeError("broken")

    node, run = spinning(monkeypatch, broken)
    with pytest.raises(RuntimeError, match="broken"):
        run()
    assert node.destroyed


def test_an_error_of_making_it_after_an_interrupt_is_the_interrupts(monkeypatch):
    """rclpy's own handler ends the context before Python hears of the signal."""

    def interrupted():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise RuntimeError("the given context is not valid")

    assert module.run("node", interrupted) == 0
    monkeypatch.setattr(rclpy, "ok", lambda: False)

    def ended():
        raise ValueError("the given context is not valid")

    assert module.run("node", ended) == 0


def test_an_error_of_making_it_is_not_hidden():
    def broken():
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        module.run("node", broken)


def test_a_second_interrupt_cuts_nothing_short(monkeypatch):
    def twice():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        signal.raise_signal(signal.SIGINT)
        node.way_down = "whole"
        raise KeyboardInterrupt

    node, run = spinning(monkeypatch, twice)
    assert run() == 0
    assert node.way_down == "whole"
