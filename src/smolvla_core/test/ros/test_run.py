# SPDX-License-Identifier: Apache-2.0
"""A node as a process ends without a traceback, whenever the interrupt comes."""

import contextlib
import signal
import sys
import time

import pytest
import rclpy
from smolvla_core.ros import run as module


class Ended:
    """A node that only notes its end."""

    destroyed = False

    def destroy_node(self):
        self.destroyed = True


@pytest.fixture(autouse=True)
def no_ros(monkeypatch):
    monkeypatch.setattr(module, "end_with_launch", lambda: None)
    monkeypatch.setattr(rclpy, "init", lambda **options: None)
    monkeypatch.setattr(rclpy, "ok", lambda: True)
    monkeypatch.setattr(rclpy, "try_shutdown", lambda: None)
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def spinning(monkeypatch, spin):
    class Executor:
        def add_node(self, node):
            pass

        def spin_until_future_complete(self, future):
            spin(future)

    monkeypatch.setattr(module, "SingleThreadedExecutor", Executor)
    node = Ended()
    return node, lambda: module.run("node", lambda: node)


def test_an_interrupt_while_the_node_is_made_ends_it_quietly():
    def interrupted():
        raise KeyboardInterrupt

    assert module.run("node", interrupted) == 0


def test_an_interrupt_that_a_library_turns_into_its_own_error_ends_it_quietly(monkeypatch):
    def convert(future):
        signal.raise_signal(signal.SIGINT)
        raise RuntimeError("Unable to convert call argument '0' to Python object")

    node, run = spinning(monkeypatch, convert)
    assert run() == 0
    assert node.destroyed


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_spinning_and_let_what_runs_go_on(monkeypatch, number):
    """However many come: the terminal's and the launch's, and an impatient user's."""
    reached, unraisable = [], []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    def callback(future):
        for _ in range(2):
            signal.raise_signal(number)
        deadline = time.monotonic() + 10
        while not future.done():
            assert time.monotonic() < deadline
        time.sleep(0.05)  # for whoever was waiting for the first one
        for _ in range(2):
            signal.raise_signal(number)
        reached.append("the end of the callback")

    node, run = spinning(monkeypatch, callback)
    assert run() == 0
    assert reached
    assert unraisable == []
    assert node.destroyed


def test_an_error_without_an_interrupt_is_not_hidden(monkeypatch):
    def broken(future):
        raise RuntimeError("broken")

    node, run = spinning(monkeypatch, broken)
    with pytest.raises(RuntimeError, match="broken"):
        run()
    assert node.destroyed


def test_an_error_of_making_it_after_an_interrupt_is_the_interrupts():
    def interrupted():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise RuntimeError("the given context is not valid")

    assert module.run("node", interrupted) == 0


def test_an_error_of_making_it_is_not_hidden():
    def broken():
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        module.run("node", broken)
