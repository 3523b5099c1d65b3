# SPDX-License-Identifier: Apache-2.0
"""The generated reference: pages are up to date, and what is generated says what the code says."""

import importlib.util
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"scripts/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


reference = load("make_reference")
graph = load("reference_graph")


@pytest.mark.parametrize("page", ["parameters", "messages"])
def test_the_pages_are_up_to_date(page):
    text = getattr(reference, f"{page}_page")()
    written = (ROOT / f"docs/reference/{page}.md").read_text(encoding="utf-8")
    assert written == text, f"{page}.md is out of date; run: python scripts/make_reference.py"


def test_every_list_of_parameters_is_found():
    found = {name: title for _, name, title in reference.parameter_modules()}
    assert {
        "POLICY_PARAMETERS": "policy_node",
        "EXECUTOR_PARAMETERS": "executor_node",
        "RECORD_PARAMETERS": "record_node",
        "SIM_PARAMETERS": "sim_node",
        "VISUALIZATION_PARAMETERS": "visualization_node",
    }.items() <= found.items()


def test_new_lists_of_parameters_are_found(tmp_path):
    package = tmp_path / "src/my_arm/my_arm"
    package.mkdir(parents=True)
    (package / "a.py").write_text('"""Of `arm_node`."""\nARM_PARAMETERS = (1,)\n')
    (package / "b.py").write_text("X_PARAMETERS: tuple = ()\nY_PARAMETERS = ()\n")
    (package / "c.py").write_text("from my_arm.a import ARM_PARAMETERS\nz = ARM_PARAMETERS\n")
    (package.parent / "setup.py").write_text("S_PARAMETERS = ()\n")
    assert reference.parameter_modules(tmp_path) == [
        ("my_arm.a", "ARM_PARAMETERS", "arm_node"),
        ("my_arm.b", "X_PARAMETERS", "x"),
        ("my_arm.b", "Y_PARAMETERS", "y"),
    ]


def test_values_are_written_as_yaml():
    values = ["", "a", True, 3, 1.0, 1 / 3, [1.0, -0.5], [], ["a", "b"]]
    assert [reference.literal(value) for value in values] == [
        '`""`',
        "`a`",
        "`true`",
        "`3`",
        "`1.0`",
        "`0.333333333`",
        "`[1.0, -0.5]`",
        "`[]`",
        "`[a, b]`",
    ]


def test_bars_and_names_in_angle_brackets_survive_in_a_table():
    text = reference.table(("a",), [("camera/<name>/x or `<name>|y`",)])
    assert text.splitlines()[-1] == r"| camera/&lt;name>/x or `<name>\|y` |"


def test_comments_find_their_fields():
    description, parts = reference.parse_interface(
        "# What it is,\n# in two lines.\n\n"
        "# The header.\nstd_msgs/Header header\n\n"
        "uint8 IDLE=0\n# Moves.\nuint8 MOVING = 1 # or tries to\nuint8 state\n"
        "# Two of\n# a kind.\nfloat64 a\nint32 b 5\n\nstring c\n---\n"
    )
    assert description == "What it is, in two lines."
    fields, empty = parts
    assert [([name for _, name in group.entries], group.words) for group in fields] == [
        (["header"], "The header."),
        (["IDLE = 0"], ""),
        (["MOVING = 1"], "Moves. or tries to"),
        (["state"], "one of these constants"),
        (["a", "b = 5"], "Two of a kind."),
        (["c"], ""),
    ]
    assert empty == []


def test_a_file_without_description_has_none():
    description, parts = reference.parse_interface("# A number.\nint32 a\n")
    assert description == ""
    assert parts[0][0].words == "A number."


def test_topics_link_their_types_and_name_managed_nodes():
    page = reference.topics_page(
        {
            "topics": [
                {
                    "name": "/x",
                    "type": "smolvla_msgs/msg/ActionChunk",
                    "publishers": ["a"],
                    "subscribers": ["b", "c"],
                    "qos": "reliable",
                    "words": "chunks",
                }
            ],
            "services": [],
            "actions": [],
            "managed": ["a"],
        }
    )
    link = "[ActionChunk](messages.md#actionchunk)"
    assert f"| `/x` | {link} | a | b, c | reliable | chunks |" in page
    assert "managed nodes (`a`)" in page
    assert "## Services" not in page


def test_every_node_of_the_workspace_would_be_started():
    assert {"policy_node", "executor_node", "record", "sim_node"} <= set(graph.node_scripts())
    assert "train" not in graph.node_scripts()


def test_topics_page_knows_the_topics_that_nodes_are_wired_to():
    page = (ROOT / "docs/reference/topics.md").read_text(encoding="utf-8")
    for name in ("visualization_node/predicted_path", "smolvla/action_chunk", "sim/objects"):
        assert f"| `/{name}` |" in page
    assert "|  |\n" not in page.partition("## Services")[0]  # a topic without words
