# SPDX-License-Identifier: Apache-2.0
"""What the executor says about itself: how bad it is, why, and a remedy that works."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
from smolvla_core.latency import starvation_reason
from smolvla_core.level import Level
from smolvla_executor.core.executor_types import State

PERIOD = 0.05


def slow(make_rig: Callable, ticks: int, rows: int, share: float, **changes: object):
    """A rig with a policy that takes `ticks` for each chunk of `rows`, run for a while."""
    rig = make_rig(chunk_size_threshold=share, **changes)
    rig.policy = lambda request: rig.post_chunk(ticks * PERIOD, rig.chunk_for(request, rows=rows))
    rig.start()
    rig.cycle(400)
    return rig


def hold_reason(rig) -> str:
    return next(output.reason for output in rig.outputs if output.state == State.HOLDING)


def number(pattern: str, words: str) -> float:
    found = re.search(pattern, words)
    assert found, words
    return float(found[1])


@pytest.mark.parametrize(
    ("ticks", "rows", "share"), [(7, 30, 0.1), (11, 24, 0.4), (4, 10, 0.3), (18, 40, 0.05)]
)
def test_the_threshold_that_is_named_lets_the_queue_never_run_dry(make_rig, ticks, rows, share):
    rig = slow(make_rig, ticks, rows, share)
    words = hold_reason(rig)
    assert f"the policy takes {ticks * PERIOD:.2f} s" in words
    assert f"the queue reaches {share * rows * PERIOD:.2f} s" in words
    least = number(r"raise chunk_size_threshold \(g\) to ([\d.]+) or more", words)
    for enough in (least, 1.0):
        assert slow(make_rig, ticks, rows, enough).status().starvations == 0


@pytest.mark.parametrize(("ticks", "rows", "share"), [(13, 20, 0.7), (25, 20, 0.2), (8, 12, 1.0)])
def test_where_no_threshold_helps_longer_chunks_are_named_that_do(make_rig, ticks, rows, share):
    words = hold_reason(slow(make_rig, ticks, rows, share))
    assert f"hides more than half a chunk ({rows / 2 * PERIOD:.2f} s)" in words
    assert "faster device" in words
    for threshold in (0.5, 0.7, 1.0):
        assert slow(make_rig, ticks, rows, threshold).status().starvations > 0
    longer = int(number(r"chunks of (\d+) actions or more", words))
    threshold = 0.5 if "with chunk_size_threshold 0.5" in words else share
    assert slow(make_rig, ticks, longer, threshold).status().starvations == 0


def executed(rig) -> int:
    return sum(output.executed_tick is not None for output in rig.outputs)


@pytest.mark.parametrize("ticks", range(1, 24))
def test_a_threshold_that_is_left_to_the_executor_moves_the_arm_most(make_rig, ticks):
    rig = slow(make_rig, ticks, 16, -1.0)
    chosen = rig.status().chunk_size_threshold
    assert f"chosen for a delay of {ticks} actions" in rig.status().execution
    assert ("synchronous" if chosen == 0.0 else f"asynchronous, g {chosen:g} ") in (
        rig.status().execution
    )
    if ticks <= 8:
        assert rig.status().starvations <= 1  # before the first latency is known
        assert chosen >= 0.3
    others = [executed(slow(make_rig, ticks, 16, share)) for share in (0.0, 0.3, 0.7, 1.0)]
    assert executed(rig) >= max(others) - 16


def test_a_delay_beyond_the_reach_is_waited_for_and_says_what_helps(make_rig):
    rig = slow(make_rig, 14, 16, -1.0)
    assert rig.status().chunk_size_threshold == 0.5
    words = next(o.reason for o in reversed(rig.outputs) if o.state == State.HOLDING)
    assert "no chunk_size_threshold (g) hides more than half a chunk" in words
    assert "raise" not in words
    assert "--state-offset 15" in words
    longer = int(number(r"chunks of (\d+) actions or more", words))
    assert slow(make_rig, 14, longer, -1.0).status().starvations <= 1
    # Trained for the delay, a chunk reaches farther by it.
    rig = make_rig(chunk_size_threshold=-1.0)

    def future(request):
        ahead = min(request.expected_delay, 15, max(0, len(request.committed) - 1))
        made = rig.chunk_for(request, rows=16 + ahead)
        rig.post_chunk(
            14 * PERIOD,
            replace(made, continues="future_state", chunk_size=16, state_offset=15),
        )

    rig.policy = future
    rig.start()
    rig.cycle(100)
    before = rig.status().starvations  # while latency and reach are yet unknown
    rig.cycle(400)
    assert rig.status().starvations == before
    assert "chunks continue by future_state" in rig.status().execution


def test_chunks_that_are_cut_too_short_say_where_to_cut_them(make_rig):
    words = hold_reason(slow(make_rig, 9, 50, 0.6, actions_per_chunk=12))
    cut = int(number(r"actions_per_chunk of (\d+) or more", words))
    assert "the policy's chunks have 50" in words
    assert slow(make_rig, 9, 50, 0.6, actions_per_chunk=cut).status().starvations == 0


def test_a_policy_that_is_late_now_and_then_is_not_called_slow():
    words = starvation_reason(
        latency_p50=0.2, latency_p95=3.0, share=0.7, chunk_size=50, period=0.03
    )
    assert "now and then" in words
    assert "chunk_size_threshold" not in words


def level(rig) -> Level:
    return rig.status().level


def test_a_fault_is_an_error_a_hold_a_warning_and_moving_neither(rig):
    rig.start()
    rig.run_until(State.APPROACHING)
    assert level(rig) == Level.OK
    rig.run_until(State.RUNNING)
    assert level(rig) == Level.OK
    rig.policy = lambda request: rig.post_refusal(0.0, request.request_id, "camera left: silent")
    held = rig.run_until(State.HOLDING)
    assert "the policy refused: camera left: silent" in held.reason
    assert level(rig) == Level.WARN
    rig.publish_states = False
    rig.run_until(State.FAULT)
    assert level(rig) == Level.ERROR


def test_what_is_still_to_come_is_no_fault_at_first(rig):
    rig.publish_states = False
    rig.start()
    rig.cycle(20)
    assert (level(rig), rig.outputs[-1].state) == (Level.OK, State.WAITING)
    rig.cycle(200)
    assert (level(rig), rig.outputs[-1].state) == (Level.WARN, State.WAITING)
    rig.publish_states, answer, rig.policy = True, rig.policy, lambda request: None
    rig.core.planner.on_listener("nobody listens")
    rig.cycle(20)
    assert level(rig) == Level.WARN  # it waits on
    rig.policy, rig.awaited = answer, None
    rig.core.planner.on_listener("")
    rig.run_until(State.RUNNING)
    assert level(rig) == Level.OK


@pytest.mark.parametrize(("waiting", "expected"), [(True, Level.OK), (False, Level.WARN)])
def test_a_policy_that_waits_for_the_user_is_no_fault(rig, waiting, expected):
    def refuse(request) -> None:
        rig.post(
            0.0,
            lambda: rig.core.planner.on_refusal(request.request_id, "tell me", rig.now, waiting),
        )
        rig.awaited = None

    rig.policy = refuse
    rig.start()
    rig.cycle(300)
    assert rig.outputs[-1].state == State.WAITING
    assert "tell me" in rig.outputs[-1].reason
    assert level(rig) == expected


def test_a_plan_that_must_not_be_executed_is_an_error(rig):
    rig.policy = lambda request: rig.post_chunk(
        0.0, replace(rig.chunk_for(request), positions=np.full((10, 3), 57.0))
    )
    rig.start()
    rig.cycle(10)
    assert level(rig) == Level.ERROR


def test_a_slow_policy_is_not_asked_about_before_it_can_have_answered(make_rig):
    rig = slow(make_rig, 60, 10, 0.5)
    assert not any("is policy_node running" in output.reason for output in rig.outputs[80:])


def test_holds_by_design_are_no_fault_and_say_so(make_rig):
    rig = slow(make_rig, 6, 10, 0.0)
    rig.run_until(State.HOLDING)
    assert level(rig) == Level.OK
    assert "chunk_size_threshold (g) is 0" in rig.outputs[-1].reason
    rig = make_rig()
    rig.start()
    rig.run_until(State.RUNNING)
    gaps = rig.status().starvations
    rig.discard_plan()
    rig.run_until(State.HOLDING)
    assert level(rig) == Level.OK
    assert "the plan was dropped" in rig.outputs[-1].reason
    rig.run_until(State.RUNNING)
    rig.policy = lambda request: rig.post_refusal(0.0, request.request_id, "camera left: silent")
    rig.run_until(State.HOLDING)
    assert level(rig) == Level.WARN
    assert rig.status().starvations == gaps + 1


def test_a_dry_run_says_so_in_every_state(make_rig):
    rig = make_rig(dry_run=True)
    rig.core.stop(rig.now)
    rig.cycle()
    rig.start()
    rig.cycle(40)
    rig.policy = lambda request: None
    rig.run_until(State.HOLDING)
    rig.publish_states = False
    rig.run_until(State.FAULT)
    rig.core.estop.press("button")
    rig.run_until(State.STOPPED)
    rig.core.estop.reset(0.0, rig.now)
    rig.cycle()
    assert {output.state for output in rig.outputs} == set(State)
    for output in rig.outputs:
        assert output.reason.count("DRY RUN") == 1
    rig.core.stop(rig.now, f"task ended: {rig.outputs[-1].reason}")
    assert rig.status().reason.count("DRY RUN") == 1
    rig.core.reconfigure(replace(rig.settings, dry_run=False))
    assert "DRY RUN" not in rig.status().reason
    rig.publish_states = True
    rig.start()
    assert not any("DRY RUN" in rig.cycle().reason for _ in range(40))


def test_without_an_instruction_the_arm_waits_for_the_user_and_nothing_is_wrong(rig):
    rig.core.planner.uninstructed = "no instruction: publish one"
    rig.start()
    rig.cycle(300)
    assert (level(rig), rig.outputs[-1].state) == (Level.OK, State.WAITING)
    rig.core.planner.uninstructed = ""
    rig.run_until(State.RUNNING)
    rig.core.planner.uninstructed = "no instruction: publish one"
    assert rig.run_until(State.HOLDING).reason == "no instruction: publish one"
    assert level(rig) == Level.OK
