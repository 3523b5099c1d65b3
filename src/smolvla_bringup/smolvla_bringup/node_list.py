# SPDX-License-Identifier: Apache-2.0
"""The one list of nodes that launch files, starter and demo share, so that they cannot drift."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence

from smolvla_bringup.arm_nodes import arm_nodes
from smolvla_bringup.camera_nodes import camera_nodes
from smolvla_bringup.description import description_nodes
from smolvla_bringup.node_spec import NodeSpec
from smolvla_bringup.options import PARTS, Options, SetupError
from smolvla_bringup.policy_nodes import policy_nodes
from smolvla_bringup.visualization_nodes import visualization_nodes


def say_to_stderr(line: str) -> None:
    """Print `line` as a remark of the start."""
    print(f"start: {line}", file=sys.stderr, flush=True)


def node_list(
    options: Options,
    parts: Sequence[str] = PARTS,
    say: Callable[[str], None] = say_to_stderr,
) -> tuple[NodeSpec, ...]:
    """Return the nodes that `options` ask for, in the order of their start.

    Args:
        options: how the system shall be started.
        parts: of `PARTS`.
        say: told, line by line, what is left out and why.

    Raises:
        SetupError: something is missing or contradictory; nothing was started.
    """
    makers: dict[str, Callable[[], list[NodeSpec]]] = {
        "arm": lambda: arm_nodes(options),
        "description": lambda: description_nodes(options, say),
        "cameras": lambda: camera_nodes(options),
        "policy": lambda: policy_nodes(options),
        "visualization": lambda: visualization_nodes(options, say),
    }
    unknown = sorted(set(parts) - set(makers))
    if unknown:
        raise SetupError(f"there is no part '{unknown[0]}'; there are: {', '.join(PARTS)}")
    return tuple(node for part in PARTS if part in parts for node in makers[part]())


def simulation_nodes(options: Options) -> tuple[NodeSpec, ...]:
    """Return what a run in the simulation needs and nothing to look at: arm and policy."""
    return node_list(options, ("arm", "policy"))
