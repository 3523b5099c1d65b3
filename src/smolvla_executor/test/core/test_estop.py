# SPDX-License-Identifier: Apache-2.0
"""After an e-stop nothing is commanded, whatever comes, until somebody resets it."""

from __future__ import annotations

import contextlib
import math

import numpy as np
import pytest
from robot_files import robot_file
from smolvla_core.level import Level
from smolvla_executor.core.executor_types import RefusedError, Source, State

RATE = 20.0
ROBOT = robot_file(("pan", "lift", "gripper"), -1.0, 1.0, changes={"pan": {"home": 0.3}})


@pytest.fixture
def rig(make_rig):
    return make_rig(rate=RATE, robot=ROBOT)


def test_1000_stops_at_random_moments_let_no_command_out(make_rig):
    """In every state, of every source: from the cycle of the stop on there is none."""
    dice = np.random.default_rng(7)
    rig = make_rig(rate=RATE, robot=ROBOT, chunk_size_threshold=0.3)
    core = rig.core
    rig.policy = lambda request: rig.post_chunk(dice.uniform(0.02, 0.4), rig.chunk_for(request))
    recording = 0.3 * np.sin(0.1 * np.arange(60)[:, None] + np.arange(3))
    orders = (
        core.take_over,
        core.give_back,
        core.go_home,
        lambda now: core.replay(recording, 0.05, now),
        core.start,
        core.stop,
    )

    def disturb() -> None:
        """Let the run come into every state: orders, a leader and joint states that fail."""
        if dice.random() < 0.05:
            rig.awaited = None
            with contextlib.suppress(RefusedError):
                orders[dice.integers(len(orders))](rig.now)
        if dice.random() < 0.02:
            rig.publish_states = not rig.publish_states or dice.random() < 0.7
        if math.sin(rig.now) < 0.8:
            core.on_human(np.sin(0.5 * rig.now + np.arange(3)), rig.now)

    seen = set()
    for _ in range(1000):
        rig.publish_states = True
        if dice.random() < 0.8:
            rig.core.start(rig.now)
        rig.awaited = None
        for _ in range(dice.integers(1, 20)):
            disturb()
            output = rig.cycle()
        seen.add((output.state, rig.status().source))
        if dice.random() < 0.5:
            core.estop.press("button")
        else:
            core.estop.on_message(True, "estop", rig.now)
        rig.awaited = None
        for _ in range(dice.integers(1, 4)):
            disturb()
            output = rig.cycle()
            assert output.command is None
            assert output.request is None
            assert output.state == State.STOPPED
            assert "e-stop" in output.reason
        core.estop.on_message(False, "estop", rig.now)
        assert rig.cycle().state == State.STOPPED  # the button alone releases nothing
        core.estop.reset(0.0, rig.now)
        assert rig.cycle(3).state == State.IDLE
    assert {state for state, _ in seen} == set(State) - {State.STOPPED}
    assert {source for _, source in seen} == set(Source)


def test_a_stop_is_told_at_once_and_nothing_starts_until_it_is_reset(rig):
    rig.start()
    rig.run_until(State.RUNNING)
    rig.core.estop.press("~/estop was called")
    output = rig.cycle()
    status = rig.status()
    assert (output.state, status.state, status.level) == (State.STOPPED,) * 2 + (Level.ERROR,)
    assert "~/estop was called" in status.reason
    assert status.source == "none"
    for order in (rig.core.start, rig.core.take_over, rig.core.go_home):
        with pytest.raises(RefusedError, match="reset_estop"):
            order(rig.now)
    rig.core.stop(rig.now)
    assert rig.cycle().state == State.STOPPED
    rig.core.estop.reset(0.0, rig.now)
    assert rig.cycle(20).state == State.IDLE  # it does not go on by itself
    rig.start()
    rig.run_until(State.RUNNING)


def test_a_button_that_is_still_pressed_cannot_be_reset(rig):
    rig.core.estop.on_message(True, "estop", rig.now)
    with pytest.raises(RefusedError, match="release"):
        rig.core.estop.reset(0.0, rig.now)
    rig.core.estop.on_message(False, "estop", rig.now)
    rig.core.estop.reset(0.0, rig.now)
    assert rig.cycle().state == State.IDLE


def test_a_heartbeat_that_is_missing_stops_the_arm(make_rig):
    rig = make_rig(rate=RATE, robot=ROBOT, estop_timeout=0.1)
    estop = rig.core.estop
    rig.start()
    assert rig.cycle(50).command is None  # not before the first one
    assert rig.outputs[-1].state == State.WAITING
    assert "estop" in rig.outputs[-1].reason
    for _ in range(40):
        estop.on_message(False, "estop", rig.now)
        rig.cycle()
    assert rig.outputs[-1].state == State.RUNNING
    outputs = [rig.cycle() for _ in range(6)]
    stopped = [output.state == State.STOPPED for output in outputs]
    assert stopped == [False] * 1 + [True] * 5  # 0.1 s after the last one
    with pytest.raises(RefusedError, match="silent"):
        estop.reset(0.1, rig.now)
    estop.on_message(False, "estop", rig.now)
    assert rig.cycle().state == State.STOPPED
    estop.reset(0.1, rig.now)
    assert rig.cycle().state == State.IDLE
