# SPDX-License-Identifier: Apache-2.0
"""Single keys of a terminal, which gets back its settings whatever ends the program."""

import os
import pty
import signal
import subprocess
import sys
import termios

import pytest
from smolvla_core.keys import Keys

PROGRAM = """
import sys, time
from smolvla_core.console import end_on_interrupt, guarded, raise_on_interrupt
from smolvla_core.keys import Keys
end_on_interrupt(130)
def run():
    raise_on_interrupt()
    with Keys(sys.stdin, lambda: time.sleep(0.01)) as keys:
        print("keys", flush=True)
        while (key := keys.read()) is not None:
            if key: print(key, flush=True)
    print("end", flush=True)
sys.exit(guarded("program", run))
"""
LOCAL = 3
"""Where the local modes are among the attributes of a terminal."""


@pytest.fixture
def terminal():
    keyboard, shell = pty.openpty()
    with os.fdopen(shell, "r") as stream:
        yield keyboard, stream
    os.close(keyboard)


def test_a_terminal_gives_single_keys_and_is_given_back(terminal):
    keyboard, stream = terminal
    before = termios.tcgetattr(stream)
    with Keys(stream, lambda: None) as keys:
        assert keys.read() == ""
        os.write(keyboard, b"s")
        assert keys.read() == "s"
        os.write(keyboard, b"\x1b[A")  # an arrow
        assert keys.read() == ""
        os.write(keyboard, "ä\n".encode())
        assert [keys.read(), keys.read()] == ["ä", "\n"]
        os.write(keyboard, b"\x04")
        assert keys.read() is None
    assert termios.tcgetattr(stream) == before


@pytest.mark.parametrize(
    ("signum", "status"),
    [(signal.SIGINT, 130), (signal.SIGTERM, -signal.SIGTERM), (signal.SIGHUP, -signal.SIGHUP)],
)
def test_a_terminal_is_given_back_by_a_program_that_a_signal_ends(terminal, signum, status):
    _, stream = terminal
    before = termios.tcgetattr(stream)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=stream, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "keys\n"
    assert termios.tcgetattr(stream) != before
    process.send_signal(signum)
    assert process.communicate() == ("", None)
    assert process.returncode == status
    assert termios.tcgetattr(stream) == before


def test_a_program_that_goes_on_after_a_stop_has_single_keys_again(terminal):
    keyboard, stream = terminal
    before = termios.tcgetattr(stream)
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM], stdin=stream, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout.readline() == "keys\n"
    process.send_signal(signal.SIGSTOP)
    os.waitpid(process.pid, os.WUNTRACED)
    termios.tcsetattr(stream, termios.TCSANOW, before)  # as a shell does
    process.send_signal(signal.SIGCONT)
    while termios.tcgetattr(stream)[LOCAL] & termios.ICANON:
        pass
    os.write(keyboard, b"k\x04")
    assert process.communicate() == ("k\nend\n", None)
    assert termios.tcgetattr(stream) == before


def test_no_terminal_and_no_pipe_is_an_end():
    with open(os.devnull) as stream, Keys(stream, lambda: None) as keys:
        assert keys.read() is None
