# SPDX-License-Identifier: Apache-2.0
"""Logs what comes several times a second without filling the screen.

Texts that differ in numbers alone (``0.31 s old``, ``0.35 s old``) count as the same.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from rclpy.impl.rcutils_logger import RcutilsLogger

from smolvla_core.level import Level

_NUMBER = re.compile(r"(?<!\w)[-+]?\d+(?:\.\d+)?(?!\w)")
AGAIN = 60.0
"""Least time until the same is logged again [s]."""
BRIEF = 0.5
"""What is no fault must last so long [s] to be logged."""
PATIENCE = 2.0
"""A state that was logged within `AGAIN` must last so long [s] to be logged again, twice as long
to be logged a third time, and so on."""


def log_at(logger: RcutilsLogger, level: Level, text: str) -> None:
    """Log `text` with the severity that fits `level`."""
    # A line each: rclpy allows a line of code one severity.
    if level == Level.ERROR:
        logger.error(text)
    elif level == Level.WARN:
        logger.warning(text)
    else:
        logger.info(text)


def _without_numbers(text: str) -> str:
    return _NUMBER.sub("#", text)


class SparseLog:
    """Logs a text when it is new, and the same one again after a while.

    Args:
        log: called with the text.
        soonest: least time between any two [s].
        again: least time until the same text is logged again [s].
        clock: [s], monotonic.
    """

    def __init__(
        self,
        log: Callable[[str], object],
        soonest: float = 5.0,
        again: float = AGAIN,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._log = log
        self._soonest = soonest
        self._again = again
        self._clock = clock
        self._text = ""
        self._logged = -math.inf

    def __call__(self, text: str) -> None:
        """Take `text`, from any thread."""
        now, key = self._clock(), _without_numbers(text)
        if now - self._logged < (self._again if key == self._text else self._soonest):
            return
        self._text, self._logged = key, now
        self._log(text)


@dataclass
class _Known:
    """When one state was logged [s], and how often it was entered since."""

    logged: list[float] = field(default_factory=list)
    entered: int = 0


class StateLog:
    """Logs a state when it changes, so that what was logged last is soon what is.

    A state that comes again and again, as where a policy is always too slow, is logged once, then
    once in `AGAIN` with how often it came; one that was logged lately only if it lasts.

    Args:
        log: called with the level of a state and its text.
    """

    def __init__(self, log: Callable[[Level, str], object]) -> None:
        self._log = log
        self._known: dict[tuple[Level, str], _Known] = {}
        self._key: tuple[Level, str] | None = None
        self._logged_key: tuple[Level, str] | None = None
        self._since = -math.inf

    def __call__(self, level: Level, text: str, now: float) -> None:
        """Take the present state.

        Args:
            level: how bad it is.
            text: of the log line.
            now: [s], monotonic.
        """
        key = (level, _without_numbers(text))
        if key != self._key:
            self._key, self._since = key, now
            self._known.setdefault(key, _Known()).entered += 1
        known = self._known[key]
        last = known.logged[-1] if known.logged else -math.inf
        if key == self._logged_key:
            if known.entered == 0 or now - last < AGAIN:
                return
        else:
            lately = [logged for logged in known.logged if now - logged < AGAIN]
            lasting = PATIENCE * 2.0 ** (len(lately) - 1) if lately else BRIEF
            if now - self._since < lasting and (lately or level == Level.OK):
                return
            known.logged = lately
        missed = known.entered - (key != self._logged_key)
        if math.isfinite(last) and level > Level.OK and missed > 0:
            times = "time" if missed == 1 else "times"
            text = f"{text} ({missed} more {times} in the last {now - last:.0f} s)"
        self._logged_key = key
        known.logged.append(now)
        known.entered = 0
        self._known = {  # without those that are long past
            key: known
            for key, known in self._known.items()
            if key == self._key or (known.logged and now - known.logged[-1] < 2 * AGAIN)
        }
        self._log(level, text)
