# SPDX-License-Identifier: Apache-2.0
"""A node that is started by a launch ends with it, however that ends.

``ros2 launch`` ends its nodes on Ctrl-C, but leaves them behind on SIGTERM and SIGKILL; an arm
would go on being commanded.
"""

from __future__ import annotations

import ctypes
import os
import signal
from pathlib import Path

LAUNCH_PID = "SMOLVLA_LAUNCH_PID"
"""Environment variable: the process to end with, set by who starts a node."""
_PR_SET_PDEATHSIG = 1  # prctl(2)


def end_with_launch() -> None:
    """Have Linux send SIGINT to this process when the launch that started it ends.

    Without `LAUNCH_PID`, or where another process is between, it does nothing.
    """
    pid = os.environ.get(LAUNCH_PID, "")
    if pid == str(os.getppid()):
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if pid.isdecimal() and not Path("/proc", pid).exists():  # it has ended meanwhile
        os.kill(os.getpid(), signal.SIGINT)
