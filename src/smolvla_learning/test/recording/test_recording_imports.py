# SPDX-License-Identifier: Apache-2.0
"""The recorder's core runs without ROS and without PyTorch."""

import os
import subprocess
import sys
from pathlib import Path

import smolvla_learning.recording

PROBE = """
import importlib, pkgutil, sys
import smolvla_learning.recording as recording
for module in pkgutil.iter_modules(recording.__path__):
    importlib.import_module(f"smolvla_learning.recording.{module.name}")
print(*sorted({"rclpy", "torch", "sensor_msgs", "std_msgs"} & set(sys.modules)))
print(len(list(pkgutil.iter_modules(recording.__path__))))
"""


def test_the_core_needs_neither_ros_nor_torch():
    root = Path(smolvla_learning.recording.__file__).parents[2]
    probe = subprocess.run(
        [sys.executable, "-c", PROBE],
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    found, count = probe.stdout.splitlines()
    assert found == ""
    assert int(count) >= 7
