"""Two arms of one launch file: docs/examples/two_arms.launch.py, and namespaces pushed around."""

from pathlib import Path

import numpy as np
import pytest
from diagnostic_msgs.msg import DiagnosticArray
from rclpy.qos import DurabilityPolicy, QoSProfile
from sensor_msgs.msg import JointState
from smolvla_bringup.system.environment import installed
from smolvla_core.ros import qos
from smolvla_sim.settings import CHECKPOINT
from std_msgs.msg import Float64MultiArray, String
from test_launch import JOINTS, launched, needs_ros2_control  # noqa: F401

from smolvla_msgs.msg import PolicyStatus

EXAMPLE = Path(__file__).parents[1] / "docs/examples/two_arms.launch.py"
NAMES = ("left", "right")


class Watch:
    """What is received of two arms."""

    def __init__(self, node):
        self.parents = {}
        self.joints = {}
        self.instructions = {}
        self.reports = set()
        latched = QoSProfile(depth=100, durability=DurabilityPolicy.TRANSIENT_LOCAL)
        if installed("tf2_msgs"):
            from tf2_msgs.msg import TFMessage

            node.create_subscription(TFMessage, "/tf", self._on_frames, 100)
            node.create_subscription(TFMessage, "/tf_static", self._on_frames, latched)
        node.create_subscription(
            DiagnosticArray,
            "/diagnostics",
            lambda message: self.reports.update(status.name for status in message.status),
            10,
        )
        for name in NAMES:
            node.create_subscription(
                JointState,
                f"/{name}/joint_states",
                lambda message, name=name: self.joints.update(
                    {name: dict(zip(message.name, message.position, strict=True))}
                ),
                qos.joint_state_qos(),
            )
            node.create_subscription(
                PolicyStatus,
                f"/{name}/policy_node/status",
                lambda message, name=name: self.instructions.update({name: message.instruction}),
                qos.status_qos(),
            )

    def _on_frames(self, message):
        for transform in message.transforms:
            shift = transform.transform.translation
            self.parents[transform.child_frame_id] = (
                transform.header.frame_id,
                (shift.x, shift.y, shift.z),
            )

    def positions(self, name):
        return np.array([self.joints[name][joint] for joint in JOINTS])

    def both_are_one_tree(self):
        """Say whether both arms are below world, and nothing else is a root."""
        frames = {f"{name}/moving_jaw_link" for name in NAMES}
        roots = {parent for parent, _ in self.parents.values()} - set(self.parents)
        return frames < set(self.parents) and roots == {"world"}


def test_two_simulated_arms_are_apart_and_below_one_frame(launched):  # noqa: F811
    suite = launched("hardware:=sim", "policy:=scripted", "view:=none", file=EXAMPLE)
    watch = Watch(suite.node)
    for name in NAMES:
        suite.until(lambda name=name: name in watch.joints, f"joint states of {name}")
        suite.until(lambda name=name: name in watch.instructions, f"the policy of {name}")
    if installed("robot_state_publisher"):
        suite.until(watch.both_are_one_tree, "one tree of frames")
        assert watch.parents["left/base_link"] == ("left/world", (0.0, 0.2, 0.0))
        assert watch.parents["right/base_link"] == ("right/world", (0.0, -0.2, 0.0))
    topic = "/right/task_instruction"
    publisher = suite.node.create_publisher(String, topic, qos.instruction_qos())
    start = watch.positions("left"), watch.positions("right")

    def right_moves():
        if not watch.instructions["right"]:
            publisher.publish(String(data="put the red cube into the bowl"))
        return np.abs(watch.positions("right") - start[1]).max() > 0.05

    suite.until(right_moves, "the right arm moves")
    assert watch.instructions["left"] == ""
    assert np.abs(watch.positions("left") - start[0]).max() < 0.01
    suite.until(
        lambda: {"left/executor_node: guard", "right/policy_node: model"} < watch.reports,
        "diagnostics of both",
    )
    assert suite.interrupt() == 0
    assert "Traceback" not in suite.output


@needs_ros2_control
def test_two_mock_arms_have_their_controllers(launched):  # noqa: F811
    suite = launched("hardware:=mock", f"checkpoint:={CHECKPOINT}", "view:=none", file=EXAMPLE)
    watch = Watch(suite.node)
    for name in NAMES:
        suite.until(lambda name=name: name in watch.joints, f"joint states of {name}")
    suite.until(watch.both_are_one_tree, "one tree of frames")
    wanted = {
        name: watch.positions(name) + sign * 0.1 for name, sign in zip(NAMES, (1, -1), strict=True)
    }
    commands = {
        name: suite.node.create_publisher(
            Float64MultiArray, f"/{name}/arm_controller/commands", qos.command_qos()
        )
        for name in NAMES
    }

    def there():
        for name in NAMES:
            commands[name].publish(Float64MultiArray(data=wanted[name].tolist()))
        return all(np.allclose(watch.positions(name), wanted[name], atol=1e-3) for name in NAMES)

    suite.until(there, "each arm goes where its own controller is told")
    assert suite.interrupt() == 0


PARENT = """
from launch import LaunchDescription
from launch.actions import *
from launch.substitutions import *
from launch_ros.actions import *
from launch_ros.substitutions import FindPackageShare

def generate_launch_description():
    file = PathJoinSubstitution([FindPackageShare("smolvla_bringup"), "launch/so100.launch.py"])
    arguments = {"hardware": "sim", "policy": "scripted", "view": "none", "namespace": "arm"}
    return LaunchDescription([
        DeclareLaunchArgument("robot_namespace"),
        DeclareLaunchArgument("ports", default_value="2"),
        GroupAction([
            PushROSNamespace(LaunchConfiguration("robot_namespace")),
            SetRemap("task_instruction", "say"),
            SetRemap("/bay/arm/joint_states", "/joints_of_bay"),
            SetParameter("rate", 45.0),
            IncludeLaunchDescription(file, launch_arguments=arguments.items()),
        ]),
    ])
"""


def test_namespace_remappings_and_parameters_of_a_parent(launched, tmp_path):  # noqa: F811
    file = tmp_path / "bay.launch.py"
    file.write_text(PARENT)
    suite = launched("robot_namespace:=bay", "tasks:=5", file=file, namespace="bay/arm")
    line = "ready: ros2 topic pub --once --keep-alive 1 /bay/arm/say "
    suite.until(lambda: line in suite.output, "all is up, and the line names the topic")
    received = []
    suite.node.create_subscription(
        JointState, "/joints_of_bay", received.append, qos.joint_state_qos()
    )
    suite.until(lambda: received, "joint states where they are remapped to")
    publisher = suite.node.create_publisher(String, "/bay/arm/say", qos.instruction_qos())

    def arrived():
        publisher.publish(String(data="put the red cube into the bowl"))
        return suite.executor.instruction != ""

    suite.until(arrived, "the instruction arrives where it is remapped to")
    suite.until(lambda: suite.executor.tick > 0, "it acts")
    assert suite.executor.period_p50 == pytest.approx(1 / 45.0, rel=0.2)
    assert suite.interrupt() == 0
    assert "Traceback" not in suite.output
