# SPDX-License-Identifier: Apache-2.0
"""Executor, policy and arm under one clock: delays, holds, ages, refusals, repeatability."""

from __future__ import annotations

from collections import defaultdict
from itertools import groupby, pairwise

import numpy as np
import pytest
from smolvla_executor.core.executor_types import ExecutorConfig
from smolvla_sim.play.control_loop import ControlLoop
from smolvla_sim.play.execution import NO_APPROACH, Execution
from smolvla_sim.play.observer import Observer
from smolvla_sim.play.policies import LoadedPolicy, PolicySpec, load_policy
from smolvla_sim.world.arm import JOINT_NAMES
from smolvla_sim.world.simulation import HOME, Simulation

RATE = 30.0
ROWS = 16
SYNC = Execution(0.0, actions_per_chunk=8, resume_jump=NO_APPROACH)
ASYNC = Execution(0.7, "latest")
# So much farther does each chunk hold the first joint [rad].
MARK = 0.002


class Arm:
    """Stands in for the simulation: goes where it is told at once."""

    period = 1.0 / 300.0
    joint_names = JOINT_NAMES

    def __init__(self):
        self.positions = np.array(HOME)
        self.cycle = 0
        self.commanded = {}

    def command(self, positions):
        self.positions = self.commanded[self.cycle] = np.array(positions)

    def step(self, count):
        assert count == 10
        self.cycle += 1


class Thinker:
    """A backend whose chunks tell their number by the first joint, and which keeps notes."""

    name, cameras, joint_names, needs_objects = "thinker", (), JOINT_NAMES, False
    chunk_size = ROWS

    def __init__(self, arm, plan=None, period=1.0 / 15.0):
        self._arm = arm
        self._plan = plan or marked
        self.period = period
        self.asked, self.requests, self.observations = [], [], []

    def infer(self, observation, request):
        self.asked.append(self._arm.cycle)
        self.requests.append(request)
        self.observations.append(observation)
        return self._plan(len(self.asked))


def marked(number, rows=ROWS):
    return np.tile(HOME, (rows, 1)) + number * MARK * np.eye(6)[0]


def number_of(command):
    return round(float(command[0] - HOME[0]) / MARK)


def loop_of(execution, delay, plan=None, told=None):
    arm = Arm()
    thinker = Thinker(arm, plan)
    tell = (told if told is not None else []).append
    policy = LoadedPolicy(thinker, lambda seed: None, tell)
    loop = ControlLoop(arm, Observer(arm, thinker, (64, 48)), policy, execution, RATE, delay)
    loop.instruction = "touch the red cube"
    return loop, thinker, arm


def played(loop, cycles):
    """Return by name of a count the cycles in which the trace's grew, and the ages by cycle."""
    grown, ages = defaultdict(list), {}

    def counts():
        trace = loop.trace
        return {
            "merged": len(trace.merges),
            "executed": len(trace.ages),
            "starved": trace.starved,
            "refused": trace.refusals,
        }

    for cycle in range(cycles):
        before = counts()
        loop.step()
        for name, count in counts().items():
            if count > before[name]:
                grown[name].append(cycle)
        if grown["executed"][-1:] == [cycle]:
            ages[cycle] = loop.trace.ages[-1]
    return grown, ages


def holds(starved):
    """Return (first cycle, length) of each hold."""
    found = []
    for _, group in groupby(enumerate(starved), lambda pair: pair[1] - pair[0]):
        cycles = [cycle for _, cycle in group]
        found.append((cycles[0], len(cycles)))
    return found


def test_an_execution_hands_each_setting_to_the_executor():
    config = Execution(0.3, "average", 7, 0.6, real_time_chunking=True).executor(25.0)
    assert isinstance(config, ExecutorConfig)
    assert config.trigger_share == 0.3
    assert config.aggregation == "average"
    assert config.actions_per_chunk == 7
    assert config.resume_jump == 0.6
    assert config.control_rate == 25.0
    assert config.joints == JOINT_NAMES


@pytest.mark.parametrize(
    ("delay", "cycles"), [(0.0, 1), (0.02, 1), (0.1, 3), (0.101, 4), (0.3, 9), (0.6, 18)]
)
@pytest.mark.parametrize("execution", [SYNC, ASYNC], ids=["sync", "async"])
def test_an_answer_arrives_after_the_delay_rounded_up_to_cycles(execution, delay, cycles):
    loop, thinker, _ = loop_of(execution, delay)
    grown, _ = played(loop, 150)
    arrived = grown["merged"]
    assert len(arrived) >= 3
    assert arrived == [asked + cycles for asked in thinker.asked][: len(arrived)]
    assert loop.trace.requests == len(thinker.asked) <= len(arrived) + 1


@pytest.mark.parametrize(("delay", "cycles"), [(0.0, 1), (0.3, 9), (0.6, 18)])
def test_synchronous_execution_holds_for_exactly_the_delay_between_chunks(delay, cycles):
    loop, _, _ = loop_of(SYNC, delay)
    grown, _ = played(loop, 150)
    found = holds(grown["starved"])[:-1]
    assert len(found) >= 2
    assert {length for _, length in found} == {cycles}
    # Eight actions of two cycles between two holds.
    assert {b[0] - a[0] for a, b in pairwise(found)} == {cycles + 16}


@pytest.mark.parametrize("delay", [0.0, 0.1, 0.3])
def test_asynchronous_execution_never_holds(delay):
    loop, _, _ = loop_of(ASYNC, delay)
    grown, _ = played(loop, 150)
    assert loop.trace.starved == 0
    assert len(grown["merged"]) >= 3
    # An action every second cycle, without a gap.
    assert {b - a for a, b in pairwise(grown["executed"])} == {2}


@pytest.mark.parametrize("execution", [SYNC, ASYNC], ids=["sync", "async"])
def test_ages_are_counted_from_the_observation_of_the_newest_chunk(execution):
    loop, thinker, arm = loop_of(execution, 0.3)
    _, ages = played(loop, 150)
    assert len({number_of(arm.commanded[cycle]) for cycle in ages}) >= 3
    for cycle, age in ages.items():
        observed = thinker.asked[number_of(arm.commanded[cycle]) - 1]
        assert age == pytest.approx((cycle - observed) / RATE)


def test_cycles_count_from_the_first_action_on():
    loop, _, _ = loop_of(SYNC, 0.6)
    grown, _ = played(loop, 100)
    # The answer, and the approach of half a second before the first action.
    assert grown["executed"][0] == 18 + 15
    assert loop.trace.cycles == 100 - grown["executed"][0]
    assert loop.trace.approaching == 0
    assert loop.now == pytest.approx(100 / RATE)
    assert loop.cycles_per_action == pytest.approx(2.0)


def test_merges_name_the_first_command_after_them():
    loop, _, arm = loop_of(ASYNC, 0.1)
    grown, _ = played(loop, 100)
    given = list(arm.commanded)
    assert [given[index] for index in loop.trace.merges] == grown["merged"]
    np.testing.assert_array_equal(loop.trace.commands, list(arm.commanded.values()))


def test_an_approach_after_a_hold_is_counted():
    def jump(number):
        return np.tile(HOME, (ROWS, 1)) + 0.5 * (number % 2) * np.eye(6)[0]

    careful = Execution(0.0, actions_per_chunk=8)
    for execution, approaches in ((careful, True), (SYNC, False)):
        loop, _, _ = loop_of(execution, 0.1, jump)
        played(loop, 150)
        assert (loop.trace.approaching > 0) is approaches
        assert loop.trace.starved > 0


def test_a_refusal_is_counted_when_it_arrives_and_then_asked_again():
    def moody(number):
        if number == 2:
            raise ValueError("not in the mood")
        return marked(number)

    loop, thinker, _ = loop_of(SYNC, 0.3, moody)
    grown, _ = played(loop, 120)
    assert loop.trace.refusals == 1
    assert grown["refused"] == [thinker.asked[1] + 9]
    # After the executor's pause of 0.2 s.
    assert thinker.asked[2] >= grown["refused"][0] + 6
    assert grown["merged"][1] == thinker.asked[2] + 9


def test_without_an_instruction_the_policy_is_not_bothered():
    loop, thinker, _ = loop_of(SYNC, 0.0)
    loop.instruction = ""
    played(loop, 30)
    assert thinker.asked == []
    assert loop.trace.requests == 0
    assert loop.trace.commands == []
    loop.instruction = "touch the blue cube"
    played(loop, 60)
    assert {seen.instruction for seen in thinker.observations} == {"touch the blue cube"}
    assert loop.trace.ages


def test_a_chunk_that_comes_too_late_is_no_merge_and_makes_nothing_younger():
    # The second one covers two actions, and more than four pass until it comes.
    loop, thinker, arm = loop_of(
        Execution(0.9, "latest"), 0.3, lambda number: marked(number, ROWS if number == 1 else 2)
    )
    _, ages = played(loop, 9 + 15 + 2 * ROWS)
    assert len(thinker.asked) >= 3
    assert len(loop.trace.merges) == 1
    assert {number_of(command) for command in arm.commanded.values()} <= {0, 1}
    expected = [cycle / RATE for cycle in range(24, 24 + 2 * ROWS, 2)]
    assert list(ages.values()) == pytest.approx(expected)


def test_the_policy_is_told_of_real_time_chunking():
    told = []
    for execution in (Execution(0.7, "latest", real_time_chunking=True), ASYNC, SYNC):
        loop_of(execution, 0.0, told=told)
    assert told == [True, False, False]


def test_queued_actions_and_the_expected_delay_reach_the_policy():
    def sloping(number):
        return np.tile(HOME, (ROWS, 1)) + 0.001 * np.arange(ROWS)[:, None]

    loop, thinker, _ = loop_of(ASYNC, 0.3, sloping)
    played(loop, 100)
    first, second = thinker.requests[:2]
    assert (first.tick, first.committed.shape, first.expected_delay) == (0, (0, 6), 0)
    assert second.tick > 0
    np.testing.assert_array_equal(second.committed, sloping(1)[second.tick :])
    # Nine cycles of which two make an action.
    assert second.expected_delay == 5
    assert len({request.request_id for request in thinker.requests}) == len(thinker.requests)


def test_a_rate_that_does_not_divide_the_physics_is_refused():
    arm = Arm()
    thinker = Thinker(arm)
    policy = LoadedPolicy(thinker, lambda seed: None, lambda on: None)
    with pytest.raises(ValueError, match="29 Hz does not divide the physics rate of 300 Hz"):
        ControlLoop(arm, Observer(arm, thinker, (64, 48)), policy, SYNC, 29.0, 0.0)


def test_the_same_run_twice_gives_the_same_trace():
    simulation, policy = Simulation(), load_policy(PolicySpec("scripted"))
    traces = []
    for _ in range(2):
        simulation.set_task("touch the red cube")
        simulation.reset(3)
        observer = Observer(simulation, policy.backend, (64, 48))
        loop = ControlLoop(simulation, observer, policy, ASYNC, RATE, 0.1)
        loop.instruction = "touch the red cube"
        played(loop, 60)
        traces.append(loop.trace)
    first, second = traces
    assert len(first.merges) >= 2
    np.testing.assert_array_equal(first.commands, second.commands)
    assert first.measures(2.0) == second.measures(2.0)
