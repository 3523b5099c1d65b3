# SPDX-License-Identifier: Apache-2.0
"""Servos: speed and acceleration limits, clamping, holding."""

from __future__ import annotations

import numpy as np
import pytest
from smolvla_sim.world.simulation import HOME, ServoProfile, Simulation


def profile(**changes):
    values = {"speed": 5.2, "acceleration": 39.0, "limit": 2.0} | changes
    return ServoProfile(
        np.array([-values["limit"]]),
        np.array([values["limit"]]),
        np.array([values["speed"]]),
        np.array([values["acceleration"]]),
        1 / 300,
    )


def test_speed_and_acceleration_stay_within_their_limits():
    servo = profile()
    servo.reset(np.array([-1.9]))
    servo.command(np.array([1.9]))
    path = np.array([servo.advance()[0] for _ in range(600)])
    speed = np.diff(path) * 300
    assert speed.max() == pytest.approx(5.2, rel=1e-3)
    assert np.diff(speed).max() * 300 < 39.1
    assert path[-1] == pytest.approx(1.9, abs=1e-9)
    assert path.max() <= 1.9 + 1e-9


def test_commands_are_clamped_to_the_joint_limits():
    servo = profile(limit=0.5)
    servo.reset(np.zeros(1))
    servo.command(np.array([9.0]))
    assert servo.target[0] == 0.5
    assert max(servo.advance()[0] for _ in range(300)) == pytest.approx(0.5)


def test_a_command_is_held():
    simulation = Simulation()
    target = np.array(HOME) + 0.2
    simulation.command(target)
    simulation.step(300)
    np.testing.assert_allclose(simulation.positions, target, atol=0.02)
    simulation.step(300)
    np.testing.assert_allclose(simulation.positions, target, atol=0.02)


def test_the_arm_reaches_a_far_command_no_faster_than_the_servo():
    simulation = Simulation()
    start = simulation.positions
    simulation.command(np.array([1.9, *HOME[1:]]))
    simulation.step(30)
    assert abs(simulation.positions[0] - start[0]) < 5.2 * 0.1
    assert np.abs(simulation.velocities).max() < 5.5


@pytest.mark.parametrize("bad", [[0.0] * 5, [0.0] * 5 + [np.nan], [[0.0] * 6]])
def test_bad_commands_are_refused(bad):
    simulation = Simulation()
    before = simulation.positions
    with pytest.raises(ValueError, match=r"6 joint positions|finite"):
        simulation.command(np.array(bad))
    simulation.step(60)
    np.testing.assert_allclose(simulation.positions, before, atol=1e-3)
