# SPDX-License-Identifier: Apache-2.0
"""The newest valid joint state, as the executor sees it."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray
from smolvla_core.joints.sources import JointSources


class JointFeedback:
    """Measured positions and whether they may still be relied on.

    Args:
        joints: their names.
        timeout: a state older than this is stale [s]; it may be changed at any time.
    """

    def __init__(self, joints: tuple[str, ...], timeout: float) -> None:
        self._joints = joints
        self.timeout = timeout
        self._sources = JointSources(joints)
        self._received: float | None = None
        self._rejected = ""
        self.positions: NDArray[np.float64] = np.zeros(len(joints))
        """(joints,) [rad]; meaningful only while `problem` is empty."""
        self.seen = False
        """Whether there has ever been a valid state."""

    def update(self, positions: ArrayLike, now: float, source: str = "") -> str:
        """Take measured positions; return why they do not count, empty when they do.

        Args:
            positions: (joints,) [rad].
            now: when they came [s].
            source: who published them; empty where that is not known.
        """
        joints = self._joints
        array = np.array(positions, dtype=np.float64)
        if array.shape != (len(joints),):
            self._rejected = f"{array.shape} positions came for {len(joints)} joints"
        elif not np.isfinite(array).all():
            bad = [j for j, value in zip(joints, array, strict=True) if not np.isfinite(value)]
            self._rejected = f"the position of {', '.join(bad)} is not finite"
        else:
            self._rejected = ""
            self._sources.update(array, source, now)
            self._received = now
            self.positions = array
            self.seen = True
        return self._rejected

    def reject(self, problem: str) -> None:
        """Take note of a message without a usable state."""
        self._rejected = problem

    def forget(self, problem: str) -> None:
        """Let the state count no longer."""
        self._received = None
        self._sources = JointSources(self._joints)
        self._rejected = problem

    def age(self, now: float) -> float:
        """Return the time since the newest valid state [s]; infinite before the first."""
        return math.inf if self._received is None else now - self._received

    def problem(self, now: float) -> str:
        """Say why there is no current joint state; empty when there is one."""
        if self._received is not None and now - self._received <= self.timeout:
            return self._sources.problem(now)
        why = f" ({self._rejected})" if self._rejected else ""
        if self._received is None:
            return f"no valid joint state{why}: is the arm's driver or the simulation running?"
        return (
            f"the newest valid joint state is {now - self._received:.2f} s old, more than "
            f"{self.timeout:g} s{why}: is the arm's driver or the simulation running?"
        )
