# SPDX-License-Identifier: Apache-2.0
"""The newest valid joint state, of the arm or of the one that a human moves."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray
from smolvla_core.joints import JointSources, Part

RUNNING = "is the arm's driver or the simulation running?"
PARTS = "are they called so on joint_states? The robot file says joints and topics"


class JointFeedback:
    """Measured positions, merged from the parts that they come in, and whether to rely on them.

    Args:
        joints: their names.
        timeout: a position older than this is stale [s]; it may be changed at any time.
        noun: what comes, for messages.
        running: what to look at where nothing comes.
        parts: what to look at where some joints do not come.
    """

    def __init__(
        self,
        joints: tuple[str, ...],
        timeout: float,
        noun: str = "joint state",
        running: str = RUNNING,
        parts: str = PARTS,
    ) -> None:
        self._joints = joints
        self.timeout = timeout
        self._noun, self._running, self._parts = noun, running, parts
        self._rejected = ""
        self.positions: NDArray[np.float64] = np.zeros(len(joints))
        """(joints,) [rad]; meaningful only while `problem` is empty."""
        self.seen = False
        """Whether all joints have ever been there."""
        self.forget("")

    def update(self, part: Part, now: float, source: str = "") -> str:
        """Take measured positions; return why they do not count, empty when they do.

        Args:
            part: of all joints, or of some.
            now: when they came [s].
            source: who published them; empty where that is not known.
        """
        finite = np.isfinite(part.values)
        if not finite.all():
            bad = [self._joints[joint] for joint in part.joints[~finite]]
            self._rejected = f"the position of {', '.join(bad)} is not finite"
        elif part.joints.size:  # else it is about other joints
            self._rejected = ""
            self._sources.update(part, source, now)
            self._received[part.joints] = now
            self.positions = self.positions.copy()
            self.positions[part.joints] = part.values
            self.seen = bool(np.isfinite(self._received).all())
        return self._rejected

    def reject(self, problem: str) -> None:
        """Take note of a message without a usable state."""
        self._rejected = problem

    def forget(self, problem: str) -> None:
        """Let the state count no longer."""
        self._received = np.full(len(self._joints), -math.inf)
        self._sources = JointSources(self._joints)
        self._rejected = problem

    def age(self, now: float) -> float:
        """Return the time since all joints were known [s]; infinite before the first."""
        return now - float(self._received.min())

    def problem(self, now: float) -> str:
        """Say why there is no current joint state; empty when there is one."""
        late = now - self._received > self.timeout
        if not late.any():
            return self._sources.problem(now)
        detail = f" ({self._rejected})" if self._rejected else ""
        named = [joint for joint, is_late in zip(self._joints, late, strict=True) if is_late]
        of = "" if late.all() else f" of {', '.join(named)}"
        if math.isinf(self.age(now)):
            advice = self._running if late.all() else self._parts
            return f"no valid {self._noun}{of}{detail}: {advice}"
        return (
            f"the newest valid {self._noun}{of} is {self.age(now):.2f} s old, more than "
            f"{self.timeout:g} s{detail}: {self._running}"
        )
