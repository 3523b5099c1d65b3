# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and its relatives as a flag, so that the end of the nodes is never interrupted."""

from __future__ import annotations

import signal
from types import FrameType
from typing import Any


class StopSignals:
    """Context manager: SIGINT, SIGTERM and SIGHUP set `received` and do nothing else.

    SIGHUP stays ignored where it was (nohup).
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._previous: dict[int, Any] = {}

    def __enter__(self) -> StopSignals:
        """Take the signals."""
        for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            if signum == signal.SIGHUP and signal.getsignal(signum) is signal.SIG_IGN:
                continue  # started with nohup
            self._previous[signum] = signal.signal(signum, self._note)
        return self

    def __exit__(self, *_: object) -> None:
        """Give the signals back."""
        for signum, handler in self._previous.items():
            signal.signal(signum, handler)

    def _note(self, signum: int, frame: FrameType | None) -> None:
        self.received = signum
