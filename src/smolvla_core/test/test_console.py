# SPDX-License-Identifier: Apache-2.0
"""A console script that is interrupted while it imports ends at once and says nothing."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import signal, sys
from smolvla_core.console import end_on_interrupt
end_on_interrupt({status})
print("imports", flush=True)
sys.stdin.read()
"""


@pytest.mark.parametrize("status", [0, 130])
@pytest.mark.parametrize("prefix", [[], ["env", "--block-signal=INT"]])
def test_an_interrupt_ends_it_with_its_status(status: int, prefix: list[str]) -> None:
    process = subprocess.Popen(
        [*prefix, sys.executable, "-c", PROGRAM.format(status=status)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "imports\n"
    process.send_signal(signal.SIGINT)
    assert process.communicate() == ("", "")
    assert process.returncode == status


def test_an_interrupt_that_came_before_it_could_be_taken_is_taken_then() -> None:
    program = "import os, signal\nos.kill(os.getpid(), signal.SIGINT)\n" + PROGRAM
    ended = subprocess.run(
        ["env", "--block-signal=INT", sys.executable, "-c", program.format(status=7)],
        capture_output=True,
        text=True,
        stdin=subprocess.PIPE,
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (7, "", "")


def test_where_interrupts_are_ignored_they_stay_so() -> None:
    program = PROGRAM.format(status=1) + "signal.raise_signal(signal.SIGINT)\nprint('goes on')"
    ended = subprocess.run(
        ["env", "--ignore-signal=INT", sys.executable, "-c", program],
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
    )
    assert ended.stdout == "imports\ngoes on\n"
