# SPDX-License-Identifier: Apache-2.0
"""The console scripts of the nodes: quiet and quick to end while Python still imports.

Importing takes a second, with PyTorch several, and an interrupt meanwhile would end in the
traceback of some import.
"""

from __future__ import annotations

import os
import signal


def end_on_interrupt(status: int = 0) -> None:
    """Have SIGINT end this process at once with `status`, until the program takes the signal.

    To be called first, before anything is imported that takes long. Where SIGINT is ignored it
    stays so.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, lambda signum, frame: os._exit(status))
    # Blocked by who started the process, so that no interrupt comes before this line.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def policy_node() -> int:
    """Run the console script `policy_node`."""
    end_on_interrupt()
    from smolvla_policy.nodes.policy_node import main

    return main()


def executor_node() -> int:
    """Run the console script `executor_node`."""
    end_on_interrupt()
    from smolvla_policy.nodes.executor_node import main

    return main()


def visualization_node() -> int:
    """Run the console script `visualization_node`."""
    end_on_interrupt()
    from smolvla_policy.nodes.visualization_node import main

    return main()


def record() -> int:
    """Run the console script `record`."""
    end_on_interrupt()
    from smolvla_policy.nodes.record_node import main

    return main()
