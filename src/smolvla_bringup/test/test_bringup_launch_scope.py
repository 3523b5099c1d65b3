# SPDX-License-Identifier: Apache-2.0
"""What a launch file around ours sets for all nodes reaches ours, and the names we derive."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from smolvla_bringup.system.launch_scope import Scope
from smolvla_bringup.system.node_list import arm_nodes, node_list
from smolvla_bringup.system.node_spec import NodeSpec
from smolvla_bringup.system.options import Options, SetupError
from smolvla_bringup.system.running import claim_names

pytestmark = pytest.mark.usefixtures("bare_workspace")


def included(options: Options, **configurations: Any) -> dict[str, NodeSpec]:
    """Return the specs, by name, of an include where launch has these configurations."""
    scope = Scope.of({"unrelated": "text", **configurations})
    options = scope.options(options)
    specs = node_list(options)
    return {spec.name: scope.spec(spec, options) for spec in specs}


def started(spec: NodeSpec, **declared: Any) -> tuple[Any, dict[str, Any]]:
    """Return full name, and topics and parameters, of a node with the arguments of `spec`."""
    rclpy = pytest.importorskip("rclpy")
    context = rclpy.Context()
    rclpy.init(args=["node", *spec.ros_arguments()], context=context, domain_id=101)
    try:
        node = rclpy.create_node(spec.name, context=context)
        topics = {
            name: node.resolve_topic_name(name)
            for name in ("task_instruction", "joint_states", "/tf", "camera/top/image_raw")
        }
        values = {
            name: node.declare_parameter(name, default).value for name, default in declared.items()
        }
        name = node.get_fully_qualified_name()
        node.destroy_node()
    finally:
        rclpy.shutdown(context=context)
    return name, {**topics, **values}


@pytest.mark.usefixtures("ros2_control")
@pytest.mark.parametrize(
    ("pushed", "own", "combined"),
    [
        ("/bay", "", "bay"),
        ("/bay/north", "", "bay/north"),
        ("/bay", "arm/", "bay/arm"),
        ("/bay", "/arm", "arm"),  # absolute, as everywhere in launch
        ("/", "arm", "arm"),
        (None, "arm", "arm"),
        ("/bay", "/", ""),
    ],
)
def test_all_names_follow_the_namespace_around(
    pushed: str | None, own: str, combined: str
) -> None:
    options = Options(hardware="mock", checkpoint="owner/name", namespace=own)
    specs = included(options, **({} if pushed is None else {"ros_namespace": pushed}))
    assert {spec.namespace for spec in specs.values()} == {combined}
    manager = f"/{combined}/controller_manager".replace("//", "/")
    assert manager in specs["spawner"].arguments
    assert manager in claim_names(list(specs.values()))
    prefix = f"{combined}/" if combined else ""
    assert specs["robot_state_publisher"].parameters["frame_prefix"] == prefix
    assert specs["visualization_node"].parameters["frame_prefix"] == prefix


def test_a_namespace_that_a_file_around_has_pushed_already_counts_once() -> None:
    def combined(pushed: str, own: str, *given: str) -> str:
        scope = Scope.of({"ros_namespace": pushed})
        return scope.options(Options(namespace=own), given).namespace

    assert combined("/hall/bay", "bay", "hardware") == "hall/bay"
    assert combined("/bay", "bay/", "hardware") == "bay"
    assert combined("/bay", "bay", "namespace") == "bay/bay"  # as ordered
    assert combined("/subway", "way") == "subway/way"
    assert combined("/hall", "bay") == "hall/bay"
    assert combined("/hall", "") == "hall"


def test_remappings_around_reach_every_node_and_win() -> None:
    remaps = [
        ("task_instruction", "say"),
        ("/bay/joint_states", "/robot/joints"),
        ("joint_states", "/second"),
        ("task_instruction", "/second"),
        ("/tf", "tf"),
    ]
    specs = included(
        Options(hardware="sim", policy="scripted"), ros_namespace="/bay", ros_remaps=remaps
    )
    for name in ("sim_node", "policy_node", "executor_node", "visualization_node"):
        full_name, topics = started(specs[name])
        assert full_name == f"/bay/{name}"
        assert topics["task_instruction"] == "/bay/say"
        assert topics["joint_states"] == "/robot/joints"
        assert topics["/tf"] == "/bay/tf"


def test_a_remapping_around_wins_over_that_of_the_cameras() -> None:
    scope = Scope.of({"ros_remaps": [("camera/top/image_raw", "/theirs")]})
    spec = NodeSpec(
        "p", "e", "n", remappings={"camera/top/image_raw": "/ours", "camera/hand/image_raw": "/o"}
    )
    assert scope.spec(spec, Options()).remappings == {
        "camera/top/image_raw": "/theirs",
        "camera/hand/image_raw": "/o",
    }


def executor(tmp_path: Path, params_file: str = "", **options: Any) -> dict[str, Any]:
    """Return parameters of an executor around which a launch file has set some."""
    theirs = tmp_path / "theirs.yaml"
    theirs.write_text("/**:\n  ros__parameters:\n    max_speed: [0.6]\n    status_rate: 7.0\n")
    given = [
        ("status_rate", 3.0),  # then the file
        str(theirs),
        ("rate", 25.0),
        ("dry_run", True),
        ("aggregate", "average"),
        ("use_sim_time", True),
        ("approach_speed", 0.11),
    ]
    if params_file:
        path = tmp_path / "users.yaml"
        path.write_text(f"/**:\n  ros__parameters:\n{params_file}")
        options["params_file"] = str(path)
    specs = included(Options(hardware="sim", **options), global_params=given)
    _, values = started(
        specs["executor_node"],
        rate=1.0,
        max_speed=[1.0],
        status_rate=1.0,
        dry_run=False,
        aggregate="",
        approach_speed=1.0,
        output="",
    )
    return values


def test_parameters_around_win_over_our_files_and_over_arguments_not_given(
    tmp_path: Path,
) -> None:
    values = executor(tmp_path)
    assert values["rate"] == 25.0
    assert list(values["max_speed"]) == [0.6]
    assert values["status_rate"] == 7.0
    assert values["dry_run"] is True
    assert values["aggregate"] == "average"
    assert values["output"] == ""


def test_the_users_file_and_given_arguments_win_over_parameters_around(tmp_path: Path) -> None:
    values = executor(tmp_path, "    approach_speed: 0.3\n", rate=40.0, aggregate="latest")
    assert values["approach_speed"] == 0.3
    assert values["rate"] == 40.0
    assert values["aggregate"] == "latest"
    assert list(values["max_speed"]) == [0.6]


def test_parameters_around_keep_their_types() -> None:
    given = {"text": "1.5", "truth_like": "true", "list": (0.5, 1.0), "texts": ("a", "007")}
    spec = Scope.of({"global_params": list(given.items())}).spec(
        NodeSpec("p", "e", "n"), Options()
    )
    _, values = started(spec, text="", truth_like="", list=[0.0], texts=[""])
    assert values["text"] == "1.5"
    assert values["truth_like"] == "true"
    assert list(values["list"]) == [0.5, 1.0]
    assert values["texts"] == ["a", "007"]


@pytest.mark.usefixtures("ros2_control")
def test_what_starts_the_controllers_gets_no_parameters_for_them(tmp_path: Path) -> None:
    file = tmp_path / "theirs.yaml"
    file.write_text("/**:\n  ros__parameters:\n    use_sim_time: true\n")
    manager, spawner = arm_nodes(Options(hardware="mock"))
    scope = Scope.of({"global_params": [str(file), ("use_sim_time", False)]})
    assert scope.spec(spawner, Options()) == spawner
    assert file in scope.spec(manager, Options()).params_files


def test_two_arms_of_one_launch_need_two_namespaces() -> None:
    def names(namespace: str) -> list[NodeSpec]:
        return node_list(Options(hardware="sim", namespace=namespace), ("arm", "policy"))

    claimed = claim_names(names("left"))
    with pytest.raises(SetupError, match=r"/left/executor_node, .* a namespace of its own"):
        claim_names(names("left"), claimed)
    both = claim_names(names("right"), claimed)
    assert {"/left/policy_node", "/right/policy_node"} < both
    # The parts of one arm may be included one by one.
    parts = [node_list(Options(hardware="sim"), (part,)) for part in ("arm", "policy")]
    assert claim_names(parts[1], claim_names(parts[0])) > {"/sim_node", "/executor_node"}
