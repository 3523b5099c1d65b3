# SPDX-License-Identifier: Apache-2.0
"""A node ends with the launch that started it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

CHILD = """
import signal
from smolvla_core.console import end_with_launch
end_with_launch()
try:
    print("ready", flush=True)  # an interrupt may come at once
    signal.pause()
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""
PARENT = """
import os, signal, subprocess, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
subprocess.Popen(
    [sys.executable, "-c", sys.argv[1]],
    env={**os.environ, "SMOLVLA_LAUNCH_PID": eval(sys.argv[2])},
)
sys.stdin.read()
"""


def start(pid):
    return subprocess.Popen(
        [sys.executable, "-c", PARENT, CHILD, pid],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_it_is_interrupted_when_the_launch_is_killed():
    launch = start("str(os.getpid())")
    assert launch.stdout.readline() == "ready\n"
    launch.kill()
    launch.wait()
    # The pipe ends when the last of them has ended.
    assert launch.stdout.read() == "interrupted\n"


def test_it_outlives_a_parent_that_is_no_launch():
    parent = start("'1'")
    assert parent.stdout.readline() == "ready\n"
    children = f"/proc/{parent.pid}/task/{parent.pid}/children"
    with open(children, encoding="ascii") as file:
        child = int(file.read())
    parent.kill()
    parent.wait()
    with open(f"/proc/{child}/stat", encoding="ascii") as file:
        assert file.read().rpartition(")")[2].split()[0] in "SR"
    subprocess.run(["kill", "-INT", str(child)], check=True)
    assert parent.stdout.read() == "interrupted\n"


def test_it_does_not_begin_when_the_launch_has_ended_before():
    gone = subprocess.Popen(["true"])
    gone.wait()
    ended = subprocess.run(
        [sys.executable, "-c", CHILD],
        env={**os.environ, "SMOLVLA_LAUNCH_PID": str(gone.pid)},
        capture_output=True,
        text=True,
        timeout=30,
    )
    assert ended.stderr.endswith("KeyboardInterrupt\n")
    assert ended.returncode == -signal.SIGINT
