# SPDX-License-Identifier: Apache-2.0
"""Ctrl-C and its relatives: as a flag that interrupts no end of the nodes, and for the nodes."""

from __future__ import annotations

import functools
import signal
import subprocess
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


@functools.cache
def env_prefix(*options: str) -> tuple[str, ...]:
    """Return what to put before a command line so that it starts with signals as `options` say.

    Args:
        options: of ``env``, e.g. ``--default-signal=INT``.

    Returns:
        Nothing where this machine's ``env`` (GNU coreutils 8.31 or newer) has them not.
    """
    prefix = ("env", *options)
    try:
        tried = subprocess.run([*prefix, "true"], stderr=subprocess.DEVNULL)
    except OSError:
        return ()
    return prefix if tried.returncode == 0 else ()
