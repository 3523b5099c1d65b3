# SPDX-License-Identifier: Apache-2.0
"""Judges of a plan's steps: what they are, and which there are.

A package offers one by an entry point in the group ``smolvla_core.judges``: a function that
takes settings, of a class that inherits from `JudgeSettings`, and returns a `Judge`. It is
imported when a plan names it, so a robot's computer needs only what its plans need.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import partial
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from smolvla_core.plugins import available, load
from smolvla_core.settings import (
    SettingError,
    Settings,
    from_texts,
    instead_of,
    setting,
    settings_of,
)

GROUP = "smolvla_core.judges"
TOPIC = "topic"
"""The judge that is the executor's success topic."""


class Verdict(IntEnum):
    """What a judge says of a step; the values are those of ``smolvla_msgs/StepReport``."""

    UNKNOWN = 0
    NO = 1
    YES = 2


@dataclass(frozen=True, kw_only=True)
class JudgeSettings(Settings):
    """What every judge has."""

    in_a_row: int = setting(
        1, "So many answers yes, one after the other, mean that a step is done.", 1, 1000
    )


@dataclass(frozen=True)
class Opinion:
    """What a judge says, and what it sees, in words."""

    verdict: Verdict
    seen: str


class Judge(Protocol):
    """Looks whether a sentence is done."""

    def judge(self, instruction: str, images: Mapping[str, NDArray[np.uint8]]) -> Opinion:
        """Say whether `instruction` is done.

        Args:
            instruction: the sentence.
            images: camera -> (height, width, 3) RGB, the newest.

        Raises:
            ValueError: it cannot tell; the text says why and what to do.
        """
        ...


@dataclass(frozen=True)
class Choice:
    """A judge and its options, each ``name=value``."""

    name: str
    options: tuple[str, ...] = ()

    def maker(self) -> tuple[Callable[[], Judge], JudgeSettings] | None:
        """Return what makes the judge, and its settings; None for the executor's success topic.

        Raises:
            ValueError: there is no such judge, or an option does not fit.
        """
        if self.name == TOPIC:
            if self.options:
                raise ValueError(
                    f"judge '{TOPIC}' has no options: the topic is executor_node's parameter "
                    "success_topic"
                )
            return None
        try:
            factory, cls = load(GROUP, "judge", self.name, JudgeSettings)
            settings = from_texts(cls, _values(self.options, settings_of(cls)))
        except SettingError as error:
            raise ValueError(f"judge '{self.name}': {error}") from error
        return partial(factory, settings), settings


def available_judges() -> list[str]:
    """Return the names of all judges."""
    return [TOPIC, *available(GROUP)]


def _values(options: Sequence[str], known: Mapping[str, object]) -> dict[str, str]:
    values = {}
    for option in options:
        name, equals, value = option.partition("=")
        if not equals:
            raise SettingError("judge_options", f"holds '{option}', but must be 'name=value'")
        if name.strip() not in known:
            hint = instead_of(name.strip(), list(known))
            raise SettingError("judge_options", f"names '{name.strip()}'; {hint}")
        values[name.strip()] = value.strip()
    return values
