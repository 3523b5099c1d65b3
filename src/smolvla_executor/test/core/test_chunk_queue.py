# SPDX-License-Identifier: Apache-2.0
"""The queue is indexed by tick: rows are trimmed, blended and appended where they belong."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from smolvla_core.node_settings import ExecutorSettings
from smolvla_core.settings import settings_of
from smolvla_executor.core.chunk_queue import (
    AGGREGATIONS,
    ALIGNMENTS,
    LEAST_GAIN,
    Chunk,
    ChunkQueue,
    chunk_problem,
)


def chunk(first_tick: int, rows: int, value: float | None = None) -> Chunk:
    ticks = np.arange(first_tick, first_tick + rows, dtype=np.float64)
    column = ticks if value is None else np.full(rows, value)
    return Chunk(1, first_tick, np.stack((column, -column), axis=1), 0.05)


def queue(name: str = "latest") -> ChunkQueue:
    return ChunkQueue(2, ExecutorSettings(aggregate=name, alignment="tick"))


def test_row_zero_belongs_to_the_tick_that_was_asked_for() -> None:
    actions = queue()
    actions.merge(chunk(0, 3))
    assert actions.next_tick == 0
    assert [actions.pop()[0] for _ in range(3)] == [0.0, 1.0, 2.0]
    assert actions.next_tick == 3


@pytest.mark.parametrize("alignment", sorted(ALIGNMENTS))
def test_a_chunk_whose_ticks_are_all_over_changes_nothing(alignment: str) -> None:
    actions = ChunkQueue(2, ExecutorSettings(aggregate="latest", alignment=alignment))
    actions.merge(chunk(0, 9))
    for _ in range(4):
        actions.pop()
    before = actions.committed()
    result = actions.merge(chunk(0, 4, value=7.0))
    assert result.late
    assert result.rows_trimmed == 4
    np.testing.assert_array_equal(actions.committed(), before)


def test_a_chunk_that_begins_inside_the_queue_keeps_what_comes_before() -> None:
    actions = queue()
    actions.merge(chunk(0, 4))
    result = actions.merge(chunk(2, 4, value=7.0))
    assert result.rows_trimmed == 0
    assert [row[0] for row in actions.committed()] == [0.0, 1.0, 7.0, 7.0, 7.0, 7.0]


def test_a_gap_is_refused_and_changes_nothing() -> None:
    actions = queue()
    actions.merge(chunk(0, 2))
    with pytest.raises(ValueError, match="begins at tick 3"):
        actions.merge(chunk(3, 2))
    assert len(actions) == 2


def test_seam_jump_is_measured_before_blending_or_from_the_last_action() -> None:
    actions = queue("conservative")
    assert actions.merge(chunk(0, 2, value=1.0)).seam_jump == 0.0
    assert actions.merge(chunk(0, 2, value=1.5)).seam_jump == pytest.approx(0.5)
    actions.pop()
    last = actions.pop()[0]
    assert actions.merge(chunk(2, 2, value=3.0)).seam_jump == pytest.approx(3.0 - last)


def test_clear_keeps_the_tick() -> None:
    actions = queue()
    actions.merge(chunk(0, 5))
    actions.pop()
    actions.clear()
    assert len(actions) == 0
    assert actions.next_tick == 1
    with pytest.raises(IndexError):
        actions.pop()


def test_what_is_handed_out_cannot_change_the_queue() -> None:
    actions = queue()
    source = chunk(0, 3)
    actions.merge(source)
    source.positions[:] = 99.0
    actions.committed()[:] = 99.0
    actions.pop()[:] = 99.0
    with pytest.raises(ValueError, match="read-only"):
        actions.peek(0)[:] = 99.0
    assert actions.pop()[0] == 1.0


@pytest.mark.parametrize(
    ("name", "share"), [("weighted", 0.7), ("average", 0.5), ("conservative", 0.3)]
)
def test_blends_give_the_new_chunk_its_share(name: str, share: float) -> None:
    actions = queue(name)
    actions.merge(chunk(0, 2, value=1.0))
    actions.merge(chunk(0, 2, value=2.0))
    assert actions.pop()[0] == pytest.approx(1.0 + share)


def test_temporal_ensemble_is_the_weighted_mean_of_all_predictions() -> None:
    actions = queue("temporal_ensemble")
    values = [1.0, 4.0, -2.0, 3.0, 10.0]
    for value in values:
        actions.merge(chunk(0, 2, value=value))
    weights = np.exp(-0.01 * np.arange(len(values)))
    assert actions.pop()[0] == pytest.approx(np.average(values, weights=weights), abs=1e-12)


@pytest.mark.parametrize(
    ("continues", "expected"),
    [("", 1.7), ("off", 1.7), ("guided", 2.0), ("trained", 2.0), ("trained+future_state", 2.0)],
)
def test_what_continues_the_queue_replaces_it_and_is_not_blended_twice(
    continues: str, expected: float
) -> None:
    actions = queue("auto")
    actions.merge(chunk(0, 2, value=1.0))
    actions.merge(replace(chunk(0, 2, value=2.0), continues=continues))
    assert actions.pop()[0] == pytest.approx(expected)


@pytest.mark.parametrize("name", sorted(AGGREGATIONS))
def test_chunks_that_agree_are_not_changed_by_a_bit(name: str) -> None:
    actions = queue(name)
    value = 0.1 + 0.2
    for _ in range(5):
        actions.merge(chunk(0, 3, value=value))
    assert actions.pop()[0] == value


def test_each_choice_of_the_settings_is_computed() -> None:
    choices = settings_of(ExecutorSettings)
    assert choices["aggregate"].choices == ("auto", *AGGREGATIONS)
    assert choices["alignment"].choices == tuple(ALIGNMENTS)


@pytest.mark.parametrize(
    ("positions", "period", "words"),
    [
        (np.zeros((0, 2)), 0.05, "no rows"),
        (np.zeros(4), 0.05, "shape"),
        (np.zeros((2, 3)), 0.05, "shape"),
        (np.array([[0.0, np.nan]]), 0.05, "nan for b in row 0"),
        (np.array([[np.inf, 0.0]]), 0.05, "inf for a"),
        (np.zeros((1, 2)), 0.0, "period"),
        (np.zeros((1, 2)), float("nan"), "period"),
        (np.array([["x", "y"]]), 0.05, "instead of numbers"),
    ],
)
def test_malformed_chunks_are_named(positions: np.ndarray, period: float, words: str) -> None:
    assert words in chunk_problem(Chunk(1, 0, positions, period), ("a", "b"))


def test_a_well_formed_chunk_has_no_problem() -> None:
    assert chunk_problem(chunk(0, 3), ("a", "b")) == ""


def ramp(start: float, rows: int, step: float = 0.1) -> np.ndarray:
    """Return a motion of two joints that both start at `start`."""
    return np.repeat(start + step * np.arange(rows)[:, None], 2, axis=1)


def in_motion(name: str, executed: int = 3) -> ChunkQueue:
    """Return a queue that has executed so many ticks of a motion from 0 at 0.1 rad a tick."""
    made = ChunkQueue(2, ExecutorSettings(aggregate="latest", alignment=name))
    made.merge(Chunk(1, 0, ramp(0.0, 8), 0.1))
    for _ in range(executed):
        made.pop()
    return made


def test_plans_that_agree_go_on_at_the_present_tick() -> None:
    actions = in_motion("pose")
    result = actions.merge(Chunk(2, 0, ramp(0.005, 8), 0.1))
    assert result.rows_trimmed == 3
    assert actions.pop() == pytest.approx([0.305, 0.305])


def test_a_new_plan_is_begun_at_its_beginning() -> None:
    # The arm would stand at 0.3 next; the new plan goes the other way from 0.3.
    away = ramp(0.3, 8, -0.1)
    by_tick, by_pose = in_motion("tick"), in_motion("pose")
    assert by_tick.merge(Chunk(2, 0, away, 0.1)).rows_trimmed == 3
    result = by_pose.merge(Chunk(2, 0, away, 0.1))
    assert (result.rows_trimmed, result.seam_jump) == (0, pytest.approx(0.0))
    assert by_pose.pop() == pytest.approx([0.3, 0.3])
    assert len(by_pose) == 7


def test_never_farther_than_the_present_tick() -> None:
    # The row nearest to 0.3 lies in the future of the plan: ticks are not skipped.
    assert in_motion("pose").merge(Chunk(2, 0, ramp(-0.3, 8), 0.1)).rows_trimmed == 3


def test_noise_does_not_shift_a_plan() -> None:
    rows = ramp(0.0, 8)
    rows[3] += 0.5 * LEAST_GAIN
    rows[2] = rows[3] - 0.4 * LEAST_GAIN
    assert in_motion("pose").merge(Chunk(2, 0, rows, 0.1)).rows_trimmed == 3


def test_after_a_hold_the_held_action_counts() -> None:
    actions = in_motion("pose", executed=8)
    result = actions.merge(Chunk(2, 5, ramp(0.7, 6, -0.1), 0.1))
    assert result.rows_trimmed == 0
    assert actions.pop() == pytest.approx([0.7, 0.7])


@settings(max_examples=150, deadline=None)
@given(
    operations=st.lists(
        st.one_of(
            st.just(("pop",)),
            st.just(("clear",)),
            st.tuples(st.just("merge"), st.integers(-12, 3), st.integers(1, 12)),
        ),
        max_size=60,
    ),
    name=st.sampled_from(sorted(AGGREGATIONS)),
)
def test_any_order_of_merges_and_pops_keeps_ticks_contiguous(
    operations: list[tuple[object, ...]], name: str
) -> None:
    """A policy that always predicts its tick's number is replayed without a slip."""
    actions = queue(name)
    executed = 0
    for operation in operations:
        end = actions.next_tick + len(actions)
        if operation[0] == "pop":
            if len(actions):
                assert actions.pop()[0] == executed
                executed += 1
        elif operation[0] == "clear":
            actions.clear()
        else:
            offset, rows = int(operation[1]), int(operation[2])
            first = max(0, end + offset)
            kept = max(0, first - actions.next_tick)
            if first > end:
                with pytest.raises(ValueError, match="begins at tick"):
                    actions.merge(chunk(first, rows))
                continue
            result = actions.merge(chunk(first, rows))
            if not result.late:
                assert len(actions) == kept + rows - result.rows_trimmed
            assert result.late == (result.rows_trimmed == rows)
        assert actions.next_tick == executed
        ticks = actions.next_tick + np.arange(len(actions), dtype=np.float64)
        np.testing.assert_array_equal(actions.committed()[:, 0], ticks)
