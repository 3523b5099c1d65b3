# SPDX-License-Identifier: Apache-2.0
"""One line that tells how things stand: overwritten in a terminal, else now and then."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from typing import TextIO

_TERMINAL_PERIOD = 0.1  # [s]
_FILE_PERIOD = 2.0  # [s]


class LiveLine:
    """Writes to `stream`.

    Args:
        stream: where to.
        clock: returns seconds; injected by tests.
    """

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._terminal = stream.isatty()
        self._period = _TERMINAL_PERIOD if self._terminal else _FILE_PERIOD
        self._last = -float("inf")
        self._open = False

    def update(self, text: Callable[[], str]) -> None:
        """Show `text()` unless something was shown just now."""
        now = self._clock()
        if now - self._last < self._period:
            return
        self._last = now
        if self._terminal:
            # Cut to one row, or the carriage return would not reach its beginning.
            row = text()[: shutil.get_terminal_size().columns - 1]
            self._stream.write(f"\r{row}\x1b[K")
            self._open = True
        else:
            self._stream.write(text() + "\n")
        self._stream.flush()

    def say(self, text: str) -> None:
        """Write `text` on a line of its own that stays."""
        self._stream.write(f"\r\x1b[K{text}\n" if self._open else f"{text}\n")
        self._stream.flush()
        self._open = False
        self._last = -float("inf")
