# SPDX-License-Identifier: Apache-2.0
"""Policy, executor and what is to be seen of them."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import rclpy
import yaml
from smolvla_bringup.system.node_list import (
    arm_nodes,
    node_list,
    policy_nodes,
    simulation_nodes,
    visualization_nodes,
)
from smolvla_bringup.system.node_spec import NodeSpec
from smolvla_bringup.system.options import PARTS, Options, SetupError
from smolvla_core.node_settings import ExecutorSettings
from smolvla_core.ros.parameters import wrong_type
from smolvla_core.settings import settings_of
from smolvla_executor.rerun_node import installed
from smolvla_executor.visualization_node.markers import VisualizationSettings
from smolvla_policy.backends.registry import policy_parameters
from smolvla_sim.node.parameters import SimSettings
from smolvla_sim.settings import CHECKPOINT

UNSET = {"dry_run": False, "max_step": [9.0], "output": ""}

pytestmark = pytest.mark.usefixtures("bare_workspace")


def sim(**values) -> Options:
    return Options(hardware="sim", **values)


def names(options: Options, *parts: str) -> list[str]:
    return [node.name for node in node_list(options, parts or PARTS, lambda line: None)]


@pytest.mark.usefixtures("ros2_control")
@pytest.mark.parametrize("policy", ["smolvla", "scripted", "none"])
@pytest.mark.parametrize("output", ["forward", "joint_trajectory"])
@pytest.mark.parametrize("hardware", ["sim", "mock", "real"])
def test_every_combination_is_a_list_of_nodes_or_one_line(
    hardware: str, output: str, policy: str, tmp_path: Path
) -> None:
    values = {"checkpoint": "owner/name"} if policy == "smolvla" else {}

    def nodes_of() -> tuple[NodeSpec, ...]:
        options = Options(
            hardware=hardware,
            output=output,
            policy=policy,
            port=str(tmp_path),
            calibration="my_arm",
            namespace="left",
            **values,
        )
        return node_list(options)

    if output == "joint_trajectory" if hardware == "sim" else policy == "scripted":
        with pytest.raises(SetupError) as caught:
            nodes_of()
        assert "\n" not in str(caught.value)
        return
    nodes = nodes_of()
    started = [node.name for node in nodes]
    arm = ["sim_node"] if hardware == "sim" else ["controller_manager", "spawner"]
    thinks = [] if policy == "none" else ["policy_node", "executor_node", "visualization_node"]
    assert started == [*arm, "robot_state_publisher", *thinks]
    assert all(file.is_file() for node in nodes for file in node.params_files)
    assert all(node.namespace == "left" for node in nodes if not node.one_shot)
    assert all(node.env for node in nodes)


def test_parts_start_alone() -> None:
    assert names(sim(), "arm") == ["sim_node"]
    assert names(sim(), "policy") == ["policy_node", "executor_node"]
    assert [node.name for node in simulation_nodes(sim())] == [
        "sim_node",
        "policy_node",
        "executor_node",
    ]


def test_options_reach_the_parameters_of_the_nodes() -> None:
    policy, executor = policy_nodes(sim())
    assert policy.parameters == {
        "backend": "smolvla",
        "robot": "so100",
        "autostart": True,
        "checkpoint": str(CHECKPOINT),
    }
    assert not {"rate", "chunk_size_threshold", "aggregate", "output"} & set(executor.parameters)
    policy, executor = policy_nodes(
        Options(
            checkpoint="some/checkpoint",
            calibration="my_arm",
            robot="so101",
            output="joint_trajectory",
            rate=100.0,
            chunk_size_threshold=0.5,
            aggregate="latest",
            dry_run=True,
            autostart=False,
            wait_for_start=True,
        )
    )
    assert policy.parameters == {
        "backend": "smolvla",
        "robot": "so101",
        "autostart": False,
        "calibration": "my_arm",
        "checkpoint": "some/checkpoint",
    }
    assert executor.parameters == {
        "robot": "so101",
        "drivers": ["so100_driver"],
        "output": "joint_trajectory",
        "rate": 100.0,
        "chunk_size_threshold": 0.5,
        "aggregate": "latest",
        "dry_run": True,
        "autostart": False,
        "wait_for_start": True,
    }
    assert policy.critical
    assert executor.critical


def test_plans_are_run_where_they_are_asked_for(tmp_path: Path) -> None:
    assert [node.name for node in simulation_nodes(sim(plan=True))] == [
        "sim_node",
        "policy_node",
        "executor_node",
        "plan_node",
    ]
    plan = policy_nodes(sim(plan=True))[2]
    assert plan.parameters == {
        "robot": "so100",
        "cameras": ["top", "side", "wrist"],
        "autostart": True,
    }
    assert not plan.critical
    (simulation,) = arm_nodes(sim(plan=True))
    assert simulation.configured("follow_instruction") is True
    extra = tmp_path / "mine.yaml"
    extra.write_text("/**/plan_node:\n  ros__parameters: {judg: vlm}\n")
    with pytest.raises(SetupError, match="did you mean 'judge'"):
        node_list(sim(plan=True, params_file=str(extra)), ["policy"])


def test_only_a_real_arm_has_a_driver_that_the_estop_asks(tmp_path: Path) -> None:
    assert not policy_nodes(sim())[1].has("drivers")
    mine = tmp_path / "mine.yaml"
    mine.write_text("executor_node:\n  ros__parameters: {drivers: [left_driver, right_driver]}\n")
    options = Options(policy="smolvla", checkpoint="owner/name", params_file=str(mine))
    assert policy_nodes(options)[1].configured("drivers") == ["left_driver", "right_driver"]


def test_the_simulation_judges_where_nobody_else_was_named(tmp_path: Path) -> None:
    assert policy_nodes(sim())[1].configured("success_topic") == "sim/success"
    extra = tmp_path / "mine.yaml"
    extra.write_text("/**/executor_node:\n  ros__parameters: {success_topic: scale/full}\n")
    executor = policy_nodes(sim(params_file=str(extra)))[1]
    assert executor.configured("success_topic") == "scale/full"
    mock = Options(hardware="mock", policy="smolvla", checkpoint="owner/name")
    assert not policy_nodes(mock)[1].has("success_topic")


def test_what_is_not_asked_for_ends_no_dry_run_of_the_users_file(tmp_path: Path) -> None:
    extra = tmp_path / "mine.yaml"
    for name in ("/**", "/executor_node"):
        extra.write_text(f"{name}:\n  ros__parameters: {{dry_run: true, wait_for_start: true}}\n")
        executor = policy_nodes(sim(params_file=str(extra)))[1]
        assert executor.configured("dry_run") is executor.configured("wait_for_start") is True
        assert executor.configured("autostart") is True


@pytest.mark.parametrize(
    "name", ["/**", "/**/executor_node", "/left/executor_node", "/left/*", "left: {executor_node"]
)
def test_an_argument_that_was_given_wins_over_every_name_in_a_file(
    tmp_path: Path, name: str
) -> None:
    """As ROS itself reads it: it takes the name that came first last."""
    extra = tmp_path / "mine.yaml"
    end = "}" if "{" in name else ""
    extra.write_text(f"{name}: {{ros__parameters: {{dry_run: false, max_step: [0.1]}}}}{end}\n")
    options = sim(params_file=str(extra), dry_run=True, namespace="left")
    arguments = policy_nodes(options)[1].ros_arguments()
    context = rclpy.Context()
    rclpy.init(args=arguments, context=context)
    node = rclpy.create_node("executor_node", context=context)
    values = {name: node.declare_parameter(name, unset).value for name, unset in UNSET.items()}
    node.destroy_node()
    rclpy.shutdown(context=context)
    assert values == {"dry_run": True, "max_step": [0.1], "output": ""}


def test_params_file_of_the_user_wins_over_the_package(tmp_path: Path) -> None:
    extra = tmp_path / "mine.yaml"
    extra.write_text("executor_node:\n  ros__parameters:\n    rate: 50.0\n")
    executor = policy_nodes(sim(params_file=str(extra)))[1]
    assert executor.configured("rate") == 50.0
    assert policy_nodes(sim(params_file=str(extra), rate=20.0))[1].configured("rate") == 20.0
    with pytest.raises(SetupError, match=r"params_file /nowhere.yaml does not exist"):
        policy_nodes(sim(params_file="/nowhere.yaml"))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("/**:\n  ros__parameters: {camera_rate: 9.0, max_skew: 0.3, my_own: 1}\n", ""),
        ("camera_driver:\n  ros__parameters: {fps: 9}\n", ""),
        ("/left/executor_node:\n  ros__parameters: {rate: 9.0}\n", ""),
        ("/left/executor_node:\n  ros__parameters: {rat: 9.0}\n", "did you mean 'rate'?"),
        ("/**/sim_nod:\n  ros__parameters: {seed: 1}\n", "did you mean 'sim_node'?"),
        ("/**:\n  ros__parameters: {image_hieght: 9}\n", "did you mean 'image_height'?"),
        ("policy_node:\n  ros__parameters: {device: cpu}\n", "write '/left/policy_node' or"),
        ("/**:\n  ros__parameters: {image_width: wide}\n", "/left/sim_node: image_width is wide"),
        ("/**/executor_node:\n  ros__parameters: {rate: 9}\n", "is 9, of type INTEGER, but must"),
        ("/**:\n  ros__parameter: {rate: 9.0}\n", "'rate' stands outside of 'ros__parameters'"),
        ("/**:\n\tros__parameters: {rate: 9.0}\n", "mine.yaml, line 2: this is not YAML"),
        ("rate\n", "mine.yaml: it holds a str"),
    ],
)
def test_typing_errors_in_the_params_file_end_the_start(
    tmp_path: Path, content: str, message: str
) -> None:
    extra = tmp_path / "mine.yaml"
    extra.write_text(content)
    options = sim(policy="scripted", namespace="left", params_file=str(extra))
    if not message:
        assert simulation_nodes(options)
        return
    with pytest.raises(SetupError, match=re.escape(message)):
        simulation_nodes(options)


def test_without_a_checkpoint_the_shipped_one_runs(tmp_path: Path) -> None:
    assert policy_nodes(sim(checkpoint="x"))[0].configured("checkpoint") == "x"
    extra = tmp_path / "mine.yaml"
    extra.write_text("policy_node:\n  ros__parameters:\n    checkpoint: y\n")
    mine = policy_nodes(sim(params_file=str(extra)))[0]
    assert mine.configured("checkpoint") == "y"


@pytest.mark.parametrize("hardware", ["real", "mock"])
def test_the_simulations_checkpoint_never_moves_a_real_arm(hardware: str, tmp_path: Path) -> None:
    with pytest.raises(SetupError, match=rf"'{hardware}' needs a checkpoint: .*policy 'none'"):
        policy_nodes(Options(hardware=hardware))
    extra = tmp_path / "mine.yaml"
    extra.write_text("policy_node:\n  ros__parameters:\n    checkpoint: y\n")
    mine = policy_nodes(Options(hardware=hardware, params_file=str(extra)))[0]
    assert mine.configured("checkpoint") == "y"


def test_a_checkpoint_is_a_hub_id_or_a_folder_that_is_there(tmp_path: Path) -> None:
    def given(text: str) -> str:
        return str(policy_nodes(sim(checkpoint=text))[0].configured("checkpoint"))

    assert given("owner/name") == "owner/name"
    assert given(str(tmp_path)) == str(tmp_path)
    for text in ("/nowhere/x", "./nowhere", "~/nowhere", "runs/1/pretrained_model"):
        with pytest.raises(SetupError, match=r"no such checkpoint /.*; give a folder or a hub"):
            given(text)


def test_the_script_needs_the_simulation_and_no_checkpoint() -> None:
    assert not policy_nodes(sim(policy="scripted"))[0].has("checkpoint")
    with pytest.raises(SetupError, match="'scripted' knows where things are in the simulation"):
        policy_nodes(Options(hardware="mock", policy="scripted"))


def test_a_missing_calibration_file_is_noticed_before_anything_starts() -> None:
    with pytest.raises(SetupError, match=r"no such calibration /nowhere.json"):
        policy_nodes(sim(calibration="/nowhere.json"))


def test_the_robot_file_reaches_policy_and_executor(tmp_path: Path) -> None:
    file = tmp_path / "arm.yaml"
    file.write_text("base: so101\n")
    policy, executor = policy_nodes(Options(checkpoint="x", robot=str(file)))
    assert policy.parameters["robot"] == executor.parameters["robot"] == str(file)
    with pytest.raises(SetupError, match=r"robot: .*no robot 'so9'"):
        policy_nodes(Options(checkpoint="x", robot="so9"))


@pytest.mark.parametrize("config", ["policy", "executor", "sim", "visualization"])
def test_only_parameters_are_given_that_the_node_declares(config: str) -> None:
    declared = {
        "policy": policy_parameters(),
        "executor": settings_of(ExecutorSettings),
        "sim": settings_of(SimSettings),
        "visualization": settings_of(VisualizationSettings),
    }[config]
    options = sim(
        checkpoint="x", rate=1.0, chunk_size_threshold=1.0, calibration="my_arm", namespace="left"
    )
    spec = {node.name: node for node in node_list(options)}[f"{config}_node"]
    values = dict(spec.parameters)
    for file in spec.params_files:
        values = {**yaml.safe_load(file.read_text())["/**"]["ros__parameters"], **values}
    for name, value in values.items():
        assert name in declared, f"{config}_node declares no parameter '{name}'"
        assert wrong_type(declared[name], value) == ""


# What is to be seen.


def test_the_path_is_drawn_without_rviz_and_nothing_depends_on_it() -> None:
    lines: list[str] = []
    (node,) = visualization_nodes(sim(namespace="left"), lines.append)
    assert node.executable == "visualization_node"
    assert not node.critical
    assert "<robot" in node.configured("robot_description")
    assert node.parameters["frame_prefix"] == "left/"
    assert visualization_nodes(sim(policy="none"), lines.append) == []
    assert "no RViz: rviz2 is not installed" in lines[0]
    assert "ros-jazzy-rviz2" in lines[0]


def test_rerun_shows_the_run_where_it_is_asked_for(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    install("rviz2")
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.chdir(tmp_path)
    (node,) = visualization_nodes(sim(view="rerun", namespace="left"), print)
    assert node.executable == "rerun_node"
    assert node.restarts
    assert not node.critical
    assert "<robot" in node.configured("robot_description")
    assert node.parameters["cameras"] == ["top", "side", "wrist"]
    assert node.parameters["frame_prefix"] == "left/"
    assert not node.has("show")
    (node,) = visualization_nodes(sim(rerun="out/run.rrd"), print)
    assert node.configured("show") == str(tmp_path / "out/run.rrd")
    assert not node.restarts  # the file would begin anew
    assert "rerun_node" in [node.name for node in simulation_nodes(sim(rerun="browser"))]
    assert len(simulation_nodes(sim())) == 3


def test_rerun_that_is_missing_is_named_with_the_command(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installed, "RERUN_SDK", "rerun-sdk==999.0.0")
    with pytest.raises(
        SetupError, match=r"^view 'rerun': .*pip install .*rerun-sdk==999"
    ) as caught:
        visualization_nodes(sim(view="rerun"), print)
    assert "\n" not in str(caught.value)


def test_rviz_opens_where_it_is_and_there_is_a_display(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def opened(**values) -> bool:
        nodes = visualization_nodes(sim(**values), lambda line: None)
        return "rviz2" in [node.name for node in nodes]

    with pytest.raises(SetupError, match=r"rviz2 is not installed .*ros-jazzy-rviz2.*view:=none"):
        opened(view="rviz")
    install("rviz2")
    assert not opened()  # no display
    with pytest.raises(SetupError, match="RViz is asked for, but there is no display"):
        opened(view="rviz")
    monkeypatch.setenv("DISPLAY", ":0")
    assert opened()
    assert opened(view="rviz")
    assert not opened(view="none")


def test_rviz_shows_the_frames_of_its_namespace(
    install: Callable[..., None], monkeypatch: pytest.MonkeyPatch
) -> None:
    install("rviz2")
    monkeypatch.setenv("DISPLAY", ":0")
    (rviz,) = visualization_nodes(sim(policy="none", namespace="left"), print)
    content = yaml.safe_load(Path(rviz.arguments[-1]).read_text())
    manager = content["Visualization Manager"]
    assert manager["Global Options"]["Fixed Frame"] == "left/world"
    robots = [
        display
        for display in manager["Displays"]
        if display["Class"] == "rviz_default_plugins/RobotModel"
    ]
    assert [display["TF Prefix"] for display in robots] == ["left"]
