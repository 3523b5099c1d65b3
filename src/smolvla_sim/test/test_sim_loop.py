# SPDX-License-Identifier: Apache-2.0
"""Executor, policy and arm under one clock: delays, holds, ages, refusals, repeatability."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from itertools import chain, groupby, pairwise, repeat

import numpy as np
import pytest
from smolvla_sim.expert.backend import ScriptedBackend
from smolvla_sim.play.loop import (
    DONE,
    LOST,
    NO_APPROACH,
    OVER,
    REFUSED,
    EpisodeLoop,
    Execution,
    Observer,
    direct,
)
from smolvla_sim.world.arm import JOINT_NAMES
from smolvla_sim.world.simulation import HOME, Simulation
from smolvla_sim.world.tasks import PlaceInBowl, Reach

RATE = 30.0
ROWS = 16
SYNC = Execution(0.0, actions_per_chunk=8, resume_jump=NO_APPROACH)
ASYNC = Execution(0.7, "latest")
# So much farther does each chunk hold the first joint [rad].
MARK = 0.002


class Arm:
    """Stands in for the simulation: reaches each command at once."""

    period = 1.0 / 300.0
    joint_names = JOINT_NAMES
    lower, upper = np.full(6, -3.0), np.full(6, 3.0)

    def __init__(self, steps=10):
        self._steps = steps
        self.positions = np.array(HOME)
        self.cycle = 0
        self.commanded = {}

    def command(self, positions):
        self.positions = self.commanded[self.cycle] = np.array(positions)

    def step(self, count):
        assert count == self._steps
        self.cycle += 1


class Thinker:
    """A backend whose chunks have their number in the first joint, and which keeps its input."""

    name, cameras, joint_names, needs_objects = "thinker", (), JOINT_NAMES, False
    chunk_size = ROWS

    def __init__(self, arm, plan=None, period=1.0 / 15.0):
        self._arm = arm
        self._plan = plan or marked
        self.period = period
        self.asked, self.requests, self.observations, self.tuned = [], [], [], []

    def tune(self, options):
        self.tuned.append(options)

    def infer(self, observation, request):
        self.asked.append(self._arm.cycle)
        self.requests.append(request)
        self.observations.append(observation)
        return self._plan(len(self.asked))


def marked(number, rows=ROWS):
    return np.tile(HOME, (rows, 1)) + number * MARK * np.eye(6)[0]


def number_of(command):
    return round(float(command[0] - HOME[0]) / MARK)


def loop_of(execution, delay, plan=None, **options):
    arm = Arm()
    thinker = Thinker(arm, plan)
    loop = EpisodeLoop(
        Observer(arm, thinker, (64, 48)), execution.executor(RATE), delay=delay, **options
    )
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
    config = Execution(0.3, "average", 7, 0.6, real_time_chunking="guided").executor(25.0)
    assert config.chunk_size_threshold == 0.3
    assert config.aggregate == "average"
    assert config.actions_per_chunk == 7
    assert config.resume_jump == 0.6
    assert config.rate == 25.0
    assert config.joints == JOINT_NAMES
    limits = [
        [(joint.lower, joint.upper) for joint in Execution().executor(25.0, arm).body.joints]
        for arm in ("so100", "so101")
    ]
    assert limits[0] != limits[1]


@pytest.mark.parametrize(
    ("delay", "cycles"), [(0.01, 1), (0.02, 1), (0.1, 3), (0.101, 4), (0.3, 9), (0.6, 18)]
)
@pytest.mark.parametrize("execution", [SYNC, ASYNC], ids=["sync", "async"])
def test_an_answer_arrives_after_the_delay_rounded_up_to_cycles(execution, delay, cycles):
    loop, thinker, _ = loop_of(execution, delay)
    grown, _ = played(loop, 150)
    arrived = grown["merged"]
    assert len(arrived) >= 3
    assert arrived == [asked + cycles for asked in thinker.asked][: len(arrived)]
    assert loop.trace.requests == len(thinker.asked) <= len(arrived) + 1


@pytest.mark.parametrize(("delay", "cycles"), [(0.0, 0), (0.02, 1), (0.3, 9), (0.6, 18)])
def test_synchronous_execution_holds_for_exactly_the_delay_between_chunks(delay, cycles):
    loop, _, _ = loop_of(SYNC, delay)
    grown, _ = played(loop, 150)
    found = holds(grown["starved"])[:-1]
    if cycles == 0:
        assert not found
        return
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


def test_without_an_instruction_the_policy_is_not_asked():
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


def test_delays_vary_about_their_median_and_answers_get_lost():
    def delays(**options):
        loop, thinker, _ = loop_of(Execution(0.5, "latest"), 0.3, **options)
        merged = played(loop, 3000)[0]["merged"]
        return len(thinker.asked), np.subtract(merged, thinker.asked[: len(merged)]) / RATE

    asked, even = delays()
    assert len(even) >= asked - 1
    assert set(even) == {0.3}
    asked, uneven = delays(delay_spread=0.4)
    assert len(uneven) >= asked - 1
    assert np.median(uneven) == pytest.approx(0.3, abs=0.06)
    assert 0.3 < np.log(uneven / 0.3).std() < 0.5
    loop, thinker, _ = loop_of(Execution(0.5, "latest"), 0.3, lost=0.2)
    came = len(played(loop, 3000)[0]["merged"])
    assert 0.65 < came / len(thinker.asked) < 0.95
    assert loop.core.planner.counters.requests_timed_out == pytest.approx(
        len(thinker.asked) - came, abs=1
    )


def test_the_policy_gets_seed_and_real_time_chunking():
    for seed, method in ((4, "guided"), (9, "off")):
        _, thinker, _ = loop_of(ASYNC, 0.0, seed=seed, real_time_chunking=method)
        assert thinker.tuned == [{"seed": seed, "real_time_chunking": method}]


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
    observer = Observer(arm, Thinker(arm), (64, 48))
    with pytest.raises(ValueError, match="29 Hz does not divide the physics rate of 300 Hz"):
        EpisodeLoop(observer, SYNC.executor(29.0))


def direct_loop(plan):
    arm = Arm(steps=20)
    thinker = Thinker(arm, plan)
    loop = EpisodeLoop(Observer(arm, thinker, (64, 48)), direct(arm, 15.0, 5))
    loop.instruction = "touch the red cube"
    return loop, thinker, arm


def test_a_direct_executor_changes_nothing_and_loses_no_time():
    def wild(number):
        return np.full((ROWS, 6), 2.0 + 0.9 * (number % 2)) + 0.01 * np.arange(ROWS)[:, None]

    loop, thinker, arm = direct_loop(wild)
    for _ in range(12):
        loop.step()
    # Each chunk acts from the very cycle in which it was asked for, however far it jumps.
    assert thinker.asked == [0, 5, 10]
    expected = np.concatenate([wild(1)[:5], wild(2)[:5], wild(3)[:2]])
    np.testing.assert_array_equal(list(arm.commanded.values()), expected)
    assert loop.trace.starved == loop.trace.approaching == 0
    assert [request.committed.shape for request in thinker.requests] == [(0, 6)] * 3


def test_a_direct_executor_asks_again_in_the_cycle_after_a_refusal():
    def moody(number):
        if number in (2, 3):
            raise ValueError("I see no camera top")
        return marked(number)

    loop, thinker, _ = direct_loop(moody)
    for _ in range(9):
        loop.step()
    assert thinker.asked == [0, 5, 6, 7]
    assert (loop.trace.refusals, loop.trace.refusal) == (2, "thinker: I see no camera top")


def test_commands_pass_through_the_hook_on_their_way_to_the_arm():
    seen = []

    def lower(command):
        seen.append(command)
        return command - 0.25

    loop, _, arm = loop_of(ASYNC, 0.1, on_command=lower)
    played(loop, 40)
    np.testing.assert_array_equal(seen, loop.trace.commands)
    np.testing.assert_allclose(list(arm.commanded.values()), np.array(seen) - 0.25)


@pytest.fixture(scope="module")
def world():
    """A simulation and the scripted expert in it."""
    return Observer(Simulation(), ScriptedBackend(chunk_size=ROWS, period=1.0 / 15.0), (64, 48))


def expert_loop(world, seed=3):
    world.simulation.set_task("touch the red cube")
    world.simulation.reset(seed)
    return EpisodeLoop(world, ASYNC.executor(RATE), delay=0.1)


def test_the_same_run_twice_gives_the_same_trace(world):
    traces = []
    for _ in range(2):
        loop = expert_loop(world)
        loop.play(2.0)
        traces.append(loop.trace)
    first, second = traces
    assert len(first.merges) >= 2
    np.testing.assert_array_equal(first.commands, second.commands)
    assert first.measures(2.0) == second.measures(2.0)


def test_noise_on_the_joints_depends_on_the_seed_and_reaches_the_policy_alone():
    simulation = Simulation()
    observer = Observer(simulation, ScriptedBackend(), (64, 48), joint_noise=0.02)
    found = {}
    for seed in (1, 2, 1):
        observer.reseed(seed)
        off = observer.observe("touch the red cube").positions - simulation.positions
        assert 0.0 < np.abs(off).max() < 0.1
        np.testing.assert_array_equal(found.setdefault(seed, off), off)
    assert not np.array_equal(found[1], found[2])


def test_a_task_ends_when_it_is_done_or_its_time_is_over(world):
    loop = expert_loop(world)
    assert loop.play(0.4) == OVER
    assert loop.now == pytest.approx(0.4)
    assert loop.play(end=20.0) == DONE
    assert loop.now < 8.0


@pytest.mark.parametrize(("give_up", "ended"), [(True, LOST), (False, OVER)])
def test_a_task_that_is_lost_is_given_up_at_once_where_that_is_wanted(give_up, ended, monkeypatch):
    infer = ScriptedBackend.infer

    def wrong(backend, observation, request):
        other = replace(observation, instruction="touch the blue cube")
        return infer(backend, other, request)

    monkeypatch.setattr(ScriptedBackend, "infer", wrong)
    simulation = Simulation(task="touch the red cube", seed=5)
    observer = Observer(simulation, ScriptedBackend(period=1.0 / 15.0), (64, 48))
    loop = EpisodeLoop(observer, ASYNC.executor(RATE))
    assert loop.play(6.0, give_up=give_up) == ended
    assert simulation.lost
    assert (loop.now < 5.0) is give_up


def test_a_refusal_ends_a_task_that_is_not_repeated(world):
    for patient, ended in ((False, REFUSED), (True, OVER)):
        loop = expert_loop(world)
        world.simulation.move_object("red_cube", np.array([0.22, 0.42, 0.0125]), yaw=0.0)
        assert loop.play(1.0, patient=patient) == ended
        assert "out of the arm's reach" in loop.trace.refusal
        assert (loop.now < 0.5) is not patient


def test_one_task_after_another_with_the_cubes_put_back(world):
    loop = expert_loop(world)
    tasks = chain.from_iterable(repeat((PlaceInBowl("red"), PlaceInBowl("green"))))
    done, failed = loop.play_all(tasks, 18.0, np.random.default_rng(0), 15.0)
    # The third task was about the red cube again, which lay in the bowl.
    assert len(done) >= 3
    assert failed == 0
    assert sum(done) <= loop.now == pytest.approx(18.0)
    assert expert_loop(world).play_all(tasks, 0.0, np.random.default_rng(0)) == ([], 0)


def test_a_task_goes_on_with_what_was_touched_before_it(world):
    loop = expert_loop(world)
    assert loop.play(9.0) == DONE
    # The red cube is still between the fingers, and will be touched again and again.
    loop.play_all(repeat(Reach("green")), loop.now + 0.2, np.random.default_rng(0))
    assert EpisodeLoop(world, ASYNC.executor(RATE)).play(9.0) == DONE


def test_tasks_that_take_too_long_have_failed(world):
    loop = expert_loop(world)
    found = loop.play_all(repeat(Reach("red")), 1.6, np.random.default_rng(0), 0.5)
    assert found == ([], 3)
