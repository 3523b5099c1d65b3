# SPDX-License-Identifier: Apache-2.0
"""A process ends with the one that started it, however that ends.

``ros2 launch`` ends its nodes on Ctrl-C, but leaves them behind on SIGTERM and SIGKILL; an arm
would go on being commanded.
"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

LAUNCH_PID = "SMOLVLA_LAUNCH_PID"
"""Environment variable: the launch to end with, set by who describes a node to it."""
_PR_SET_PDEATHSIG = 1  # prctl(2)
_LIBC = ctypes.CDLL(None)


def end_with(parent: int, signum: int = signal.SIGINT) -> None:
    """Have Linux send a signal to this process, whatever it executes, when its `parent` ends.

    Linux goes by the thread that has started this process.
    """
    _LIBC.prctl(_PR_SET_PDEATHSIG, signum)
    if os.getppid() != parent:  # it has ended meanwhile
        os.kill(os.getpid(), signum)


def end_with_launch() -> None:
    """End with the launch that started this process.

    Without `LAUNCH_PID`, or where another process is between, it does nothing.
    """
    pid = os.environ.get(LAUNCH_PID, "")
    if pid == str(os.getppid()):
        end_with(int(pid))
    elif pid.isdecimal() and not Path("/proc", pid).exists():  # it has ended meanwhile
        os.kill(os.getpid(), signal.SIGINT)
