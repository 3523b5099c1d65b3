# SPDX-License-Identifier: Apache-2.0
"""LeRobot's SmolVLA checkpoints: configuration, weights, statistics and tokenizer."""

from __future__ import annotations

from smolvla_policy.checkpoint.source import CheckpointError

__all__ = ["CheckpointError"]
