# SPDX-License-Identifier: Apache-2.0
"""The action run_plan with a real executor: what a caller sees, and what the arm does."""

import random
import threading
import time

import pytest
from action_msgs.msg import GoalStatus
from node_rig import JOINTS, PIXELS, SUCCESS
from rclpy.action import ActionClient
from rclpy.parameter import Parameter
from robot_files import robot_file
from sensor_msgs.msg import Image
from smolvla_core.judge import JudgeSettings, Opinion, Verdict
from smolvla_core.ros import qos
from smolvla_core.ros.converters import image_message
from smolvla_executor.core.executor import ExecutorCore
from smolvla_executor.executor_node.outputs import Outputs
from smolvla_executor.plan_node.node import PlanNode
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from smolvla_core import judge as judges
from smolvla_msgs.action import RunPlan
from smolvla_msgs.msg import ExecutorStatus, PlanStep, StepReport

RESULT, FEEDBACK = RunPlan.Result, RunPlan.Feedback


class Planner:
    """A plan node, its caller, and a judge whose answers the test decides on."""

    def __init__(self, graph, **parameters):
        self.graph = graph
        defaults = {"robot": robot_file(JOINTS), "feedback_rate": 50.0, "judge_period": 0.02}
        overrides = [Parameter(name, value=v) for name, v in {**defaults, **parameters}.items()]
        self.node = graph.add(PlanNode(context=graph.context, parameter_overrides=overrides))
        assert self.node.trigger_configure() == SUCCESS
        assert self.node.trigger_activate() == SUCCESS
        self.client = ActionClient(graph.node, RunPlan, "smolvla/run_plan")
        self.feedback = []

    def send(self, *steps):
        self.graph.until(self.client.server_is_ready, what="the action server")
        steps = [PlanStep(instruction=s) if isinstance(s, str) else s for s in steps]
        sent = self.client.send_goal_async(
            RunPlan.Goal(steps=steps),
            feedback_callback=lambda message: self.feedback.append(message.feedback),
        )
        self.graph.until(sent.done, what="acceptance")
        handle = sent.result()
        handle.outcome = handle.get_result_async() if handle.accepted else None
        return handle

    def result(self, handle):
        self.graph.until(handle.outcome.done, what="the result")
        answer = handle.outcome.result()
        return answer.status, answer.result

    def state(self, state):
        return lambda: bool(self.feedback) and self.feedback[-1].state == state

    def call(self, name):
        return self.graph.call(Trigger, f"plan_node/{name}")


class SuccessTopic:
    def __init__(self, graph):
        self.graph = graph
        self.publisher = graph.node.create_publisher(Bool, "done", 10)

    def says(self, *verdicts):
        self.graph.until(lambda: self.publisher.get_subscription_count() > 0)
        for verdict in verdicts:
            self.publisher.publish(Bool(data=verdict))


@pytest.fixture
def make_planner(graph):
    planners = []

    def make(**parameters):
        planners.append(Planner(graph, **parameters))
        return planners[-1]

    yield make
    for planner in planners:
        planner.client.destroy()


@pytest.fixture
def robot(make_robot):
    return make_robot(
        wait_for_start=True, success_topic="done", instruction="", feedback_rate=50.0
    )


@pytest.fixture
def planner(robot, make_planner):
    return make_planner()


def moving(robot, sentence):
    return lambda: robot.status.chunk_instruction == sentence and robot.status.tick > 2


class Eye:
    """A judge; `answer` is what it says, None never to answer."""

    answer = Opinion(Verdict.NO, "nothing yet")
    asked: tuple = ()

    def __init__(self, settings):
        self.gate = threading.Event()

    def judge(self, instruction, images):
        Eye.asked = (instruction, images)
        if Eye.answer is None:
            self.gate.wait()
        return Eye.answer


@pytest.fixture
def eye(monkeypatch, graph):
    """Installs the judge `eye`, and a camera."""
    load = judges.load

    def find(group, noun, name, base):
        return (Eye, JudgeSettings) if name == "eye" else load(group, noun, name, base)

    monkeypatch.setattr(judges, "load", find)
    monkeypatch.setattr(Eye, "answer", Eye.answer)
    camera = graph.node.create_publisher(Image, "camera/top/image_raw", qos.image_qos())

    def publish():
        message = image_message(PIXELS)
        message.header.stamp = graph.node.get_clock().now().to_msg()
        camera.publish(message)

    graph.node.create_timer(0.02, publish)
    return Eye


@pytest.fixture
def looking(robot, make_planner, eye):
    return make_planner(
        judge="eye", cameras=["top"], max_image_age=2.0, max_joint_state_age=2.0, max_skew=2.0
    )


def test_steps_are_run_until_the_success_topic_says_so(graph, robot, planner):
    topic = SuccessTopic(graph)
    handle = planner.send("pick up the cup", "wipe the table")
    graph.until(moving(robot, "pick up the cup"), what="the first step")
    topic.says(False, True)
    graph.until(moving(robot, "wipe the table"), what="the second step")
    newest = planner.feedback[-1]
    assert (newest.step, newest.attempt, newest.instruction) == (1, 1, "wipe the table")
    topic.says(False, True)
    status, result = planner.result(handle)
    assert (status, result.reason) == (GoalStatus.STATUS_SUCCEEDED, RESULT.SUCCEEDED)
    assert [step.verdict for step in result.steps] == [StepReport.YES] * 2
    assert all(step.tries == 1 and step.seconds > 0 for step in result.steps)
    graph.until(robot.state(ExecutorStatus.IDLE))


def test_a_step_is_tried_again_from_home(graph, make_robot, make_planner):
    home = robot_file(JOINTS, changes={"a": {"home": 0.9}, "b": {"home": -0.9}})
    robot = make_robot(wait_for_start=True, success_topic="done", robot=home)
    planner = make_planner()
    limits = {"time_limit": 0.4, "tries": 2}
    handle = planner.send(PlanStep(instruction="thread the needle", **limits))
    graph.until(planner.state(FEEDBACK.HOMING), what="the way home")
    graph.until(planner.state(FEEDBACK.RUNNING), what="the second try")
    assert max(command[0] for command in robot.commands) == pytest.approx(0.9)
    status, result = planner.result(handle)
    assert (status, result.reason) == (GoalStatus.STATUS_ABORTED, RESULT.NOT_DONE)
    assert "2 tries of 0.4 s" in result.message
    assert result.steps[0].tries == 2


def test_an_arm_without_a_home_pose_ends_the_plan_with_what_to_do(graph, robot, planner):
    limits = {"time_limit": 0.2, "tries": 2}
    _, result = planner.result(planner.send(PlanStep(instruction="thread the needle", **limits)))
    assert result.reason == RESULT.FAULT
    assert "has no home pose" in result.message


@pytest.mark.parametrize("seed", range(4))
def test_cancel_ends_the_commands_within_one_cycle(graph, robot, planner, monkeypatch, seed):
    handle = planner.send("pick up the cup", "wipe the table")
    graph.until(moving(robot, "pick up the cup"), what="motion")
    graph.during(random.Random(seed).uniform(0.0, 0.3), lambda: True)
    published = []
    stop = ExecutorCore.stop

    def stopping(core, now, reason):
        published.clear()
        return stop(core, now, reason)

    monkeypatch.setattr(ExecutorCore, "stop", stopping)
    monkeypatch.setattr(Outputs, "publish", lambda *command: published.append(command))
    handle.cancel_goal_async()
    status, result = planner.result(handle)
    assert (status, result.reason) == (GoalStatus.STATUS_CANCELED, RESULT.CANCELED)
    graph.until(robot.state(ExecutorStatus.IDLE))
    assert published == []


def test_a_cancel_before_anything_moved_moves_nothing(graph, robot, planner):
    handle = planner.send("pick up the cup")
    handle.cancel_goal_async()
    assert planner.result(handle)[1].reason == RESULT.CANCELED
    graph.until(robot.state(ExecutorStatus.IDLE))


def test_a_pause_holds_the_arm_and_the_plan_goes_on_with_the_same_step(graph, robot, planner):
    handle = planner.send("pick up the cup")
    graph.until(moving(robot, "pick up the cup"), what="motion")
    assert planner.call("pause").success
    graph.until(planner.state(FEEDBACK.PAUSED), what="the pause")
    graph.until(robot.state(ExecutorStatus.IDLE))
    count = robot.settled()
    assert planner.call("resume").success
    graph.until(lambda: len(robot.commands) > count + 3, what="motion again")
    assert not handle.outcome.done()
    SuccessTopic(graph).says(False, True)
    _, result = planner.result(handle)
    assert (result.reason, result.steps[0].tries) == (RESULT.SUCCEEDED, 1)
    refused = planner.call("pause")
    assert (refused.success, refused.message) == (False, "no plan runs")


def test_a_newer_plan_replaces_the_running_one(graph, robot, planner):
    first = planner.send("pick up the cup", "wipe the table")
    graph.until(moving(robot, "pick up the cup"), what="motion")
    second = planner.send("wipe the table", "pick up the cup")
    status, result = planner.result(first)
    assert (status, result.reason) == (GoalStatus.STATUS_ABORTED, RESULT.PREEMPTED)
    assert [step.tries for step in result.steps] == [1, 0]
    graph.until(moving(robot, "wipe the table"), what="the new order")
    assert not second.outcome.done()


def test_the_estop_ends_the_plan_with_its_reason(graph, robot, planner):
    handle = planner.send("pick up the cup", "wipe the table")
    graph.until(moving(robot, "pick up the cup"), what="motion")
    robot.call("estop")
    status, result = planner.result(handle)
    assert (status, result.reason) == (GoalStatus.STATUS_ABORTED, RESULT.FAULT)
    assert "step 1 of 2" in result.message
    assert "e-stop" in result.message


def test_a_plan_ends_with_its_node_and_the_arm_stops(graph, robot, planner):
    handle = planner.send("pick up the cup")
    graph.until(moving(robot, "pick up the cup"), what="motion")
    planner.node.trigger_deactivate()
    _, result = planner.result(handle)
    assert result.reason == RESULT.FAULT
    assert "deactivated" in result.message
    graph.until(robot.state(ExecutorStatus.IDLE))
    assert not planner.send("pick up the cup").accepted


def test_without_an_executor_the_plan_says_so(graph, make_planner, monkeypatch):
    monkeypatch.setattr("smolvla_executor.plan_node.node.DISCOVERY_TIMEOUT", 0.2)
    planner = make_planner()
    _, result = planner.result(planner.send("pick up the cup"))
    assert result.reason == RESULT.FAULT
    assert "is executor_node running?" in result.message


@pytest.mark.parametrize(
    "step",
    [PlanStep(), PlanStep(instruction="go", time_limit=0.0), PlanStep(instruction="go", tries=0)],
)
def test_plans_that_make_no_sense_are_rejected(planner, step):
    assert not planner.send(step).accepted
    assert not planner.send().accepted


def test_a_judge_that_looks_decides_alone(graph, robot, looking, eye):
    handle = looking.send("pick up the cup")
    graph.until(lambda: looking.feedback and looking.feedback[-1].seen == "nothing yet")
    SuccessTopic(graph).says(False, True)  # which is not asked
    tick = robot.status.tick
    graph.until(lambda: robot.status.tick > tick + 3, what="it goes on")
    sentence, images = eye.asked
    assert sentence == "pick up the cup"
    assert (images["top"] == PIXELS).all()
    eye.answer = Opinion(Verdict.YES, "a cup in the air")
    status, result = looking.result(handle)
    assert (status, result.reason) == (GoalStatus.STATUS_SUCCEEDED, RESULT.SUCCEEDED)
    assert result.steps[0].seen == "a cup in the air"
    graph.until(robot.state(ExecutorStatus.IDLE))


def test_a_judge_that_never_answers_does_not_hang_the_plan(graph, robot, looking, eye):
    eye.answer = None
    began = time.monotonic()
    handle = looking.send(PlanStep(instruction="pick up the cup", time_limit=0.5, tries=1))
    _, result = looking.result(handle)
    assert result.reason == RESULT.NOT_DONE
    assert "nobody has judged it" in result.message
    assert time.monotonic() - began < 10.0
    # Nor the next plan.
    eye.answer = Opinion(Verdict.YES, "a cup")
    assert looking.result(looking.send("pick up the cup"))[1].reason == RESULT.SUCCEEDED


def test_a_judge_that_cannot_see_says_what_is_missing(graph, robot, make_planner, eye):
    planner = make_planner(judge="eye", cameras=["cellar"])
    limits = {"time_limit": 0.5, "tries": 1}
    _, result = planner.result(planner.send(PlanStep(instruction="pick up the cup", **limits)))
    assert result.reason == RESULT.NOT_DONE
    assert "cellar" in result.message


@pytest.mark.parametrize(
    ("judge", "options", "problem"),
    [
        ("oracle", [], "no judge 'oracle'"),
        ("topic", ["name=done"], "has no options"),
        ("eye", ["in_a_row"], "must be 'name=value'"),
        ("eye", ["in_row=2"], "did you mean 'in_a_row'"),
        ("eye", ["in_a_row=0"], "in_a_row is 0"),
    ],
)
def test_a_judge_that_cannot_be_ends_the_plan_before_the_arm_moves(
    robot, planner, eye, judge, options, problem
):
    step = PlanStep(instruction="pick up the cup", judge=judge, judge_options=options)
    _, result = planner.result(planner.send(step))
    assert result.reason == RESULT.FAULT
    assert problem in result.message
    assert robot.requests == []
