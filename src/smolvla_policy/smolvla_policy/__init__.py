# SPDX-License-Identifier: Apache-2.0
"""SmolVLA for ROS 2: the policy, its checkpoints and its asynchronous execution.

Public names are loaded on first use, so that importing `smolvla_executor.core` brings in
neither PyTorch nor ROS.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smolvla_policy.checkpoint import CheckpointError
    from smolvla_policy.policy import SmolVLAPolicy

__all__ = ["CheckpointError", "SmolVLAPolicy"]

_HOME = {
    "CheckpointError": "smolvla_policy.checkpoint",
    "SmolVLAPolicy": "smolvla_policy.policy",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
