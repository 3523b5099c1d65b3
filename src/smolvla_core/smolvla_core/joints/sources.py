# SPDX-License-Identifier: Apache-2.0
"""Notices joint positions that no one arm can have: those of two sources, or ones that jump."""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

TOLERANCE = 0.3
"""Two messages of one arm may differ by this much [rad], as one may have waited in a queue ..."""
JOINT_SPEED = 10.0
"""... and by this much for each second between them [rad/s]: faster turns no joint."""
STILL = 0.02
STILL_TIME = 0.5
STILL_TOLERANCE = 0.05
"""Sources that have moved less than `STILL` [rad] for `STILL_TIME` [s] may differ by this much."""
JUMPS_SPAN = 1.0
"""A jump there and back within this time [s] is no motion, nor an arm that was set elsewhere."""
CLEAR = 2.0
"""Positions are relied on again when they have fitted for so long [s]."""


@dataclass(frozen=True)
class _State:
    """Positions [rad], when they came, where they have stood since when [s]."""

    positions: NDArray[np.float64]
    time: float
    stood: NDArray[np.float64]
    still_since: float


class JointSources:
    """Compares each joint state with the newest of every source.

    Two publishers of the same positions are no fault, nor are an arm that was moved by hand or
    one that a simulation has set elsewhere, which jumps once.

    Args:
        joints: names, for the words.
    """

    def __init__(self, joints: tuple[str, ...]) -> None:
        self._joints = joints
        self._newest: dict[str, _State] = {}
        self._jumps: deque[tuple[float, NDArray[np.float64]]] = deque()
        self._problem = ""
        self._noticed = -math.inf

    def update(self, positions: NDArray[np.float64], source: str, now: float) -> None:
        """Take the positions (joints,) [rad] of a valid joint state.

        Args:
            positions: measured.
            source: who published them; empty where that is not known.
            now: when they came [s].
        """
        self._newest = {
            name: state for name, state in self._newest.items() if 0 <= now - state.time <= CLEAR
        }
        before = self._newest.get(source)
        stood, since = (positions, now) if before is None else (before.stood, before.still_since)
        if np.abs(positions - stood).max() > STILL:
            stood, since = positions, now
        for other, state in self._newest.items():
            still = now - max(since, state.still_since) > STILL_TIME
            tolerance = STILL_TOLERANCE if still and other != source else TOLERANCE
            gaps = np.abs(positions - state.positions)
            joint = int(np.argmax(gaps))
            if gaps[joint] <= tolerance + JOINT_SPEED * (now - state.time):
                continue
            if other != source:
                self._notice(
                    f"joint states of {other} and {source or 'another source'} contradict each "
                    f"other: {self._joints[joint]} is at {state.positions[joint]:.2f} and at "
                    f"{positions[joint]:.2f} rad; end one of the two, or give it another topic",
                    now,
                )
            elif self._returns(positions - state.positions, now):
                self._notice(
                    f"the joint states jump there and back: {self._joints[joint]} from "
                    f"{state.positions[joint]:.2f} to {positions[joint]:.2f} rad in "
                    f"{now - state.time:.3f} s; do two programs publish on this topic? "
                    "Else check the servo and its cable",
                    now,
                )
        self._newest[source] = _State(positions, now, stood, since)

    def problem(self, now: float) -> str:
        """Say why the positions cannot be relied on, and what to do; empty when they can."""
        # A message may have come after the control cycle's `now`: then it is negative.
        return self._problem if now - self._noticed <= CLEAR else ""

    def _returns(self, jump: NDArray[np.float64], now: float) -> bool:
        """Say whether a jump goes back where one of a moment ago came from."""
        while self._jumps and now - self._jumps[0][0] > JUMPS_SPAN:
            self._jumps.popleft()
        back = any(float(jump @ earlier) < -0.5 * float(jump @ jump) for _, earlier in self._jumps)
        self._jumps.append((now, jump))
        return back

    def _notice(self, problem: str, now: float) -> None:
        if not self.problem(now):  # else the first words stay: the figures would flicker
            self._problem = problem
        self._noticed = now
