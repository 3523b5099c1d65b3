# SPDX-License-Identifier: Apache-2.0
"""Random starts of the arm: above the work space, clear of everything, any opening."""

from __future__ import annotations

from math import cos, sin

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from smolvla_sim.world.kinematics import ArmKinematics
from smolvla_sim.world.layout import SECTOR

# Where the TCP may be: distance from the shoulder_pan axis and height, meters. The fingers end
# 10 mm beyond the TCP, so the lowest one clears the bowl by 3 cm.
_RADII = (0.12, 0.25)
_HEIGHTS = (0.075, 0.17)
_ROLL = 1.2
_OPENING = (0.0, 1.0)
# The pitch that the kinematics choose is varied by up to this, radians.
_PITCH = 0.25


def random_start(rng: Generator, kinematics: ArmKinematics) -> NDArray[np.float64]:
    """Return (6,) joint positions to start from, radians.

    Args:
        rng: source of randomness.
        kinematics: of the arm.
    """
    while True:
        radius, angle = rng.uniform(*_RADII), rng.uniform(-SECTOR, SECTOR)
        x, y = kinematics.pan_axis + radius * np.array([cos(angle), sin(angle)])
        height, roll = rng.uniform(*_HEIGHTS), rng.uniform(-_ROLL, _ROLL)
        opening, pitch = rng.uniform(*_OPENING), rng.uniform(-_PITCH, _PITCH)
        arm = kinematics.reach(np.array([x, y, height]), None, roll)
        if arm is None:
            continue
        start = np.append(arm, opening)
        start[3] += pitch
        limits = np.array([(joint.lower, joint.upper) for joint in kinematics.spec.joints])
        inside = np.all((start > limits[:, 0]) & (start < limits[:, 1]))
        if inside and kinematics.forward(start).tcp[2] > _HEIGHTS[0]:
            return start
