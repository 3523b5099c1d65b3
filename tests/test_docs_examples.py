# SPDX-License-Identifier: Apache-2.0
"""The examples of docs/ work with the nodes as they are."""

import importlib.util
import json
import re
from pathlib import Path
from threading import Thread

import numpy as np
import pytest
import rclpy
import yaml
from rclpy.action import ActionServer, GoalResponse
from rclpy.executors import SingleThreadedExecutor
from rclpy.node import Node
from smolvla_core.backend import ChunkRequest, Observation
from smolvla_core.ros.parameters import read
from smolvla_core.ros.policy_parameters import POLICY_PARAMETERS
from smolvla_executor.core.chunk import Chunk
from smolvla_executor.core.executor import ExecutorCore
from smolvla_executor.executor_node.parameters import EXECUTOR_PARAMETERS, executor_config
from smolvla_policy.backends.registry import create_backend
from smolvla_policy.backends.session import answer
from smolvla_policy.checkpoint.synthetic import make_checkpoint

from smolvla_msgs.action import RunTask

ROOT = Path(__file__).parents[1]
EXAMPLES = ROOT / "docs/examples"
FOUR_JOINTS = EXAMPLES / "four_joint_arm.yaml"
TINY_VLM = ROOT / "src/smolvla_policy/test/golden/ckpt/vlm/config.json"
DECLARED = {"policy_node": POLICY_PARAMETERS, "executor_node": EXECUTOR_PARAMETERS}


def load(path: Path):
    spec = importlib.util.spec_from_file_location(path.stem, path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def values(node_name: str, namespace: str = ""):
    """What the node gets from the example's file."""
    context = rclpy.Context()
    rclpy.init(args=["--ros-args", "--params-file", str(FOUR_JOINTS)], context=context)
    node = Node(node_name, namespace=namespace, context=context)
    try:
        return read(node, DECLARED[node_name])
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)


def parameter_blocks():
    """(page, node, parameters) of each YAML block with parameters of our nodes in docs/."""
    for page in sorted(ROOT.glob("docs/**/*.md")):
        for block in re.findall(r"```yaml\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
            for key, content in yaml.safe_load(block).items():
                if (node := key.rpartition("/")[2]) in DECLARED:
                    yield pytest.param(node, content["ros__parameters"], id=f"{page.name} {key}")
    for key, content in yaml.safe_load(FOUR_JOINTS.read_text("utf-8")).items():
        node = key.rpartition("/")[2]
        yield pytest.param(node, content["ros__parameters"], id=f"{FOUR_JOINTS.name} {key}")


@pytest.mark.parametrize(("node", "parameters"), parameter_blocks())
def test_parameters_in_the_docs_exist_with_that_type_and_value(node, parameters):
    declared = {parameter.name: parameter for parameter in DECLARED[node]}
    assert set(parameters) <= set(declared)
    for name, value in parameters.items():
        parameter = declared[name]
        assert isinstance(value, type(parameter.default)), name
        assert not parameter.choices or value in parameter.choices, name


@pytest.mark.parametrize("namespace", ["", "left"])
def test_the_executor_moves_the_four_joints_within_the_limits_of_the_example(namespace):
    parameters = values("executor_node", namespace)
    assert parameters["output"] == "joint_trajectory"
    core = ExecutorCore(executor_config(parameters, first_request_id=7))
    core.start(0.0)
    positions, commands = np.zeros(4), []
    for cycle in range(400):
        now = cycle / parameters["rate"]
        core.on_joint_state(positions, now)
        output = core.cycle(now)
        if output.command is not None:
            commands.append(output.command)
            positions = np.asarray(output.command)
        if output.request is not None:
            wanted = np.tile([0.5, 0.5, 0.5, 0.9], (20, 1))  # the gripper's limit is 0.8
            request = output.request
            assert core.on_chunk(Chunk(request.request_id, request.tick, wanted, 0.05), now) == ""
    np.testing.assert_allclose(commands[-1], [0.5, 0.5, 0.5, 0.8])
    assert np.abs(np.diff(commands, axis=0)).max() <= 2.0 / parameters["rate"] + 1e-9


def test_a_checkpoint_for_four_joints_runs_with_the_policys_parameters(tmp_path):
    make_checkpoint(
        tmp_path,
        cameras=("camera1", "camera2"),
        joints=4,
        vlm=json.loads(TINY_VLM.read_text("utf-8")),
        overrides={"chunk_size": 5, "n_action_steps": 5, "num_vlm_layers": 2},
    )
    # Statistics as of an arm that moved about its zero, in radians as the example says.
    moments = {"mean": [0.1, 0.2, 0.3, 0.4], "std": [0.5, 0.4, 0.5, 0.2]}
    moments |= {"min": [-1.5, -1.0, -1.2, 0.0], "max": [1.5, 1.2, 1.4, 0.8]}
    stats = tmp_path / "stats.json"
    stats.write_text(json.dumps({"observation.state": moments, "action": moments}), "utf-8")
    given = {"checkpoint": str(tmp_path), "stats": str(stats), "seed": 1}
    backend = create_backend("smolvla", {**values("policy_node", "left"), **given})
    assert backend.cameras == ("front", "hand")
    image = np.zeros((48, 64, 3), dtype=np.uint8)
    observation = Observation(
        dict.fromkeys(backend.cameras, image), backend.joint_names, np.zeros(4), "wave"
    )
    result = answer(backend, ChunkRequest(1, 0, np.empty((0, 4)), 0), lambda: observation)
    assert result.error == ""
    assert result.positions.shape == (5, 4)
    assert backend.period == 0.05


def test_the_backend_of_the_example_is_one():
    module = load(EXAMPLES / "wave_backend.py")
    backend = module.create({"joints": ["a", "b"], "period": 0.1})
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


def test_the_launch_file_of_the_example_describes_the_two_nodes():
    pytest.importorskip("launch_ros")
    from launch_ros.actions import Node as LaunchNode

    description = load(EXAMPLES / "own_robot.launch.py").generate_launch_description()
    nodes = [entity for entity in description.entities if isinstance(entity, LaunchNode)]
    assert [node.node_executable for node in nodes] == ["policy_node", "executor_node"]


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
