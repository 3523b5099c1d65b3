# SPDX-License-Identifier: Apache-2.0
"""The executor's states, one behavior at a time, on an injected clock."""

from __future__ import annotations

import math

import numpy as np
import pytest
from smolvla_executor.core.executor_types import State


def test_nothing_is_published_before_start(rig) -> None:
    output = rig.cycle(5)
    assert output.state == State.IDLE
    assert output.command is None
    assert output.request is None
    assert "~/start" in output.reason


def test_nothing_is_commanded_or_asked_before_the_first_valid_joint_state(rig) -> None:
    rig.publish_states = False
    rig.start()
    rig.cycle(50)
    rig.core.on_joint_state([0.0, math.nan, 0.0], rig.now)
    output = rig.cycle()
    assert output.state == State.WAITING
    assert output.command is None
    assert rig.requests == []
    assert "the position of lift is not finite" in output.reason
    assert "driver" in output.reason


def test_the_first_motion_is_an_approach_from_the_measured_position(rig) -> None:
    rig.measured = rig.path(0) + 0.3
    start = rig.measured.copy()
    rig.start()
    output = rig.run_until(State.APPROACHING)
    assert np.abs(output.command - start).max() < 0.02
    rig.run_until(State.RUNNING)
    np.testing.assert_array_equal(rig.outputs[-1].command, rig.path(0))
    speeds = np.abs(np.diff(rig.commands, axis=0)) * rig.settings.rate
    assert speeds.max() <= rig.settings.approach_speed + 1e-9


def test_an_approach_that_takes_one_cycle_is_the_action_itself(make_rig) -> None:
    rig = make_rig(approach_speed=100.0, approach_duration=0.0)
    rig.start()
    rig.run_until(State.RUNNING)
    assert rig.executed == [0]
    assert State.APPROACHING not in [output.state for output in rig.outputs]
    np.testing.assert_array_equal(rig.commands, [rig.path(0)])


def test_ticks_stand_still_while_approaching(rig) -> None:
    rig.start()
    rig.run_until(State.APPROACHING)
    assert rig.status().tick == 0
    assert rig.status().queue_depth == 10
    rig.run_until(State.RUNNING)
    assert rig.executed == [0]


def test_at_equal_rates_commands_are_the_actions_bit_for_bit(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    rig.cycle(60)
    commands = rig.commands[-61:]
    np.testing.assert_array_equal(commands, [rig.path(tick) for tick in range(61)])


def test_a_faster_control_rate_goes_through_every_action_exactly(make_rig) -> None:
    rig = make_rig(rate=100.0)
    rig.start()
    rig.run_until(State.RUNNING)
    rig.cycle(200)
    running = [output for output in rig.outputs if output.state == State.RUNNING]
    for index, output in enumerate(running[:-5]):
        tick, part = divmod(index, 5)
        if part == 0:
            assert output.executed_tick == tick
            np.testing.assert_array_equal(output.command, rig.path(tick))
        else:
            straight = rig.path(tick) + part / 5 * (rig.path(tick + 1) - rig.path(tick))
            np.testing.assert_allclose(output.command, straight, atol=1e-12)


def test_asynchronous_requests_keep_the_queue_from_running_empty(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    rig.cycle(300)
    status = rig.status()
    assert status.starvations == 0
    assert status.chunks_merged > 20
    assert status.seam_jump_max < 1e-12
    # Two cycles after the request, two actions have begun: the one it named and the next.
    assert status.rows_trimmed == pytest.approx(2 * status.chunks_merged, abs=3)
    assert status.latency_p50 == pytest.approx(0.1)


def test_a_request_says_what_is_committed_and_how_long_it_will_take(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    rig.cycle(30)
    first, second, third = rig.requests[:3]
    assert (first.must_go, len(first.committed), first.period) == (True, 0, 0.0)
    assert second.request_id == first.request_id + 1
    assert not third.must_go
    assert third.expected_delay == 2
    assert third.period == 0.05
    np.testing.assert_array_equal(
        third.committed, [rig.path(third.tick + i) for i in range(len(third.committed))]
    )


@pytest.mark.parametrize("share", [0.3, 0.9, 1.0])
def test_a_request_names_the_tick_that_begins_as_it_goes_out(make_rig, share) -> None:
    # So the observation is of the instant at which the chunk's first row would begin.
    rig = make_rig(rate=100.0, chunk_size_threshold=share)
    rig.start()
    rig.run_until(State.RUNNING)
    rig.cycle(500)
    asked = [o for o in rig.outputs if o.request is not None and o.state == State.RUNNING]
    assert len(asked) > 10
    for output in asked:
        assert output.executed_tick == output.request.tick
        np.testing.assert_array_equal(output.request.committed[0], rig.path(output.request.tick))


def test_synchronous_requests_wait_until_the_last_action_is_over(make_rig) -> None:
    rig = make_rig(rate=100.0, chunk_size_threshold=0.0)
    rig.start()
    rig.run_until(State.RUNNING)
    rig.cycle(500)
    at = [i for i, o in enumerate(rig.outputs) if o.request is not None][1:]
    assert len(at) > 5
    for index in at:
        assert rig.outputs[index].state == State.HOLDING
        assert rig.outputs[index - 5].executed_tick == rig.outputs[index].request.tick - 1


def test_actions_per_chunk_executes_only_the_first_rows_of_every_chunk(make_rig) -> None:
    rig = make_rig(chunk_size_threshold=0.0, actions_per_chunk=4)
    rig.start()
    rig.run_until(State.RUNNING)
    rig.cycle(100)
    assert [request.tick for request in rig.requests[:5]] == [0, 4, 8, 12, 16]
    assert rig.status().chunk_size == 4
    assert rig.executed == list(range(len(rig.executed)))


def test_starvation_repeats_the_last_command_and_says_why(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    rig.policy = lambda request: None
    output = rig.run_until(State.HOLDING)
    held = output.command
    tick = rig.status().tick
    output = rig.cycle(60)
    np.testing.assert_array_equal(output.command, held)
    assert rig.status().tick == tick
    assert rig.status().starvations == 1
    assert rig.status().starved_cycles == 61
    assert "no answer from the policy for 3." in output.reason
    assert "policy_node" in output.reason


def test_after_starvation_the_first_action_is_the_one_that_was_next(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    rig.policy = lambda request: None
    rig.run_until(State.HOLDING)
    rig.policy = rig.answer
    tick = rig.status().tick
    rig.run_until(State.RUNNING, limit=300)
    assert rig.executed[-1] == tick
    np.testing.assert_array_equal(rig.outputs[-1].command, rig.path(tick))


def test_a_hold_that_ends_with_a_distant_action_is_left_by_an_approach(make_rig) -> None:
    rig = make_rig(resume_jump=0.1, approach_speed=0.5)
    rig.start()
    rig.run_until(State.RUNNING)
    rig.policy = lambda request: None
    rig.run_until(State.HOLDING)
    held = rig.outputs[-1].command

    def elsewhere(request) -> None:
        chunk = rig.chunk_for(request)
        chunk.positions[:] = held + 0.4
        rig.post_chunk(0.1, chunk)

    rig.policy = elsewhere
    tick = rig.status().tick
    rig.run_until(State.APPROACHING, limit=300)
    assert rig.status().tick == tick
    rig.run_until(State.RUNNING)
    assert rig.executed[-1] == tick
    steps = np.abs(np.diff(rig.commands[-40:], axis=0)).max()
    assert steps <= 0.5 / rig.settings.rate + 1e-9


def test_a_hold_that_ends_with_a_near_action_goes_on_at_once(make_rig) -> None:
    rig = make_rig(chunk_size_threshold=0.0, resume_jump=0.1)
    rig.start()
    rig.run_until(State.RUNNING)
    rig.cycle(100)
    states = [output.state for output in rig.outputs[-100:]]
    assert State.HOLDING in states
    assert State.APPROACHING not in states


@pytest.mark.parametrize("share", [0.0, 0.9])
@pytest.mark.parametrize("rate", [20.0, 100.0])
def test_a_request_says_what_was_commanded_for_the_tick_before(make_rig, rate, share) -> None:
    # Between two actions the arm is on its way to the next: that is not what began.
    rig = make_rig(rate=rate, chunk_size_threshold=share, max_speed=0.2)  # the guard limits
    rig.start()
    rig.run_until(State.RUNNING)
    rig.cycle(600)
    assert rig.requests[0].command is None
    began = {o.executed_tick: o.command for o in rig.outputs if o.executed_tick is not None}
    asked = [(i, o.request) for i, o in enumerate(rig.outputs) if o.request and o.request.tick]
    assert len(asked) > 4
    for index, request in asked:
        held = rig.outputs[index - 1].command
        np.testing.assert_array_equal(
            request.command, began[request.tick - 1] if len(request.committed) else held
        )
    assert any(np.abs(r.command - rig.path(r.tick - 1)).max() > 0.01 for _, r in asked)


def test_a_request_after_a_fault_does_not_go_on_from_the_command_before_it(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    rig.publish_states = False
    rig.run_until(State.FAULT)
    rig.publish_states, count = True, len(rig.requests)
    rig.run_until(State.RUNNING)
    assert rig.requests[count].command is None
