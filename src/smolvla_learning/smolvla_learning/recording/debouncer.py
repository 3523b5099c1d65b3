# SPDX-License-Identifier: Apache-2.0
"""Reports what the recorder waits for: once per change, and only what lasts."""

from __future__ import annotations

import re
from collections.abc import Callable

SETTLED = 1.0
"""How long a message must stay the same before it is reported [s]."""


class Debouncer:
    """Passes a message on once it has settled. Numbers in it (ages) may change meanwhile.

    Args:
        report: called with the message.
    """

    def __init__(self, report: Callable[[str], None]) -> None:
        self._report = report
        self._reported: str | None = None
        self._pattern: str | None = None
        self._since = 0.0

    def update(self, message: str, now: float) -> None:
        """Take the message that holds at `now` [s, monotonic]."""
        pattern = re.sub(r"\d+(\.\d+)?", "#", message)
        if pattern != self._pattern:
            self._pattern, self._since = pattern, now
        if pattern != self._reported and now - self._since >= SETTLED:
            self._reported = pattern
            self._report(message)
