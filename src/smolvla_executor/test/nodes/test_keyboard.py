# SPDX-License-Identifier: Apache-2.0
"""What keys mean, and a person at a real terminal who moves an arm by them."""

import contextlib
import fcntl
import os
import pty
import signal
import subprocess
import sys
import termios

import numpy as np
import pytest
from robot_files import robot_file
from smolvla_core.robot import load_robot
from smolvla_executor.teleop_node.keyboard import FACTORS, ORDERS, STEP, WIDTH, Keyboard

from smolvla_msgs.msg import ExecutorStatus

JOINTS = ["a", "b"]
PROGRAM = """
import sys
from smolvla_core.console import end_on_interrupt, guarded
from smolvla_core.node_settings import JogSettings
from smolvla_executor.teleop_node.terminal import run
end_on_interrupt(130)
sys.exit(guarded("teleop", lambda: run(JogSettings(robot=sys.argv[1]))))
"""


@pytest.fixture
def keyboard():
    return Keyboard(load_robot("so100"))


def test_a_key_is_a_step_and_goes_on_while_it_repeats(keyboard):
    assert keyboard.press("3", 10.0) == ""
    assert keyboard.motion(10.0).joints.tolist() == [0, 0, 0.4, 0, 0, 0]
    assert not keyboard.motion(10.0 + STEP).joints.any()
    for now in np.arange(11.0, 12.0, 0.04):
        keyboard.press("e", now)
        assert keyboard.motion(now + 0.04).joints[2] == -0.4


def test_each_joint_has_a_pair_of_keys_and_the_gripper_is_faster(keyboard):
    for index, (up, down) in enumerate(zip("123456", "qwerty", strict=True)):
        for key, way in ((up, 1), (down, -1)):
            keyboard.press(" ", 0.0)
            keyboard.press(key, 0.0)
            speed = 1.0 if index == 5 else 0.4
            expected = way * speed * np.eye(6)[index]
            np.testing.assert_allclose(keyboard.motion(0.0).joints, expected)


def test_m_lets_keys_move_the_tip_and_the_gripper(keyboard):
    keyboard.press("1", 0.0)
    keyboard.press("m", 0.0)
    assert not keyboard.motion(0.0).joints.any()
    for key, axis in (("w", 0), ("a", 1), ("r", 2), ("i", 3), ("l", 4)):
        keyboard.press(" ", 0.0)
        keyboard.press(key, 0.0)
        assert np.flatnonzero(keyboard.motion(0.0).tip > 0).tolist() == [axis]
    keyboard.press("o", 0.0)
    assert keyboard.motion(0.0).joints.tolist() == [0, 0, 0, 0, 0, 1.0]
    assert keyboard.motion(0.0).tip.any()  # both at once
    assert keyboard.moves("o")
    assert not keyboard.moves("1")


def test_space_stops_and_plus_and_minus_change_the_speed(keyboard):
    keyboard.press("1", 0.0)
    keyboard.press(" ", 0.0)
    assert not keyboard.motion(0.0).joints.any()
    keyboard.press("1", 0.0)
    speeds = []
    for key in "-" * 9 + "+" * 9:
        keyboard.press(key, 0.0)
        speeds.append(keyboard.motion(0.0).joints[0])
    assert speeds[8] == pytest.approx(0.4 * FACTORS[0])
    assert speeds[-1] == pytest.approx(0.4 * FACTORS[-1])


def test_no_key_that_moves_orders(keyboard):
    for _ in range(2):
        assert not [key for key in (*ORDERS, *" m+-?") if keyboard.moves(key)]
        keyboard.press("m", 0.0)
    assert [keyboard.press(key, 0.0) for key in ORDERS] == [*ORDERS.values()]


def test_line_and_help_fit_into_60_columns(keyboard):
    keyboard.press("-", 0.0)
    line = keyboard.line("human", "APPROACHING", np.full(6, -1.234))
    assert line == "approaching joint x0.5   -1.23 -1.23 -1.23 -1.23 -1.23 -1.23"
    assert len(line) <= WIDTH
    assert keyboard.line("policy", "RUNNING", None) == "policy      joint x0.5"
    assert len(keyboard.line("human", "RUNNING", np.zeros(12))) <= WIDTH
    for robot in ("so100", "two_so101"):
        assert max(map(len, Keyboard(load_robot(robot)).help.splitlines())) <= WIDTH


class Terminal:
    """A terminal in which a person types."""

    def __init__(self, graph, robot):
        self.graph = graph
        self.master, self.slave = pty.openpty()
        self.before = termios.tcgetattr(self.slave)
        os.set_blocking(self.master, False)
        self.text = ""
        self.process = subprocess.Popen(
            [sys.executable, "-c", PROGRAM, robot],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )

    def says(self, words):
        with contextlib.suppress(BlockingIOError):
            self.text += os.read(self.master, 65536).decode()
        return words in self.text

    def type(self, keys):
        self.text = ""
        os.write(self.master, keys.encode())

    def ended(self):
        self.says("")  # so that it can write
        return self.process.poll() is not None

    def close(self):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)


@pytest.fixture
def terminal(graph):
    opened = []

    def start(robot):
        opened.append(Terminal(graph, robot))
        return opened[-1]

    yield start
    for one in opened:
        one.close()


def running(robot, source):
    return lambda: robot.status.source == source and robot.status.state == ExecutorStatus.RUNNING


def test_a_person_at_a_terminal_takes_over_moves_stops_and_gives_back(graph, make_robot, terminal):
    file = robot_file(JOINTS, changes={"a": {"home": 0.4}, "b": {"home": -0.2}})
    robot = make_robot(robot=file, human_timeout=0.5)
    typist = terminal(file)
    graph.until(lambda: typist.says("policy"), what="the live line")
    typist.type("1")
    graph.until(lambda: typist.says("Enter takes over"))
    assert robot.status.source == "policy"
    typist.type("\n")
    graph.until(running(robot, "human"))
    start = robot.position.copy()
    typist.type("1")
    graph.until(lambda: robot.position[0] > start[0] + 0.03)
    assert robot.position[0] < start[0] + 0.4 * (STEP + 0.1)
    assert robot.position[1] == pytest.approx(start[1])
    typist.type("\n")
    graph.until(running(robot, "policy"))
    typist.type("x")
    graph.until(robot.state(ExecutorStatus.STOPPED))
    graph.until(lambda: typist.says("e-stop"))
    typist.type("X")
    graph.until(robot.state(ExecutorStatus.IDLE))
    typist.type("H")
    graph.until(lambda: robot.status.reason.startswith("at home"))
    np.testing.assert_allclose(robot.position, [0.4, -0.2])
    typist.type("R")
    graph.until(lambda: typist.says("record_start: no service"))
    typist.type("\x04")
    graph.until(typist.ended)
    assert typist.process.returncode == 0
    assert termios.tcgetattr(typist.slave) == typist.before


@pytest.mark.parametrize(("end", "status"), [("\x03", 130), (signal.SIGTERM, -signal.SIGTERM)])
def test_whatever_ends_it_the_arm_holds_and_the_terminal_is_given_back(
    graph, make_robot, terminal, end, status
):
    file = robot_file(JOINTS)
    robot = make_robot(robot=file, instruction="", source="human")
    typist = terminal(file)
    graph.until(running(robot, "human"))
    typist.type("2")
    graph.until(lambda: robot.position[1] > -0.09)
    if isinstance(end, str):
        typist.type(end)
    else:
        typist.process.send_signal(end)
    graph.until(typist.ended)
    assert typist.process.returncode == status
    assert termios.tcgetattr(typist.slave) == typist.before
    graph.until(robot.state(ExecutorStatus.HOLDING))
    assert "target of the human" in robot.status.reason
    assert ("arm holds" in typist.text) == isinstance(end, str)
