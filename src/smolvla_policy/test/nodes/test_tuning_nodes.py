# SPDX-License-Identifier: Apache-2.0
"""Parameters set by a client while the nodes run: what takes effect, what is refused."""

import re

import numpy as np
import pytest
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState
from rcl_interfaces.srv import SetParameters, SetParametersAtomically
from rclpy.parameter import Parameter
from robot_files import robot_file
from smolvla_core.node_settings import ExecutorSettings
from smolvla_core.settings import settings_of
from smolvla_executor.executor_node.node import ExecutorNode
from smolvla_policy.backends.smolvla_settings import SmolVLASettings
from smolvla_policy.policy_node import node as policy_module

from smolvla_msgs.msg import ExecutorStatus

PERIOD = 0.02


def messages(values):
    return [Parameter(name, value=value).to_parameter_msg() for name, value in values.items()]


def set_each(graph, node, **values):
    """Set one after the other, as ``ros2 param set`` and ``load`` do; return the results."""
    request = SetParameters.Request(parameters=messages(values))
    return graph.call(SetParameters, f"{node}/set_parameters", request).results


def set_one(graph, node, **values):
    return set_each(graph, node, **values)[0]


def set_all(graph, node, **values):
    request = SetParametersAtomically.Request(parameters=messages(values))
    name = f"{node}/set_parameters_atomically"
    return graph.call(SetParametersAtomically, name, request).result


def change(graph, node, *labels):
    for label in labels:
        request = ChangeState.Request(transition=Transition(label=label))
        assert graph.call(ChangeState, f"{node}/change_state", request).success, label


def wave(robot):
    """Let the policy swing both joints by 0.4 rad at up to 0.8 rad/s."""

    def answer(request):
        ticks = np.arange(request.tick, request.tick + 20)
        return np.stack([0.4 * np.sin(2.0 * PERIOD * ticks)] * 2, axis=1)

    robot.answer = answer


def fastest(robot, begin):
    """Return the largest speed of the commands from number `begin` on [rad/s]."""
    return np.abs(np.diff(robot.commands[begin:], axis=0)).max() / PERIOD


# The executor.


def test_a_speed_counts_while_the_arm_moves_and_is_told(graph, make_robot, capfd):
    robot = make_robot()
    wave(robot)
    graph.until(robot.state(ExecutorStatus.RUNNING), what="motion")
    count = len(robot.commands)
    graph.until(lambda: len(robot.commands) > count + 80, what="half a swing")
    assert fastest(robot, count) > 0.5
    assert set_one(graph, "executor_node", max_speed=[0.25, 0.1]).successful
    count = len(robot.commands) + 2
    graph.until(lambda: len(robot.commands) > count + 40, what="slow commands")
    steps = np.abs(np.diff(robot.commands[count:], axis=0)).max(axis=0)
    assert (steps <= np.array([0.25, 0.1]) * PERIOD + 1e-9).all()
    assert list(robot.executor.get_parameter("max_speed").value) == [0.25, 0.1]
    said = capfd.readouterr().err
    assert said.count("max_speed is now [0.25, 0.1] (was [50.0])") == 1


def test_what_the_status_tells_follows_at_once(graph, make_robot):
    robot = make_robot(status_rate=0.1)
    graph.until(lambda: robot.commands, what="motion")
    assert set_one(graph, "executor_node", chunk_size_threshold=0.35).successful
    graph.until(lambda: robot.status.chunk_size_threshold == 0.35, timeout=8.0)
    assert set_one(graph, "executor_node", status_rate=80.0).successful
    count = len(robot.statuses)
    graph.until(lambda: len(robot.statuses) > count + 20, what="more statuses")


REFUSALS = (
    (
        {"max_speed": [0.1, 0.2, 0.3]},
        "has 3 numbers, but needs one, or one for each of a, b",
    ),
    ({"max_speed": [0.0]}, "max_speed[0] is 0.0, but must be 0.001 or more"),
    ({"max_step": [float("nan")]}, "max_step[0] is nan, but must be a finite number"),
    ({"robot": "so1000"}, "there is no robot 'so1000'"),
    ({"max_speed": [0.1], "aggregate": "mean"}, "not one of auto, latest"),
    (
        {"max_speed": [0.1], "state_timeout": 60.0},
        "60.0, but must be from 0.01 up to 10",
    ),
    ({"max_speed": [0.1], "robot": "so100"}, "deactivate and clean up /executor_node"),
    ({"max_speed": [0.1], "autostart": True}, "read-only"),
)


def test_a_refused_set_leaves_the_moving_arm_as_it_was(graph, make_robot):
    robot = make_robot()
    wave(robot)
    graph.until(robot.state(ExecutorStatus.RUNNING), what="motion")
    names = list(settings_of(ExecutorSettings))
    before = [parameter.value for parameter in robot.executor.get_parameters(names)]
    for values, message in REFUSALS:
        result = set_all(graph, "executor_node", **values)
        assert not result.successful
        assert message in result.reason
    after = [parameter.value for parameter in robot.executor.get_parameters(names)]
    assert after == before
    count = len(robot.commands)
    graph.until(lambda: len(robot.commands) > count + 80, what="half a swing")
    assert fastest(robot, count) > 0.5


def test_narrower_limits_lead_the_arm_back_at_the_speed_of_an_approach(graph, make_robot):
    robot = make_robot(approach_speed=0.5)
    robot.answer = lambda request: np.full((20, 2), 0.6)
    graph.until(lambda: robot.commands and abs(robot.commands[-1][0] - 0.6) < 1e-9, timeout=20)
    count = len(robot.commands) - 1
    narrow = {"robot": robot_file(upper=[0.2, 3.0]), "max_speed": [20.0]}
    assert set_all(graph, "executor_node", **narrow).successful
    graph.until(lambda: robot.commands[-1][0] == 0.2, timeout=20, what="inside")
    assert fastest(robot, count) <= 0.5 + 1e-9
    assert robot.commands[-1][1] == pytest.approx(0.6)


def test_the_end_of_a_dry_run_begins_where_the_arm_stands(graph, make_robot):
    robot = make_robot(dry_run=True, approach_speed=0.5)
    robot.position = np.array([-0.7, 0.7])
    robot.answer = lambda request: np.full((20, 2), 0.5)
    graph.until(robot.state(ExecutorStatus.RUNNING), timeout=20, what="a plan in thought")
    assert robot.commands == []
    assert set_one(graph, "executor_node", dry_run=False).successful
    graph.until(lambda: len(robot.commands) > 5, what="commands")
    np.testing.assert_allclose(robot.commands[0], [-0.7, 0.7], atol=0.5 * PERIOD)
    assert fastest(robot, 0) <= 0.5 + 1e-9
    graph.until(lambda: not robot.status.dry_run, what="the status")
    assert set_one(graph, "executor_node", dry_run=True).successful
    count = robot.settled()
    graph.during(0.2, lambda: len(robot.commands) == count)


def test_set_before_it_is_configured_and_while_it_is_inactive(graph, make_robot):
    robot = make_robot(active=False)
    # One by one they do not fit; they are judged together when the node is configured.
    for value in ({"max_step": [0.1] * 2}, {"max_speed": [0.3, 0.4]}, {"dry_run": True}):
        assert set_one(graph, "executor_node", **value).successful
    change(graph, "executor_node", "configure")
    assert set_one(graph, "executor_node", dry_run=False, wait_for_start=True).successful
    assert set_one(graph, "executor_node", wait_for_start=True).successful
    change(graph, "executor_node", "activate")
    graph.until(lambda: "call ~/start" in robot.status.reason, what="waiting for the start")
    assert robot.call("start").success
    graph.until(lambda: len(robot.commands) > 20, what="commands")
    assert fastest(robot, 0) <= 0.4 + 1e-9
    assert not robot.status.dry_run


def test_the_present_values_of_a_running_node_can_be_loaded_again(graph, make_robot):
    robot = make_robot()
    graph.until(robot.state(ExecutorStatus.RUNNING), what="motion")
    names = [name for name, one in settings_of(ExecutorSettings).items() if not one.fixed]
    values = {name: robot.executor.get_parameter(name).value for name in names}
    results = set_each(graph, "executor_node", **values)
    assert [result.reason for result in results] == [""] * len(names)
    # Where the machine is busy it may have waited for a chunk in between.
    graph.until(robot.state(ExecutorStatus.RUNNING), what="motion goes on")


@pytest.mark.parametrize("steps", [["configure"], ["configure", "activate"]])
def test_the_steps_that_a_refusal_names_work_in_a_namespace_too(graph, steps):
    node = graph.add(ExecutorNode(context=graph.context, namespace="left", parameter_overrides=[]))
    name = "/left/executor_node"
    change(graph, name, *steps)
    reason = set_one(graph, name, rate=12.0).reason
    command = reason.partition("(ros2 lifecycle set ")[2].partition(")")[0]
    target, _, transitions = command.partition(" ")
    assert target == name
    change(graph, target, *transitions.split(", then "))
    assert set_one(graph, target, rate=12.0).successful
    change(graph, target, *re.findall("configure|activate", reason.partition("then set it")[2]))
    assert node.phase == {"configure": "inactive", "activate": "active"}[steps[-1]]


# The policy.


class TunedBackend:
    """Makes the fake backend of the tests one that takes new values."""

    def __init__(self, backend):
        self.backend, self.calls = backend, []

    def __getattr__(self, name):
        return getattr(self.backend, name)

    def infer(self, observation, request):
        self.calls.append("infer")
        return self.backend.infer(observation, request)

    def tune(self, options):
        self.calls.append(options)


def test_the_backend_takes_new_values_between_two_inferences(graph, make_world):
    world = make_world(active=False)
    tuned = TunedBackend(world.backend)
    make_world.args[1].setattr(policy_module, "create_backend", lambda settings: tuned)
    change(graph, "policy_node", "configure", "activate")
    world.ready()
    assert world.ask().error == ""
    world.backend.gate.clear()
    running = world.send()
    graph.until(lambda: tuned.calls == ["infer", "infer"], what="the second inference")
    assert set_one(graph, "policy_node", seed=11).successful
    assert set_all(graph, "policy_node", noise_scale=0.5, real_time_chunking="guided").successful
    assert set_all(graph, "policy_node", num_steps=5, solver="ab2").successful
    assert "from 0 up to 100" in set_one(graph, "policy_node", num_steps=101).reason
    assert "one of euler, ab2" in set_one(graph, "policy_node", solver="heun").reason
    assert tuned.calls == ["infer", "infer"]
    world.backend.gate.set()
    assert world.answer(running).error == ""
    assert world.ask().error == ""
    wishes = [
        {"seed": 11},
        {"noise_scale": 0.5, "real_time_chunking": "guided"},
        {"num_steps": 5, "solver": "ab2"},
    ]
    assert tuned.calls == ["infer", "infer", *wishes, "infer"]


def test_the_backend_refuses_values_that_do_not_fit_it(graph, make_world):
    world = make_world(active=False)
    tuned = TunedBackend(world.backend)

    def check(changes):
        if changes.get("real_time_chunking") == "jacobian":
            raise ValueError("it has no gradients: use engine 'torch'")

    tuned.check = check
    make_world.args[1].setattr(policy_module, "create_backend", lambda settings: tuned)
    change(graph, "policy_node", "configure", "activate")
    result = set_all(graph, "policy_node", noise_scale=0.5, real_time_chunking="jacobian")
    assert not result.successful
    assert "no gradients: use engine 'torch'" in result.reason
    assert set_one(graph, "policy_node", noise_scale=0.25).successful
    world.ready()
    assert world.ask().error == ""
    assert tuned.calls == [{"noise_scale": 0.25}, "infer"]


def test_a_backend_that_takes_no_new_values_says_what_to_do(graph, make_world):
    make_world()
    result = set_one(graph, "policy_node", noise_scale=0.5)
    assert not result.successful
    assert "backend 'fake' does not take it: policy_node is active" in result.reason
    assert "deactivate and clean up /policy_node first" in result.reason
    values = {"seed": SmolVLASettings().seed, "noise_scale": SmolVLASettings().noise_scale}
    assert all(result.successful for result in set_each(graph, "policy_node", **values))


def test_how_old_an_image_may_be(graph, make_world):
    world = make_world(max_image_age=30.0, max_skew=9.0).ready()
    assert world.ask().error == ""
    world.silent.add("top")
    graph.until(lambda: world.status.camera_ages[0] > 0.3, what="an old image")
    assert world.ask().error == ""
    assert set_one(graph, "policy_node", max_image_age=0.2).successful
    assert "camera top: newest image is" in world.ask().error
    assert set_one(graph, "policy_node", max_image_age=30.0).successful
    assert world.ask().error == ""
    assert set_one(graph, "policy_node", max_skew=0.05).successful
    graph.until(lambda: "apart, more than max_skew (0.05 s)" in world.ask().error, what="the skew")


def test_another_executor_is_served_and_then_the_first_again(graph, make_world):
    world = make_world().ready()
    assert world.ask().error == ""
    assert set_one(graph, "policy_node", executor="second").successful
    assert "serves /second" in world.ask().error
    assert world.ask(executor="/second#5").error == ""
    assert set_one(graph, "policy_node", executor="executor_node").successful
    assert world.ask().error == ""


def test_what_is_set_while_the_checkpoint_loads_counts_afterwards(graph, make_world):
    world = make_world(active=False, inference_delay=0.0, max_image_age=30.0)

    def create(settings):
        assert settings.inference_delay == 0.0
        # As a client does it meanwhile; this thread is that of the node here.
        assert world.policy.set_parameters([Parameter("inference_delay", value=0.3)])[0].successful
        refused = world.policy.set_parameters([Parameter("device", value="cpu")])[0]
        assert "policy_node is configuring" in refused.reason
        return world.backend

    make_world.args[1].setattr(policy_module, "create_backend", create)
    assert world.policy.trigger_configure() == world.policy.trigger_activate()
    world.ready()
    assert world.ask().inference_time.nanosec >= 300_000_000
