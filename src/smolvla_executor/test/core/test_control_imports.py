# SPDX-License-Identifier: Apache-2.0
"""The core is numpy and the standard library: it runs and is tested anywhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import smolvla_executor.core

PROBE = """
import importlib, pkgutil, sys
before = set(sys.modules)
import smolvla_executor.core as control
for module in pkgutil.iter_modules(control.__path__):
    importlib.import_module(f"smolvla_executor.core.{module.name}")
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
print(*sorted(loaded - set(sys.stdlib_module_names) - {"numpy", "smolvla_policy"}))
others = [n for n in sys.modules if n.startswith("smolvla_policy.")]
print(*sorted(n for n in others if not n.startswith("smolvla_executor.core")))
"""


def test_control_needs_nothing_but_numpy() -> None:
    root = Path(smolvla_executor.core.__file__).parents[2]
    probe = subprocess.run(
        [sys.executable, "-c", PROBE],
        env={"PYTHONPATH": str(root), "PATH": ""},
        capture_output=True,
        text=True,
        check=True,
    )
    assert probe.stdout.split() == []
