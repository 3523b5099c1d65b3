# SPDX-License-Identifier: Apache-2.0
"""The console scripts of the nodes: quiet and quick to end while Python still imports.

Importing takes a second, with PyTorch several, and an interrupt meanwhile would end in the
traceback of some import.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from importlib import import_module
from typing import Any


def end_on_interrupt(status: int = 0) -> None:
    """Have SIGINT end this process at once with `status`, until the program takes the signal.

    To be called first, before anything is imported that takes long. Where SIGINT is ignored it
    stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda signum, frame: os._exit(status))
    # Blocked by who started the process, so that no interrupt comes before this line.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def script(module: str, status: int = 0) -> Callable[[], Any]:
    """Return a console script that runs `main` of `module`.

    Args:
        module: imported when the script runs.
        status: exit status where it is interrupted meanwhile.
    """

    def run() -> Any:
        end_on_interrupt(status)
        return import_module(module).main()

    return run
