# SPDX-License-Identifier: Apache-2.0
"""How fast a human wants the arm to move -> where he wants its joints, cycle by cycle.

jog = Jog(settings)
while running:
    for message in inbox: jog.feedback.update(part, now); jog.on_command(part, now)
    target = jog.cycle(motion, following, now)
    if target is not None: publish(target)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from smolvla_core.joints import Part
from smolvla_core.node_settings import JogSettings
from smolvla_core.units.calibration import GRIPPER

from smolvla_executor.core.joint_feedback import JointFeedback
from smolvla_executor.core.kinematics import KinematicChain

Array = NDArray[np.float64]

TIP = ("x", "y", "z", "pitch", "roll")
"""How the tip moves: along the axes of the arm's base [m/s]; up and down about the horizontal axis
across the arm, and about the tip's own z axis, the direction in which it points [rad/s]."""
FRESH = 0.5
"""A joint state, or a command, older than this says nothing of where the arm is [s]."""
_LONGEST = 0.1  # [s] that one cycle counts for: after a pause the arm does not jump
_NEAR_SINGULAR = 0.05, 0.2  # singular values of velocity [m/rad] and of spin that are damped
_AT_LIMIT = 1e-9


@dataclass(frozen=True)
class Motion:
    """How fast a human wants the arm to move.

    Attributes:
        joints: (joints,) in the order of the robot file [rad/s].
        tip: (5,) see `TIP`.
    """

    joints: Array
    tip: Array


class Jog:
    """Integrates speeds to joint targets that begin where the arm is and stay near it.

    Args:
        settings: which robot it is and how far targets may lead.

    Attributes:
        feedback: of the joints.
        chain: to the tip; None while no URDF is known, and the tip is not moved.
        max_lead: as in the settings; it may be changed at any time.
        problem: why there is no target although there is a motion; empty while there is one.
    """

    def __init__(self, settings: JogSettings) -> None:
        robot = settings.body
        self._names = robot.joint_names
        self._lower, self._upper, self._speed = robot.lower, robot.upper, robot.speed
        self._grips = np.array([joint.role == GRIPPER for joint in robot.moving])
        self.max_lead = settings.max_lead
        self.feedback = JointFeedback(self._names, FRESH)
        self.chain: KinematicChain | None = None
        self.problem = ""
        self._target: Array | None = None
        self._command = np.zeros(len(self._names))
        self._commanded = np.full(len(self._names), -np.inf)
        self._now = -np.inf

    def on_command(self, part: Part, now: float) -> None:
        """Take what the arm was commanded: with a load it is not where it is to be."""
        self._command[part.joints] = part.values
        self._commanded[part.joints] = now

    def cycle(self, motion: Motion | None, following: bool, now: float) -> Array | None:
        """Return the target of this cycle (joints,) [rad]; None where there is none.

        Args:
            motion: None: nobody moves the arm.
            following: whether the arm follows the targets; while it does not, the target is where
                it is.
            now: the time [s], of a clock that only goes forward.
        """
        span, self._now = min(now - self._now, _LONGEST), now
        self.problem = "" if motion is None else self.feedback.problem(now)
        if motion is None or self.problem:
            self._target = None
            return None
        measured = self.feedback.positions
        if self._target is None or not following:
            target = np.where(now - self._commanded <= FRESH, self._command, measured)
        else:
            target = self._target + span * self._speeds(motion, self._target)
        # What a gripper holds it may press as hard as it can, until it is to open.
        presses = self._grips & (motion.joints * (target - measured) >= 0)
        lead = np.where(presses, np.inf, self.max_lead)
        target = np.clip(target, measured - lead, measured + lead)
        self._target = np.clip(target, self._lower, self._upper)
        return self._target.copy()

    def _speeds(self, motion: Motion, at: Array) -> Array:
        """Return (joints,) [rad/s]; of a joint that would be too fast all become slower."""
        speeds = motion.joints
        if motion.tip.any() and self.chain is not None:
            speeds = speeds + self._tip_speeds(motion.tip, at, self.chain)
        return speeds / max(1.0, float(np.max(np.abs(speeds) / self._speed)))

    def _tip_speeds(self, tip: Array, at: Array, chain: KinematicChain) -> Array:
        """Return (joints,) that move the tip; joints at a limit leave it to the others."""
        jacobian = chain.jacobian(self._names, at)
        points = chain.poses(self._names, at[None])[0, :3, 2]
        spin = tip[3] * _across(jacobian, chain, self._names) + tip[4] * points
        free = np.ones(len(at), dtype=bool)
        while True:
            speeds = _solved(jacobian * free, tip[:3], spin)
            low = (at <= self._lower + _AT_LIMIT) & (speeds < 0)
            blocked = free & (low | ((at >= self._upper - _AT_LIMIT) & (speeds > 0)))
            if not blocked.any():
                return speeds
            free &= ~blocked


def _across(jacobian: Array, chain: KinematicChain, names: tuple[str, ...]) -> Array:
    """Return the horizontal unit vector (3,) about which the tip is raised.

    It is across the direction in which the first joint carries the arm, so it does not change
    where the tip points straight down. 0 where the tip is above the first joint.
    """
    first = names.index(chain.joint_names[0])
    outward = np.cross(jacobian[:3, first], jacobian[3:, first])
    across = np.cross(outward, (0.0, 0.0, 1.0))
    length = float(np.linalg.norm(across))
    return across / length if length > _AT_LIMIT else np.zeros(3)


def _solved(jacobian: Array, velocity: Array, spin: Array) -> Array:
    """Return joint speeds: of those with this velocity the ones nearest to this spin.

    The spin is sought in the null space of the velocity: an arm of five joints turns as well as
    it can.

    Args:
        jacobian: (6, joints).
        velocity: (3,) [m/s].
        spin: (3,) [rad/s].
    """
    position, rotation = jacobian[:3], jacobian[3:]
    speeds = _inverse(position, _NEAR_SINGULAR[0]) @ velocity
    rows = np.linalg.svd(position, full_matrices=False)[2]
    free = rotation @ (np.eye(position.shape[1]) - rows.T @ rows)
    return np.asarray(speeds + _inverse(free, _NEAR_SINGULAR[1]) @ (spin - rotation @ speeds))


def _inverse(matrix: Array, near: float) -> Array:
    """Return the pseudo-inverse, damped where singular values are below `near`.

    Damped least squares with numerical filtering (Maciejewski and Klein 1988): exact where the
    arm is free to move, and no faster than about 1.2 / `near` where it is not.
    """
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    damping = 0.25 * np.maximum(near**2 - values**2, 0.0)
    return np.asarray((right.T * (values / (values**2 + damping + 1e-12))) @ left.T)
