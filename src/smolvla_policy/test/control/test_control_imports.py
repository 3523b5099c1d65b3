# SPDX-License-Identifier: Apache-2.0
"""The core is numpy and the standard library: it runs and is tested anywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import smolvla_policy.control

PROBE = """
import importlib, pkgutil, sys
before = set(sys.modules)
import smolvla_policy.control as control
for module in pkgutil.iter_modules(control.__path__):
    importlib.import_module(f"smolvla_policy.control.{module.name}")
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(loaded - set(sys.stdlib_module_names) - {"numpy", "smolvla_policy"}))
others = [n for n in sys.modules if n.startswith("smolvla_policy.")]
print(*sorted(n for n in others if not n.startswith("smolvla_policy.control")))
"""


def test_control_needs_nothing_but_numpy() -> None:
    root = Path(smolvla_policy.control.__file__).parents[2]
    probe = subprocess.run(
        [sys.executable, "-c", PROBE],
        env={"PYTHONPATH": str(root), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert probe.stdout.split() == []
