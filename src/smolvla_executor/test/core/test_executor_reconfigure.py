# SPDX-License-Identifier: Apache-2.0
"""Other settings while the executor runs: at once, all or none, and never with a jump."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from robot_files import robot_file
from smolvla_executor.core.chunk_queue import Chunk
from smolvla_executor.core.executor_types import State


def limited(lower=-1.0, upper=1.0):
    """The rig's robot with limits of its own."""
    return robot_file(("pan", "lift", "gripper"), lower, upper)


def reconfigure(rig, **changes):
    """Change settings."""
    rig.settings = replace(rig.settings, **changes)
    rig.core.reconfigure(rig.settings)


def speeds(rig, since):
    """Return (cycles, joints) speeds of the commands from the one before `since` on [rad/s]."""
    return np.abs(np.diff(rig.commands[since - 1 :], axis=0)) * rig.settings.rate


def far(rig, goal, rows=40):
    """Let the policy want all joints at `goal`, far from anywhere at once."""

    def answer(request):
        positions = np.full((rows, 3), float(goal))
        rig.post_chunk(0.05, Chunk(request.request_id, request.tick, positions, 0.05))

    rig.policy = answer


def test_blending_thresholds_and_time_outs_count_from_the_next_cycle_on(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    rig.cycle(5)
    tick, merged = rig.status().tick, rig.status().chunks_merged
    reconfigure(rig, chunk_size_threshold=0.9, actions_per_chunk=6, aggregate="latest")
    assert rig.status().chunk_size_threshold == 0.9
    assert rig.cycle().state == State.RUNNING
    assert rig.status().tick == tick + 1
    rig.cycle(30)
    assert rig.status().chunk_size == 6
    assert rig.status().chunks_merged > merged + 5
    assert rig.status().starvations == 0
    rig.policy = lambda request: None
    rig.run_until(State.HOLDING)
    sent = rig.status().requests
    reconfigure(rig, request_timeout=0.6)
    rig.cycle(40)
    assert rig.status().requests >= sent + 2


def test_a_new_state_timeout_ends_and_heals_a_fault(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    rig.publish_states = False
    rig.run_until(State.FAULT)
    reconfigure(rig, state_timeout=5.0)
    assert rig.cycle(3).state != State.FAULT
    reconfigure(rig, state_timeout=0.1)
    assert rig.cycle().state == State.FAULT


def test_a_lower_speed_counts_within_the_motion_and_a_higher_one_makes_no_rush(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    far(rig, 0.9)
    reconfigure(rig, max_speed=0.2)
    begun = len(rig.commands)
    rig.cycle(20)
    assert speeds(rig, begun).max() == pytest.approx(0.2)
    lag = np.abs(0.9 - rig.commands[-1]).max()
    assert lag > 0.5
    begun = len(rig.commands)
    reconfigure(rig, max_speed=4.0)
    output = rig.cycle()
    assert output.state == State.APPROACHING
    rig.run_until(State.RUNNING)
    assert speeds(rig, begun).max() <= rig.settings.approach_speed + 1e-9
    np.testing.assert_allclose(rig.commands[-1], 0.9)


def test_after_the_approach_the_next_action_begins_at_its_beginning(make_rig) -> None:
    """Though the settings were changed in the middle of an action of five cycles."""
    rig = make_rig(rate=100.0)
    rig.start()
    rig.run_until(State.RUNNING)
    reconfigure(rig, max_speed=0.05)
    rig.policy = lambda request: rig.post_chunk(0.05, rig.chunk_for(request, rows=30))
    rig.cycle(203)
    assert rig.outputs[-1].executed_tick is None
    begun = len(rig.commands)
    reconfigure(rig, max_speed=4.0)
    assert rig.cycle().state == State.APPROACHING
    output = rig.run_until(State.RUNNING)
    assert output.executed_tick is not None
    np.testing.assert_allclose(output.command, rig.path(output.executed_tick), atol=1e-9)
    assert speeds(rig, begun).max() <= rig.settings.approach_speed + 1e-9


def test_another_blending_counts_for_the_actions_that_are_queued(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    reconfigure(rig, aggregate="conservative", max_speed=100.0)
    far(rig, 0.5, rows=10)
    merged = rig.status().chunks_merged
    while rig.status().chunks_merged == merged:
        rig.cycle()
    assert np.abs(rig.cycle().command - 0.5).max() > 0.1
    reconfigure(rig, aggregate="latest")
    far(rig, -0.5, rows=10)
    rig.cycle(3)  # what was asked for before has come
    merged = rig.status().chunks_merged
    while rig.status().chunks_merged == merged:
        rig.cycle()
    np.testing.assert_array_equal(rig.cycle().command, [-0.5] * 3)


def test_limits_that_are_a_little_narrower_begin_an_approach_too(rig) -> None:
    rig.start()
    far(rig, 0.8)
    rig.run_until(State.RUNNING)
    rig.cycle(3)
    reconfigure(rig, robot=limited(upper=0.8 - 0.5 * rig.settings.resume_jump))
    assert rig.cycle().state == State.APPROACHING
    reconfigure(rig, robot=limited(upper=0.9))
    rig.run_until(State.RUNNING)


def test_a_speed_that_nothing_waited_for_interrupts_nothing(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    rig.cycle(4)
    for speed in (2.5, 3.5, [3.0, 2.0, 4.0]):
        reconfigure(rig, max_speed=speed)
        assert rig.cycle().state == State.RUNNING


@pytest.mark.parametrize("policy_answers", [True, False])
def test_limits_that_leave_the_arm_outside_lead_it_back_slowly(rig, policy_answers) -> None:
    rig.start()
    far(rig, 0.8)
    rig.run_until(State.RUNNING)
    rig.cycle(3)
    if not policy_answers:
        rig.policy = lambda request: None
        rig.run_until(State.HOLDING)
    begun = len(rig.commands)
    reconfigure(rig, robot=limited(upper=[0.1, 1.0, 1.0]), approach_speed=0.4)
    rig.cycle(80)
    np.testing.assert_allclose(rig.commands[-1], [0.1, 0.8, 0.8], atol=1e-9)
    assert speeds(rig, begun).max() <= 0.4 + 1e-9
    assert (np.diff(rig.commands[begun - 1 :, 0]) <= 1e-12).all()  # never farther out


def test_wider_limits_make_no_rush_either(make_rig) -> None:
    rig = make_rig(robot=limited(upper=[0.2, 1.0, 1.0]))
    rig.start()
    far(rig, 0.9)
    rig.run_until(State.RUNNING)
    rig.cycle(5)
    assert rig.commands[-1][0] == 0.2
    begun = len(rig.commands)
    reconfigure(rig, robot=limited())
    rig.cycle(40)
    np.testing.assert_allclose(rig.commands[-1], 0.9)
    assert speeds(rig, begun).max() <= rig.settings.approach_speed + 1e-9


def test_an_arm_that_starts_outside_its_limits_is_led_back_at_the_speed_of_an_approach(rig):
    rig.measured = np.array([1.6, 0.0, 0.0])
    far(rig, 0.9)
    rig.start()
    rig.run_until(State.RUNNING)
    steps = np.abs(np.diff([[1.6, 0.0, 0.0], *rig.commands], axis=0))
    assert (steps * rig.settings.rate).max() <= rig.settings.approach_speed + 1e-9


def test_an_approach_is_no_faster_than_the_guard_and_takes_a_new_speed_on_its_way(make_rig):
    rig = make_rig(approach_speed=0.3)
    rig.measured = np.full(3, -0.9)
    far(rig, 0.9)
    rig.start()
    rig.run_until(State.APPROACHING)
    rig.cycle(5)
    begun = len(rig.commands)
    reconfigure(rig, approach_speed=2.0)
    rig.cycle(8)
    assert speeds(rig, begun).max() > 0.6
    begun = len(rig.commands)
    reconfigure(rig, max_speed=0.5)
    rig.run_until(State.RUNNING, limit=400)
    assert speeds(rig, begun).max() <= 0.5 + 1e-9
    np.testing.assert_allclose(rig.commands[-1], 0.9)


def test_a_tracking_error_in_the_middle_of_a_blocked_motion_and_its_end(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    far(rig, 0.9)
    blocked = rig.measured.copy()

    def cycle(count):
        for _ in range(count):
            rig.measured = blocked.copy()
            rig.cycle()

    cycle(30)
    assert np.abs(rig.commands[-1] - blocked).max() > 0.4
    reconfigure(rig, max_tracking_error=0.1)
    cycle(10)
    assert np.abs(rig.commands[-1] - blocked).max() <= 0.1 + 1e-9
    begun = len(rig.commands)
    reconfigure(rig, max_tracking_error=0.0)
    cycle(6)
    assert speeds(rig, begun).max() <= rig.settings.approach_speed + 1e-9


def test_commands_after_a_dry_run_begin_where_the_arm_stands(make_rig) -> None:
    """The core went on without it, and to go on from there would be a jump."""
    rig = make_rig(dry_run=True)
    stands = np.array([0.7, -0.7, 0.3])
    rig.start()
    for _ in range(60):  # nobody publishes the commands: the arm stays
        rig.measured = stands.copy()
        output = rig.cycle()
    assert output.state == State.RUNNING
    assert np.abs(output.command - stands).max() > 0.3
    tick = rig.status().tick
    rig.measured = stands.copy()
    begun = len(rig.commands)
    reconfigure(rig, dry_run=False)
    rig.run_until(State.RUNNING)
    assert not rig.status().dry_run
    first = rig.commands[begun]
    assert np.abs(first - stands).max() <= rig.settings.approach_speed / rig.settings.rate
    assert rig.status().tick >= tick


def test_a_dry_run_in_the_middle_only_begins(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    reconfigure(rig, dry_run=True)
    assert rig.cycle().state == State.RUNNING
    assert rig.status().dry_run


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_speed": [1.0, 2.0]}, "needs one, or one for each of pan, lift, gripper"),
        ({"max_step": np.nan}, "must be a finite number"),
        ({"chunk_size_threshold": 1.2, "max_speed": 0.1}, "from -1 up to 1"),
        ({"aggregate": "mean", "max_speed": 0.1}, "mean, which is not one of auto, latest"),
        ({"alignment": "time", "max_speed": 0.1}, "time, which is not one of tick"),
        ({"robot": robot_file(("pan", "lift", "jaw")), "max_speed": 0.1}, "joints stays"),
        ({"rate": 10.0, "max_speed": 0.1}, "rate stays"),
    ],
)
def test_of_settings_that_do_not_fit_none_is_taken(rig, make_rig, changes, words) -> None:
    twin = make_rig()
    for one in (rig, twin):
        one.start()
        one.run_until(State.RUNNING)
        one.cycle(2)
    kept = rig.settings
    with pytest.raises(ValueError, match=words):
        reconfigure(rig, **changes)
    rig.settings = kept
    rig.cycle(40)
    twin.cycle(40)
    np.testing.assert_array_equal(rig.commands, twin.commands)
    assert rig.status() == twin.status()


def test_counters_go_on(rig) -> None:
    rig.start()
    rig.run_until(State.RUNNING)
    far(rig, 0.9)
    reconfigure(rig, max_speed=0.2)
    rig.cycle(20)
    limited = rig.status().guard_limited
    assert limited > 10
    reconfigure(rig, max_speed=0.3)
    assert rig.status().guard_limited == limited


def test_while_it_idles_everything_can_be_changed(rig) -> None:
    reconfigure(rig, robot=limited(upper=0.5), max_speed=1.0, dry_run=True)
    reconfigure(rig, dry_run=False, aggregate="average")
    assert rig.cycle().state == State.IDLE
    rig.start()
    rig.run_until(State.RUNNING)
    assert rig.commands.max() <= 0.5


@pytest.mark.parametrize("seed", range(12))
def test_whatever_is_set_and_whenever_the_commands_stay_within_what_was_set(make_rig, seed):
    """An arm that lags, a policy that jumps, and settings that change every few cycles."""
    rng = np.random.default_rng(seed)
    rig = make_rig(rate=float(rng.choice([20.0, 50.0])), dry_run=bool(seed % 3 == 0))

    def answer(request):
        begin = rng.uniform(-1.5, 1.5, 3) if rng.random() < 0.2 else rig.path(request.tick)
        rows = begin + 0.01 * np.arange(12)[:, None]
        chunk = Chunk(request.request_id, request.tick, rows, 0.05)
        rig.post(rng.uniform(0.02, 0.3), lambda: rig.core.planner.on_chunk(chunk, rig.now))

    def drawn():
        return {
            "robot": limited(-rng.uniform(0.2, 1.4, 3), rng.uniform(0.2, 1.4, 3)),
            "max_speed": float(rng.choice([0.1, 0.5, 2.0, 4.0])),
            "max_tracking_error": float(rng.choice([0.0, 0.1, 0.5])),
            "approach_speed": float(rng.uniform(0.1, 2.0)),
            "aggregate": str(rng.choice(["latest", "weighted", "temporal_ensemble"])),
            "alignment": str(rng.choice(["tick", "pose"])),
            "actions_per_chunk": int(rng.integers(0, 12)),
            "dry_run": bool(rng.random() < 0.3),
        }

    rig.policy, rig.check_single_request = answer, lambda request: None
    arm, sent = rng.uniform(-1.2, 1.2, 3), None
    rig.start()
    for _ in range(250):
        if rng.random() < 0.06:
            was_dry = rig.settings.dry_run
            reconfigure(rig, **drawn())
            sent = None if was_dry else sent  # a dry run ends where the arm stands
        rig.measured = arm.copy()
        command = rig.cycle().command
        if command is None or rig.settings.dry_run:
            continue
        before = arm if sent is None else sent
        lower, upper = rig.settings.body.lower, rig.settings.body.upper
        beyond = np.maximum(lower - before, before - upper)
        back = min(rig.settings.max_speed[0], rig.settings.approach_speed)
        speed = np.where(beyond > 0, back, rig.settings.max_speed)
        assert (np.abs(command - before) * rig.settings.rate <= speed + 1e-9).all()
        after = np.maximum(lower - command, command - upper)
        assert (after <= np.maximum(beyond, 0.0) + 1e-12).all()
        arm, sent = arm + 0.8 * (command - arm), command.copy()
