# SPDX-License-Identifier: Apache-2.0
"""Single keys of a terminal, for programs that take their orders from the keyboard."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import termios
import threading
import tty
from collections import deque
from collections.abc import Callable
from types import FrameType, TracebackType
from typing import Any, TextIO

_END = "\x04"  # Ctrl-D
_ESCAPE = "\x1b"  # begins what arrows and function keys send
_ENDS = (signal.SIGTERM, signal.SIGHUP)


class Keys:
    """A context manager that gives a terminal back as it was, whatever ends the program.

    Also where SIGTERM or SIGHUP ends it. A program that was stopped (Ctrl-Z) has single keys again
    when it goes on.

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
        self._handlers: dict[int, Any] = {}  # that were there before

    def __enter__(self) -> Keys:
        """Switch a terminal to single keys; Ctrl-C still interrupts."""
        if self._stream is not None and self._stream.isatty():
            self._terminal = termios.tcgetattr(self._stream)
            tty.setcbreak(self._stream)
            if threading.current_thread() is threading.main_thread():
                for signum in (*_ENDS, signal.SIGCONT):
                    self._handlers[signum] = signal.signal(signum, self._on_signal)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Give the terminal back."""
        for signum, handler in self._handlers.items():
            signal.signal(signum, handler)
        self._handlers.clear()
        if self._terminal is not None and self._stream is not None:
            with contextlib.suppress(termios.error):  # it was closed
                termios.tcsetattr(self._stream, termios.TCSADRAIN, self._terminal)

    def _on_signal(self, signum: int, frame: FrameType | None) -> None:
        if signum == signal.SIGCONT:
            assert self._stream is not None
            with contextlib.suppress(termios.error):  # it is another program's turn
                tty.setcbreak(self._stream)
            return
        self.__exit__(None, None, None)
        signal.raise_signal(signum)

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
