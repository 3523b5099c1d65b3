# SPDX-License-Identifier: Apache-2.0
"""The console script `sim_node`, quiet when it is interrupted while Python still imports."""

from __future__ import annotations

from smolvla_policy.console import end_on_interrupt


def sim_node() -> None:
    """Run the console script `sim_node`."""
    end_on_interrupt()
    from smolvla_sim.sim_node import main

    main()
