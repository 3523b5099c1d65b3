# SPDX-License-Identifier: Apache-2.0
"""Ends the nodes when the starter cannot: it crashed or was killed with SIGKILL.

A process of its own that holds the reading end of a pipe whose writing end only the starter
has. The kernel closes that end however the starter dies, and then the watchdog acts. It leaves
alone what holds an arm, which would drop it: nobody is there to catch it.

Usage: python -m smolvla_bringup.system.watchdog MARKER  (started by `starter`, pipe on stdin)
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from smolvla_bringup.system import family


def spawn(marker: str) -> subprocess.Popen[bytes]:
    """Start the watchdog for `marker`; closing its stdin makes it end the processes."""
    environment = dict(os.environ)
    environment.pop(family.MARKER_VARIABLE, None)  # it must not find itself
    source = str(Path(__file__).resolve().parents[2])
    environment["PYTHONPATH"] = os.pathsep.join(
        part for part in (source, environment.get("PYTHONPATH", "")) if part
    )
    return subprocess.Popen(
        [sys.executable, "-m", "smolvla_bringup.system.watchdog", marker],
        stdin=subprocess.PIPE,
        env=environment,
        start_new_session=True,
    )


def main() -> int:
    """Wait for the starter to end, then end what it left behind."""
    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, signal.SIG_IGN)
    sys.stdin.buffer.read()
    survivors = family.end(sys.argv[1])
    if holding := sorted(family.members(family.arm_marker(sys.argv[1]))):
        pids = " ".join(map(str, holding))
        print(
            "start was killed: nothing commands the arm any more, and its driver holds it with "
            f"its torque on. To switch it off, hold the arm, then: kill -INT {pids}",
            file=sys.stderr,
        )
    return 1 if survivors else 0


if __name__ == "__main__":
    raise SystemExit(main())
