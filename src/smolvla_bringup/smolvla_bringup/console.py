# SPDX-License-Identifier: Apache-2.0
"""The console scripts, quiet when they are interrupted while Python still imports."""

from __future__ import annotations

from smolvla_policy.console import end_on_interrupt


def start() -> int:
    """Run the console script `start`."""
    end_on_interrupt()
    from smolvla_bringup.start import main

    return main()


def demo() -> int:
    """Run the console script `demo`."""
    end_on_interrupt(130)
    from smolvla_bringup.demo import main

    return main()
