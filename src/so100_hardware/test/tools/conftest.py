# SPDX-License-Identifier: Apache-2.0
"""An emulator and a home folder for each test of a tool."""

import pytest
from tool_programs import Emulator


@pytest.fixture
def start(tmp_path):
    """Start emulators with options; the last one is stopped before the next."""
    running = []

    def start_one(*options):
        while running:
            running.pop().stop()
        running.append(Emulator(tmp_path, *options))
        return running[-1]

    yield start_one
    while running:
        running.pop().stop()


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """Give each test a home folder without calibrations."""
    for name in ("HF_LEROBOT_CALIBRATION", "HF_LEROBOT_HOME", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "home"
