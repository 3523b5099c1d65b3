# SPDX-License-Identifier: Apache-2.0
"""The judge ``vlm``: a vision-language model is asked whether a sentence is done."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from smolvla_core.judge import JudgeSettings, Opinion, Verdict
from smolvla_core.settings import same, setting

from smolvla_learning.describing.models import (
    ModelSettings,
    Picture,
    Prompt,
    VisionLanguageModel,
    beside,
    fitted,
    make_model,
)

_ANSWER = re.compile(r"\W*(yes|no)\b\W*", re.IGNORECASE)
_SHOWN = 160
"""So many characters of an answer are told."""


@dataclass(frozen=True, kw_only=True)
class VlmSettings(ModelSettings, JudgeSettings):
    """Of the judge ``vlm``."""

    in_a_row: int = same(JudgeSettings, "in_a_row", 2)
    timeout: float = setting(20.0, "For an answer of a server [s].", 0.1, 600.0)


class VlmJudge:
    """Shows the newest images of all cameras, side by side, to a model; see `Judge`.

    Args:
        model: that is asked.
        size: longest side of each image [pixels].
    """

    def __init__(self, model: VisionLanguageModel, size: int) -> None:
        self._model = model
        self._size = size

    def judge(self, instruction: str, images: Mapping[str, Picture]) -> Opinion:
        """Ask. An answer that begins with neither yes nor no tells nothing.

        Raises:
            ModelError: the model does not answer.
        """
        picture = beside([fitted(image, self._size) for image in images.values()])
        (text,) = self._model.answer([Prompt([picture], question(instruction, list(images)))])
        answer = " ".join(text.split())[:_SHOWN]
        match = _ANSWER.match(answer)
        if match is None:
            return Opinion(Verdict.UNKNOWN, f"neither yes nor no: {answer or 'no answer'}")
        verdict = Verdict.YES if match[1].lower() == "yes" else Verdict.NO
        return Opinion(verdict, answer[match.end() :] or answer)


def question(instruction: str, cameras: list[str]) -> str:
    """Return what is asked about a picture with the images of `cameras` side by side."""
    views = f" from these cameras, left to right: {', '.join(cameras)}" if cameras[1:] else ""
    return (
        f"The picture shows the table of a robot arm at this moment{views}. The arm was told: "
        f'"{instruction}". Is that done now, at rest and let go of, unless the arm was told to '
        "hold it? Answer with yes or no, then say in a few words what you see."
    )


def create(settings: VlmSettings) -> VlmJudge:
    """Return the judge that `settings` describe.

    Raises:
        ValueError: they name no model, or it cannot be used.
    """
    return VlmJudge(make_model(settings, timeout=settings.timeout), settings.size)
