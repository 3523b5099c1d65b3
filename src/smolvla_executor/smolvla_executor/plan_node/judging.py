# SPDX-License-Identifier: Apache-2.0
"""Judges at work, in a thread of their own: one that never answers keeps nobody waiting."""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from smolvla_core.judge import Choice, Judge, JudgeSettings, Opinion, Verdict
from smolvla_core.ros.parameters import error_text

Images = Mapping[str, NDArray[np.uint8]]


class Judging:
    """Makes the judges of a plan and asks them, one question at a time.

    Args:
        choices: of each step.
        kept: judges of plans before, which those of this one join.
        observe: returns the newest images; raises ValueError where some are missing. Called in
            the thread.

    Attributes:
        settings: of the judge of each step; None for the executor's success topic.
        answers: question number and answer, oldest first; who reads removes them.
        busy: whether a question waits for its answer.
        ready: whether the judges are made.
        problem: why one could not be made; empty for nothing.

    Raises:
        ValueError: there is no such judge, or an option of it does not fit.
    """

    def __init__(
        self,
        choices: Sequence[Choice],
        kept: dict[Choice, Judge],
        observe: Callable[[], Images],
    ) -> None:
        made = [choice.maker() for choice in choices]
        self.settings: list[JudgeSettings | None] = [one and one[1] for one in made]
        self._choices = choices
        self._makers = {
            choice: one[0] for choice, one in zip(choices, made, strict=True) if one is not None
        }
        self._judges = kept
        self._observe = observe
        self._questions: queue.SimpleQueue[tuple[int, int, str] | None] = queue.SimpleQueue()
        self.answers: deque[tuple[int, Opinion]] = deque()
        self.busy = False
        self.ready = not self._makers
        self.problem = ""

    @property
    def looks(self) -> bool:
        """Whether a judge needs images."""
        return bool(self._makers)

    def begin(self) -> None:
        """Make the judges, which may take long."""
        if self.looks:
            threading.Thread(target=self._work, name="judge", daemon=True).start()

    def ask(self, question: int, step: int, instruction: str) -> None:
        """Ask the judge of a step whether `instruction` is done."""
        self.busy = True
        self._questions.put((question, step, instruction))

    def close(self) -> None:
        """Ask nothing any more."""
        self._questions.put(None)

    def _work(self) -> None:
        try:
            for choice, make in self._makers.items():
                if choice not in self._judges:
                    self._judges[choice] = make()
        except Exception as error:  # of a library; a judge that cannot be made ends the plan
            self.problem = error_text(error)
            return
        self.ready = True
        while (asked := self._questions.get()) is not None:
            question, step, instruction = asked
            self.answers.append((question, self._opinion(step, instruction)))
            self.busy = False

    def _opinion(self, step: int, instruction: str) -> Opinion:
        try:
            return self._judges[self._choices[step]].judge(instruction, self._observe())
        except Exception as error:  # of a network, a server: it may answer the next time
            return Opinion(Verdict.UNKNOWN, error_text(error))
