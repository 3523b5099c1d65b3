# SPDX-License-Identifier: Apache-2.0
"""What was received of the robot, as plain data, so that checks need no ROS."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class ReceivedCamera:
    """What came from one camera.

    Attributes:
        topic: that was listened to.
        publishers: how many there are of it.
        types: message types that it is published with.
        images: how many arrived.
        rate: images per second; NaN below two.
        age: since the newest arrived [s]; infinite before the first.
        stamp_age: median of arrival minus stamp [s]; NaN where there are no stamps.
        pixels: the newest, uint8 (height, width, 3); None if there is none to be read.
        gray: whether the newest has no color.
        error: why the newest cannot be read.
    """

    topic: str
    publishers: int = 0
    types: tuple[str, ...] = ()
    images: int = 0
    rate: float = math.nan
    age: float = math.inf
    stamp_age: float = math.nan
    pixels: NDArray[np.uint8] | None = None
    gray: bool = False
    error: str = ""


@dataclass(frozen=True)
class ReceivedJoints:
    """What came of the joint states.

    Attributes:
        topic: that was listened to; several with commas.
        publishers: how many there are of it.
        messages: how many arrived.
        rate: states of the slowest joint per second; NaN below two.
        names: those of the joints that the policy moves that were received.
        positions: (joints,) [rad] of the joints that the policy moves; None if there are none.
        problem: why the newest cannot be used.
        stamp_age: median of arrival minus stamp [s]; NaN where there are no stamps.
    """

    topic: str
    publishers: int = 0
    messages: int = 0
    rate: float = math.nan
    names: tuple[str, ...] = ()
    positions: NDArray[np.float64] | None = None
    problem: str = ""
    stamp_age: float = math.nan


@dataclass(frozen=True)
class Received:
    """What was received in `seconds`.

    Attributes:
        seconds: of listening.
        cameras: camera name -> what came.
        joints: what came of the joint states.
        image_topics: all topics in the graph that carry images of the wanted kind.
        missing: what keeps an observation from being made of it all; empty when nothing does.
    """

    seconds: float
    cameras: Mapping[str, ReceivedCamera]
    joints: ReceivedJoints
    image_topics: tuple[str, ...] = ()
    missing: str = ""

    @property
    def silent(self) -> bool:
        """Whether nothing at all was received."""
        return self.joints.messages == 0 and not any(c.images for c in self.cameras.values())
