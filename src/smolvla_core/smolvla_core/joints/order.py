# SPDX-License-Identifier: Apache-2.0
"""Joints are matched by name, never by position in a message."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray


class JointOrder:
    """Brings named values into one fixed order.

    A message may hold the joints in any order and others besides.

    Args:
        joints: the names wanted, in order.

    Raises:
        ValueError: a name appears twice.
    """

    def __init__(self, joints: Sequence[str]) -> None:
        self.joints = tuple(joints)
        if len(set(self.joints)) != len(self.joints):
            raise ValueError(f"the list of joints names one twice: {', '.join(self.joints)}")
        self._names: tuple[str, ...] | None = None
        self._indices: NDArray[np.intp] = np.empty(0, dtype=np.intp)

    def indices(self, names: Sequence[str]) -> NDArray[np.intp]:
        """Return where in `names` each joint stands.

        Raises:
            ValueError: a joint is missing or named twice.
        """
        names = tuple(names)
        if names != self._names:
            missing = [joint for joint in self.joints if joint not in names]
            if missing:
                raise ValueError(
                    f"no {', '.join(missing)} among the joints {', '.join(names) or '(none)'}: "
                    "check the parameter `joints` against the robot's joint names"
                )
            twice = [joint for joint in self.joints if names.count(joint) > 1]
            if twice:
                raise ValueError(f"{', '.join(twice)} is named twice in {', '.join(names)}")
            self._indices = np.array([names.index(joint) for joint in self.joints], dtype=np.intp)
            self._names = names
        return self._indices

    def pick(self, names: Sequence[str], values: ArrayLike) -> NDArray[np.float64]:
        """Return the values (joints,) of the wanted joints.

        Args:
            names: of the columns of `values`.
            values: (len(names),) or, as a chunk, (rows, len(names)).

        Raises:
            ValueError: a joint is missing, names and values differ in number, or a value of
                a wanted joint is not finite.
        """
        array = np.asarray(values, dtype=np.float64)
        columns = array.shape[-1] if array.ndim else 0
        if columns != len(names):
            raise ValueError(f"{len(names)} joint names came with {columns} positions")
        picked: NDArray[np.float64] = array[..., self.indices(names)]
        finite = np.isfinite(picked)
        if not finite.all():
            bad = np.flatnonzero(~finite.reshape(-1, len(self.joints)).all(axis=0))
            raise ValueError(
                f"the position of {', '.join(self.joints[i] for i in bad)} is not finite"
            )
        return picked
