# SPDX-License-Identifier: Apache-2.0
"""Joints are matched by name, never by position in a message."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray


class Part(NamedTuple):
    """Positions of some of the joints.

    Attributes:
        joints: (part,) where they stand in the fixed order.
        values: (part,) [rad], or (rows, part).
    """

    joints: NDArray[np.intp]
    values: NDArray[np.float64]


class JointOrder:
    """Brings named values into one fixed order.

    A message may hold the joints in any order and others besides; joint states of a robot may come
    in parts, of several publishers.

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
        self._own: NDArray[np.intp] = np.empty(0, dtype=np.intp)
        self._theirs: NDArray[np.intp] = self._own

    def indices(self, names: Sequence[str]) -> NDArray[np.intp]:
        """Return where in `names` each joint stands.

        Raises:
            ValueError: a joint is missing or named twice.
        """
        self._look(tuple(names))
        if len(self._own) < len(self.joints):
            missing = [joint for joint in self.joints if joint not in names]
            raise ValueError(
                f"no {', '.join(missing)} among the joints {', '.join(names) or '(none)'}: "
                "do both nodes have the same robot file?"
            )
        return self._theirs

    def some(self, names: Sequence[str], values: ArrayLike) -> Part:
        """Return those of the wanted joints that a message holds.

        Args:
            names: of the message.
            values: (len(names),) its positions.

        Raises:
            ValueError: names and values differ in number, a wanted joint is named twice, or its
                value is not finite.
        """
        array = np.asarray(values, dtype=np.float64)
        columns = array.shape[-1] if array.ndim else 0
        if columns != len(names):
            raise ValueError(f"{len(names)} joint names came with {columns} positions")
        self._look(tuple(names))
        picked: NDArray[np.float64] = array[..., self._theirs]
        finite = np.isfinite(picked)
        if not finite.all():
            bad = np.flatnonzero(~finite.reshape(-1, len(self._own)).all(axis=0))
            raise ValueError(
                f"the position of {', '.join(self.joints[self._own[i]] for i in bad)} is not "
                "finite"
            )
        return Part(self._own, picked)

    def pick(self, names: Sequence[str], values: ArrayLike) -> NDArray[np.float64]:
        """Return the values (joints,) of the wanted joints, all of which must be there.

        Args:
            names: of the columns of `values`.
            values: (len(names),) or, as a chunk, (rows, len(names)).

        Raises:
            ValueError: a joint is missing; or see `some`.
        """
        self.indices(names)
        return self.some(names, values).values

    def _look(self, names: tuple[str, ...]) -> None:
        """Find the joints in `names`, which seldom change."""
        if names == self._names:
            return
        twice = [joint for joint in self.joints if names.count(joint) > 1]
        if twice:
            raise ValueError(f"{', '.join(twice)} is named twice in {', '.join(names)}")
        there = [(i, names.index(joint)) for i, joint in enumerate(self.joints) if joint in names]
        self._own = np.array([own for own, _ in there], dtype=np.intp)
        self._theirs = np.array([theirs for _, theirs in there], dtype=np.intp)
        self._names = names
