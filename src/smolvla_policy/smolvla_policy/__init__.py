# SPDX-License-Identifier: Apache-2.0
"""SmolVLA for ROS 2: the policy and its checkpoints.

Public names are loaded on first use, so that the settings can be imported without PyTorch.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from smolvla_policy.checkpoint.source import CheckpointError
    from smolvla_policy.policy import SmolVLAPolicy

__all__ = ["CheckpointError", "SmolVLAPolicy"]


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    home = "policy" if name == "SmolVLAPolicy" else "checkpoint.source"
    return getattr(import_module(f"smolvla_policy.{home}"), name)
