# SPDX-License-Identifier: Apache-2.0
"""The second bowl of a live model: in its place, or neither seen nor felt."""

from __future__ import annotations

from math import cos, sin

import mujoco
import numpy as np

from smolvla_sim.world.layout import Placement
from smolvla_sim.world.scene import RIGHT_BOWL

# MuJoCo draws the groups 0 to 2 unless told otherwise.
_HIDDEN_GROUP = 5
# Where it waits, meters: below the table, so that it is near nothing.
_AWAY = (0.0, 0.0, -2.0)


class RightBowl:
    """Moves the bowl that has no joint.

    Args:
        model: compiled by `mjcf.build_model`.
    """

    def __init__(self, model: mujoco.MjModel) -> None:
        self._model = model
        self._body = model.body(RIGHT_BOWL).id
        self._geoms = np.flatnonzero(model.geom_bodyid == self._body)
        self._contype = model.geom_contype[self._geoms].copy()
        self._conaffinity = model.geom_conaffinity[self._geoms].copy()
        self._group = model.geom_group[self._geoms].copy()

    def place(self, place: Placement) -> None:
        """Put it onto the table."""
        self._model.body_pos[self._body] = place.x, place.y, place.z
        self._model.body_quat[self._body] = cos(place.yaw / 2), 0.0, 0.0, sin(place.yaw / 2)
        self._model.geom_contype[self._geoms] = self._contype
        self._model.geom_conaffinity[self._geoms] = self._conaffinity
        self._model.geom_group[self._geoms] = self._group

    def remove(self) -> None:
        """Take it out of the scene."""
        self._model.body_pos[self._body] = _AWAY
        self._model.geom_contype[self._geoms] = 0
        self._model.geom_conaffinity[self._geoms] = 0
        self._model.geom_group[self._geoms] = _HIDDEN_GROUP
