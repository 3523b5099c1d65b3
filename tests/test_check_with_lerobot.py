# SPDX-License-Identifier: Apache-2.0
"""The check against LeRobot says in one line what it cannot run; the check itself is no test."""

import os
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[1]


def check(tmp_path, *arguments, **variables):
    return subprocess.run(
        [ROOT / "scripts/check_with_lerobot.sh", *arguments],
        env={**os.environ, "WORK": str(tmp_path), **variables},
        capture_output=True,
        text=True,
    )


def test_a_part_that_does_not_exist_is_named_with_those_that_do(tmp_path):
    done = check(tmp_path, "arms", LEROBOT_PYTHON="/bin/false", GRADERS="/bin")
    assert done.returncode == 2
    assert "arms" in done.stderr
    assert all(part in done.stderr for part in ("checkpoints", "datasets", "arm,", "graders"))


def test_without_python_3_12_it_says_how_to_name_one_and_installs_nothing(tmp_path):
    done = check(tmp_path, "arm", PYTHON312="/bin/false", LEROBOT_PYTHON="")
    assert done.returncode == 2
    assert "PYTHON312=" in done.stderr
    assert not list(tmp_path.iterdir())
