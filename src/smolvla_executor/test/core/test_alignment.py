# SPDX-License-Identifier: Apache-2.0
"""Where in a late chunk the execution goes on."""

from __future__ import annotations

import numpy as np
import pytest
from smolvla_core.node_settings import ExecutorSettings
from smolvla_executor.core.chunk_queue import LEAST_GAIN, Chunk, ChunkQueue


def ramp(start: float, rows: int, step: float = 0.1) -> np.ndarray:
    """Return a motion of two joints that both start at `start`."""
    return np.repeat(start + step * np.arange(rows)[:, None], 2, axis=1)


def queue(name: str, executed: int = 3) -> ChunkQueue:
    """Return a queue that has executed so many ticks of a motion from 0 at 0.1 rad a tick."""
    made = ChunkQueue(2, ExecutorSettings(aggregate="latest", alignment=name))
    made.merge(Chunk(1, 0, ramp(0.0, 8), 0.1))
    for _ in range(executed):
        made.pop()
    return made


def test_plans_that_agree_go_on_at_the_present_tick() -> None:
    actions = queue("pose")
    result = actions.merge(Chunk(2, 0, ramp(0.005, 8), 0.1))
    assert result.rows_trimmed == 3
    assert actions.pop() == pytest.approx([0.305, 0.305])


def test_a_new_plan_is_begun_at_its_beginning() -> None:
    # The arm would stand at 0.3 next; the new plan goes the other way from 0.3.
    away = ramp(0.3, 8, -0.1)
    by_tick, by_pose = queue("tick"), queue("pose")
    assert by_tick.merge(Chunk(2, 0, away, 0.1)).rows_trimmed == 3
    result = by_pose.merge(Chunk(2, 0, away, 0.1))
    assert (result.rows_trimmed, result.seam_jump) == (0, pytest.approx(0.0))
    assert by_pose.pop() == pytest.approx([0.3, 0.3])
    assert len(by_pose) == 7


def test_never_farther_than_the_present_tick() -> None:
    # The row nearest to 0.3 lies in the future of the plan: ticks are not skipped.
    assert queue("pose").merge(Chunk(2, 0, ramp(-0.3, 8), 0.1)).rows_trimmed == 3


def test_noise_does_not_shift_a_plan() -> None:
    rows = ramp(0.0, 8)
    rows[3] += 0.5 * LEAST_GAIN
    rows[2] = rows[3] - 0.4 * LEAST_GAIN
    assert queue("pose").merge(Chunk(2, 0, rows, 0.1)).rows_trimmed == 3


def test_after_a_hold_the_held_action_counts() -> None:
    actions = queue("pose", executed=8)
    result = actions.merge(Chunk(2, 5, ramp(0.7, 6, -0.1), 0.1))
    assert result.rows_trimmed == 0
    assert actions.pop() == pytest.approx([0.7, 0.7])


def test_a_chunk_whose_ticks_are_all_over_stays_late() -> None:
    actions = queue("pose")
    before = actions.committed()
    result = actions.merge(Chunk(2, 0, ramp(0.3, 3, 0.0), 0.1))
    assert result.late
    np.testing.assert_array_equal(actions.committed(), before)
