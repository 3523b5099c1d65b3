# SPDX-License-Identifier: Apache-2.0
"""A node as a process ends without a traceback, whenever the interrupt comes."""

import contextlib
import signal
import sys
import time
from dataclasses import dataclass

import pytest
import rclpy
from rclpy.node import Node
from smolvla_core.ros.run import run
from smolvla_core.settings import Settings, setting, settings_of


class Ended(Node):
    """Does something once it spins, and notes its end."""

    def __init__(self, action):
        super().__init__("ended")
        self.destroyed = False
        self._timer = self.create_timer(0.001, lambda: self._once(action))

    def _once(self, action):
        self._timer.cancel()
        action()

    def destroy_node(self):
        self.destroyed = True
        super().destroy_node()


@pytest.fixture(autouse=True)
def handlers():
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    assert not rclpy.ok()


def spun(action):
    """Run a node that does `action` while it spins; return the exit code and the node."""
    nodes = []

    def create():
        nodes.append(Ended(action))
        return nodes[0]

    try:
        return run("ended", create), nodes[0]
    finally:
        assert nodes[0].destroyed


def test_an_interrupt_while_the_node_is_made_ends_it_quietly():
    def interrupted():
        raise KeyboardInterrupt

    assert run("ended", interrupted) == 0


def test_an_interrupt_that_a_library_turns_into_its_own_error_ends_it_quietly():
    def convert():
        signal.raise_signal(signal.SIGINT)
        raise RuntimeError("Unable to convert call argument '0' to Python object")

    assert spun(convert)[0] == 0


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_end_the_spinning_and_let_what_runs_go_on(monkeypatch, number):
    """However many come: the terminal's and the launch's, and an impatient user's."""
    reached, unraisable = [], []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)

    def callback():
        for _ in range(2):
            signal.raise_signal(number)
        time.sleep(0.05)  # for whoever was waiting for the first one
        for _ in range(2):
            signal.raise_signal(number)
        reached.append("the end of the callback")

    assert spun(callback)[0] == 0
    assert reached
    assert unraisable == []


def test_an_error_without_an_interrupt_is_not_hidden():
    def broken():
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        spun(broken)


def test_an_error_of_making_it_after_an_interrupt_is_the_interrupts():
    def interrupted():
        with contextlib.suppress(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
        raise RuntimeError("the given context is not valid")

    assert run("ended", interrupted) == 0


def test_an_error_of_making_it_is_not_hidden():
    def broken():
        raise RuntimeError("broken")

    with pytest.raises(RuntimeError, match="broken"):
        run("ended", broken)


@dataclass(frozen=True, kw_only=True)
class Oven(Settings):
    heat: float = setting(180.0, "How hot it is [°C].", 50, 250)
    mode: str = setting("fan", "How it heats.", choices=("fan", "grill"))


def never():
    raise AssertionError("a node was made")


@pytest.mark.parametrize("flag", ["-h", "--help"])
def test_help_shows_the_parameters_and_starts_nothing(flag, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["oven", flag])
    assert run("oven", never, settings_of(Oven)) == 0
    text = capsys.readouterr().out
    assert "  heat\n      How hot it is [°C]. (from 50 up to 250; default: 180.0)" in text
    assert "one of fan, grill; default: fan" in text
    assert text.endswith("example: oven --ros-args -p mode:=fan\n")


@pytest.mark.parametrize("domain", ["kitchen", "300"])
def test_a_domain_that_does_not_exist_is_a_wrong_configuration(domain, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["oven"])
    monkeypatch.setenv("ROS_DOMAIN_ID", domain)
    assert run("oven", never, settings_of(Oven)) == 78
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"oven: ROS_DOMAIN_ID is '{domain}'")
