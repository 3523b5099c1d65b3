# SPDX-License-Identifier: Apache-2.0
"""The e-stop at the arm's driver: who has confirmed it, and that a reset is both's or nobody's."""

import pytest
from rclpy.callback_groups import ReentrantCallbackGroup
from rclpy.parameter import Parameter
from rclpy.task import Future
from smolvla_core.client import ClientError, SmolVLAClient
from smolvla_executor.executor_node import driver_stop
from std_msgs.msg import Bool
from std_srvs.srv import Trigger

from smolvla_msgs.msg import ExecutorStatus

HOLD = "all 6 servos answered and hold"
SILENT = "elbow_flex (id 3) did not answer; cut the power"
DRIVER = "so100_driver"


class Driver:
    """A driver as far as its services go."""

    def __init__(self, graph, name=DRIVER):
        self.calls = []
        self.success, self.message = True, HOLD
        self.mute = False
        node, group = graph.node, ReentrantCallbackGroup()
        self.services = [
            node.create_service(
                Trigger, f"{name}/{order}", self._answer(order), callback_group=group
            )
            for order in ("stop", "reset_stop")
        ]

    def _answer(self, order):
        async def answer(request, response):
            self.calls.append(order)
            if self.mute:
                await Future()
            response.success, response.message = self.success, self.message
            return response

        return answer


@pytest.fixture(autouse=True)
def impatient(monkeypatch):
    monkeypatch.setattr(driver_stop, "ASK_AGAIN", 0.1)
    monkeypatch.setattr(driver_stop, "PATIENCE", 0.3)


@pytest.fixture
def driver(graph):
    return Driver(graph)


@pytest.fixture
def client(graph):
    return SmolVLAClient(graph.node)


def stopped(graph, robot, words):
    graph.until(
        lambda: robot.status.state == ExecutorStatus.STOPPED and words in robot.status.reason,
        what=words,
    )


def set_drivers(robot, names):
    parameter = Parameter("drivers", Parameter.Type.STRING_ARRAY, names)
    assert robot.executor.set_parameters([parameter])[0].successful


def test_the_first_status_says_stopped_and_a_following_one_who_confirmed(
    graph, make_robot, driver, client
):
    robot = make_robot(drivers=[DRIVER])
    graph.until(lambda: robot.status.tick > 2, what="motion")
    button = graph.node.create_publisher(Bool, "estop", 10)
    graph.until(button.get_subscription_count)
    button.publish(Bool(data=True))
    stopped(graph, robot, f"the driver confirms: {HOLD}")
    first = next(s for s in robot.statuses if s.state == ExecutorStatus.STOPPED)
    assert HOLD not in first.reason
    button.publish(Bool(data=False))

    driver.success, driver.message = False, SILENT
    stopped(graph, robot, f"the driver does not confirm: {SILENT}")
    with pytest.raises(ClientError, match="elbow_flex"):
        client.reset_estop()
    stopped(graph, robot, SILENT)
    driver.success, driver.message = True, HOLD
    stopped(graph, robot, HOLD)
    client.reset_estop()
    graph.until(robot.state(ExecutorStatus.IDLE))
    calls = len(driver.calls)
    assert driver.calls[-1] == "reset_stop"
    graph.during(0.3, lambda: len(driver.calls) == calls)
    client.start()
    graph.until(robot.state(ExecutorStatus.RUNNING))


def test_the_caller_of_the_estop_hears_what_the_driver_says(graph, make_robot, driver, client):
    robot = make_robot(drivers=[DRIVER])
    assert HOLD in client.estop()
    client.reset_estop()
    driver.success, driver.message = False, SILENT
    with pytest.raises(ClientError, match="elbow_flex"):
        client.estop()
    stopped(graph, robot, SILENT)


def test_a_driver_that_is_dead_or_mute_is_said_and_holds_up_nothing(graph, make_robot, client):
    robot = make_robot(drivers=[DRIVER])
    graph.until(lambda: robot.status.tick > 2, what="motion")
    with pytest.raises(ClientError, match=r"not there.*cut the power"):
        client.estop()
    with pytest.raises(ClientError, match="not there"):
        client.reset_estop()
    driver = Driver(graph)
    stopped(graph, robot, HOLD)
    driver.mute = True
    stopped(graph, robot, "no answer; cut the power")
    statuses = len(robot.statuses)
    with pytest.raises(ClientError, match="does not answer"):
        client.reset_estop()
    assert len(robot.statuses) > statuses + 3, "the control loop goes on"
    driver.mute = False
    stopped(graph, robot, HOLD)
    client.reset_estop()


def test_one_of_two_drivers_that_refuses_keeps_both_stopped(graph, make_robot, client):
    left, right = Driver(graph, "left_driver"), Driver(graph, "right_driver")
    robot = make_robot(drivers=["left_driver", "right_driver"])
    client.estop()
    stopped(graph, robot, f"/left_driver confirms: {HOLD}; /right_driver confirms: {HOLD}")
    right.success, right.message = False, SILENT
    with pytest.raises(ClientError, match="elbow_flex"):
        client.reset_estop()
    graph.until(lambda: left.calls[-1] == "stop", what="the left one is stopped again")


def test_it_works_in_every_lifecycle_state_and_drivers_are_set_while_it_runs(
    graph, make_robot, driver, client
):
    robot = make_robot(active=False)
    assert "driver" not in client.estop()
    client.reset_estop()
    set_drivers(robot, [DRIVER])
    assert HOLD in client.estop()
    set_drivers(robot, [])
    graph.until(lambda: "driver" not in robot.status.reason)
    client.reset_estop()
    assert "reset_stop" not in driver.calls
