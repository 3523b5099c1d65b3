# SPDX-License-Identifier: Apache-2.0
"""The checkpoint that comes with the simulation."""

from __future__ import annotations

from pathlib import Path

from smolvla_policy.checkpoint.robot import read_robot

CHECKPOINT = Path(__file__).resolve().parent / "checkpoints" / "smolvla_so100_sim"
"""Its folder."""

FPS = read_robot(CHECKPOINT).fps
"""Actions per second of its training data."""
