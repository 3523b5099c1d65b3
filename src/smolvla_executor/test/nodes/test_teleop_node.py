# SPDX-License-Identifier: Apache-2.0
"""`teleop_node` and `executor_node` over real ROS: a person with a joystick moves the arm."""

import numpy as np
import pytest
import yaml
from rclpy.parameter import Parameter
from robot_files import robot_file
from sensor_msgs.msg import JointState, Joy
from smolvla_core.ros import qos
from smolvla_executor.teleop_node.node import TeleopNode
from std_msgs.msg import String
from std_srvs.srv import Trigger

from smolvla_msgs.msg import ExecutorStatus

JOINTS = ["a", "b"]
HOME = {"a": {"home": 0.4}, "b": {"home": -0.2}}
BUTTONS = [
    *("dead_man", "estop", "reset_estop", "home", "start", "stop", "take_over", "give_back"),
    *("record_start", "record_save", "record_discard", "re_record"),
]
MAP = {
    "joints": {"a": {"axis": 0, "speed": 0.5}},
    "tip": {"y": {"axis": 1, "speed": 0.5}},
    "buttons": {name: number for number, name in enumerate(BUTTONS)},
}
SLIDE = """<robot name="r"><link name="base"/><link name="mid"/><link name="gripper_frame_link"/>
<joint name="a" type="revolute"><parent link="base"/><child link="mid"/><axis xyz="0 0 1"/></joint>
<joint name="b" type="revolute"><parent link="mid"/><child link="gripper_frame_link"/>
<origin xyz="1 0 0"/><axis xyz="0 1 0"/></joint></robot>"""


class Pad:
    """A joystick and its node, which repeats itself; and a `teleop_node`."""

    def __init__(self, graph, folder, **parameters):
        self.graph = graph
        self.axes, self.pressed = [0.0, 0.0], set()
        file = folder / "map.yaml"
        file.write_text(yaml.safe_dump(MAP))
        given = {"joy_map": str(file), "robot": robot_file(JOINTS, changes=HOME), "rate": 50.0}
        given |= {"joy_timeout": 0.5, **parameters}  # the machine may be busy
        overrides = [Parameter(name, value=value) for name, value in given.items()]
        self.node = graph.add(TeleopNode(context=graph.context, parameter_overrides=overrides))
        self.publisher = graph.node.create_publisher(Joy, "joy", 10)
        self.targets = []
        graph.node.create_subscription(JointState, "leader/joint_states", self.targets.append, 10)
        self.feed = graph.node.create_timer(0.02, self.send)

    def send(self):
        buttons = [int(name in self.pressed) for name in BUTTONS]
        self.publisher.publish(Joy(axes=self.axes, buttons=buttons))

    def press(self, *names):
        self.pressed = set(names)

    def stop(self):
        self.feed.cancel()  # as of one that was killed


@pytest.fixture
def robot(make_robot):
    return make_robot(robot=robot_file(JOINTS, changes=HOME), human_timeout=0.5)


@pytest.fixture
def pad(graph, robot, tmp_path):
    pad = Pad(graph, tmp_path)
    graph.until(lambda: robot.status.state == ExecutorStatus.RUNNING)
    graph.until(lambda: pad.publisher.get_subscription_count())
    graph.until(lambda: pad.node.targets.status is not None)
    return pad


def running(robot, source):
    return lambda: robot.status.source == source and robot.status.state == ExecutorStatus.RUNNING


def listener(capfd):
    """Return what says whether words have been logged."""
    text = []

    def said(words):
        text.append(capfd.readouterr().err)
        return words in "".join(text)

    return said


def held(graph, pad, robot):
    """Press the dead-man until the arm follows."""
    graph.until(lambda: pad.node.joystick.pressed is not None)
    pad.press("dead_man")
    graph.until(running(robot, "human"))


def test_hold_a_button_correct_let_go(graph, robot, pad):
    graph.until(lambda: robot.status.tick > 30)
    assert pad.targets == []
    count = len(robot.commands)
    held(graph, pad, robot)
    start = robot.position
    pad.axes[0] = 1.0
    graph.until(lambda: robot.position[0] > start[0] + 0.2)
    pad.axes[0] = 0.0
    graph.until(lambda: pad.targets[-1].position[0] == robot.position[0])
    assert robot.position[1] == pytest.approx(start[1])
    # Neither the take-over nor the motion was a jump: at most the approach's or the stick's speed.
    steps = np.abs(np.diff(robot.commands[count:], axis=0))
    assert steps.max() < 0.05
    requests = len(robot.requests)
    pad.press()
    graph.until(running(robot, "policy"))
    assert robot.requests[requests].must_go
    targets = len(pad.targets)
    graph.during(0.2, lambda: len(pad.targets) <= targets + 2)


def test_without_a_policy_letting_go_stops_and_the_arm_holds(graph, make_robot, tmp_path):
    robot = make_robot(instruction="", source="human", robot=robot_file(JOINTS))
    pad = Pad(graph, tmp_path)
    graph.until(running(robot, "human"), what="a target that stands where the arm is")
    np.testing.assert_allclose(robot.position, [0.1, -0.1], atol=1e-6)
    pad.press("dead_man")
    pad.axes[0] = -1.0
    graph.until(lambda: robot.position[0] < 0.0)
    pad.press()
    graph.until(lambda: not pad.node.joystick.held)
    count = len(pad.targets) + 3
    graph.until(lambda: len(pad.targets) > count)
    graph.until(lambda: pad.targets[-1].position[0] == robot.position[0])
    stands = robot.position.copy()
    graph.during(0.3, lambda: np.allclose(robot.position, stands))
    assert running(robot, "human")()


def test_a_joystick_node_that_dies_holds_the_arm_and_says_why(graph, robot, pad, capfd):
    held(graph, pad, robot)
    pad.axes[0] = 1.0
    graph.until(lambda: robot.position[0] > 0.15)
    pad.stop()
    graph.until(robot.state(ExecutorStatus.HOLDING))
    assert "target of the human" in robot.status.reason
    assert "old" in robot.status.reason
    stands = robot.position.copy()
    graph.during(0.3, lambda: np.allclose(robot.position, stands))
    said = capfd.readouterr().err
    assert "the arm holds: no valid message on /joy" in said
    assert "autorepeat_rate" in said
    # It is back, with the dead-man still held: the arm waits for a new press.
    pad.feed.reset()
    graph.until(running(robot, "human"))
    graph.during(0.3, lambda: np.allclose(robot.position, stands, atol=1e-6))
    pad.press()
    graph.until(lambda: pad.node.joystick.pressed == set())
    pad.press("dead_man")
    graph.until(lambda: robot.position[0] > stands[0] + 0.1)
    pad.press()
    graph.until(running(robot, "policy"))


def test_axes_that_are_not_finite_stop_and_then_hold(graph, robot, pad, capfd):
    held(graph, pad, robot)
    pad.axes[0] = np.nan
    graph.until(robot.state(ExecutorStatus.HOLDING))
    assert np.isfinite(robot.position).all()
    assert "axis 0 is not finite" in capfd.readouterr().err
    pad.axes[0] = 0.0
    graph.until(running(robot, "human"))


def test_the_estop_button_stops_and_is_reset_by_another(graph, robot, pad):
    held(graph, pad, robot)
    pad.press("dead_man", "estop")
    graph.until(robot.state(ExecutorStatus.STOPPED))
    count = robot.settled()
    pad.press("reset_estop")
    graph.until(robot.state(ExecutorStatus.IDLE))
    assert len(robot.commands) == count
    pad.press("start")
    graph.until(running(robot, "policy"))


def test_buttons_of_the_executor(graph, robot, pad):
    pad.press("stop")
    graph.until(robot.state(ExecutorStatus.IDLE))
    pad.press("start")
    graph.until(running(robot, "policy"))
    pad.press("take_over")
    graph.until(running(robot, "human"))
    # What another button has taken over the dead-man leaves as it is.
    pad.press("dead_man")
    graph.until(lambda: pad.node.joystick.held)
    pad.press()
    graph.until(lambda: not pad.node.joystick.held)
    graph.during(0.2, running(robot, "human"))
    pad.press("give_back")
    graph.until(running(robot, "policy"))
    pad.press("take_over")
    graph.until(running(robot, "human"))
    pad.press("home")
    graph.until(lambda: robot.status.reason.startswith("at home"))
    np.testing.assert_allclose(robot.position, [0.4, -0.2])


def test_no_way_home_while_the_dead_man_is_held(graph, robot, pad, capfd):
    held(graph, pad, robot)
    pad.press("dead_man", "home")
    said = listener(capfd)

    graph.until(lambda: said("let go of the dead-man"))
    assert robot.status.source == "human"


def test_buttons_of_the_recorder_and_their_answers(graph, robot, pad, capfd):
    called = []

    def serve(name):
        def answer(request, response):
            called.append(name)
            response.success = name != "save"
            response.message = f"{name} answered"
            return response

        graph.node.create_service(Trigger, f"record_node/{name}_episode", answer)

    said = listener(capfd)

    pad.press("record_start")
    graph.until(lambda: said("record_start: no service /record_node/start_episode"))
    pad.press()
    graph.until(lambda: not pad.node.joystick.pressed)
    for name in ("start", "save", "discard"):
        serve(name)
    graph.until(
        lambda: pad.node.orders.ready("re_record") and pad.node.orders.ready("record_save")
    )
    for button, calls, words in (
        ("record_start", ["start"], "[INFO]"),
        ("record_save", ["save"], "record_save: refused: save answered"),
        ("record_discard", ["discard"], "record_discard: discard answered"),
        ("re_record", ["discard", "start"], "re_record: start answered"),
    ):
        called.clear()
        pad.press(button)
        graph.until(lambda calls=calls: called == calls, what=button)
        graph.until(lambda words=words: said(words), what=words)
        pad.press()
        graph.until(lambda: not pad.node.joystick.pressed)


def test_the_tip_is_moved_by_the_robot_description(graph, make_robot, tmp_path, capfd):
    robot = make_robot(instruction="", source="human", robot=robot_file(JOINTS))
    robot.position = np.array([0.0, 0.0])
    pad = Pad(graph, tmp_path)
    graph.until(running(robot, "human"))
    pad.press("dead_man")
    pad.axes[1] = 1.0
    said = listener(capfd)

    graph.until(lambda: said("there is no robot description"))
    assert robot.position[0] == pytest.approx(0.0)
    publisher = graph.node.create_publisher(String, "robot_description", qos.description_qos())
    other = SLIDE.replace("gripper_frame_link", "hand")
    graph.until(lambda: publisher.get_subscription_count() == 1)
    publisher.publish(String(data=other))
    graph.until(lambda: said("has no link 'gripper_frame_link'"))
    publisher.publish(String(data=SLIDE))
    graph.until(lambda: robot.position[0] > 0.1)
    assert robot.position[1] == pytest.approx(0.0, abs=1e-3)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"joy_map": "/nowhere.yaml"}, "joy_map.*No such file"),
        ({"robot_description": "<robot"}, "robot_description.*no URDF"),
        ({"joy_timeout": 0.0}, "joy_timeout"),
    ],
)
def test_parameters_that_do_not_fit_are_told(graph, tmp_path, parameters, words):
    with pytest.raises(ValueError, match=words):
        Pad(graph, tmp_path, **parameters)


def test_a_description_of_other_joints_is_told(graph, tmp_path):
    urdf = SLIDE.replace('name="a"', 'name="other"')
    with pytest.raises(ValueError, match=r"robot_description.*no other among"):
        Pad(graph, tmp_path, robot_description=urdf)


def test_the_limits_of_time_and_lead_are_taken_while_it_runs(graph, pad):
    results = pad.node.set_parameters([Parameter("joy_timeout", value=1.0)])
    assert results[0].successful
    assert pad.node.joystick.timeout == 1.0
