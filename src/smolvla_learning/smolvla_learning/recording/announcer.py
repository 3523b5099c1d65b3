# SPDX-License-Identifier: Apache-2.0
"""Tells what is being waited for: once per change, and only what lasts."""

from __future__ import annotations

import re
from collections.abc import Callable

SETTLED = 1.0
"""How long words must stay the same before they are told [s]."""


class Announcer:
    """Passes words on when they have settled. Numbers in them (ages) may change meanwhile.

    Args:
        tell: called with the words.
    """

    def __init__(self, tell: Callable[[str], None]) -> None:
        self._tell = tell
        self._told: str | None = None
        self._gist: str | None = None
        self._since = 0.0

    def update(self, words: str, now: float) -> None:
        """Take the words that hold at `now` [s, monotonic]."""
        gist = re.sub(r"\d+(\.\d+)?", "#", words)
        if gist != self._gist:
            self._gist, self._since = gist, now
        if gist != self._told and now - self._since >= SETTLED:
            self._told = gist
            self._tell(words)
