# SPDX-License-Identifier: Apache-2.0
"""Which instruction counts: of the topic and of a task's goal the newest."""

from __future__ import annotations

import threading


class NewestInstruction:
    """Decides what a request is for; may be used from several threads.

    A goal's instruction counts from its first request on. A sentence on the topic that comes
    later replaces it, for as long as that goal runs.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._topic = ""
        self._goal_id = b""
        self._current = ""

    @property
    def current(self) -> str:
        """The newest; empty before the first."""
        return self._current

    def on_topic(self, sentence: str) -> bool:
        """Take a sentence of the topic; return whether it changes anything.

        A blank one means none, but not during a goal: there it is ignored.
        """
        with self._lock:
            if self._goal_id and not sentence.strip():
                return False
            changed = sentence != self._current
            self._topic = self._current = sentence
            return changed

    def for_request(self, goal_id: bytes, instruction: str) -> str:
        """Return what a request is for.

        Args:
            goal_id: of the goal that the request serves; empty without one.
            instruction: of that goal.
        """
        with self._lock:
            if goal_id != self._goal_id:
                self._goal_id = goal_id
                self._current = instruction if goal_id else self._topic
            return self._current
