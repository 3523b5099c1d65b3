# SPDX-License-Identifier: Apache-2.0
"""`policy_node` as a managed node: it answers in every state, also while it loads."""

import gc
import subprocess
import sys
import threading
import weakref

import pytest
from diagnostic_msgs.msg import DiagnosticArray, DiagnosticStatus
from lifecycle_msgs.msg import Transition
from lifecycle_msgs.srv import ChangeState, GetState
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.parameter import Parameter

from smolvla_msgs.msg import PolicyStatus

SUCCESS, FAILURE = TransitionCallbackReturn.SUCCESS, TransitionCallbackReturn.FAILURE


def change(graph, label):
    request = ChangeState.Request(transition=Transition(label=label))
    return graph.call(ChangeState, "policy_node/change_state", request).success


def state(graph):
    return graph.call(GetState, "policy_node/get_state").current_state.label


def test_each_transition_through_the_services_of_ros(graph, make_world):
    world = make_world(active=False)
    graph.until(lambda: world.status.state == PolicyStatus.UNCONFIGURED)
    assert "ros2 lifecycle set /policy_node configure" in world.ask().error
    assert change(graph, "configure")
    graph.until(lambda: world.status.state == PolicyStatus.INACTIVE)
    assert "ros2 lifecycle set /policy_node activate" in world.ask().error
    assert change(graph, "activate")
    world.ready()
    assert world.ask().error == ""
    assert change(graph, "deactivate")
    assert "ros2 lifecycle set /policy_node activate" in world.ask().error
    assert change(graph, "activate")
    assert world.ask().error == ""
    assert change(graph, "deactivate")
    assert not world.backend.closed
    assert change(graph, "cleanup")
    assert world.backend.closed
    assert state(graph) == "unconfigured"
    assert "configure" in world.ask().error
    assert change(graph, "shutdown")
    assert state(graph) == "finalized"
    assert "start its process anew" in world.ask().error


@pytest.mark.parametrize("steps", [[], ["configure"], ["configure", "activate"]])
def test_shutdown_from_every_state_frees_the_backend(graph, make_world, steps):
    world = make_world(active=False)
    for step in steps:
        assert change(graph, step)
    assert change(graph, "shutdown")
    assert world.backend.closed == bool(steps)
    assert not any(thread.name == "inference" for thread in threading.enumerate())


def test_cleanup_frees_backend_and_subscriptions(graph, make_world):
    made = []
    world = make_world(active=False)
    kind = type(world.backend)

    def create(settings):
        backend = kind()
        made.append(weakref.ref(backend))
        return backend

    make_world.args[1].setattr("smolvla_policy.policy_node.node.create_backend", create)
    before = {subscription.topic_name for subscription in world.policy.subscriptions}
    for _ in range(2):
        change(graph, "configure")
        change(graph, "activate")
        world.ready()
        assert world.ask().error == ""
        change(graph, "deactivate")
        change(graph, "cleanup")
    gc.collect()
    assert len(made) == 2
    assert [backend() for backend in made] == [None, None]
    assert {subscription.topic_name for subscription in world.policy.subscriptions} == before


class SlowLoad:
    """A factory of backends that takes until the test lets it."""

    def __init__(self, backend):
        self.backend = backend
        self.begun, self.gate = threading.Event(), threading.Event()

    def __call__(self, settings):
        self.begun.set()
        assert self.gate.wait(10)
        return self.backend


@pytest.fixture
def slow(make_world):
    world = make_world(active=False)
    world.load = SlowLoad(world.backend)
    make_world.args[1].setattr("smolvla_policy.policy_node.node.create_backend", world.load)
    yield world
    world.load.gate.set()


def begin_to_configure(graph):
    client = graph.node.create_client(ChangeState, "policy_node/change_state")
    graph.until(client.service_is_ready)
    return client.call_async(ChangeState.Request(transition=Transition(label="configure")))


def test_while_it_loads_it_answers_everything_but_the_transition(graph, slow):
    done = begin_to_configure(graph)
    graph.until(slow.load.begun.is_set)
    assert state(graph) == "configuring"
    assert "still loading" in slow.ask().error
    count = len(slow.statuses)
    graph.until(lambda: len(slow.statuses) > count + 5, what="statuses")
    assert slow.status.state == PolicyStatus.LOADING
    result = slow.policy.set_parameters([Parameter("device", value="cuda")])[0]
    assert "policy_node is configuring" in result.reason
    assert "once it has loaded, clean up /policy_node first" in result.reason
    assert not done.done()
    slow.load.gate.set()
    graph.until(done.done, what="the transition")
    assert done.result().success
    assert state(graph) == "inactive"


def test_a_second_transition_waits_for_the_first(graph, slow):
    first = begin_to_configure(graph)
    graph.until(slow.load.begun.is_set)
    client = graph.node.create_client(ChangeState, "policy_node/change_state")
    graph.until(client.service_is_ready)
    second = client.call_async(ChangeState.Request(transition=Transition(label="activate")))
    slow.load.gate.set()
    graph.until(lambda: first.done() and second.done(), what="both")
    assert first.result().success
    assert second.result().success
    assert state(graph) == "active"


def test_destroying_a_node_that_loads_does_not_wait_for_ever(graph, slow, monkeypatch):
    monkeypatch.setattr("smolvla_core.ros.managed_node.JOIN_TIMEOUT", 0.05)
    begin_to_configure(graph)
    graph.until(slow.load.begun.is_set)
    graph.remove(slow.policy)
    assert slow.policy.abandoned
    slow.load.gate.set()
    for thread in threading.enumerate():
        if thread.name == "transition":
            thread.join(5)
    assert slow.backend.closed  # what was loaded for nobody is freed


def test_a_destroyed_node_leaves_nothing_in_the_graph(graph, make_world):
    world = make_world().ready()
    gc.disable()  # a process that exits at once collects nothing either
    try:
        graph.remove(world.policy)
        events = "policy_node/transition_event"
        graph.until(lambda: graph.node.count_publishers(events) == 0, what="its last publisher")
    finally:
        gc.enable()


def test_a_signal_in_the_middle_of_an_inference_is_no_error(graph, make_world):
    world = make_world().ready()
    world.backend.gate.clear()
    world.send()
    graph.until(lambda: world.status.state == PolicyStatus.INFERRING)
    graph.context.shutdown()
    world.backend.gate.set()
    world.policy.destroy_node()
    assert world.backend.closed


def test_after_a_failed_configuration_other_parameters_are_tried(graph, make_world):
    world = make_world(active=False)

    def create(settings):
        if settings.checkpoint != "good":
            raise ValueError(f"no checkpoint '{settings.checkpoint}'")
        return world.backend

    make_world.args[1].setattr("smolvla_policy.policy_node.node.create_backend", create)
    assert not change(graph, "configure")
    assert state(graph) == "unconfigured"
    graph.until(lambda: world.status.state == PolicyStatus.ERROR)
    assert "backend 'fake': no checkpoint ''" in world.status.message
    assert "no checkpoint ''" in world.ask().error
    assert world.policy.set_parameters([Parameter("checkpoint", value="good")])[0].successful
    assert change(graph, "configure")
    assert change(graph, "activate")
    world.ready()
    assert world.ask().error == ""
    result = world.policy.set_parameters([Parameter("checkpoint", value="other")])[0]
    assert "deactivate and clean up /policy_node first" in result.reason


def test_deactivation_while_it_thinks_answers_both_requests(graph, make_world):
    world = make_world().ready()
    world.backend.gate.clear()
    first = world.send()
    graph.until(lambda: world.status.state == PolicyStatus.INFERRING)
    second = world.send()
    graph.until(lambda: world.status.requests == 2)
    assert change(graph, "deactivate")
    assert "deactivated" in world.answer(second).error
    world.backend.gate.set()
    late = world.answer(first)
    assert "activate" in late.error
    assert len(late.positions) == 0


def test_autostart_chunk_rate_and_the_diagnostics_topic(graph, make_world):
    world = make_world(active=False, autostart=True)
    received = []
    graph.node.create_subscription(DiagnosticArray, "/diagnostics", received.append, 10)
    world.policy.start_up()
    world.ready()
    for _ in range(3):
        assert world.ask().error == ""
    graph.until(lambda: world.status.chunk_rate > 0)
    reports = {}

    def fresh():
        reports.update({r.name: r for message in received for r in message.status})
        camera = reports.get("policy_node: camera top")
        return camera is not None and camera.level == DiagnosticStatus.OK

    graph.until(fresh, what="diagnostics")
    assert set(reports) == {
        f"policy_node: {name}"
        for name in ("model", "inference", "camera top", "camera wrist", "joint states")
    }


def test_while_it_starts_by_itself_it_orders_nothing(graph, make_world, capfd):
    world = make_world(active=False, autostart=True)
    load = SlowLoad(world.backend)
    make_world.args[1].setattr("smolvla_policy.policy_node.node.create_backend", load)
    first = world.ask()  # before it has begun
    world.policy.start_up()
    graph.until(load.begun.is_set)
    graph.until(lambda: world.status.state == PolicyStatus.LOADING)
    for refusal in (first, world.ask()):
        assert "still loading" in refusal.error
        assert refusal.waiting
    load.gate.set()
    world.ready()
    assert not [status for status in world.statuses if "lifecycle" in status.message]
    assert {status.level for status in world.statuses} == {0}
    assert change(graph, "deactivate")
    graph.until(lambda: "ros2 lifecycle set /policy_node activate" in world.status.message)
    refusal = world.ask()
    assert "ros2 lifecycle set /policy_node activate" in refusal.error
    assert refusal.waiting
    text = capfd.readouterr().err
    assert "lifecycle" not in text
    assert "no chunk" not in text


def test_without_autostart_the_process_says_how_to_go_on_and_ends_politely():
    command = [sys.executable, "-m", "smolvla_policy.policy_node.node"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stderr.readline()
        assert "policy_node is unconfigured: " in line
        assert "autostart:=true" in line
    finally:
        process.terminate()
    assert process.wait(20) == 0
    assert "Traceback" not in process.stderr.read()


@pytest.mark.parametrize("error", [ValueError("units do not fit"), MemoryError("no room")])
def test_only_a_mistake_in_the_parameters_is_one_for_whoever_would_start_it_anew(
    make_world, error
):
    world = make_world(active=False)

    def create(settings):
        raise error

    make_world.args[1].setattr("smolvla_policy.policy_node.node.create_backend", create)
    assert not change(world.graph, "configure")
    assert str(error) in world.policy.problem
    assert world.policy.misconfigured is isinstance(error, ValueError)
