# SPDX-License-Identifier: Apache-2.0
"""Which step is done when, what is tried again, and that every plan ends with the arm at rest."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from smolvla_core.judge import Verdict
from smolvla_executor.core.plan import (
    HOME_TIMEOUT,
    STOP_TIMEOUT,
    Phase,
    PlanError,
    PlanReason,
    PlanRunner,
    Step,
)
from smolvla_executor.core.task import Reason

UNKNOWN, NO, YES = Verdict.UNKNOWN, Verdict.NO, Verdict.YES
RED, BLUE = Step("put the red cube away", 10.0, 2), Step("put the blue cube away", 20.0, 1)


class World:
    """An arm and a clock that the test moves; it confirms orders to stop where it `obeys`."""

    def __init__(self, *steps, obeys=True):
        self.now = 100.0
        self.obeys = obeys
        self.log = []
        self.moving = False
        self.plan = PlanRunner(steps, self)
        self.plan.begin(self.now)

    def run(self, step, time_limit):
        self.log.append((step.instruction, time_limit))
        self.moving = True

    def go_home(self):
        self.log.append("home")
        self.moving = True

    def stop(self):
        self.moving = False
        if self.obeys:
            self.end(Reason.CANCELED, "canceled")

    def end(self, reason, message="the executor's words"):
        self.moving = False
        self.plan.on_end(reason, message, self.now)

    def says(self, *verdicts, seen="a cube"):
        for verdict in verdicts:
            self.plan.on_verdict(self.plan.question, verdict, seen, self.now)

    def after(self, seconds):
        self.now += seconds
        self.plan.update(self.now)

    @property
    def reason(self):
        return self.plan.outcome and self.plan.outcome.reason


def test_steps_are_done_one_after_the_other_when_their_judge_says_so():
    world = World(RED, BLUE)
    world.says(NO, UNKNOWN)
    world.after(4.0)
    world.says(YES, seen="it is in the bowl")
    assert world.log == [("put the red cube away", 10.0), ("put the blue cube away", 20.0)]
    assert world.plan.index == 1
    world.after(3.0)
    world.end(Reason.SUCCEEDED, "done: /sim/success said so")  # the executor's own judge
    assert world.reason == PlanReason.SUCCEEDED
    first, second = world.plan.reports
    assert (first.tries, first.verdict, first.seen, first.seconds) == (
        1,
        YES,
        "it is in the bowl",
        4.0,
    )
    assert (second.verdict, second.seen) == (YES, "done: /sim/success said so")
    assert not world.moving


def test_a_step_that_is_not_done_is_tried_again_from_home_and_then_ends_the_plan():
    world = World(RED, BLUE)
    world.after(10.0)
    assert world.log[1:] == ["home"]
    world.says(YES)  # on the way home nothing is judged
    world.after(3.0)
    world.end(Reason.SUCCEEDED, "at home")
    assert world.log[2:] == [("put the red cube away", 10.0)]
    world.says(NO, seen="it lies on the table")
    world.after(10.0)
    assert world.reason == PlanReason.NOT_DONE
    message = world.plan.outcome.message
    assert "step 1 of 2" in message
    assert "2 tries of 10 s" in message
    assert "it lies on the table" in message
    first, second = world.plan.reports
    assert (first.tries, first.verdict, first.seconds) == (2, NO, 20.0)
    assert second.tries == 0


@pytest.mark.parametrize("obeys", [True, False])
def test_a_judge_that_never_answers_does_not_hang_the_plan(obeys):
    """Nor does an executor that does not."""
    world = World(BLUE, obeys=obeys)
    world.after(20.0)
    if obeys:
        assert world.reason == PlanReason.NOT_DONE
        assert "nobody has judged it" in world.plan.outcome.message
    else:
        assert world.reason is None
        world.after(STOP_TIMEOUT)
        assert world.reason == PlanReason.FAULT
        assert "has not confirmed" in world.plan.outcome.message


def test_so_many_answers_yes_in_a_row_are_needed():
    world = World(replace(BLUE, in_a_row=3))
    world.says(YES, YES, NO, YES, YES, UNKNOWN, YES, YES)
    assert world.reason is None
    world.says(YES)
    assert world.reason == PlanReason.SUCCEEDED


def test_an_answer_to_an_earlier_question_does_not_count():
    world = World(RED, RED)
    old = world.plan.question
    world.says(YES)
    assert world.plan.index == 1
    world.plan.on_verdict(old, YES, "late", world.now)
    assert world.reason is None
    world.after(10.0)
    world.end(Reason.SUCCEEDED)  # at home
    world.plan.on_verdict(old + 1, YES, "of the first try", world.now)
    assert world.reason is None


def test_a_success_at_the_last_moment_counts():
    world = World(BLUE, obeys=False)
    world.after(20.0)
    world.end(Reason.SUCCEEDED, "the topic said so")
    assert world.reason == PlanReason.SUCCEEDED


def test_a_pause_stops_the_arm_and_the_time():
    world = World(BLUE)
    world.after(5.0)
    world.plan.pause(world.now)
    assert (world.plan.phase, world.moving) == (Phase.PAUSED, False)
    world.says(YES)
    world.after(1000.0)
    assert world.reason is None
    assert "already" in world.plan.pause(world.now)
    world.plan.resume(world.now)
    assert world.log[1:] == [("put the blue cube away", 15.0)]
    assert world.plan.report.tries == 1
    world.after(15.0)
    assert world.reason == PlanReason.NOT_DONE
    assert world.plan.report.seconds == 20.0


def test_a_pause_on_the_way_home_goes_home_afterwards():
    world = World(RED)
    world.after(10.0)
    world.plan.pause(world.now)
    assert (world.plan.phase, world.moving) == (Phase.PAUSED, False)
    world.plan.resume(world.now)
    assert world.log[1:] == ["home", "home"]
    world.end(Reason.SUCCEEDED)
    assert world.log[3:] == [("put the red cube away", 10.0)]


def test_a_pause_while_a_step_is_being_ended_waits_before_the_next():
    world = World(RED, BLUE, obeys=False)
    world.says(YES)
    world.plan.pause(world.now)
    world.end(Reason.CANCELED)
    assert (world.plan.phase, world.plan.index, len(world.log)) == (Phase.PAUSED, 1, 1)
    world.plan.resume(world.now)
    assert world.log[1:] == [("put the blue cube away", 20.0)]


@pytest.mark.parametrize("moment", ["running", "homing", "paused", "stopping"])
def test_a_cancel_stops_the_arm_at_once(moment):
    world = World(RED, obeys=moment != "stopping")
    if moment == "homing":
        world.after(10.0)
    if moment == "paused":
        world.plan.pause(world.now)
    if moment == "stopping":
        world.says(YES)
    world.plan.cancel(world.now)
    assert not world.moving
    if moment == "stopping":
        assert world.reason is None  # the executor has not confirmed yet
        world.end(Reason.SUCCEEDED)
    assert world.reason == PlanReason.CANCELED


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        (Reason.FAULT, PlanReason.FAULT),
        (Reason.PREEMPTED, PlanReason.PREEMPTED),
        (Reason.CANCELED, PlanReason.FAULT),  # by somebody else
    ],
)
def test_a_fault_or_the_task_of_somebody_else_ends_the_plan(reason, expected):
    world = World(RED, BLUE)
    world.end(reason)
    assert world.reason == expected
    assert "the executor's words" in world.plan.outcome.message


def test_a_fault_in_the_moment_of_success_does_not_begin_the_next_step():
    world = World(RED, BLUE, obeys=False)
    world.says(YES)
    world.end(Reason.FAULT, "e-stop")
    assert (world.reason, len(world.log)) == (PlanReason.FAULT, 1)


@pytest.mark.parametrize("arrives", ["never", "refused"])
def test_an_arm_that_cannot_go_home_ends_the_plan(arrives):
    world = World(RED)
    world.after(10.0)
    if arrives == "never":
        world.after(HOME_TIMEOUT)
    else:
        world.end(Reason.FAULT, "no home pose")
    assert world.reason == PlanReason.FAULT
    assert "home" in world.plan.outcome.message
    assert not world.moving


def test_what_no_robot_can_do_is_refused():
    for wrong in (
        {"instruction": " "},
        {"time_limit": 0.0},
        {"time_limit": float("nan")},
        {"time_limit": float("inf")},
        {"tries": 0},
    ):
        with pytest.raises(PlanError, match=next(iter(wrong))):
            replace(RED, **wrong)
    with pytest.raises(PlanError, match="at least one step"):
        PlanRunner((), None)


EVENTS = st.lists(
    st.one_of(
        st.tuples(st.just("after"), st.floats(0.0, 30.0)),
        st.tuples(st.just("says"), st.sampled_from(Verdict)),
        st.tuples(st.just("end"), st.sampled_from(Reason)),
        st.tuples(st.sampled_from(["pause", "resume"]), st.none()),
    ),
    max_size=30,
)


@given(EVENTS, st.booleans())
def test_whatever_happens_a_cancel_ends_the_plan_with_the_arm_at_rest(events, obeys):
    world = World(RED, replace(BLUE, tries=3, in_a_row=2), RED, obeys=obeys)
    for kind, value in events:
        if kind in ("pause", "resume"):
            getattr(world.plan, kind)(world.now)
        elif kind != "end" or world.moving or world.plan.phase == Phase.STOPPING:
            getattr(world, kind)(value)
        if world.plan.phase == Phase.PAUSED or world.plan.outcome:
            assert not world.moving
    world.plan.cancel(world.now)
    assert not world.moving
    world.after(STOP_TIMEOUT)  # of an executor that has not confirmed
    assert world.plan.outcome is not None


@given(EVENTS)
def test_a_plan_that_is_not_paused_ends_by_itself(events):
    world = World(RED, BLUE, RED, obeys=False)
    for kind, value in events:
        if kind not in ("pause", "resume") and (kind != "end" or world.moving):
            getattr(world, kind)(value)
    for _ in range(8):
        world.after(HOME_TIMEOUT)
    assert world.plan.outcome is not None
    assert not world.moving
