# SPDX-License-Identifier: Apache-2.0
"""What the keys of a terminal mean for an arm; without ROS.

A terminal tells of no key that is let go. So a key moves for `STEP` seconds, a small step, and
goes on moving while it repeats itself.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from smolvla_core.robot import Robot
from smolvla_core.units.calibration import GRIPPER

from smolvla_executor.core.jog import TIP, Motion

Array = NDArray[np.float64]

STEP = 0.15
"""How long a key moves [s]: longer than the time between two repeats of one that is held."""
FACTORS = (0.1, 0.25, 0.5, 1.0, 1.5, 2.0)
"""Of the speeds, by + and -."""
TOGGLE = "toggle"
"""The order to take over, or to give back where the human has the arm."""
ORDERS: Mapping[str, str] = {
    "\n": TOGGLE,
    "x": "estop",
    "X": "reset_estop",
    "H": "home",
    "R": "record_start",
    "S": "record_save",
    "D": "record_discard",
}
"""Key -> what it orders. Capital letters are not typed by mistake while others move the arm."""
_JOINT_SPEED, _GRIPPER_SPEED = 0.4, 1.0  # [rad/s]
_TIP_SPEEDS = (0.08, 0.08, 0.08, 0.6, 0.8)  # of `TIP`
_JOINT_KEYS = tuple(zip("1234567890", "qwertyuiop", strict=True))
_TIP_KEYS = ("ws", "ad", "rf", "ik", "lj")
_GRIPPER_KEYS = "ou"
WIDTH = 60
"""Of the live line [columns]."""


class Keyboard:
    """Keys -> how the arm is to move, and what they order.

    Args:
        robot: that is moved.

    Attributes:
        tip: whether keys move the tip, else joints.
    """

    def __init__(self, robot: Robot) -> None:
        self.tip = False
        self._names = robot.joint_names
        self._factor = FACTORS.index(1.0)
        joints = len(robot.moving)
        grippers = [i for i, joint in enumerate(robot.moving) if joint.role == GRIPPER]
        # What moves -> (joints + tip,) speeds.
        self._joint_keys: dict[str, Array] = {}
        self._tip_keys: dict[str, Array] = {}
        every = np.eye(joints + len(TIP))
        for index, keys in enumerate(_JOINT_KEYS[:joints]):
            speed = _GRIPPER_SPEED if index in grippers else _JOINT_SPEED
            _add(self._joint_keys, keys, speed * every[index])
        for index, pair in enumerate(_TIP_KEYS):
            _add(self._tip_keys, pair, _TIP_SPEEDS[index] * every[joints + index])
        for index in grippers:
            _add(self._tip_keys, _GRIPPER_KEYS, _GRIPPER_SPEED * every[index])
        self._until: dict[str, float] = {}  # key -> when its motion ends

    @property
    def help(self) -> str:
        """What the keys are, in lines of at most 60 columns."""
        pairs = zip(self._names, _JOINT_KEYS, strict=False)
        joints = [f"{up}{down} {name}" for name, (up, down) in pairs]
        return "\n".join(
            [
                "Enter: take over, give back | Space: hold | x: E-STOP",
                "m: joints or tip | + -: speed | ?: this | Ctrl-C: end",
                *(f"joint {'  '.join(joints[i : i + 2])}" for i in range(0, len(joints), 2)),
                "tip   ws forward  ad left  rf up  ik pitch  lj roll  ou open",
                "H: home | X: reset e-stop | record R: start S: save D: drop",
            ]
        )

    def moves(self, key: str) -> bool:
        """Say whether a key moves the arm."""
        return key in self._keys

    def press(self, key: str, now: float) -> str:
        """Take a key, pressed at `now` [s]; return what it orders, empty for nothing."""
        if key in self._keys:
            self._until[key] = now + STEP
        elif key == " ":
            self._until.clear()
        elif key == "m":
            self.tip = not self.tip
            self._until.clear()
        elif key in ("+", "="):
            self._factor = min(self._factor + 1, len(FACTORS) - 1)
        elif key in ("-", "_"):
            self._factor = max(self._factor - 1, 0)
        return ORDERS.get(key, "")

    def motion(self, now: float) -> Motion:
        """Return how the arm is to move."""
        speeds = np.zeros(len(self._names) + len(TIP))
        for key, until in self._until.items():
            if now < until:
                speeds += FACTORS[self._factor] * self._keys[key]
        return Motion(speeds[: len(self._names)], speeds[len(self._names) :])

    def line(self, source: str, state: str, positions: Array | None) -> str:
        """Return the live line, of at most 60 columns.

        Args:
            source: who has the arm.
            state: of the executor.
            positions: (joints,) where the arm is to be [rad]; None where that is not known.
        """
        who = state.lower() if source in ("human", "none") else source
        speed = f"{'tip' if self.tip else 'joint'} x{FACTORS[self._factor]:g}"
        values = [] if positions is None else [f"{value:6.2f}" for value in positions]
        return f"{who:<11} {speed:<11} {''.join(values)}"[:WIDTH].rstrip()

    @property
    def _keys(self) -> dict[str, Array]:
        return self._tip_keys if self.tip else self._joint_keys


def _add(keys: dict[str, Array], pair: Sequence[str], speeds: Array) -> None:
    """Let the first key of a pair move by `speeds`, too, the second the other way."""
    for key, way in zip(pair, (1.0, -1.0), strict=True):
        keys[key] = keys.get(key, np.zeros(len(speeds))) + way * speeds
