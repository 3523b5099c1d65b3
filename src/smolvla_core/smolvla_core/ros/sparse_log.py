# SPDX-License-Identifier: Apache-2.0
"""Tells what comes several times a second without filling the screen.

Texts that differ in figures alone (``0.31 s old``, ``0.35 s old``) count as the same.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rclpy.impl.rcutils_logger import RcutilsLogger

from smolvla_core.level import Level

_FIGURE = re.compile(r"(?<!\w)[-+]?\d+(?:\.\d+)?(?!\w)")
AGAIN = 60.0
"""Least time until the same is told again [s]."""
BRIEF = 0.5
"""What is no fault must last so long [s] to be told."""
PATIENCE = 2.0
"""A state that was told within `AGAIN` must last so long [s] to be told again, twice as long to be
told a third time, and so on."""


def log_at(logger: RcutilsLogger, level: Level, words: str) -> None:
    """Log `words` with the severity that fits `level`."""
    # rclpy allows a line of code one severity.
    if level == Level.ERROR:
        logger.error(words)
    elif level == Level.WARN:
        logger.warning(words)
    else:
        logger.info(words)


def teller(logger: RcutilsLogger, level: Level) -> Callable[[str], None]:
    """Return a function that logs its words with the severity that fits `level`."""
    # The methods of the logger would not do: rclpy would take them for one line of code.
    return lambda words: log_at(logger, level, words)


def _without_figures(words: str) -> str:
    return _FIGURE.sub("#", words)


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
        again: float = AGAIN,
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
        now, key = self._clock(), _without_figures(words)
        if now - self._told < (self._again if key == self._words else self._soonest):
            return
        self._words, self._told = key, now
        self._tell(words)


def _least_duration(level: Level, told: int) -> float:
    """Return how long a state must last [s] that was `told` so often lately."""
    if told:
        return PATIENCE * 2.0 ** (told - 1)
    return BRIEF if level == Level.OK else 0.0


@dataclass
class _Known:
    """When one state was told [s], and how often it was entered since."""

    told: list[float] = field(default_factory=list)
    entered: int = 0


class StateLog:
    """Tells a state when it changes, so that what was told last is soon what is.

    A state that comes again and again, as where a policy is always too slow, is told once, then
    once in `AGAIN` with how often it came; one that was told lately only if it lasts.

    Args:
        tell: gets how bad a state is, and its words.
    """

    def __init__(self, tell: Callable[[Level, str], object]) -> None:
        self._tell = tell
        self._known: dict[tuple[Level, str], _Known] = {}
        self._key: tuple[Level, str] | None = None
        self._told_key: tuple[Level, str] | None = None
        self._since = -math.inf

    def __call__(self, level: Level, words: str, now: float) -> None:
        """Take the present state.

        Args:
            level: how bad it is.
            words: what to tell.
            now: [s], monotonic.
        """
        key = (level, _without_figures(words))
        if key != self._key:
            self._key, self._since = key, now
            self._known.setdefault(key, _Known()).entered += 1
        known = self._known[key]
        last = known.told[-1] if known.told else -math.inf
        if key == self._told_key:
            if known.entered == 0 or now - last < AGAIN:
                return
        else:
            lately = [told for told in known.told if now - told < AGAIN]
            if now - self._since < _least_duration(level, len(lately)):
                return
            known.told = lately
        missed = known.entered - (key != self._told_key)
        if math.isfinite(last) and level > Level.OK and missed > 0:
            times = "time" if missed == 1 else "times"
            words = f"{words} ({missed} more {times} in the last {now - last:.0f} s)"
        self._told_key = key
        known.told.append(now)
        known.entered = 0
        self._forget(now)
        self._tell(level, words)

    def _forget(self, now: float) -> None:
        """Forget the states that are long past."""
        self._known = {
            key: known
            for key, known in self._known.items()
            if key == self._key or (known.told and now - known.told[-1] < 2 * AGAIN)
        }
