# SPDX-License-Identifier: Apache-2.0
"""The container files fit the workspace. No engine is needed: they are read, not run."""

import json
import re
import shlex
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

ROOT = Path(__file__).parents[1]
DOCKER = ROOT / "docker"
DOCKERFILES = sorted(DOCKER.glob("Dockerfile*"))
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES = sorted(COMPOSE["services"])


def instructions(file: Path) -> list[tuple[str, str]]:
    """(name, the rest on one line) of each instruction, comments left out."""
    lines = [x for x in file.read_text("utf-8").splitlines() if not x.lstrip().startswith("#")]
    logical = re.sub(r"\\\n\s*", " ", "\n".join(lines)).splitlines()
    return [tuple(line.split(None, 1)) for line in logical if line.strip()]  # type: ignore[misc]


def from_context(file: Path) -> list[str]:
    """What the file takes out of the build context."""
    sources = []
    for name, rest in instructions(file):
        if name == "COPY" and "--from=" not in rest:
            sources += [word for word in rest.split()[:-1] if not word.startswith("--")]
        if name == "RUN":
            mounts = re.findall(r"--mount=type=bind,(\S+)", rest)
            sources += [m.split("source=")[1].split(",")[0] for m in mounts if "from=" not in m]
    return sources


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_what_a_dockerfile_takes_is_there_and_not_left_out_of_the_context(file):
    left_out = [
        line.removeprefix("**/")
        for line in (ROOT / ".dockerignore").read_text("utf-8").splitlines()
        if line and not line.startswith("#")
    ]
    for source in from_context(file):
        assert (ROOT / source).exists(), source
        for part in Path(source).parts:
            assert not any(fnmatch(part, pattern) for pattern in left_out), source


@pytest.mark.parametrize("file", DOCKERFILES, ids=lambda file: file.name)
def test_stages_that_are_named_are_made(file):
    made = {
        rest.split()[2] for name, rest in instructions(file) if name == "FROM" and " AS " in rest
    }
    named = set(re.findall(r"--from=(\S+)|,from=([^,\s]+)", file.read_text("utf-8")))
    assert {a or b for a, b in named} <= made
    if file.name == "Dockerfile":
        targets = {service["build"].get("target") for service in COMPOSE["services"].values()} | {
            "runtime-cpu",
            "runtime-cuda",
        }
        assert targets <= made


def skipped_keys() -> set[str]:
    command = [str(DOCKER / "skip_keys.sh"), str(ROOT / "src")]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def canonical(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


# rosdep key -> distribution on PyPI, where the two differ by more than "python3-…(-pip)".
ON_PYPI = {"opencv": "opencv-python-headless", "pytorch": "torch", "transformers": "tokenizers"}


def test_what_rosdep_skips_the_virtual_environment_has():
    lines = (ROOT / "requirements/run.txt").read_text("utf-8").split()
    pinned = re.findall(r"^(\S+)==", (ROOT / "constraints.txt").read_text("utf-8"), re.MULTILINE)
    there = {canonical(name) for name in [*lines, *pinned]}
    for key in skipped_keys():
        if key.startswith("python3-"):
            name = key.removeprefix("python3-").removesuffix("-pip")
            assert canonical(ON_PYPI.get(name, name)) in there, key


def test_no_key_is_left_for_rosdep_to_install_with_pip():
    asked = {
        element.text
        for file in ROOT.glob("src/*/package.xml")
        for element in ElementTree.parse(file).iter()
        if element.text and element.text.endswith("-pip")
    }
    assert asked
    assert asked <= skipped_keys()


def command_of(service: str) -> list[str]:
    """The command, variables replaced by their defaults."""
    words = COMPOSE["services"][service]["command"]
    return [re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", word) for word in words]


def commands():
    for service in SERVICES:
        yield pytest.param(command_of(service), id=service)
    for name, rest in instructions(DOCKER / "Dockerfile"):
        if name == "CMD":
            yield pytest.param(json.loads(rest), id="Dockerfile")


@pytest.mark.parametrize("command", commands())
def test_a_command_starts_what_the_packages_have(command):
    ros2, verb, package, what = command[:4]
    assert ros2 == "ros2"
    source = ROOT / "src" / package
    if verb == "launch":
        assert (source / "launch" / what).is_file(), shlex.join(command)
    else:
        assert verb == "run"
        assert f'"{what} = ' in (source / "setup.py").read_text("utf-8"), shlex.join(command)
    prefix = "install/smolvla_bringup/share/smolvla_bringup/"
    for word in command:
        if word.startswith(prefix):
            assert (ROOT / "src/smolvla_bringup" / word.removeprefix(prefix)).is_file(), word


@pytest.mark.parametrize("command", commands())
def test_a_command_sets_what_the_program_knows(command):
    names = {word.partition(":=")[0] for word in command[4:] if ":=" in word}
    if command[1] == "launch":
        from smolvla_bringup.system.options import Options
        from smolvla_core.settings import settings_of
        from smolvla_policy.backends.registry import backend_parameters

        assert names <= {*settings_of(Options), *backend_parameters(Options)}
        return
    from smolvla_core.node_settings import ExecutorSettings
    from smolvla_core.settings import settings_of
    from smolvla_policy.backends.registry import policy_parameters

    known = {"policy_node": policy_parameters(), "executor_node": settings_of(ExecutorSettings)}
    assert names <= set(known[command[3]])
