# SPDX-License-Identifier: Apache-2.0
"""Workspaces made of fakes: packages that ament finds and executables that tests write."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1]


def _make_workspace(prefix: Path) -> dict[str, str]:
    """Make an install prefix with this package, uninstalled; return the variables to use it."""
    packages = prefix / "share/ament_index/resource_index/packages"
    packages.mkdir(parents=True)
    for name in (
        "smolvla_bringup",
        "smolvla_description",
        "smolvla_executor",
        "smolvla_policy",
        "smolvla_sim",
    ):
        (packages / name).touch()
    for package, folder in (
        ("smolvla_bringup", "config"),
        ("smolvla_description", "urdf"),
        ("smolvla_description", "rviz"),
    ):
        (prefix / "share" / package).mkdir(exist_ok=True)
        (prefix / "share" / package / folder).symlink_to(PACKAGE.parent / package / folder)
    old = os.environ.get("AMENT_PREFIX_PATH")
    return {
        "AMENT_PREFIX_PATH": os.pathsep.join([str(prefix), *([old] if old else [])]),
        # Processes that the tests start import the sources, too.
        "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
    }


def _install(prefix: Path, package: str, name: str, *command: str) -> None:
    path = prefix / "lib" / package / name
    path.parent.mkdir(parents=True, exist_ok=True)
    # Takes SIGINT, as `smolvla_core.console.end_on_interrupt` does.
    path.write_text(
        f"#!{sys.executable} -IS\nimport os, signal, sys\n"
        "signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})\n"
        f"command = [*{list(command)!r}, *sys.argv[1:]]\nos.execvp(command[0], command)\n"
    )
    path.chmod(0o755)


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a fake install prefix that this process and its children use."""
    prefix = tmp_path / "install"
    for name, value in _make_workspace(prefix).items():
        monkeypatch.setenv(name, value)
    return prefix


@pytest.fixture
def bare_workspace(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a fake install prefix, the only one: no other package is installed."""
    monkeypatch.setenv("AMENT_PREFIX_PATH", str(workspace))
    monkeypatch.setenv("ROS_DISTRO", "jazzy")
    for name in (
        "DISPLAY",
        "WAYLAND_DISPLAY",
        "ROS_AUTOMATIC_DISCOVERY_RANGE",
        "FASTDDS_BUILTIN_TRANSPORTS",
        "FASTDDS_DEFAULT_PROFILES_FILE",
        "FASTRTPS_DEFAULT_PROFILES_FILE",
    ):
        monkeypatch.delenv(name, raising=False)
    return workspace


@pytest.fixture
def install(bare_workspace: Path) -> Callable[..., None]:
    """Return a function that makes packages look installed in the bare workspace."""
    resources = bare_workspace / "share/ament_index/resource_index"

    def install_packages(*names: str) -> None:
        for name in names:
            (resources / "packages" / name).touch()

    return install_packages


@pytest.fixture
def ros2_control(install: Callable[..., None], bare_workspace: Path) -> None:
    """Make ros2_control, its controllers and the arm's driver look installed."""
    install(
        "controller_manager",
        "joint_state_broadcaster",
        "forward_command_controller",
        "joint_trajectory_controller",
        "gripper_controllers",
        "robot_state_publisher",
        "so100_hardware",
    )
    plugins = bare_workspace / "share/ament_index/resource_index"
    plugins /= "hardware_interface__pluginlib__plugin"
    plugins.mkdir()
    (plugins / "so100_hardware").touch()


@pytest.fixture
def executable(workspace: Path) -> Callable[..., None]:
    """Return a function that installs a command line as package/executable."""
    return lambda package, name, *command: _install(workspace, package, name, *command)


@pytest.fixture(scope="session")
def fake_environment(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """Return the environment of a workspace whose nodes are fake_bringup_nodes.py."""
    folder = tmp_path_factory.mktemp("fakes")
    prefix = folder / "install"
    variables = _make_workspace(prefix)
    script = str(Path(__file__).with_name("fake_bringup_nodes.py"))
    _install(prefix, "smolvla_sim", "sim_node", sys.executable, script, "sim")
    _install(prefix, "smolvla_policy", "policy_node", sys.executable, script, "policy")
    _install(prefix, "smolvla_executor", "executor_node", sys.executable, script, "executor")
    environment = {**os.environ, **variables, "MPLCONFIGDIR": str(folder / "mpl")}
    environment.pop("ROS_DOMAIN_ID", None)
    return environment
