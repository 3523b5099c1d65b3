# SPDX-License-Identifier: Apache-2.0
"""A human, a recording and the way home command the arm through the same guard as the policy."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from robot_files import robot_file
from smolvla_core.level import Level
from smolvla_executor.core.executor_types import RefusedError, Source, State

RATE = 50.0
MAX_SPEED = 4.0
APPROACH_SPEED = 2.0
CHANGES = settings(
    max_examples=25,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow],
)
HOME = (0.3, -0.4)
JOINTS = ("pan", "lift", "gripper")
ROBOT = robot_file(JOINTS, -1.0, 1.0, changes={"pan": {"home": 0.3}, "lift": {"home": -0.4}})


@pytest.fixture
def rig(make_rig):
    return make_rig(rate=RATE)


def lead(rig, goal, cycles: int = 1):
    """A leader that stands at `goal` for some cycles."""
    for _ in range(cycles):
        rig.core.on_human(goal, rig.now + 1.0 / RATE)
        output = rig.cycle()
    return output


def fastest(rig, since: int = 0) -> float:
    """Largest joint speed of the commands [rad/s]."""
    return float(np.abs(np.diff(rig.commands[since:], axis=0)).max() * RATE)


def test_a_human_takes_over_and_gives_back_without_a_jump(rig):
    rig.start()
    rig.run_until(State.RUNNING)
    rig.cycle(20)
    before = len(rig.commands)
    goal = rig.measured + np.array([0.5, -0.6, -0.7])
    assert rig.core.take_over(rig.now).startswith("taken over")
    output = lead(rig, goal)
    assert output.state == State.APPROACHING
    assert rig.status().source == "human"
    requests = len(rig.requests)
    lead(rig, goal, 60)
    assert rig.outputs[-1].state == State.RUNNING
    np.testing.assert_allclose(rig.measured, goal)
    assert fastest(rig, before - 1) <= APPROACH_SPEED + 1e-9
    for step in range(50):  # now the arm does what the human does
        goal = goal + 0.01 * math.cos(step / 5)
        np.testing.assert_allclose(lead(rig, goal).command, goal)
    assert len(rig.requests) == requests  # the policy is not asked meanwhile
    given_back = len(rig.commands)
    assert "policy" in rig.core.give_back(rig.now)
    assert rig.status().source == "policy"
    np.testing.assert_allclose(rig.cycle().command, goal)  # it holds until a chunk comes
    request = rig.requests[-1]
    assert len(rig.requests) == requests + 1
    assert request.must_go
    assert len(request.committed) == 0
    rig.run_until(State.RUNNING)
    assert fastest(rig, given_back - 1) <= APPROACH_SPEED + 1e-9
    assert rig.executed == list(range(len(rig.executed)))


def test_a_chunk_that_was_asked_for_before_a_human_took_over_is_not_executed(rig):
    rig.policy = lambda request: rig.post_chunk(0.5, rig.chunk_for(request))
    rig.start()
    rig.cycle(2)
    assert len(rig.requests) == 1
    rig.core.take_over(rig.now)
    lead(rig, rig.measured, 5)
    rig.core.give_back(rig.now)
    rig.awaited = None
    rig.cycle(3)
    assert len(rig.requests) == 2
    rig.cycle(20)  # the first answer has come
    assert rig.status().chunks_merged == 0
    rig.cycle(10)
    assert rig.status().chunks_merged == 1


def silent(rig) -> None:
    rig.cycle(20)


def broken(rig) -> None:
    for _ in range(20):
        rig.core.on_human([math.nan, 0.0, 0.0], rig.now)
        rig.cycle()


def in_degrees(rig) -> None:
    lead(rig, [45.0, 10.0, 0.0], 20)


@pytest.mark.parametrize(
    ("fault", "reason"), [(silent, "0.2"), (broken, "not finite"), (in_degrees, "calibration")]
)
def test_a_leader_that_cannot_be_followed_holds_the_arm_until_it_can(rig, fault, reason):
    rig.start()
    rig.run_until(State.RUNNING)
    rig.core.take_over(rig.now)
    goal = rig.measured + 0.2
    lead(rig, goal, 60)
    fault(rig)
    assert rig.outputs[-1].state == State.HOLDING
    assert reason in rig.outputs[-1].reason
    assert rig.status().level == Level.WARN
    assert rig.status().source == "human"
    np.testing.assert_allclose(rig.measured, goal)
    since = len(rig.commands) - 1
    lead(rig, goal - 0.5, 60)  # it stands elsewhere now
    assert rig.outputs[-1].state == State.RUNNING
    np.testing.assert_allclose(rig.measured, goal - 0.5)
    assert fastest(rig, since) <= APPROACH_SPEED + 1e-9


def test_nothing_is_given_back_to_a_policy_that_is_not_there(rig):
    rig.start()
    rig.run_until(State.RUNNING)
    rig.core.take_over(rig.now)
    lead(rig, rig.measured, 5)
    rig.core.planner.on_listener("nobody listens on /smolvla/inference_request")
    with pytest.raises(RefusedError, match="no policy to go on: nobody listens"):
        rig.core.give_back(rig.now)
    assert lead(rig, rig.measured).state == State.RUNNING
    assert rig.status().source == "human"


def test_without_a_leader_nothing_is_commanded(make_rig):
    rig = make_rig(rate=RATE, source="human")
    rig.start()
    rig.cycle(10)
    assert rig.outputs[-1].state == State.WAITING
    assert "leader" in rig.outputs[-1].reason
    assert len(rig.commands) == 0
    lead(rig, rig.measured + 0.1, 40)
    assert rig.outputs[-1].state == State.RUNNING
    assert not rig.requests


def test_two_leaders_that_contradict_each_other_hold_the_arm(make_rig):
    rig = make_rig(rate=RATE, source="human")
    rig.start()
    for step in range(40):
        rig.core.on_human(rig.measured + (0.5 if step % 2 else -0.5), rig.now, f"leader{step % 2}")
        output = rig.cycle()
    assert "contradict" in output.reason
    assert output.state in (State.WAITING, State.HOLDING)


def test_targets_a_little_beyond_the_limits_are_brought_to_them(make_rig):
    rig = make_rig(rate=RATE, source="human")
    rig.start()
    lead(rig, [1.2, -1.3, 0.0], 100)
    assert rig.outputs[-1].state == State.RUNNING
    np.testing.assert_allclose(rig.measured, [1.0, -1.0, 0.0])


def test_who_took_over_an_idle_arm_leaves_it_idle(rig):
    rig.core.take_over(rig.now)
    lead(rig, rig.measured, 40)
    assert rig.outputs[-1].state == State.RUNNING
    rig.core.give_back(rig.now)
    assert rig.cycle(20).state == State.IDLE
    assert rig.status().source == "none"
    assert not rig.requests
    assert rig.core.give_back(rig.now) == "was given back already"


def test_the_arm_that_loses_its_joint_states_approaches_the_leader_again(make_rig):
    rig = make_rig(rate=RATE, source="human")
    rig.start()
    goal = rig.measured + 0.3
    lead(rig, goal, 60)
    rig.publish_states = False
    assert lead(rig, goal, 20).command is None
    assert rig.outputs[-1].state == State.FAULT
    rig.publish_states, rig.measured = True, rig.measured - 0.3
    since = len(rig.commands)
    lead(rig, goal, 60)
    np.testing.assert_allclose(rig.measured, goal)
    assert fastest(rig, since) <= APPROACH_SPEED + 1e-9


def recording(rows: int = 40) -> np.ndarray:
    return 0.3 * np.sin(0.1 * np.arange(rows)[:, None] + np.arange(3))


@pytest.mark.parametrize("period", [1.0 / RATE, 0.04])
def test_a_recording_is_executed_row_by_row_and_then_the_arm_is_idle(rig, period):
    rows = recording()
    rig.core.replay(rows, period, rig.now)
    rig.run_until(State.RUNNING)
    assert rig.status().source == "replay"
    rig.run_until(State.IDLE)
    assert rig.outputs[-1].done
    assert "replayed" in rig.outputs[-1].reason
    executed = [o.command for o in rig.outputs if o.executed_tick is not None]
    np.testing.assert_array_equal(executed, rows)
    assert not rig.requests


@pytest.mark.parametrize(
    ("rows", "period", "reason"),
    [
        (np.degrees(recording()), 0.05, "beyond its limits"),
        (np.full((3, 3), np.nan), 0.05, "nan"),
        (recording()[:, :2], 0.05, "shape"),
        (recording()[:0], 0.05, "no rows"),
        (recording(), 0.001, "raise the control rate"),
    ],
)
def test_a_recording_that_does_not_fit_is_refused_and_nothing_changes(rig, rows, period, reason):
    rig.start()
    rig.run_until(State.RUNNING)
    with pytest.raises(RefusedError, match=reason):
        rig.core.replay(rows, period, rig.now)
    assert rig.cycle().state == State.RUNNING
    assert rig.status().source == "policy"


def test_a_fault_ends_a_replay_for_good(rig):
    rig.core.replay(recording(), 0.05, rig.now)
    rig.run_until(State.RUNNING)
    rig.publish_states = False
    rig.run_until(State.FAULT)
    rig.publish_states = True
    output = rig.cycle(2)
    assert (output.state, output.done) == (State.IDLE, False)
    assert "broken off" in output.reason


def test_home_is_approached_through_the_guard_and_then_the_arm_is_idle(make_rig):
    rig = make_rig(rate=RATE, robot=ROBOT)
    rig.start()
    rig.run_until(State.RUNNING)
    rig.cycle(15)
    since, third = len(rig.commands) - 1, rig.measured[2]
    rig.core.go_home(rig.now)
    assert rig.cycle().state == State.APPROACHING
    assert rig.status().source == "home"
    rig.run_until(State.IDLE)
    assert rig.outputs[-1].done
    np.testing.assert_allclose(rig.measured, [0.3, -0.4, third])
    assert fastest(rig, since) <= APPROACH_SPEED + 1e-9
    rig.start()  # and the policy goes on from there
    rig.run_until(State.RUNNING)


def test_home_is_reached_from_farther_away_than_a_policy_may_begin(make_rig):
    rig = make_rig(rate=RATE, robot=ROBOT, max_start_jump=0.1)
    rig.cycle()
    rig.core.go_home(rig.now)
    rig.run_until(State.IDLE)
    np.testing.assert_allclose(rig.measured[:2], HOME)


def test_home_is_refused_without_a_pose_without_joints_and_while_a_human_has_the_arm(make_rig):
    rig = make_rig(rate=RATE)
    rig.cycle()
    with pytest.raises(RefusedError, match="no home pose"):
        rig.core.go_home(rig.now)
    rig = make_rig(rate=RATE, robot=ROBOT)
    with pytest.raises(RefusedError, match="joint state"):
        rig.core.go_home(rig.now)
    rig.cycle()
    rig.core.take_over(rig.now)
    with pytest.raises(RefusedError, match="human"):
        rig.core.go_home(rig.now)


ORDERS = st.sampled_from(
    ["take_over", "give_back", "home", "replay", "start", "stop", "estop", "reset", "discard"]
)


@CHANGES
@given(
    orders=st.dictionaries(st.integers(0, 400), ORDERS, max_size=12),
    targets=st.lists(st.floats(-2.0, 2.0), min_size=3, max_size=3),
    silent=st.lists(st.tuples(st.integers(0, 400), st.integers(1, 30)), max_size=3),
)
def test_whatever_is_switched_commands_are_continuous_and_within_the_limits(
    make_rig, orders, targets, silent
):
    rig = make_rig(rate=RATE, robot=ROBOT)
    core, mute = rig.core, {first + i for first, count in silent for i in range(count)}
    calls = {
        "take_over": core.take_over,
        "give_back": core.give_back,
        "home": core.go_home,
        "replay": lambda now: core.replay(recording(), 0.05, now),
        "start": core.start,
        "stop": core.stop,
        "estop": lambda now: core.estop.press("test"),
        "reset": lambda now: core.estop.reset(0.0, now),
        "discard": lambda now: core.discard_plan(),
    }
    rig.start()
    previous = rig.measured.copy()
    for cycle in range(450):
        if cycle in orders:
            rig.awaited = None
            with contextlib.suppress(RefusedError):
                calls[orders[cycle]](rig.now)
        if cycle not in mute:
            swing = np.array(targets) * math.sin(0.1 * cycle)
            core.on_human(np.round(swing), rig.now)  # jumps
        output = rig.cycle()
        assert output.reason
        if output.command is None:
            continue
        assert np.abs(output.command).max() <= 1.0
        assert np.abs(output.command - previous).max() <= MAX_SPEED / RATE + 1e-12
        previous = output.command
    assert core.source in Source
