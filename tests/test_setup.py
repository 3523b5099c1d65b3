# SPDX-License-Identifier: Apache-2.0
"""scripts/setup.sh with a pip and a colcon that only note what they are asked for."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VERSION = "7.4.1"

# What `.venv/bin/python` is here: -m pip "installs" PyTorch, -m colcon builds nothing.
PYTHON = """#!/bin/bash
[ "$1" = -m ] || exec "{python}" "$@"
echo "$*" >>"{log}"
torch() {{ printf "__version__ = '%s'\\ncuda = %s\\n" "$1" "$2" >"{torch}"; }}
case "$*" in
  *--dry-run*) ;;
  *"install "*torch==*!=*+cpu) torch {version}+cu130 "'13.0'" ;;
  *"install "*torch==*+cpu) torch {version}+cpu None ;;
  *"colcon build"*) sed "s|^#!.*|{first_line}|" "{program}.in" >"{program}" ;;
esac
"""


class Clone:
    """A clone of this workspace without content, set up once."""

    def __init__(self, folder):
        self.folder = folder
        self.log = folder / "asked"
        for name in ("scripts", "requirements", "src", "lib/torch", ".venv/bin", "bin"):
            (folder / name).mkdir(parents=True)
        self.built = folder / "install/arm/lib/arm/wave"
        self.built.parent.mkdir(parents=True)
        self.program("install/arm/lib/arm/wave", "")
        self.program("install/arm/lib/arm/wave.in", "#!python\nprint('waved', __name__)\n")
        shutil.copy(ROOT / "scripts/setup.sh", folder / "scripts")
        for name in ("env.sh", "scripts/mend_ros_wheels.py", "requirements/all.txt"):
            (folder / name).touch()
        (folder / "constraints.txt").write_text(f"numpy==2.0\ntorch=={VERSION}\n")
        (folder / ".venv/.kind").write_text("pypi " + sys.version.replace("\n", " ") + " ")
        (folder / "lib/torch/__init__.py").write_text("raise ImportError('too heavy')")
        torch = folder / "lib/torch/version.py"
        self.program(
            ".venv/bin/python",
            PYTHON.format(
                python=sys.executable,
                log=self.log,
                version=VERSION,
                torch=torch,
                program=self.built,
                # As setuptools writes it.
                first_line='#!\\"' + f'{folder}/.venv/bin/python\\"',
            ),
        )
        for name in ("cmake", "c++", "make"):
            self.program(f"bin/{name}", "#!/bin/sh\n")
        self.program("bin/dpkg-query", "#!/bin/sh\necho install ok installed\n")
        self.program("bin/nvidia-smi", "#!/bin/sh\necho No devices\n")

    def program(self, name, text):
        path = self.folder / name
        path.write_text(text)
        path.chmod(0o755)

    def has(self, version, cuda=None):
        """Let this PyTorch be installed."""
        text = f"__version__ = '{version}'\ncuda = {cuda!r}\n"
        (self.folder / "lib/torch/version.py").write_text(text)
        return self

    def set_up(self, torch=None):
        """Run setup.sh; return what it ended with and what pip was asked for, of PyTorch."""
        self.log.write_text("")
        environment = {
            "PATH": f"{self.folder}/bin:/usr/bin:/bin",
            "PYTHON": sys.executable,
            "PYTHONPATH": str(self.folder / "lib"),
            "HOME": os.environ.get("HOME", "/"),
            **({} if torch is None else {"SMOLVLA_TORCH": torch}),
        }
        ended = subprocess.run(
            ["bash", str(self.folder / "scripts/setup.sh")],
            capture_output=True,
            text=True,
            check=False,
            timeout=60,
            env=environment,
        )
        asked = [
            line.rpartition(" ")[2]
            for line in self.log.read_text().splitlines()
            if "torch==" in line and "--dry-run" not in line
        ]
        return ended, asked


@pytest.fixture
def clone(tmp_path):
    return Clone(tmp_path / "two words")


CPU, CUDA = f"torch=={VERSION}+cpu", f"torch=={VERSION},!={VERSION}+cpu"


@pytest.mark.parametrize(
    ("there", "wish", "asked"),
    [
        ((VERSION, "13.0"), "cpu", [CPU]),  # its name does not tell
        ((VERSION, "13.0"), "cuda", []),
        (("7.0.0+cu128", "12.8"), None, [CUDA]),
    ],
)
def test_the_build_of_pytorch_is_the_one_that_is_wanted(clone, there, wish, asked):
    ended, found = clone.has(*there).set_up(wish)
    assert ended.returncode == 0, ended.stderr
    assert found == asked


def test_a_wish_counts_over_a_finished_set_up_and_none_keeps_the_build(clone):
    assert clone.has(f"{VERSION}+cpu").set_up()[1] == []
    assert clone.set_up("cuda")[1] == [CUDA]
    for wish in (None, "cuda"):
        ended, _ = clone.set_up(wish)
        assert (ended.returncode, ended.stdout, clone.log.read_text()) == (0, "", "")
    assert clone.set_up("cpu")[1] == [CPU]


def test_a_wish_that_cannot_be_had_is_told(clone):
    clone.has(f"{VERSION}+cpu")
    python = clone.folder / ".venv/bin/python"
    python.write_text(python.read_text().replace("'13.0'", "None"))  # an index without CUDA
    ended, _ = clone.set_up("cuda")
    assert ended.returncode == 1
    assert "stay on the CPU: SMOLVLA_TORCH=cpu make build" in ended.stderr
    ended, asked = clone.set_up("gpu")
    assert (ended.returncode, asked) == (1, [])
    assert "SMOLVLA_TORCH is 'gpu', but must be cpu or cuda" in ended.stderr


def test_the_debian_image_has_the_system_packages_that_are_installed(clone):
    packages = clone.folder / "packages"
    clone.program("bin/dpkg-query", "#!/bin/sh\nexit 1\n")
    clone.program("bin/apt-get", f'#!/bin/sh\necho "$*" >>"{packages}"\n')
    clone.program("bin/sudo", '#!/bin/sh\n[ "$1" = -n ] || exec "$@"\n')
    ended, _ = clone.has(VERSION).set_up()
    assert ended.returncode == 0, ended.stderr
    installed = {word for word in packages.read_text().split() if not word.startswith("-")}
    installed -= {"update", "install"}
    assert "libegl1" in installed
    assert installed <= set((ROOT / "docker/Dockerfile.debian").read_text().split())


def test_programs_start_in_a_path_with_spaces(clone):
    clone.has(VERSION).set_up()
    started = subprocess.run([clone.built, "x"], capture_output=True, text=True, check=False)
    assert (started.stdout, started.stderr) == ("waved __main__\n", "")


@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_env_in_a_path_with_spaces(tmp_path, shell):
    if shutil.which(shell) is None:
        pytest.skip(f"no {shell}")
    folder = tmp_path / "two words"
    (folder / ".venv/bin").mkdir(parents=True)
    (folder / ".venv/bin/python").symlink_to(Path(sys.executable).resolve())
    (folder / "install").mkdir()
    shutil.copy(ROOT / "env.sh", folder)
    # colcon's own file runs this Python without quotes.
    (folder / f"install/local_setup.{shell}").write_text(
        f'python="${{COLCON_PYTHON_EXECUTABLE:-{folder}/.venv/bin/python}}"\n'
        "export WAVED=\"$($python -c 'print(3 * 7)')\"\n"
    )
    ended = subprocess.run(
        [shell, "-c", '. ./env.sh; echo "$WAVED $VIRTUAL_ENV ${COLCON_PYTHON_EXECUTABLE-unset}"'],
        cwd=folder,
        env={"PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.stdout, ended.stderr) == (f"21 {folder}/.venv unset\n", "")


@pytest.mark.parametrize("sign", [":", ";", "$", "'", '"', "`", "\\", "ß", "語"])
def test_a_path_that_no_tool_takes_is_refused_at_once(tmp_path, sign):
    clone = Clone(tmp_path / f"a{sign}b")
    ended, asked = clone.has(VERSION).set_up()
    assert (ended.returncode, ended.stdout, asked) == (1, "", [])
    assert str(clone.folder) in ended.stderr
    assert "Move or clone it" in ended.stderr
    assert not (clone.folder / "log").exists()
