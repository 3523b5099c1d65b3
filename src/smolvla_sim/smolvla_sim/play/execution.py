# SPDX-License-Identifier: Apache-2.0
"""How chunks are executed: the settings of executor and policy that runs differ in."""

from __future__ import annotations

from dataclasses import dataclass

from smolvla_executor.core.executor_types import ExecutorConfig
from smolvla_executor.executor_node.parameters import EXECUTOR_PARAMETERS, executor_config

USUAL_G = 0.7
USUAL_AGGREGATE = "weighted"
USUAL_ALIGNMENT = "pose"
USUAL_RESUME_JUMP = 0.2
NO_APPROACH = 10.0
"""An `Execution.resume_jump` that no joint reaches: the arm goes on at once, as with LeRobot."""


@dataclass(frozen=True)
class Execution:
    """How chunks are executed; fields as the parameters of `executor_node` and `policy_node`.

    Attributes:
        g: share of a chunk below which the next one is asked for; 0: only when none is left.
        aggregate: how chunks are blended; without meaning for g = 0.
        actions_per_chunk: rows of a chunk that are used; 0 all.
        resume_jump: an action that ends a hold is approached slowly when it is farther than
            this from the held command [rad].
        real_time_chunking: chunks continue the queued actions (parameter of `policy_node`).
        alignment: where in a chunk to go on that comes in motion, ``pose`` or ``tick``.
    """

    g: float
    aggregate: str = USUAL_AGGREGATE
    actions_per_chunk: int = 0
    resume_jump: float = USUAL_RESUME_JUMP
    real_time_chunking: bool = False
    alignment: str = USUAL_ALIGNMENT

    @property
    def synchronous(self) -> bool:
        """Whether it thinks and acts in turns."""
        return self.g == 0.0

    @property
    def name(self) -> str:
        """E.g. ``sync, 5 actions``, ``async g=0.7 weighted`` or ``async g=0.7 RTC``."""
        if self.synchronous:
            if not self.actions_per_chunk:
                return "sync, whole chunk"
            return f"sync, {self.actions_per_chunk} actions"
        rows = f", {self.actions_per_chunk} actions" if self.actions_per_chunk else ""
        seam = "RTC" if self.real_time_chunking else self.aggregate
        by = "" if self.alignment == USUAL_ALIGNMENT else f" by {self.alignment}"
        return f"async g={self.g:g} {seam}{by}{rows}"

    def executor(self, rate: float) -> ExecutorConfig:
        """Return the executor's settings: the defaults of `executor_node` but for these.

        Args:
            rate: of the control loop [Hz].
        """
        values = {parameter.name: parameter.default for parameter in EXECUTOR_PARAMETERS}
        values.update(
            rate=rate,
            chunk_size_threshold=self.g,
            aggregate=self.aggregate,
            alignment=self.alignment,
            actions_per_chunk=self.actions_per_chunk,
            resume_jump=self.resume_jump,
        )
        return executor_config(values, first_request_id=1)
