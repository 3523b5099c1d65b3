# SPDX-License-Identifier: Apache-2.0
"""What the benchmark of teleoperation makes of what it heard."""

from __future__ import annotations

import numpy as np
import pytest

pytest.importorskip("rclpy")

from smolvla_bringup.bench.teleop import Heard, follow


def heard(times: list[float], positions: list[float]) -> Heard:
    return Heard(times, [np.array([position, 0.0]) for position in positions])


def test_a_delay_is_from_the_leader_to_the_first_command_that_is_equal() -> None:
    leader = heard([0.00, 0.01, 0.02, 0.03, 0.04], [0.0, 0.0, 0.1, 0.2, 0.3])
    # Twice the same, then one that the guard has limited, then one that is two cycles old.
    commands = heard([0.025, 0.027, 0.035, 0.045], [0.1, 0.1, 0.15, 0.2])
    late, errors = follow(leader, commands)
    assert late == pytest.approx([0.005, 0.015])
    assert errors == pytest.approx([0.0, 0.0, 0.05, 0.1])


def test_where_the_leader_rests_nothing_is_measured() -> None:
    leader = heard([0.00, 0.01, 0.02, 0.03], [0.1, 0.1, 0.1, 0.1])
    assert follow(leader, heard([0.025, 0.035], [0.1, 0.1])) == ([], [])
