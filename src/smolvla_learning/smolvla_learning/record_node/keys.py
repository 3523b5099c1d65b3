# SPDX-License-Identifier: Apache-2.0
"""Keys from a terminal, without Enter; or from a pipe, one letter after the other."""

from __future__ import annotations

import os
import select
import sys
import termios
import tty
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any, TextIO

_END = "\x04"  # Ctrl-D
_ESCAPE = "\x1b"  # begins what arrows and function keys send


class Keys:
    """A context manager that gives a terminal back as it was.

    Args:
        stream: that the keys come from; a terminal, a pipe, a file, or None for no keys at all.
        idle: called before each look; what is to go on meanwhile.
    """

    def __init__(self, stream: TextIO | None, idle: Callable[[], None]) -> None:
        self._stream = stream
        self._idle = idle
        self._terminal: list[Any] | None = None
        self._waiting: deque[str] = deque()
        self._line = ""
        self._ended = stream is None

    def __enter__(self) -> Keys:
        """Switch a terminal to single keys; Ctrl-C still interrupts."""
        if self._stream is not None and self._stream.isatty():
            self._terminal = termios.tcgetattr(self._stream)
            tty.setcbreak(self._stream)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the terminal back."""
        if self._terminal is not None and self._stream is not None:
            termios.tcsetattr(self._stream, termios.TCSADRAIN, self._terminal)

    def read(self) -> str | None:
        """Return the next key, empty when there is none now, None at the end of the input.

        Of a pipe each letter is a key, and so is an empty line.
        """
        self._idle()
        if not self._waiting and not self._ended:
            self._look()
        if self._waiting:
            return self._waiting.popleft()
        return None if self._ended else ""

    def _look(self) -> None:
        assert self._stream is not None
        number = self._stream.fileno()
        if not select.select([number], [], [], 0.0)[0]:
            return
        text = os.read(number, 1024).decode(sys.getdefaultencoding(), "ignore")
        if self._terminal is not None:
            self._ended = _END in text
            if not text.startswith(_ESCAPE):
                self._waiting.extend(text.partition(_END)[0])
            return
        self._ended = not text
        lines = (self._line + text).split("\n")
        self._line = "" if self._ended else lines.pop()
        for line in lines:
            if line or not self._ended:
                self._waiting.extend(line.strip() or "\n")
