# SPDX-License-Identifier: Apache-2.0
"""Whatever the network and the policy do: ticks run in order, commands stay safe, no stall."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from smolvla_executor.core.chunk_queue import AGGREGATIONS, ALIGNMENTS
from smolvla_executor.core.executor_types import State

SETTINGS = settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)


@dataclass(frozen=True)
class Fate:
    """What becomes of one request."""

    kind: str
    delay: float
    rows: int


FATES = st.builds(
    Fate,
    kind=st.sampled_from(
        ["answer", "answer", "answer", "lost", "twice", "refused", "nan", "empty", "wild", "tick"]
    ),
    delay=st.floats(0.0, 1.5),
    rows=st.integers(1, 15),
)


def play(rig, fates: list[Fate], noise: float = 0.0) -> list[Fate]:
    """Let the requests meet their fates in turn; when none is left in the list all goes well."""
    remaining = list(fates)
    shake = np.random.default_rng(0)

    def policy(request) -> None:
        if not remaining:
            rig.answer(request)
            return
        fate = remaining.pop(0)
        chunk = rig.chunk_for(request, fate.rows)
        chunk.positions[:] += noise * shake.standard_normal(chunk.positions.shape)
        if fate.kind == "refused":
            rig.post_refusal(fate.delay, request.request_id, "not now")
            return
        if fate.kind == "lost":
            return
        if fate.kind == "nan":
            chunk.positions[-1, 0] = math.nan
        elif fate.kind == "empty":
            chunk = replace(chunk, positions=chunk.positions[:0])
        elif fate.kind == "wild":
            chunk.positions[0, 0] = 1e300
        elif fate.kind == "tick":
            chunk = replace(chunk, first_tick=chunk.first_tick + 3)
        rig.post_chunk(fate.delay, chunk)
        if fate.kind == "twice":
            rig.post_chunk(fate.delay + 0.07, chunk)

    rig.policy = policy
    return remaining


@SETTINGS
@given(
    fates=st.lists(FATES, max_size=12),
    aggregation=st.sampled_from(sorted(AGGREGATIONS)),
    alignment=st.sampled_from(sorted(ALIGNMENTS)),
    share=st.sampled_from([0.0, 0.3, 0.7, 1.0]),
    cycles_per_tick=st.sampled_from([1, 3]),
    silent=st.lists(st.tuples(st.integers(0, 300), st.integers(1, 12)), max_size=3),
)
def test_ticks_run_in_order_and_each_gets_its_own_action(
    make_rig, fates, aggregation, alignment, share, cycles_per_tick, silent
) -> None:
    rig = make_rig(
        aggregate=aggregation,
        alignment=alignment,
        chunk_size_threshold=share,
        request_timeout=0.4,
        rate=20.0 * cycles_per_tick,
    )
    remaining = play(rig, fates)
    rig.start()
    mute = {start + i for start, count in silent for i in range(count)}
    for cycle in range(300):
        rig.publish_states = cycle not in mute
        output = rig.cycle()
        if output.executed_tick is not None:
            # The policy is consistent, so blending and trimming must not be noticeable.
            np.testing.assert_array_equal(output.command, rig.path(output.executed_tick))
    assert rig.executed == list(range(len(rig.executed)))

    # At worst one last loss is waited for, three times the largest latency.
    remaining.clear()
    rig.publish_states = True
    rig.cycle(120 * cycles_per_tick)
    executed = len(rig.executed)
    rig.cycle(60 * cycles_per_tick)
    assert len(rig.executed) > executed, rig.outputs[-1].reason


@SETTINGS
@given(
    fates=st.lists(FATES, max_size=12),
    aggregation=st.sampled_from(sorted(AGGREGATIONS)),
    alignment=st.sampled_from(sorted(ALIGNMENTS)),
    noise=st.floats(0.0, 2.0),
    discard=st.lists(st.integers(0, 250), max_size=3),
    restart=st.integers(0, 250),
)
def test_commands_are_finite_within_limits_and_slow_enough(
    make_rig, fates, aggregation, alignment, noise, discard, restart
) -> None:
    rig = make_rig(aggregate=aggregation, alignment=alignment, request_timeout=0.4, rate=50.0)
    play(rig, fates, noise)
    rig.start()
    previous = rig.measured.copy()
    for cycle in range(250):
        if cycle in discard:
            rig.discard_plan()
        if cycle == restart:
            rig.core.stop(rig.now)
        if cycle == restart + 5:
            rig.start()
        output = rig.cycle()
        if output.command is None:
            assert output.state in (State.IDLE, State.WAITING, State.FAULT)
            continue
        assert np.isfinite(output.command).all()
        assert np.abs(output.command).max() <= 1.0
        assert np.abs(output.command - previous).max() <= 4.0 / 50.0 + 1e-12
        previous = output.command


@pytest.mark.parametrize("aggregation", sorted(AGGREGATIONS))
def test_a_long_run_over_a_bad_network_goes_on(make_rig, aggregation: str) -> None:
    rig = make_rig(aggregate=aggregation, request_timeout=0.4)
    dice = np.random.default_rng(3)
    kinds = ["answer", "answer", "lost", "twice", "refused", "nan", "empty", "tick"]
    fates = [
        Fate(str(dice.choice(kinds)), float(dice.uniform(0.0, 1.0)), int(dice.integers(1, 15)))
        for _ in range(150)
    ]
    play(rig, fates)
    rig.start()
    rig.cycle(2000)
    assert rig.executed == list(range(len(rig.executed)))
    assert len(rig.executed) > 150
