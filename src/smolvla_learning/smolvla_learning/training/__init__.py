# SPDX-License-Identifier: Apache-2.0
"""Training of SmolVLA on LeRobot datasets: ``smolvla train``."""

from smolvla_core.console import INTERRUPTED, script

main = script("smolvla_learning.training.train", INTERRUPTED)
