# SPDX-License-Identifier: Apache-2.0
"""The checkpoint that comes with the simulation, and what it does not say about itself."""

from __future__ import annotations

from pathlib import Path

CHECKPOINT = Path(__file__).resolve().parent / "checkpoints" / "smolvla_so100_sim"
"""Its folder."""

FPS = 15.0
"""Actions per second of its training data. LeRobot's checkpoints do not name theirs; a node
is told by the parameter ``period`` = 1/FPS."""
