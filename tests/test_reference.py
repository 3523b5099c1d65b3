# SPDX-License-Identifier: Apache-2.0
"""The generated page of parameters is up to date and complete."""

import importlib.util
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def load(name):
    spec = importlib.util.spec_from_file_location(name, ROOT / f"scripts/{name}.py")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


reference = load("make_reference")


def test_the_page_is_up_to_date():
    written = (ROOT / reference.PAGE).read_text(encoding="utf-8")
    assert written == reference.parameters_page(), "run: python scripts/make_reference.py"


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
