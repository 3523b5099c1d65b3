# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/ work with the nodes as they are."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import rclpy
import yaml
from rclpy.action import ActionServer, GoalResponse
from rclpy.executors import SingleThreadedExecutor
from rclpy.lifecycle import TransitionCallbackReturn
from rclpy.node import Node
from rclpy.parameter import Parameter
from robot_files import robot_file
from sensor_msgs.msg import JointState
from smolvla_core.backend import ChunkRequest, Observation
from smolvla_core.node_settings import ExecutorSettings
from smolvla_core.robot import load_robot
from smolvla_core.ros import qos
from smolvla_core.ros.parameters import wrong_type
from smolvla_core.settings import settings_of
from smolvla_executor.executor_node.node import ExecutorNode
from smolvla_policy.backends.registry import create_backend
from smolvla_policy.backends.session import answer
from smolvla_policy.backends.smolvla_settings import SmolVLASettings
from smolvla_policy.checkpoint.synthetic import make_checkpoint
from smolvla_policy.policy_node import node as policy_node
from std_msgs.msg import Float64MultiArray, String
from trajectory_msgs.msg import JointTrajectory

from smolvla_msgs.action import RunTask

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs/examples"
SEVEN_JOINTS = str(EXAMPLES / "seven_joint_arm.yaml")
TINY_VLM = ROOT / "src/smolvla_policy/test/golden/ckpt/vlm/config.json"
DECLARED = {"policy_node": SmolVLASettings, "executor_node": ExecutorSettings}


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = sys.modules[path.stem] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def parameter_blocks():
    """(page, node, parameters) of each YAML block with parameters of our nodes in docs/."""
    for page in sorted(ROOT.glob("docs/**/*.md")):
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            for key, content in yaml.safe_load(block).items():
                if (node := key.rpartition("/")[2]) in DECLARED:
                    yield pytest.param(node, content["ros__parameters"], id=f"{page.name} {key}")


@pytest.mark.parametrize(("node", "parameters"), parameter_blocks())
def test_parameters_in_the_docs_exist_with_that_type_and_value(node, parameters):
    declared = settings_of(DECLARED[node])
    assert set(parameters) <= set(declared)
    for name, value in parameters.items():
        assert declared[name].check(value) is not None
        assert wrong_type(declared[name], value) == ""


def test_a_checkpoint_for_seven_joints_runs_with_the_robots_file(tmp_path):
    make_checkpoint(
        tmp_path,
        cameras=("camera1", "camera2"),
        joints=7,
        vlm=json.loads(TINY_VLM.read_text("utf-8")),
        overrides={"chunk_size": 5, "n_action_steps": 5, "num_vlm_layers": 2},
    )
    # Statistics as of an arm that moved about its zero.
    moments = {"mean": [0.1] * 7, "std": [0.5] * 6 + [0.2]}
    moments |= {"min": [-1.5] * 6 + [0.0], "max": [1.5] * 6 + [0.8]}
    stats = tmp_path / "stats.json"
    stats.write_text(json.dumps({"observation.state": moments, "action": moments}), "utf-8")
    backend = create_backend(
        SmolVLASettings(
            checkpoint=str(tmp_path),
            robot=SEVEN_JOINTS,
            stats=str(stats),
            units="radians",
            period=0.05,
            seed=1,
        )
    )
    assert backend.cameras == ("front", "hand")
    image = np.zeros((48, 64, 3), dtype=np.uint8)
    observation = Observation(
        dict.fromkeys(backend.cameras, image), backend.joint_names, np.zeros(7), "wave"
    )
    result = answer(backend, ChunkRequest(1, 0, np.empty((0, 7)), 0), lambda: observation)
    assert result.error == ""
    assert result.positions.shape == (5, 7)


class Arm:
    """A robot as a file says it is: joint states in parts, and an ear on each output."""

    def __init__(self, graph, robot, positions):
        node, self.received, self._positions = graph.node, {}, positions
        self._publishers = [
            (node.create_publisher(JointState, state.topic, 10), state.prefix)
            for state in robot.joint_states
        ]
        self._parts = [
            [name for name in output.joints if name.startswith(prefix)]
            for output, (_, prefix) in zip(robot.outputs, self._publishers, strict=True)
        ]
        for output in robot.outputs:
            kind = JointTrajectory if output.type == "joint_trajectory" else Float64MultiArray
            node.create_subscription(
                kind,
                output.topic,
                lambda message, topic=output.topic: self.received.update({topic: message}),
                qos.command_qos(),
            )
        node.create_timer(0.02, self._publish)

    def _publish(self):
        for (publisher, prefix), names in zip(self._publishers, self._parts, strict=True):
            # Beside a joint that is nobody's.
            own = [name.removeprefix(prefix) for name in names]
            positions = [self._positions[name] for name in names]
            publisher.publish(JointState(name=["rail", *own], position=[9.0, *positions]))


def start_waving(graph, monkeypatch, robot):
    """Start both nodes with the robot and the backend of the example."""
    wave = load(EXAMPLES / "wave_backend.py")
    monkeypatch.setattr(policy_node, "create_backend", wave.create)
    monkeypatch.setattr(policy_node, "backend_settings", lambda name: wave.WaveSettings)
    for cls, given in (
        (policy_node.PolicyNode, {"backend": "wave", "period": 0.05}),
        (ExecutorNode, {"rate": 50.0, "state_timeout": 1.0}),
    ):
        overrides = [Parameter(k, value=v) for k, v in {"robot": robot, **given}.items()]
        node = graph.add(cls(context=graph.context, parameter_overrides=overrides))
        assert node.trigger_configure() == TransitionCallbackReturn.SUCCESS, node.problem
        assert node.trigger_activate() == TransitionCallbackReturn.SUCCESS
    publisher = graph.node.create_publisher(String, "task_instruction", 10)
    graph.until(lambda: publisher.get_subscription_count())
    publisher.publish(String(data="wave"))


def test_a_robot_with_seven_joints_is_one_file(graph, monkeypatch):
    robot = load_robot(SEVEN_JOINTS)
    standing = dict(zip(robot.joint_names, (0.0, 0.4, -0.2, 1.1, 0.3, -0.5, 0.6), strict=True))
    arm = Arm(graph, robot, standing)
    start_waving(graph, monkeypatch, SEVEN_JOINTS)
    graph.until(lambda: len(arm.received) == 2, timeout=20, what="commands on both outputs")
    trajectory, hand = arm.received["reach/joint_trajectory"], arm.received["hand/commands"]
    assert tuple(trajectory.joint_names) == robot.outputs[0].joints
    expected = [standing[name] for name in trajectory.joint_names]
    np.testing.assert_allclose(trajectory.points[0].positions[1:], expected[1:], atol=1e-6)
    np.testing.assert_allclose(hand.data, [0.6], atol=1e-6)
    graph.until(
        lambda: abs(arm.received["reach/joint_trajectory"].points[0].positions[0]) > 0.05,
        timeout=20,
        what="the first joint waves",
    )


def test_one_policy_drives_two_arms_with_drivers_of_their_own(graph, monkeypatch):
    robot = load_robot("two_so101")
    standing = dict(zip(robot.joint_names, np.linspace(-0.1, 0.5, 12).tolist(), strict=True))
    arm = Arm(graph, robot, standing)
    start_waving(graph, monkeypatch, "two_so101")
    graph.until(lambda: len(arm.received) == 2, timeout=20, what="commands of both arms")
    for side, part in (("left", slice(0, 6)), ("right", slice(6, 12))):
        command = arm.received[f"{side}/arm_controller/commands"].data
        wanted = list(standing.values())[part]
        np.testing.assert_allclose(command[1:], wanted[1:], atol=1e-6)


def test_the_backend_of_the_example_is_one():
    module = load(EXAMPLES / "wave_backend.py")
    backend = module.create(module.WaveSettings(robot=robot_file(), period=0.1, amplitude=0.2))
    chunks = [
        answer(
            backend,
            ChunkRequest(1, tick, np.empty((0, 2)), 0),
            lambda: Observation({}, backend.joint_names, np.array([0.0, 0.4]), "wave"),
        )
        for tick in (0, 10)
    ]
    assert [chunk.error for chunk in chunks] == ["", ""]
    np.testing.assert_allclose(chunks[0].positions[10:], chunks[1].positions[:-10])
    assert (chunks[0].positions[:, 1] == 0.4).all()
    stopped = answer(
        backend,
        ChunkRequest(1, 0, np.empty((0, 2)), 0),
        lambda: Observation({}, backend.joint_names, np.zeros(2), "stop"),
    )
    assert stopped.error == "wave: it was told to stop"


@pytest.mark.parametrize(
    ("end", "accepted", "code"),
    [("succeed", True, 0), ("abort", True, 1), ("succeed", False, 2)],
)
def test_the_goal_of_the_example_is_one_of_run_task(end, accepted, code, capsys):
    context, asked = rclpy.Context(), []
    rclpy.init(context=context)
    node = Node("arm", namespace="left", context=context)

    def execute(handle):
        asked.append((handle.request.instruction, handle.request.time_limit))
        handle.publish_feedback(RunTask.Feedback(elapsed=1.0, chunks=3))
        getattr(handle, end)()
        reason = RunTask.Result.SUCCEEDED if end == "succeed" else RunTask.Result.TIME_LIMIT
        return RunTask.Result(reason=reason, message="how it ended", chunks=3)

    server = ActionServer(
        node,
        RunTask,
        "smolvla/run_task",
        execute,
        goal_callback=lambda _: GoalResponse.ACCEPT if accepted else GoalResponse.REJECT,
    )
    executor = SingleThreadedExecutor(context=context)
    executor.add_node(node)
    thread = Thread(target=executor.spin)
    thread.start()
    try:
        arguments = ["touch the red cube", "--time-limit", "5", "--namespace", "left"]
        assert load(EXAMPLES / "run_task.py").main(arguments) == code
    finally:
        executor.shutdown()
        thread.join()
        server.destroy()
        node.destroy_node()
        rclpy.shutdown(context=context)
    assert asked == ([("touch the red cube", 5.0)] if accepted else [])
    assert ("how it ended" in capsys.readouterr().out) is accepted


@pytest.fixture
def installed(tmp_path):
    """The environment in which the backend of the example is an installed package."""
    shutil.copy(EXAMPLES / "wave_backend.py", tmp_path)
    about = tmp_path / "wave-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: wave\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        "[smolvla_policy.backends]\nwave = wave_backend:create\n"
    )
    paths = [str(tmp_path), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}


def run_python(environment, *arguments):
    command = [sys.executable, *arguments]
    return subprocess.run(
        command, env=environment, capture_output=True, text=True, timeout=60, check=False
    )


def test_an_installed_backend_has_its_parameters_everywhere(installed):
    launch = (
        "from smolvla_bringup.system.options import Options\n"
        "from smolvla_bringup.system.node_list import policy_nodes\n"
        "options = Options.from_text({'policy': 'wave', 'amplitude': '0.25'})\n"
        "print(policy_nodes(options)[0].parameters)\n"
        "from smolvla_bringup.system.start import parser\n"
        "parser().print_help()\n"
    )
    ended = run_python(installed, "-c", launch)
    assert "'backend': 'wave'" in ended.stdout, ended.stderr
    assert "'amplitude': 0.25" in ended.stdout
    assert "--amplitude" in ended.stdout
    wave = ("-m", "smolvla_policy.policy_node.node", "--ros-args", "-p", "backend:=wave")
    wrong = run_python(installed, *wave, "-p", "amplitude:=0.75")
    assert wrong.returncode == os.EX_CONFIG
    assert "amplitude" in wrong.stderr
    assert "0.75" in wrong.stderr
    typo = run_python(installed, *wave, "-p", "amplitud:=0.25")
    assert "did you mean 'amplitude'" in typo.stderr
