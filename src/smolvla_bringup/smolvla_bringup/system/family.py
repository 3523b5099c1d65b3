# SPDX-License-Identifier: Apache-2.0
"""Find and end every process that descends from one start.

Each start gives its processes a marker in their environment, which children inherit. So
grandchildren are found too, also when their parent is dead or when they left its process
group. Process groups alone would lose them; PR_SET_PDEATHSIG reaches only direct children.
Linux only (reads /proc). A process that clears its environment is not found.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
import uuid
from pathlib import Path

MARKER_VARIABLE = "SMOLVLA_STARTED_BY"

# Signal and how long [s] to wait for it to work. Nodes end cleanly on SIGINT, as on Ctrl-C.
_ESCALATION = ((signal.SIGINT, 5.0), (signal.SIGTERM, 2.0), (signal.SIGKILL, 2.0))
_LOOK_PERIOD = 0.05  # [s]


def new_marker() -> str:
    """Return a marker that no other start has."""
    return f"{os.getpid()}-{uuid.uuid4().hex}"


def arm_marker(marker: str) -> str:
    """Return the marker of what holds an arm in the start of `marker`: it ends last."""
    return f"{marker}-arm"


def members(marker: str) -> set[int]:
    """Return the ids of the living processes that carry `marker`."""
    wanted = f"{MARKER_VARIABLE}={marker}".encode()
    found = set()
    for folder in Path("/proc").iterdir():
        if not folder.name.isdigit():
            continue
        # Gone meanwhile, a zombie, or another user's.
        with contextlib.suppress(OSError):
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.add(int(folder.name))
    return found


def end(marker: str) -> set[int]:
    """End all processes that carry `marker`: SIGINT, then SIGTERM, then SIGKILL.

    Returns:
        The ids of those that are still there (stuck in the kernel); normally none.
    """
    for signum, patience in _ESCALATION:
        signaled: set[int] = set()
        deadline = time.monotonic() + patience
        while True:
            alive = members(marker)
            if not alive:
                return alive
            # Each one once per signal: a second SIGINT makes many programs drop their cleanup.
            for pid in alive - signaled:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signum)
            signaled |= alive
            if time.monotonic() >= deadline:
                break
            time.sleep(_LOOK_PERIOD)
    return members(marker)
