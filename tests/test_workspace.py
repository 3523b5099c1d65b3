# SPDX-License-Identifier: Apache-2.0
"""The workspace itself: pinned versions, one version number, the mends, the shell set-up."""

import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path
from xml.etree import ElementTree

import pytest
from smolvla_executor.rerun_node import installed

ROOT = Path(__file__).parents[1]


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def names_in(file: Path) -> list[str]:
    lines = (line.strip() for line in file.read_text().splitlines())
    return [
        canonical(re.split(r"[\[=<>~ ]", line)[0])
        for line in lines
        if line and not line.startswith("#")
    ]


def test_every_requirement_is_pinned_in_the_one_place():
    pinned = set(names_in(ROOT / "constraints.txt"))
    wanted = {name for file in (ROOT / "requirements").glob("*.txt") for name in names_in(file)}
    assert wanted <= pinned


def test_all_packages_have_one_version_and_licence():
    packages = [ElementTree.parse(f).getroot() for f in ROOT.glob("src/*/package.xml")]
    assert len(packages) >= 4
    assert len({package.findtext("version") for package in packages}) == 1
    assert {package.findtext("license") for package in packages} == {"Apache-2.0"}


@pytest.fixture
def mend():
    spec = importlib.util.spec_from_file_location("mend", ROOT / "scripts/mend_ros_wheels.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)

    def apply(text, file):
        return module.mend(text, Path(file), "/here/include", "/here/site-packages")

    return apply


@pytest.mark.parametrize(
    ("file", "before", "after"),
    [
        (
            "share/std_msgs/cmake/x.cmake",
            '"/opt/python/cp312-cp312/include/python3.12;/opt/python/cp312-cp312/lib/python3.12/'
            'site-packages/numpy/_core/include"',
            '"/here/include;/here/site-packages/numpy/_core/include"',
        ),
        ("share/fastdds/cmake/x.cmake", "fastcdr;/usr/lib64/libtinyxml2.so;ssl", "fastcdr;ssl"),
        ("share/tracetools/cmake/x.cmake", '"lttng-ust;dl"', '"dl"'),
        ("share/tracetools/cmake/x.cmake", '"dl;lttng-ust"', '"dl"'),
        ("share/other/cmake/x.cmake", "lttng-ust", "lttng-ust"),
    ],
)
def test_the_mends_replace_the_builders_paths_once(mend, file, before, after):
    assert mend(before, file) == after
    assert mend(after, file) == after


def run(command, **options):
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, **options
    )


def test_env_without_a_built_workspace_says_what_to_do(tmp_path):
    shutil.copy(ROOT / "env.sh", tmp_path)
    environment = {"PATH": "/usr/bin:/bin"}
    ended = run(["bash", "-c", ". ./env.sh; echo status $?"], cwd=tmp_path, env=environment)
    assert "run 'make build'" in ended.stderr
    assert "status 1" in ended.stdout


def users_environment() -> dict[str, str]:
    """What a user's shell has before env.sh: nothing, or a sourced ROS 2."""
    if (ROOT / ".venv/share/rclpy/package.xml").exists():
        return {"PATH": "/usr/bin:/bin"}
    return {name: value for name, value in os.environ.items() if "PROFILES_FILE" not in name}


def test_env_puts_a_strict_shell_into_the_workspace_and_leaves_it_strict():
    script = ". ./env.sh && python -c 'import smolvla_msgs.msg, smolvla_policy' && echo $-"
    ended = run(["bash", "-uc", script], cwd=ROOT, env=users_environment())
    assert ended.returncode == 0, ended.stderr
    assert "u" in ended.stdout


@pytest.mark.parametrize("layout", ["install/smolvla_bringup", "install/share/smolvla_bringup"])
def test_env_finds_the_colcon_workspace_around_it(tmp_path, layout):
    here = tmp_path / "src/a_clone"
    here.mkdir(parents=True)
    shutil.copy(ROOT / "env.sh", here)
    (tmp_path / layout).mkdir(parents=True)
    (tmp_path / "install/local_setup.bash").write_text("export OUTER=sourced\n")
    (tmp_path / "install/local_setup.sh").touch()
    environment = {"PATH": "/usr/bin:/bin", "ROS_DISTRO": "jazzy"}
    ended = run(["bash", "-uc", ". ./env.sh && echo $OUTER"], cwd=here, env=environment)
    assert (ended.stdout, ended.stderr) == ("sourced\n", "")


def test_env_keeps_the_users_choice_of_transport():
    script = '. ./env.sh; echo "[${FASTDDS_DEFAULT_PROFILES_FILE-none}]"'
    environment = {**users_environment(), "FASTDDS_BUILTIN_TRANSPORTS": "UDPv4"}
    assert "[none]" in run(["bash", "-c", script], cwd=ROOT, env=environment).stdout


def test_setup_in_a_shell_of_another_copy_refuses_and_keeps_the_venv(tmp_path):
    other, here = tmp_path / "other", tmp_path / "here"
    (other / ".venv/share/rclpy").mkdir(parents=True)
    (other / ".venv/share/rclpy/package.xml").touch()
    (other / ".venv/.ros_distro").write_text("kilted")
    (here / "scripts").mkdir(parents=True)
    shutil.copy(ROOT / "scripts/setup.sh", here / "scripts")
    (here / ".venv").mkdir()
    (here / ".venv/.kind").write_text("pypi 3.11")
    # PYTHON names nothing that runs: without the refusal the script ends at the next step.
    environment = {
        "PATH": "/usr/bin:/bin",
        "AMENT_PREFIX_PATH": f"{other}/.venv",
        "PYTHON": "no-python",
    }
    ended = run(["bash", str(here / "scripts/setup.sh")], env=environment)
    assert ended.returncode == 1
    assert f"another copy of this workspace (its env.sh was sourced: {other})" in ended.stderr
    assert (here / ".venv/.kind").exists()


def test_the_command_for_a_missing_viewer_is_what_the_setup_installs(monkeypatch):
    assert installed.RERUN_SDK in (ROOT / "constraints.txt").read_text().split()
    monkeypatch.setattr(installed, "version", lambda name: "0.1.0")
    named = {canonical(word.split("==")[0]) for word in installed.rerun_problem().split()}
    assert set(names_in(ROOT / "requirements/rerun.txt")) <= named
