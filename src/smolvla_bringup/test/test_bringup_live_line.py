# SPDX-License-Identifier: Apache-2.0
"""The live line: overwritten in a terminal, rare lines in a file."""

from __future__ import annotations

import io

from smolvla_bringup.demo.report import LiveLine

STEP = 1 / 16  # [s]; exact in binary


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


def show(line: LiveLine, clock: Clock, seconds: float) -> None:
    for _ in range(round(seconds / STEP)):
        line.update(lambda: f"at {clock.now:.2f}")
        clock.now += STEP


def test_file_gets_a_line_every_two_seconds() -> None:
    stream, clock = io.StringIO(), Clock()
    show(LiveLine(stream, clock), clock, 5.0)
    assert stream.getvalue() == "at 0.00\nat 2.00\nat 4.00\n"


def test_terminal_gets_one_line_that_is_overwritten(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "20")
    stream, clock = Terminal(), Clock()
    line = LiveLine(stream, clock)
    show(line, clock, 6 * STEP)
    line.update(lambda: "x" * 100)
    assert "\n" not in stream.getvalue()
    assert stream.getvalue().count("\r") == 4
    # Wider than the terminal it would wrap and could not be overwritten.
    assert "x" * 19 in stream.getvalue()
    assert "x" * 20 not in stream.getvalue()


def test_said_line_replaces_the_live_one_and_stays() -> None:
    stream, clock = Terminal(), Clock()
    line = LiveLine(stream, clock)
    show(line, clock, 2 * STEP)
    line.log("done")
    show(line, clock, 2 * STEP)
    assert stream.getvalue() == "\rat 0.00\x1b[K\r\x1b[Kdone\n\rat 0.12\x1b[K"
