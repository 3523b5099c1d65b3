# SPDX-License-Identifier: Apache-2.0
"""Tells a complaint that comes several times a second without filling the screen."""

from __future__ import annotations

import math
import time
from collections.abc import Callable


class SparseLog:
    """Passes words on when they are new, and the same ones again after a while.

    Args:
        tell: gets the words.
        soonest: least time between any two [s].
        again: least time until the same words are told again [s].
        clock: [s], monotonic.
    """

    def __init__(
        self,
        tell: Callable[[str], object],
        soonest: float = 5.0,
        again: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._tell = tell
        self._soonest = soonest
        self._again = again
        self._clock = clock
        self._words = ""
        self._told = -math.inf

    def __call__(self, words: str) -> None:
        """Take `words`, from any thread."""
        now = self._clock()
        if now - self._told < (self._again if words == self._words else self._soonest):
            return
        self._words, self._told = words, now
        self._tell(words)
