# SPDX-License-Identifier: Apache-2.0
"""The generated page of parameters is up to date."""

import subprocess
import sys
from pathlib import Path

SCRIPT = Path(__file__).parents[1] / "scripts/make_reference.py"


def test_the_page_is_up_to_date():
    command = [sys.executable, str(SCRIPT), "--check"]
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
