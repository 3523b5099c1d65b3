# SPDX-License-Identifier: Apache-2.0
"""A language model makes a plan: of a request, sentences that a checkpoint knows."""

from __future__ import annotations

import re
from collections.abc import Sequence

from smolvla_learning.describing.models import Prompt, VisionLanguageModel

MAX_STEPS = 20
_NONE = "none"
_BULLET = re.compile(r"^\s*(?:[-*•]|\(?\d+[.):]?\)?)\s+")
_TOKENS = 400


class RequestError(ValueError):
    """No plan could be made; the text says why and what to do."""


def sentences_for(
    request: str, known: Sequence[str], model: VisionLanguageModel, tries: int = 3
) -> list[str]:
    """Return sentences of `known`, in the order in which to do them.

    An answer with another sentence is refused, and the model asked again with the reason.

    Args:
        request: what shall be done, e.g. "tidy up the table".
        known: the sentences that the checkpoint knows.
        model: that is asked.
        tries: how often at most.

    Raises:
        RequestError: the request is blank, nothing is known, it cannot be done with what is
            known, or no answer fits.
        ModelError: the model does not answer.
    """
    if not request.strip():
        raise RequestError(
            'the request is blank: say what shall be done, e.g. "tidy up the table"'
        )
    if not known:
        raise RequestError(
            "nothing is known about what the checkpoint can do: list its sentences as 'tasks' in "
            "its robot.json"
        )
    problem = ""
    for _ in range(tries):
        prompt = Prompt((), question(request, known, problem), _TOKENS)
        (answer,) = model.answer([prompt])
        sentences, problem = read_answer(answer, known)
        if not problem:
            return sentences
        if problem == _NONE:
            raise RequestError(
                f"the model says that '{request}' cannot be done with what the checkpoint knows: "
                f"{'; '.join(known)}"
            )
    raise RequestError(
        f"no answer of {tries} was a plan; the last one: {problem}. Ask in other words, or write "
        "the plan yourself"
    )


def question(request: str, known: Sequence[str], problem: str = "") -> str:
    """Return what is asked.

    Args:
        request, known: see `sentences_for`.
        problem: what was wrong with the answer before; empty for none.
    """
    again = f"\nYour last answer was refused: {problem}." if problem else ""
    listed = "\n".join(known)
    return (
        f"A robot arm can do exactly these instructions:\n{listed}\n\nA person asks: "
        f'"{request}". Which of the instructions must the arm do for that, and in which order? '
        "Answer with the instructions alone, word for word as above, one per line. If it cannot "
        f"be done with them, answer {_NONE}.{again}"
    )


def read_answer(answer: str, known: Sequence[str]) -> tuple[list[str], str]:
    """Return the sentences of an answer, and why it is refused; empty where it is not."""
    by_words = {_words(sentence): sentence for sentence in known}
    lines = [line for line in map(_cleaned, answer.splitlines()) if line]
    if not lines:
        return [], "it was empty"
    if len(lines) == 1 and _words(lines[0]) == _NONE:
        return [], _NONE
    if len(lines) > MAX_STEPS:
        return [], f"it has {len(lines)} lines, more than {MAX_STEPS}"
    unknown = [line for line in lines if _words(line) not in by_words]
    if unknown:
        return [], f"'{unknown[0][:80]}' is none of the instructions"
    return [by_words[_words(line)] for line in lines], ""


def _cleaned(line: str) -> str:
    return _BULLET.sub("", line).strip().strip("*_`\"'").strip()


def _words(sentence: str) -> str:
    return " ".join(sentence.lower().rstrip(".! ").split())
