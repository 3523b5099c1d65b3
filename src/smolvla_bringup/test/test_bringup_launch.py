# SPDX-License-Identifier: Apache-2.0
"""The launch files, and what launch makes of them."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Any

import pytest
from smolvla_bringup.system.node_list import node_list
from smolvla_bringup.system.options import PARTS, Options, SetupError
from smolvla_core.settings import settings_of
from smolvla_policy.backends.registry import backend_parameters

FOLDER = Path(__file__).resolve().parents[1] / "launch"
FILES = {
    "so100": PARTS,
    "arm": ("arm", "description"),
    "cameras": ("cameras",),
    "leader": ("leader",),
    "policy": ("policy",),
    "teleop": PARTS,
    "visualization": ("visualization",),
}

pytestmark = pytest.mark.usefixtures("bare_workspace")


@pytest.fixture
def described() -> Any:
    """Return the module that makes launch descriptions, where launch_ros is installed."""
    pytest.importorskip("launch_ros.actions", reason="launch_ros is not installed")
    from smolvla_bringup.system import launch_description

    return launch_description


def load(name: str) -> Any:
    """Return what generate_launch_description of a launch file returns."""
    spec = importlib.util.spec_from_file_location(name, FOLDER / f"{name}.launch.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.generate_launch_description()


def expand(description: Any, **values: str) -> list[Any]:
    """Return the nodes that launch would start with these arguments."""
    import launch
    from launch_ros.actions import Node

    context = launch.LaunchContext(argv=[f"{name}:={text}" for name, text in values.items()])
    context.launch_configurations.update(values)
    actions: list[Any] = []
    for entity in description.entities:
        actions += entity.visit(context) or []
    return [action for action in actions if isinstance(action, Node)]


def test_these_are_all_launch_files() -> None:
    assert sorted(FILES) == sorted(path.name.split(".")[0] for path in FOLDER.glob("*.py"))


@pytest.mark.parametrize("name", FILES)
def test_launch_files_declare_the_options_of_their_parts(name: str, described: Any) -> None:
    from launch.actions import DeclareLaunchArgument

    declared = [
        entity for entity in load(name).entities if isinstance(entity, DeclareLaunchArgument)
    ]
    wanted = [one for one in settings_of(Options).values() if set(FILES[name]) & set(one.tags)]
    if "policy" in FILES[name]:
        wanted += backend_parameters(Options).values()
    assert [argument.name for argument in declared] == [option.name for option in wanted]
    for argument, option in zip(declared, wanted, strict=True):
        assert option.description in argument.description
        required = argument.name == "leader" and name in ("leader", "teleop")
        assert (argument.default_value is None) is required
    assert {"hardware", "namespace", "params_file"} <= {argument.name for argument in declared}


@pytest.mark.usefixtures("ros2_control")
@pytest.mark.parametrize(
    "values",
    [
        {"hardware": "sim"},
        {"hardware": "sim", "policy": "none", "seed": "9", "namespace": "left"},
        {"hardware": "mock", "checkpoint": "owner/name", "output": "joint_trajectory"},
    ],
)
def test_launch_starts_the_nodes_of_the_list(values: dict[str, str], described: Any) -> None:
    nodes = expand(load("so100"), **values)
    wanted = node_list(Options.from_text(values))
    assert [(node.node_package, node.node_executable) for node in nodes] == [
        (spec.package, spec.executable) for spec in wanted
    ]


def test_pieces_start_their_part_alone(described: Any) -> None:
    names = [node.node_executable for node in expand(load("policy"), hardware="sim")]
    assert names == ["policy_node", "executor_node"]
    assert [node.node_executable for node in expand(load("arm"), hardware="sim")] == ["sim_node"]
    assert expand(load("cameras"), hardware="sim") == []


def test_wrong_values_end_the_launch_before_anything_starts(described: Any) -> None:
    with pytest.raises(RuntimeError, match=r'"toaster" is not valid\. Valid options'):
        expand(load("so100"), hardware="toaster")
    with pytest.raises(SetupError, match="rate is fast, but must be a number"):
        expand(load("so100"), hardware="sim", rate="fast")


def test_a_misspelled_argument_is_refused_and_a_strangers_is_not(
    described: Any, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(SetupError, match="no argument 'hardwar'; did you mean 'hardware'"):
        expand(load("so100"), hardwar="sim")
    with pytest.raises(SetupError, match="'use_mock_hardware'; did you mean 'hardware:=mock'"):
        expand(load("arm"), use_mock_hardware="true")
    described.get_logger("launch").addHandler(caplog.handler)
    # The last is ours, of another part.
    assert expand(load("arm"), hardware="sim", gazebo_world="x", policy="none")
    warnings = [one.getMessage() for one in caplog.records if one.levelname == "WARNING"]
    assert ["'gazebo_world'" in message for message in warnings] == [True]


def visited(entity: Any, context: Any) -> list[Any]:
    """Return the nodes that launch would start, visiting as it does, but starting nothing."""
    from launch_ros.actions import Node

    if isinstance(entity, Node):
        return [entity]
    below = entity.visit(context) or []
    return [node for one in below for node in visited(one, context)]


def launched(file: Path, **typed: str) -> list[Any]:
    """Return the nodes of ``ros2 launch FILE name:=value …``."""
    import launch
    from launch.launch_description_sources import AnyLaunchDescriptionSource

    context = launch.LaunchContext(argv=[f"{name}:={text}" for name, text in typed.items()])
    include = launch.actions.IncludeLaunchDescription(
        AnyLaunchDescriptionSource(str(file)), launch_arguments=typed.items()
    )
    return visited(launch.LaunchDescription([include]), context)


PARENT = """
from launch import LaunchDescription
from launch.actions import *
from launch.substitutions import *
from launch_ros.actions import *

def ours(**arguments):
    return IncludeLaunchDescription(OURS, launch_arguments=arguments.items())

def generate_launch_description():
    return LaunchDescription([ACTIONS])
"""


def parent(tmp_path: Path, actions: str, name: str = "arm") -> Path:
    """Write a launch file that includes one of ours."""
    file = tmp_path / "cell.launch.py"
    text = PARENT.replace("OURS", repr(str(FOLDER / f"{name}.launch.py")))
    file.write_text(text.replace("ACTIONS", actions))
    return file


OF_THEIRS = {
    "robot_namespace": "a",
    "ports": "2",
    "calibration_file": "b",
    "seeds": "3",
    "hardware_type": "sim",
}


@pytest.mark.parametrize("declared", [True, False])
def test_a_parent_has_arguments_of_its_own(declared: bool, described: Any, tmp_path: Path) -> None:
    actions = [f"DeclareLaunchArgument({name!r})" for name in OF_THEIRS if declared]
    actions += ["ours(hardware=LaunchConfiguration('hardware_type'), seed='4')"]
    (sim,) = launched(parent(tmp_path, ", ".join(actions)), **OF_THEIRS)
    assert sim.node_executable == "sim_node"


@pytest.mark.parametrize(
    "actions",
    [
        "ours(hardwar='sim')",
        "GroupAction([ours(hardwar='sim')])",
        "OpaqueFunction(function=lambda context: [ours(hardwar='sim')])",
        "GroupAction([OpaqueFunction(function=lambda context: [ours(hardwar='sim')])])",
    ],
)
def test_a_misspelled_argument_of_an_include_is_refused(
    actions: str, described: Any, tmp_path: Path
) -> None:
    with pytest.raises(SetupError, match="no argument 'hardwar'; did you mean 'hardware'"):
        launched(parent(tmp_path, actions), seeds="3")


@pytest.mark.parametrize(
    ("arguments", "namespace"),
    [("", "/hall"), (", namespace='b'", "/hall/b"), (", namespace='/b'", "/b")],
)
def test_a_parent_pushes_its_own_argument_namespace(
    arguments: str, namespace: str, described: Any, tmp_path: Path
) -> None:
    from launch import LaunchContext
    from launch.utilities import perform_substitutions

    push = "PushROSNamespace(LaunchConfiguration('namespace'))"
    actions = f"GroupAction([{push}, SetRemap('a', 'b'), ours(hardware='sim'{arguments})])"
    (sim,) = launched(parent(tmp_path, actions), namespace="hall")
    command = [perform_substitutions(LaunchContext(), word) for word in sim.cmd[1:]]
    assert [word for word in command if word.startswith("__ns")] == [f"__ns:={namespace}"]
    assert "a:=b" in command


def test_a_file_that_takes_up_our_description_may_declare_more(
    described: Any, tmp_path: Path
) -> None:
    file = tmp_path / "cell.launch.py"
    file.write_text(
        "from launch import LaunchDescription\n"
        "from launch.actions import DeclareLaunchArgument\n"
        "from smolvla_bringup.system.launch_description import describe\n"
        "def generate_launch_description():\n"
        "    more = DeclareLaunchArgument('ports', default_value='')\n"
        "    return LaunchDescription([more, *describe('arm').entities])\n"
    )
    (sim,) = launched(file, hardware="sim", ports="2")
    assert sim.node_executable == "sim_node"
    with pytest.raises(SetupError, match="no argument 'robott'"):
        launched(file, hardware="sim", robott="so101")


def test_two_includes_in_one_namespace_are_refused(described: Any, tmp_path: Path) -> None:
    arms = "ours(hardware='sim', namespace='a'), ours(hardware='sim', namespace='{}')"
    nodes = launched(parent(tmp_path, arms.format("b")))
    assert [node.node_executable for node in nodes] == ["sim_node", "sim_node"]
    with pytest.raises(SetupError, match="/a/sim_node would be started twice"):
        launched(parent(tmp_path, arms.format("a")))
