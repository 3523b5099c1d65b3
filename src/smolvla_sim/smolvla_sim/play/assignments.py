# SPDX-License-Identifier: Apache-2.0
"""Which instruction a seed gets."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from smolvla_sim.world.tasks import TASK_KINDS, Task, parse_task, task_kind


@dataclass(frozen=True)
class Assignment:
    """A kind of task whose colors rotate with the seed, or one sentence for all seeds.

    Attributes:
        text: a kind such as ``reach``, or a whole sentence.

    Raises:
        ValueError: neither a kind nor a sentence that the simulation understands.
    """

    text: str

    def __post_init__(self) -> None:
        if not self.variants:
            raise ValueError(f"the kind of task '{self.text}' has no variants")

    @property
    def variants(self) -> tuple[Task, ...]:
        """All tasks that may be asked for."""
        if " " in self.text.strip():
            return (parse_task(self.text),)
        return task_kind(self.text.strip()).variants()

    def task(self, seed: int) -> Task:
        """Return the task of an episode."""
        variants = self.variants
        return variants[seed % len(variants)]

    def sequence(self, seed: int) -> Iterator[Task]:
        """Return endless tasks for continuous operation, that of the episode first.

        Each next one is about another cube where there is one: an arm that has just touched
        the red cube could not be asked for less than to touch the red cube.
        """
        rng = np.random.default_rng([seed, 4])
        task = self.task(seed)
        while True:
            yield task
            others = [other for other in self.variants if other.cube != task.cube]
            if others:
                task = others[int(rng.integers(len(others)))]


def kind_names() -> tuple[str, ...]:
    """Return the kinds of tasks there are."""
    return tuple(kind.kind for kind in TASK_KINDS)
