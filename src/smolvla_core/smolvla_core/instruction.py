# SPDX-License-Identifier: Apache-2.0
"""Which instruction counts: of the topic's sentences and a task's goal the newest."""

from __future__ import annotations

import json
import shutil
from enum import IntEnum

EXAMPLE = "put the red cube into the bowl"
AT_HOME = "at home"
"""How the reason of an executor begins that is idle because it was sent home and is there."""
_SHOWN = 200
"""So many characters of a sentence are quoted in the log."""


class Source(IntEnum):
    """How an instruction came; the values are those of ``smolvla_msgs/ExecutorStatus``."""

    NONE = 0
    TOPIC = 1
    GOAL = 2


def quoted(sentence: str) -> str:
    """Return a sentence for a line of a log: in quotes, on one line, not too long."""
    shown = sentence if len(sentence) <= _SHOWN else f"{sentence[:_SHOWN]}…"
    return json.dumps(shown, ensure_ascii=False)


def order(name: str) -> str:
    """Return how to give the executor an order: by its service, and in a shell."""
    return f"~/{name} (smolvla order {name.replace('_', '-')})"


START = order("start")
"""How to go on executing."""


def command(topic: str, order: str = "instruct") -> str:
    """Return what to type to give an instruction on `topic`, with what this machine has.

    Args:
        topic: with its namespace.
        order: of the command ``smolvla``; ``task`` waits until it is done.
    """
    namespace, _, name = topic.rpartition("/")
    if name == "task_instruction" and (shutil.which("smolvla") or not shutil.which("ros2")):
        where = f" --namespace {namespace}" if namespace else ""
        return f'smolvla {order} "{EXAMPLE}"{where}'
    # Without --keep-alive the publisher lives 0.1 s, too short on a crowded machine.
    return f'ros2 topic pub --once --keep-alive 1 {topic} std_msgs/msg/String "data: {EXAMPLE}"'


class NewestInstruction:
    """Decides what the next request is for; used by one thread at a time.

    A goal's instruction counts from the goal's beginning on. A sentence on the topic that comes
    later replaces it, for as long as that goal runs; then the topic's counts. A blank sentence
    means none, but not during a goal: there it is ignored.

    Attributes:
        current: the newest; empty where there is none.
        source: how it came.
        received: how many there were, of the topic and of goals.
    """

    def __init__(self) -> None:
        self.current = ""
        self.source = Source.NONE
        self.received = 0
        self._of_topic = ""
        self._ever = self._in_goal = False

    def on_topic(self, sentence: str) -> str:
        """Take a sentence of the topic. Returns a message for the log."""
        blank = not sentence.strip()
        if blank and self._in_goal:
            return "instruction: a blank one, ignored while a goal runs"
        self.received += 1
        self._of_topic = "" if blank else sentence
        self._ever = self._ever or not blank
        self._take_topic()
        if blank:
            return "instruction: none any more, a blank one came: no further chunk is asked for"
        return f"instruction: {quoted(sentence)}"

    def on_goal(self, instruction: str) -> None:
        """Take the instruction of a goal that begins."""
        self.received += 1
        self._in_goal = True
        self.current, self.source = instruction, Source.GOAL

    def on_goal_end(self) -> None:
        """Take note that the goal is over."""
        self._in_goal = False
        self._take_topic()

    def missing(self, topic: str) -> str:
        """Return that there is none and how to give one on `topic`; empty where there is one."""
        if self.current:
            return ""
        if self._ever:
            return f"no instruction any more: {command(topic)}"
        return f"no instruction yet: {command(topic)}"

    def _take_topic(self) -> None:
        self.current = self._of_topic
        self.source = Source.TOPIC if self._of_topic else Source.NONE
