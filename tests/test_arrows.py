# SPDX-License-Identifier: Apache-2.0
"""Packages stand on one another in one direction, and a robot's computer needs no PyTorch."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

SRC = Path(__file__).resolve().parents[1] / "src"
STANDS_ON = {
    "smolvla_core": set(),
    "smolvla_executor": {"smolvla_core"},
    "smolvla_policy": {"smolvla_core"},
    "smolvla_learning": {"smolvla_core", "smolvla_policy"},
    "smolvla_sim": {"smolvla_core", "smolvla_executor", "smolvla_policy", "smolvla_learning"},
    "smolvla_bringup": {
        "smolvla_core",
        "smolvla_executor",
        "smolvla_policy",
        "smolvla_learning",
        "smolvla_sim",
    },
}


def imported(file: Path) -> set[str]:
    """Return the top names that a file imports, wherever in it."""
    names = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names |= {name.name for name in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            names.add(node.module or "")
    return {name.split(".")[0] for name in names}


@pytest.mark.parametrize("package", STANDS_ON)
def test_a_package_imports_only_what_it_stands_on_and_declares_it(package):
    files = list((SRC / package / package).rglob("*.py"))
    used = set().union(*map(imported, files)) & set(STANDS_ON) - {package}
    assert used <= STANDS_ON[package]
    manifest = (SRC / package / "package.xml").read_text()
    assert {name for name in used if f"<exec_depend>{name}<" not in manifest} == set()


@pytest.mark.parametrize(
    ("package", "but", "absent"),
    [
        ("smolvla_core", ("smolvla_core.ros", "smolvla_core.client"), {"rclpy", "torch"}),
        ("smolvla_core", (), {"torch"}),
        ("smolvla_executor.core", (), {"rclpy", "torch"}),
        ("smolvla_executor", (), {"torch"}),
        ("smolvla_learning.recording", (), {"rclpy", "torch"}),
    ],
)
def test_importing_all_of_a_package_brings_in_no(package, but, absent):
    code = f"""
import importlib, pkgutil, sys
package = importlib.import_module({package!r})
for module in pkgutil.walk_packages(package.__path__, {package!r} + "."):
    if not module.name.startswith({but!r}):
        importlib.import_module(module.name)
sys.exit(" ".join({absent!r} & set(sys.modules)) or 0)
"""
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")


@pytest.mark.parametrize(
    "module",
    [
        "smolvla_bringup.system.node_list",
        "smolvla_policy.backends.smolvla_settings",
        "smolvla_sim.expert.settings",
        "smolvla_sim.node.parameters",
    ],
)
def test_what_launch_files_import_brings_in_nothing_of_the_venv(module):
    # `ros2 launch` may run with another Python than the nodes.
    heavy = {"cv2", "mujoco", "tokenizers", "torch"}
    code = f"import sys, {module}; sys.exit(' '.join({heavy} & set(sys.modules)) or 0)"
    ended = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=False
    )
    assert (ended.returncode, ended.stderr) == (0, "")
