# SPDX-License-Identifier: Apache-2.0
"""The list of nodes, its parameter files, and the launch file made from it."""

from __future__ import annotations

import argparse
import ast
import dataclasses
import importlib.util
from pathlib import Path

import pytest
import yaml
from smolvla_bringup.nodes import NodeSpec, node_list
from smolvla_bringup.options import Options, SetupError, add_arguments, from_arguments
from smolvla_sim.shipped import CHECKPOINT, FPS

PACKAGE = Path(__file__).resolve().parents[1]
LAUNCH_FILE = PACKAGE / "launch/sim.launch.py"

pytestmark = pytest.mark.usefixtures("workspace")


def test_sim_policy_and_executor_are_listed() -> None:
    nodes = node_list(Options())
    assert [(node.package, node.executable) for node in nodes] == [
        ("smolvla_sim", "sim_node"),
        ("smolvla_policy", "policy_node"),
        ("smolvla_policy", "executor_node"),
    ]
    assert all(node.critical for node in nodes)
    assert all(file.is_file() for node in nodes for file in node.params_files)


def test_without_policy_only_the_robot_starts() -> None:
    assert [node.name for node in node_list(Options(policy="none"))] == ["sim_node"]


def test_options_reach_the_parameters_of_the_nodes() -> None:
    options = Options(
        checkpoint="some/checkpoint",
        model="so101",
        seed=5,
        rate=100.0,
        g=0.5,
        aggregation="latest",
        dry_run=True,
        autostart=False,
    )
    sim, policy, executor = node_list(options)
    assert sim.parameters["model"] == "so101"
    assert sim.parameters["seed"] == 5
    assert policy.parameters == {
        "autostart": False,
        "backend": "smolvla",
        "model": "so101",
        "checkpoint": "some/checkpoint",
    }
    assert executor.parameters == {
        "rate": 100.0,
        "chunk_size_threshold": 0.5,
        "aggregate": "latest",
        "dry_run": True,
        "autostart": False,
        "wait_for_start": False,
    }


def test_unset_options_leave_the_parameter_file_alone() -> None:
    executor = node_list(Options())[2]
    assert not {"rate", "chunk_size_threshold", "aggregate"} & set(executor.parameters)
    assert executor.configured("rate") == 30.0
    assert len(executor.configured("joints")) == 6


def test_params_file_of_the_user_wins_over_the_package(tmp_path: Path) -> None:
    extra = tmp_path / "mine.yaml"
    extra.write_text("executor_node:\n  ros__parameters:\n    rate: 50.0\n")
    executor = node_list(Options(params_file=str(extra)))[2]
    assert executor.configured("rate") == 50.0
    assert executor.configured("aggregate") == "weighted"
    assert node_list(Options(params_file=str(extra), rate=20.0))[2].configured("rate") == 20.0


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"policy": "scripted", "checkpoint": "x"}, "reads no checkpoint"),
        ({"robot": "toaster"}, "one of: sim"),
        ({"aggregation": "mean"}, "one of: latest, weighted"),
        ({"rate": 0.0}, "above 0"),
        ({"seed": -1}, "0 or more"),
    ],
)
def test_contradictions_are_explained(values: dict, words: str) -> None:
    with pytest.raises(SetupError, match=words):
        Options(**values)


def test_without_a_checkpoint_the_shipped_one_runs_at_its_own_rate(tmp_path: Path) -> None:
    policy = node_list(Options())[1]
    assert policy.configured("backend") == "smolvla"
    assert policy.configured("checkpoint") == str(CHECKPOINT)
    assert policy.configured("period") == pytest.approx(1.0 / FPS)
    other = node_list(Options(checkpoint="x"))[1]
    assert other.configured("checkpoint") == "x"
    assert other.configured("period") == pytest.approx(1.0 / 30.0)
    extra = tmp_path / "mine.yaml"
    extra.write_text("policy_node:\n  ros__parameters:\n    checkpoint: y\n")
    mine = node_list(Options(params_file=str(extra)))[1]
    assert mine.configured("checkpoint") == "y"
    assert mine.configured("period") == pytest.approx(1.0 / 30.0)


def test_the_script_needs_no_checkpoint() -> None:
    assert not node_list(Options(policy="scripted"))[1].has("checkpoint")


def test_launch_texts_and_command_line_give_the_same_options() -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    line = ["--seed", "3", "--rate", "60", "--viewer", "--no-autostart", "--policy", "none"]
    texts = {"seed": "3", "rate": "60", "viewer": "true", "autostart": "False", "policy": "none"}
    wanted = Options(seed=3, rate=60.0, viewer=True, autostart=False, policy="none")
    assert from_arguments(parser.parse_args(line)) == wanted
    assert Options.from_text({**texts, "g": ""}) == wanted
    with pytest.raises(SetupError, match="seed is 'three'"):
        Options.from_text({"seed": "three"})


@pytest.mark.parametrize("config", ["policy", "executor", "sim"])
def test_parameter_files_name_only_parameters_that_the_node_declares(config: str) -> None:
    module = {
        "policy": "smolvla_policy.ros.policy_parameters",
        "executor": "smolvla_policy.ros.executor_parameters",
        "sim": "smolvla_sim.sim_parameters",
    }[config]
    declared = {
        parameter.name: parameter.default
        for parameter in getattr(pytest.importorskip(module), f"{config.upper()}_PARAMETERS")
    }
    content = yaml.safe_load((PACKAGE / f"config/{config}.yaml").read_text())
    values = content["/**"]["ros__parameters"]
    spec = {node.name: node for node in node_list(Options(checkpoint="x", rate=1.0, g=1.0))}
    for name, value in {**values, **spec[f"{config}_node"].parameters}.items():
        assert name in declared, f"{config}_node declares no parameter '{name}'"
        assert type(value) is type(declared[name]), name


def test_parameters_survive_the_command_line_with_their_types(tmp_path: Path) -> None:
    rclpy = pytest.importorskip("rclpy")
    values = {
        "text": "put the \"red\" cube: into # the 'bowl', ü\\n",
        "number_like": "1.5",
        "truth_like": "true",
        "empty": "",
        "truth": False,
        "whole": 3,
        "real": 3.0,
        "tiny": 1e-7,
        "huge": 2.5e30,
        "reals": [1.0, -2.5],
        "texts": ["a, b", "c"],
    }
    file = tmp_path / "values.yaml"
    file.write_text("/**:\n  ros__parameters:\n    real: 9.0\n    from_file: yes it is\n")
    spec = NodeSpec("p", "e", "odd_name", "left", (file,), values, {"a": "b"})
    context = rclpy.Context()
    rclpy.init(args=["node", *spec.ros_arguments()], context=context, domain_id=101)
    try:
        node = rclpy.create_node(
            "original", context=context, automatically_declare_parameters_from_overrides=True
        )
        assert node.get_fully_qualified_name() == "/left/odd_name"
        assert node.resolve_topic_name("a") == "/left/b"
        for name, value in values.items():
            got = node.get_parameter(name).value
            assert got == value, name
            assert type(got) is type(value) or isinstance(value, list), name
        assert node.get_parameter("from_file").value == "yes it is"
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)


def test_empty_list_is_refused() -> None:
    with pytest.raises(ValueError, match="leave it out"):
        NodeSpec("p", "e", "n", parameters={"cameras": []}).ros_arguments()


def test_launch_node_is_the_same_node() -> None:
    spec = node_list(Options(namespace="/left/", seed=3))[0]
    arguments = spec.launch_arguments()
    assert arguments["namespace"] == spec.namespace == "left"
    assert arguments["name"] == "sim_node"
    assert arguments["parameters"][:-1] == [str(file) for file in spec.params_files]
    assert arguments["parameters"][-1]["seed"] == 3
    assert arguments["additional_env"] == spec.env


def test_launch_file_lists_no_node_of_its_own() -> None:
    """The launch file holds no package, executable, topic or parameter: all is from the list."""
    tree = ast.parse(LAUNCH_FILE.read_text())
    compile(tree, str(LAUNCH_FILE), "exec")
    texts = [
        constant.value
        for constant in ast.walk(tree)
        if isinstance(constant, ast.Constant) and isinstance(constant.value, str)
    ]
    docstrings = {ast.get_docstring(tree, clean=False)} | {
        ast.get_docstring(node, clean=False)
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
    }
    for text in set(texts) - docstrings:
        assert "node" not in text
        assert "smolvla" not in text
    assert "node_list(" in ast.unparse(tree)


def test_launch_description_has_the_nodes_and_arguments_of_the_list() -> None:
    launch = pytest.importorskip("launch")
    pytest.importorskip("launch_ros.actions")
    from launch.actions import DeclareLaunchArgument

    spec = importlib.util.spec_from_file_location("sim_launch", LAUNCH_FILE)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    description = module.generate_launch_description()
    declared = [entity for entity in description.entities if _declares(entity)]
    assert [argument.name for argument in declared] == [
        field.name for field in dataclasses.fields(Options)
    ]
    context = launch.LaunchContext()
    context.launch_configurations.update({"policy": "none", "seed": "9"})
    for argument in declared:
        assert isinstance(argument, DeclareLaunchArgument)
        argument.visit(context)
    nodes = description.entities[-1].visit(context)
    assert [node.node_executable for node in nodes] == ["sim_node"]
    context.launch_configurations["policy"] = ""
    nodes = description.entities[-1].visit(context)
    wanted = node_list(Options(seed=9))
    assert [(node.node_package, node.node_executable) for node in nodes] == [
        (node.package, node.executable) for node in wanted
    ]


def _declares(entity: object) -> bool:
    return type(entity).__name__ == "DeclareLaunchArgument"
