# SPDX-License-Identifier: Apache-2.0
"""Training of SmolVLA on LeRobot datasets: ``python -m smolvla_learning.training.train``."""
