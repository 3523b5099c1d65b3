# SPDX-License-Identifier: Apache-2.0
"""What stops the executor, what it refuses, and that it says so and goes on."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from robot_files import robot_file
from smolvla_core.level import Level
from smolvla_executor.core.chunk_queue import Chunk
from smolvla_executor.core.executor_types import State


def test_stale_joint_states_stop_the_commands_and_recovery_begins_with_an_approach(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    rig.cycle(7)
    rig.publish_states = False
    output = rig.run_until(State.FAULT)
    assert output.command is None
    assert output.request is None
    assert "is 0.25 s old" in output.reason
    tick = rig.status().tick
    assert rig.cycle(20).command is None
    rig.measured = rig.measured + 0.2  # someone moved the arm
    rig.publish_states = True
    moved = rig.measured.copy()
    output = rig.run_until(State.APPROACHING)
    assert np.abs(output.command - moved).max() < 0.05
    rig.run_until(State.RUNNING)
    assert rig.executed[-1] == tick


def test_an_answer_to_a_request_from_before_a_fault_is_not_used(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    rig.policy = lambda request: rig.post_chunk(0.4, rig.chunk_for(request))
    while rig.requests[-1].must_go:
        rig.cycle()
    merged = rig.status().chunks_merged
    rig.publish_states = False
    rig.run_until(State.FAULT)
    rig.policy = lambda request: None
    rig.publish_states = True
    rig.cycle(20)
    assert rig.status().chunks_merged == merged
    assert rig.outputs[-1].state == State.WAITING


def test_nan_joint_states_count_as_none(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    rig.publish_states = False
    for _ in range(6):
        rig.core.on_joint_state([math.nan, 0.0, 0.0], rig.now)
        output = rig.cycle()
    assert output.state == State.FAULT
    assert "pan is not finite" in output.reason
    rig.publish_states = True
    rig.run_until(State.RUNNING)
    rig.publish_states = False
    assert "finite" not in rig.run_until(State.FAULT).reason


def test_a_message_without_our_joints_is_named_in_the_reason(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    rig.publish_states = False
    rig.core.feedback.reject("no lift among the joints a, b")
    assert "no lift among the joints" in rig.run_until(State.FAULT).reason


def test_stop_publishes_nothing_and_start_begins_anew_at_tick_zero(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    rig.cycle(8)
    ids = [request.request_id for request in rig.requests]
    assert rig.core.stop(rig.now) == "stopped"
    output = rig.cycle(10)
    assert output.state == State.IDLE
    assert output.command is None
    assert rig.status().queue_depth == 0
    rig.start()
    rig.run_until(State.APPROACHING)
    assert rig.status().tick == 0
    assert rig.requests[-1].request_id not in ids
    assert rig.status().requests == 1


def test_start_and_stop_twice_say_so(rig) -> None:
    assert "already" in rig.core.stop(rig.now)
    rig.start()
    assert "already" in rig.core.start(rig.now)


def test_a_chunk_with_nan_never_reaches_the_queue(rig) -> None:
    rig.start()

    def poison(request) -> None:
        chunk = rig.chunk_for(request)
        chunk.positions[3, 1] = math.nan
        rig.post_chunk(0.05, chunk)

    rig.policy = poison
    output = rig.cycle(60)
    assert output.state == State.WAITING
    assert rig.commands.size == 0
    assert 3 <= rig.status().chunks_invalid <= 12  # 3 s with pauses of 0.2 s
    assert "nan for lift in row 3" in output.reason
    rig.policy = rig.answer
    rig.run_until(State.RUNNING)


def test_a_chunk_for_another_tick_than_asked_is_refused(rig) -> None:
    rig.start()
    rig.policy = lambda request: rig.post_chunk(
        0.05, replace(rig.chunk_for(request), first_tick=request.tick + 1)
    )
    assert "tick 0 was asked for" in rig.cycle(5).reason
    assert rig.status().chunks_merged == 0


def test_refusals_back_off_and_their_words_reach_the_status(rig) -> None:
    rig.start()
    rig.policy = lambda request: rig.post_refusal(
        0.0, request.request_id, "no instruction yet: publish one on /task_instruction"
    )
    output = rig.cycle(41)
    assert "no instruction yet" in output.reason
    assert "no instruction yet" in rig.status().last_refusal
    assert 5 <= rig.status().requests_refused <= 10  # 2 s with a pause of 0.2 s
    rig.policy = rig.answer
    rig.run_until(State.RUNNING)


def test_a_first_action_too_far_away_is_refused_until_the_arm_is_nearer(make_rig) -> None:
    rig = make_rig(max_start_jump=0.2)
    rig.measured = rig.path(0) + 0.5
    rig.start()
    output = rig.cycle(40)
    assert output.state == State.WAITING
    assert rig.commands.size == 0
    assert "largest start jump (0.20 rad)" in output.reason
    rig.measured = rig.path(0) + 0.1
    rig.run_until(State.RUNNING)


def test_discarding_the_plan_holds_until_a_chunk_asked_for_afterwards_comes(make_rig) -> None:
    rig = make_rig(rate=100.0)
    rig.start()
    rig.run_until(State.RUNNING)
    rig.cycle(33)
    before = rig.outputs[-1].command
    rig.discard_plan()
    asked = len(rig.requests)
    output = rig.cycle()
    assert output.state == State.HOLDING
    np.testing.assert_array_equal(output.command, before)
    assert len(rig.requests) == asked + 1
    rig.run_until(State.RUNNING)


def test_discarding_the_plan_during_the_approach_begins_another_approach(rig) -> None:
    rig.measured = rig.path(0) + 0.5
    rig.start()
    rig.run_until(State.APPROACHING)
    rig.cycle(3)
    before = rig.outputs[-1].command
    rig.discard_plan()
    output = rig.cycle()
    assert output.state == State.WAITING
    np.testing.assert_array_equal(output.command, before)
    rig.run_until(State.APPROACHING)
    rig.run_until(State.RUNNING)
    np.testing.assert_array_equal(rig.outputs[-1].command, rig.path(0))


def test_a_late_answer_during_the_approach_is_approached_too(make_rig) -> None:
    rig = make_rig(request_timeout=0.2, approach_speed=0.2)
    rig.measured = rig.path(0) + 0.3
    late = []
    rig.policy = lambda request: late.append(request)
    rig.start()
    rig.cycle(7)
    assert len(late) == 2
    other = rig.chunk_for(late[1]).positions + 0.1
    rig.core.planner.on_chunk(rig.chunk_for(late[0]), rig.now)
    rig.run_until(State.APPROACHING)
    rig.core.planner.on_chunk(Chunk(late[1].request_id, 0, other, 0.05), rig.now)
    rig.policy = rig.answer
    first = rig.run_until(State.RUNNING, limit=300)
    np.testing.assert_allclose(first.command, 0.3 * rig.path(0) + 0.7 * other[0])
    assert np.abs(np.diff(rig.commands, axis=0)).max() <= 0.2 * 0.05 + 1e-9


def test_a_policy_slower_than_the_timeout_still_makes_progress(make_rig) -> None:
    rig = make_rig(request_timeout=0.5)
    rig.policy = lambda request: rig.post_chunk(1.3, rig.chunk_for(request))
    rig.start()
    rig.cycle(200)
    status = rig.status()
    assert status.requests_timed_out == 2
    assert status.chunks_merged >= 4
    assert rig.executed == list(range(len(rig.executed)))


def test_after_starvation_an_action_begins_at_its_very_start(make_rig) -> None:
    rig = make_rig(rate=30.0)  # an action each one and a half cycles
    rig.policy = lambda request: rig.post_chunk(0.5, rig.chunk_for(request, rows=4))
    rig.start()
    rig.cycle(200)
    after_hold = [
        now
        for before, now in zip(rig.outputs, rig.outputs[1:], strict=False)
        if before.state == State.HOLDING and now.state == State.RUNNING
    ]
    assert len(after_hold) > 3
    for output in after_hold:
        np.testing.assert_array_equal(output.command, rig.path(output.executed_tick))


def test_an_approach_goes_on_from_the_command_when_the_arm_lags(make_rig) -> None:
    rig = make_rig(request_timeout=0.2, approach_speed=0.5)
    rig.measured = rig.path(0) + 0.4
    lagging = rig.measured.copy()
    rig.start()
    rig.run_until(State.APPROACHING)
    for cycle in range(40):
        rig.measured = lagging
        if cycle == 10:
            rig.discard_plan()
        rig.cycle()
    assert np.abs(np.diff(rig.commands, axis=0)).max() <= 0.5 * 0.05 + 1e-9


def test_a_chunk_with_another_period_waits_for_an_empty_queue(make_rig) -> None:
    rig = make_rig(rate=100.0)
    rig.start()
    rig.run_until(State.RUNNING)
    rig.policy = lambda request: rig.post_chunk(0.02, rig.chunk_for(request, period=0.1))
    rig.cycle(60)
    assert rig.status().chunks_invalid > 0
    rig.cycle(200)
    assert rig.requests[-1].period == 0.1
    begun = [i for i, output in enumerate(rig.outputs) if output.executed_tick is not None]
    assert set(np.diff(begun[-4:])) == {10}


def test_actions_faster_than_control_are_refused_with_the_rate_to_set(rig) -> None:
    rig.policy = lambda request: rig.post_chunk(0.02, rig.chunk_for(request, period=0.01))
    rig.start()
    output = rig.cycle(10)
    assert output.state == State.WAITING
    assert "raise the control rate to 100 Hz" in output.reason


def test_a_clock_that_goes_back_stops_the_commands_and_recovers(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    rig.now = 0.0
    output = rig.cycle()
    assert output.state == State.FAULT
    assert "clock went back" in output.reason
    rig.run_until(State.RUNNING)


def test_guard_interventions_are_told_and_counted(make_rig) -> None:
    rig = make_rig(robot=robot_file(("pan", "lift", "gripper"), -0.1, 1.0))
    rig.start()
    rig.cycle(200)
    limited = [output for output in rig.outputs if output.limited]
    assert {change.kind for output in limited for change in output.limited} == {"position"}
    assert rig.status().guard_limited == len(limited) > 0
    assert rig.commands.min() >= -0.1
    rig.core.stop(rig.now)
    rig.start()
    assert rig.status().guard_limited == 0


def test_status_counts_late_chunks_and_overruns(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    rig.policy = lambda request: rig.post_chunk(0.3, rig.chunk_for(request, rows=3))
    rig.cycle(20)
    assert rig.status().chunks_late > 0
    rig.now += 0.12
    rig.cycle()
    assert rig.status().overruns == 1
    assert rig.status().period_max == pytest.approx(0.17)


def test_status_before_the_first_answer_has_no_latency(rig) -> None:
    status = rig.status()
    assert math.isnan(status.latency_p50)
    assert math.isnan(status.period_p50)
    assert status.reason


def test_simulated_time_needs_no_wall_clock(make_rig) -> None:
    first, second = make_rig(), make_rig()
    second.now = 1.7e9
    for rig in (first, second):
        rig.start()
        rig.cycle(150)
    np.testing.assert_array_equal(first.commands, second.commands)


def test_the_arm_is_not_moved_by_contradicting_states(rig):
    rig.start()
    rig.run_until(State.RUNNING)
    rig.core.on_joint_state(rig.measured + np.array([0.0, 0.8, 0.0]), rig.now, "gui")
    output = rig.cycle()
    assert output.state == State.FAULT
    assert output.command is None
    assert output.request is None
    assert "lift" in output.reason
    assert "gui" in output.reason
    assert rig.status().level == Level.ERROR
    rig.cycle(20)
    assert rig.outputs[-1].state == State.FAULT
    rig.run_until(State.APPROACHING)
    rig.run_until(State.RUNNING)
