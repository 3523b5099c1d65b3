# SPDX-License-Identifier: Apache-2.0
"""One node as data, and the process that launch and starter make of it."""

from __future__ import annotations

from pathlib import Path

import pytest
from smolvla_bringup.system.node_spec import NodeSpec
from smolvla_bringup.system.options import SetupError

pytestmark = pytest.mark.usefixtures("workspace")


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


def test_a_process_that_names_itself_gets_no_name() -> None:
    spec = NodeSpec("p", "e", "word", "left", renamed=False, arguments=("first",))
    assert spec.ros_arguments() == ["--ros-args", "-r", "__ns:=/left"]
    assert NodeSpec("p", "e", "word", renamed=False).ros_arguments() == []


def test_launch_starts_the_same_command_line_as_the_starter(executable, tmp_path: Path) -> None:
    executable("smolvla_sim", "some_node", "true")
    file = tmp_path / "values.yaml"
    file.write_text("/**:\n  ros__parameters:\n    real: 9.0\n")
    spec = NodeSpec(
        "smolvla_sim",
        "some_node",
        "name",
        "left",
        arguments=("plain", "--flag"),
        params_files=(file,),
        parameters={"texts": ["1", "a:b"], "id": "007"},
        remappings={"a": "b"},
        env={"SOME": "thing"},
    )
    launch = spec.launch_arguments()
    assert launch["arguments"] == spec.command()[1:]
    assert launch["arguments"][:3] == ["plain", "--flag", "--ros-args"]
    assert (launch["package"], launch["executable"]) == ("smolvla_sim", "some_node")
    assert launch["additional_env"]["SOME"] == "thing"


def test_values_are_found_as_the_node_will_find_them(tmp_path: Path) -> None:
    first, second = tmp_path / "first.yaml", tmp_path / "second.yaml"
    first.write_text("/**/n:\n  ros__parameters: {a: 1, b: 1, c: 1}\n")
    second.write_text("/left/n:\n  ros__parameters: {b: 2}\nother:\n  ros__parameters: {a: 9}\n")
    spec = NodeSpec("p", "e", "n", "left", params_files=(first, second), parameters={"c": 3})
    assert [spec.configured(name) for name in "abc"] == [1, 2, 3]
    assert spec.has("a")
    assert not spec.has("d")
    with pytest.raises(SetupError, match=r"'d' stands in none of .*first.yaml"):
        spec.configured("d")
