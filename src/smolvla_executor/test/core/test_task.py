# SPDX-License-Identifier: Apache-2.0
"""What begins a task, what ends it, and that the arm is at rest afterwards."""

import math
from dataclasses import replace

import numpy as np
import pytest
from robot_files import robot_file
from smolvla_core.instruction import NewestInstruction
from smolvla_executor.core.executor_types import State
from smolvla_executor.core.task import REPEATED, Goal, Reason, TaskRunner, goal_problem

STALL = 3.0


class TaskRig:
    """A rig whose tasks are watched after each cycle, as `executor_node` does."""

    def __init__(self, rig, stall_timeout=STALL, stop_on_success=False):
        settings = replace(
            rig.settings, task_stall_timeout=stall_timeout, stop_on_success=stop_on_success
        )
        self.rig = rig
        self.outcomes = []
        self.newest = NewestInstruction()
        self.tasks = TaskRunner(rig.core, settings, self.outcomes.append, self.newest)
        self.instructions = []  # of each request
        answer = rig.policy

        def policy(request):
            self.instructions.append(self.newest.current)
            answer(request)

        rig.policy = policy

    def begin(self, name="a", instruction="pick", time_limit=0.0, **changes):
        self.tasks.begin(Goal(name, instruction, time_limit, **changes), self.rig.now)

    def judge(self, *verdicts):
        for verdict in verdicts:
            self.tasks.on_verdict(verdict, "the judge", self.rig.now)

    def cycle(self, count=1):
        for _ in range(count):
            output = self.rig.cycle()
            self.tasks.watch(output, self.rig.now)
        return output

    def until(self, condition, limit=400):
        for _ in range(limit):
            if condition():
                return
            self.cycle()
        raise AssertionError("never")

    def running(self):
        return self.rig.outputs[-1:] and self.rig.outputs[-1].state == State.RUNNING

    @property
    def outcome(self):
        return self.outcomes[-1] if self.outcomes else None


@pytest.fixture
def task(make_rig):
    return TaskRig(make_rig())


def test_a_caller_who_judges_himself_is_not_ended_by_others(rig):
    tasks = TaskRig(rig)
    tasks.begin(own_judge=True)
    tasks.until(tasks.running)
    tasks.judge(False, True)
    tasks.cycle(10)
    assert tasks.outcome is None
    tasks.tasks.cancel("a", rig.now)
    assert tasks.outcome.reason == Reason.CANCELED


def test_a_goal_starts_an_idle_executor_and_its_requests_carry_its_instruction(task):
    task.cycle(3)
    assert task.rig.requests == []
    task.begin(instruction="pick up the cube")
    task.until(task.running)
    assert set(task.instructions) == {"pick up the cube"}
    assert task.outcome is None


def test_cancel_stops_in_the_very_next_cycle_and_leaves_the_executor_idle(task):
    task.begin()
    task.until(task.running)
    task.rig.now += 0.01
    task.tasks.cancel("a", task.rig.now)
    commands = len(task.rig.commands)
    output = task.cycle(20)
    assert len(task.rig.commands) == commands
    assert output.state == State.IDLE
    assert "task ended: canceled" in output.reason
    assert "call ~/start" in output.reason
    assert task.outcome.reason == Reason.CANCELED
    assert task.outcome.chunks > 0
    assert task.tasks.goal is None


def test_the_cancel_of_another_goal_changes_nothing(task):
    task.begin("a")
    task.until(task.running)
    task.tasks.cancel("b", task.rig.now)
    assert task.cycle().state == State.RUNNING
    assert task.outcomes == []


def test_the_time_limit_ends_a_goal(task):
    begun = task.rig.now
    task.begin(time_limit=1.0)
    task.until(lambda: task.outcomes)
    assert task.outcome.reason == Reason.TIME_LIMIT
    assert task.outcome.elapsed == pytest.approx(1.0, abs=0.06)
    assert task.rig.now - begun == pytest.approx(1.0, abs=0.06)
    assert task.cycle().command is None


def test_without_a_time_limit_it_runs_on(task):
    task.begin(time_limit=0.0)
    task.cycle(2000)
    assert task.outcomes == []


def test_a_success_ends_a_goal_and_leaves_the_executor_idle(task):
    task.judge(False)
    task.begin()
    task.until(task.running)
    task.judge(False)
    assert task.outcomes == []
    task.judge(True)
    assert (task.outcome.reason, task.outcome.message) == (
        Reason.SUCCEEDED,
        "done: the judge said so",
    )
    assert task.cycle(3).state == State.IDLE
    assert task.cycle().command is None


def test_a_success_that_is_told_on_and_on_ends_no_later_goal(task):
    """At 10 Hz, as the simulation tells it, for as long as the scene stays as it is."""
    task.begin("a")
    task.until(task.running)
    task.judge(True)
    for name in "bc":
        for _ in range(40):
            task.cycle(2)
            task.judge(True)
        task.rig.awaited = None  # the answer to it is awaited no longer
        task.begin(name)
        assert len(task.outcomes) == 1 + (name == "c")
    for _ in range(80):
        task.cycle(2)
        task.judge(True)
    assert [outcome.reason for outcome in task.outcomes] == [Reason.SUCCEEDED, Reason.PREEMPTED]
    task.judge(False, True)
    assert (task.outcome.goal_id, task.outcome.reason) == ("c", Reason.SUCCEEDED)


def test_a_success_of_before_does_not_count_and_one_told_anew_does(task):
    task.judge(True)
    task.begin("a")
    task.until(task.running)
    assert task.outcomes == []
    task.cycle(round((REPEATED + 0.1) * task.rig.settings.rate))
    task.judge(True)  # by a judge that only ever says true
    assert task.outcome.reason == Reason.SUCCEEDED


@pytest.mark.parametrize("stop", [True, False])
def test_a_success_without_a_goal_stops_only_where_that_is_wanted(make_rig, stop):
    task = TaskRig(make_rig(), stop_on_success=stop)
    task.rig.start()
    task.until(task.running)
    task.judge(True)
    output = task.cycle()
    assert (output.state == State.IDLE) == stop
    assert ("stop_on_success" in output.reason) == stop
    task.rig.start()
    task.judge(True)
    assert task.cycle().state != State.IDLE


def test_a_newer_goal_preempts_and_is_asked_for_at_once(task):
    task.begin("a", "first")
    task.until(task.running)
    while not task.rig.status().queue_depth > 5:
        task.cycle()
    asked = len(task.rig.requests)
    task.begin("b", "second")
    assert (task.outcome.goal_id, task.outcome.reason) == ("a", Reason.PREEMPTED)
    assert "second" in task.outcome.message
    assert task.rig.status().queue_depth == 0
    task.rig.awaited = None  # the answer to the first goal's request is awaited no longer
    before = task.rig.outputs[-1].command
    held = task.cycle().command
    assert len(task.rig.requests) == asked + 1
    assert task.rig.requests[-1].must_go
    assert task.instructions[-1] == "second"
    np.testing.assert_array_equal(held, before)
    task.until(task.running)
    assert len(task.outcomes) == 1


def test_a_goal_drops_what_was_executed_without_one_and_counts_its_own_chunks(task):
    task.rig.start()
    task.until(task.running)
    task.cycle(50)
    before = task.rig.status().chunks_merged
    assert before > 2
    task.rig.awaited = None
    task.begin()
    progress = task.tasks.progress(task.rig.now)
    assert (progress.chunks, progress.queue_depth) == (0, 0)
    assert math.isnan(progress.latency)
    task.until(lambda: task.rig.status().chunks_merged == before + 1)
    progress = task.tasks.progress(task.rig.now)
    assert progress.chunks == 1
    assert progress.latency == pytest.approx(0.1, abs=0.06)


def test_stale_joint_states_abort_it_with_words(task):
    task.begin()
    task.until(task.running)
    task.rig.publish_states = False
    task.until(lambda: task.outcomes)
    assert task.outcome.reason == Reason.FAULT
    assert "joint state" in task.outcome.message
    task.rig.publish_states = True
    assert task.cycle(20).state == State.IDLE  # the arm does not go on by itself


@pytest.mark.parametrize("silent", [True, False])
def test_a_policy_that_brings_nothing_stalls_it_with_its_last_words(task, silent):
    rig = task.rig

    def refuse(request):
        if not silent:
            rig.post_refusal(0.05, request.request_id, "camera top is dark")

    rig.policy = refuse
    task.begin()
    task.until(lambda: task.outcomes)
    assert task.outcome.reason == Reason.FAULT
    assert task.outcome.elapsed == pytest.approx(STALL, abs=0.06)
    words = "is policy_node running" if silent else "camera top is dark"
    assert words in task.outcome.message
    assert rig.commands.size == 0


def test_a_policy_that_comes_back_in_time_goes_on_with_the_goal(make_rig):
    task = TaskRig(make_rig(request_timeout=0.2))
    task.begin(instruction="hang it up")
    task.until(task.running)
    answers, task.rig.policy = task.rig.policy, lambda request: None
    rate = task.rig.settings.rate
    task.until(lambda: task.rig.outputs[-1].state == State.HOLDING)
    task.cycle(round(0.8 * STALL * rate))
    assert task.outcomes == []
    del task.instructions[:]
    task.rig.policy = answers
    task.until(task.running)
    task.cycle(round(STALL * rate))
    assert task.outcomes == []
    assert set(task.instructions) == {"hang it up"}


def test_a_slow_policy_is_not_taken_for_a_stalled_one(make_rig):
    rig = make_rig(request_timeout=60.0)
    rig.policy = lambda request: rig.post_chunk(1.5, rig.chunk_for(request))
    task = TaskRig(rig, stall_timeout=1.8)
    task.begin()
    task.until(task.running)
    rig.policy = lambda request: rig.post_chunk(2.5, rig.chunk_for(request))
    task.cycle(200)
    assert task.outcomes == []


def test_abort_ends_the_goal_and_only_a_goal(task):
    task.tasks.abort("deactivated", task.rig.now)
    assert task.outcomes == []
    task.begin()
    task.until(task.running)
    task.tasks.abort("deactivated", task.rig.now)
    assert (task.outcome.reason, task.outcome.message) == (Reason.FAULT, "deactivated")
    assert task.cycle().command is None


def test_an_executor_that_is_stopped_ends_the_goal(task):
    task.begin()
    task.until(task.running)
    task.rig.core.stop(task.rig.now, "stopped by hand")
    task.cycle()
    assert (task.outcome.reason, task.outcome.message) == (Reason.FAULT, "stopped by hand")


@pytest.mark.parametrize(
    ("instruction", "limit", "words"),
    [
        (" ", 1.0, "blank"),
        ("pick", -1.0, "time_limit"),
        ("pick", math.nan, "time_limit"),
        ("pick", math.inf, "time_limit"),
        ("pick", 0.0, ""),
    ],
)
def test_what_makes_a_goal(instruction, limit, words):
    problem = goal_problem(instruction, limit)
    assert bool(problem) == bool(words)
    assert words in problem


HOME = {"pan": {"home": 0.3}, "lift": {"home": -0.4}, "gripper": {"home": 0.0}}


@pytest.fixture
def at_home(make_rig):
    joints = ("pan", "lift", "gripper")
    return TaskRig(make_rig(robot=robot_file(joints, -1.0, 1.0, changes=HOME)))


@pytest.mark.parametrize("reason", [Reason.SUCCEEDED, Reason.TIME_LIMIT])
def test_a_task_that_goes_home_tells_its_end_when_the_arm_is_there(at_home, reason):
    task = at_home
    task.begin(go_home=True, time_limit=1.0)
    task.until(task.running)
    if reason == Reason.SUCCEEDED:
        task.judge(True)
        assert not task.outcomes
    task.until(lambda: task.outcomes)
    assert task.outcome.reason == reason
    assert "home" in task.outcome.message
    np.testing.assert_allclose(task.rig.measured, [0.3, -0.4, 0.0])
    assert task.cycle(5).state == State.IDLE
    assert task.tasks.goal is None


def test_a_canceled_task_does_not_go_home_and_no_cancel_is_lost_on_the_way(at_home):
    task = at_home
    task.begin(go_home=True)
    task.until(task.running)
    task.judge(True)
    task.cycle(3)
    task.tasks.cancel("a", task.rig.now)
    assert task.outcome.reason == Reason.CANCELED
    assert task.cycle(3).command is None


def test_an_arm_that_does_not_get_home_says_so(at_home):
    task = at_home
    task.begin(go_home=True)
    task.until(task.running)
    task.judge(True)
    task.cycle(2)
    task.rig.core.take_over(task.rig.now)
    task.cycle()
    assert task.outcome.reason == Reason.FAULT
    assert "before the arm was at home" in task.outcome.message


def test_a_task_without_a_home_to_go_to_ends_where_it_is(task):
    task.begin(go_home=True)
    task.until(task.running)
    task.judge(True)
    assert task.outcome.reason == Reason.SUCCEEDED
    assert "no home pose" in task.outcome.message
    assert task.cycle(3).state == State.IDLE


RECORDED = 0.3 * np.sin(0.1 * np.arange(30)[:, None] + np.arange(3))


def test_a_replay_is_a_task_that_succeeds_at_its_end(at_home):
    task = at_home
    task.begin(instruction="", replay=RECORDED, period=0.05, go_home=True)
    task.until(lambda: task.outcomes)
    assert task.outcome.reason == Reason.SUCCEEDED
    np.testing.assert_allclose(task.rig.measured, [0.3, -0.4, 0.0])
    executed = [o.command for o in task.rig.outputs if o.executed_tick is not None]
    np.testing.assert_array_equal(executed[: len(RECORDED)], RECORDED)
    assert not task.rig.requests


@pytest.mark.parametrize("obstacle", ["units", "human", "estop"])
def test_a_replay_that_cannot_be_is_told(task, obstacle):
    task.cycle()
    if obstacle == "human":
        task.rig.core.take_over(task.rig.now)
    if obstacle == "estop":
        task.rig.core.estop.press("button")
        task.cycle()
    replay = np.degrees(RECORDED) if obstacle == "units" else RECORDED
    task.begin(instruction="", replay=replay, period=0.05)
    assert task.outcome.reason == Reason.FAULT
    assert {"units": "limits", "human": "human", "estop": "e-stop"}[obstacle] in (
        task.outcome.message
    )


def test_another_goal_ends_a_replay(task):
    task.begin("a", replay=RECORDED, period=0.05)
    task.until(task.running)
    task.begin("b")
    assert task.outcome.reason == Reason.PREEMPTED
    task.cycle(3)
    assert task.instructions == ["pick"]


def test_a_human_may_correct_for_as_long_as_he_wants_and_then_the_goal_goes_on(task):
    task.begin()
    task.until(task.running)
    task.rig.core.take_over(task.rig.now)
    task.cycle(int(2 * STALL * task.rig.settings.rate))  # even if the leader is silent
    assert not task.outcomes
    task.rig.core.give_back(task.rig.now)
    task.rig.awaited = None
    task.until(task.running)
    assert not task.outcomes


def test_a_goal_that_comes_while_a_human_moves_an_idle_arm_runs_when_he_gives_back(task):
    task.cycle()
    task.rig.core.take_over(task.rig.now)
    task.cycle(3)
    task.begin()
    task.cycle(3)
    assert task.rig.requests == []
    task.rig.core.give_back(task.rig.now)
    task.until(task.running)
    assert task.instructions[0] == "pick"
    assert not task.outcomes


def test_an_estop_ends_a_goal(task):
    task.begin()
    task.until(task.running)
    task.rig.core.estop.press("button")
    task.cycle()
    assert task.outcome.reason == Reason.FAULT
    assert "e-stop" in task.outcome.message


@pytest.mark.parametrize("end", ["time limit", "judge", "canceled", "aborted"])
def test_the_end_of_a_goal_leaves_the_arm_to_the_human(at_home, end):
    task = at_home
    core = task.rig.core
    task.begin(go_home=True, time_limit=1.0 if end == "time limit" else 0.0)
    task.until(task.running)
    core.take_over(task.rig.now)
    if end == "judge":
        task.judge(True)
    elif end == "canceled":
        task.tasks.cancel("a", task.rig.now)
    elif end == "aborted":
        task.tasks.abort("deactivated", task.rig.now)
    task.until(lambda: task.outcomes)
    core.on_human([0.2, 0.1, 0.0], task.rig.now)
    followed = task.cycle(3).command is not None
    assert followed == (end in ("time limit", "judge"))
    core.give_back(task.rig.now)
    assert task.cycle().state == State.IDLE
