# SPDX-License-Identifier: Apache-2.0
"""Looks whether the graph that a start would join has an arm, a policy or an executor already.

Names are shared: a second executor would command the first one's arm, and a simulated arm's policy
would move a real one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence

from smolvla_bringup.node_spec import NodeSpec
from smolvla_bringup.options import SetupError

# Of two arms one has a simulation and the other a controller manager.
_ARMS = frozenset(("sim_node", "controller_manager"))
_ONCE = _ARMS | {"policy_node", "executor_node"}
DISCOVERY = 1.5
"""How long to look [s]; on one machine nodes are seen within a third of it."""


def claim_names(specs: Sequence[NodeSpec], claimed: Iterable[str] = ()) -> frozenset[str]:
    """Return `claimed` with the names of `specs` that may be there once.

    Args:
        specs: nodes that shall be started.
        claimed: names of nodes that the same start begins too.

    Raises:
        SetupError: a name would be there twice; the text says which and what to do.
    """
    wanted = _names_wanted(specs)
    if twice := sorted(wanted.intersection(claimed)):
        raise SetupError(
            f"{', '.join(twice)} would be started twice in this launch: give each include of the "
            "arm a namespace of its own (namespace:=, or PushROSNamespace in a GroupAction)"
        )
    return wanted.union(claimed)


def refuse_second_start(specs: Sequence[NodeSpec]) -> None:
    """Make sure that no node is running that may be there once, in the graph of `specs`.

    Takes `DISCOVERY` seconds.

    Raises:
        SetupError: there is one; the text says which and what to do.
    """
    wanted = _names_wanted(specs)
    if not wanted:
        return
    running = _running(wanted, specs[0].env)
    if running:
        domain = os.environ.get("ROS_DOMAIN_ID") or "0"
        raise SetupError(
            f"already on ROS domain {domain}: {', '.join(sorted(running))}; two of a "
            "name would move each other's arm: end them, or choose a namespace or another "
            "ROS_DOMAIN_ID; a node that was killed is seen for up to 20 s"
        )


def _names_wanted(specs: Sequence[NodeSpec]) -> frozenset[str]:
    wanted = {_full_name(spec.namespace, spec.name) for spec in specs if spec.name in _ONCE}
    for spec in specs:
        if spec.name in _ARMS:
            wanted |= {_full_name(spec.namespace, arm) for arm in _ARMS}
    return frozenset(wanted)


def _full_name(namespace: str, name: str) -> str:
    return "/" + "/".join(part for part in (namespace.strip("/"), name) if part)


def _running(wanted: frozenset[str], environment: Mapping[str, str]) -> frozenset[str]:
    """Return which of `wanted` are to be seen by a process with `environment` in addition."""
    import rclpy
    from rclpy.node import Node

    context = rclpy.Context()
    before = {name: os.environ.get(name) for name in environment}
    os.environ.update(environment)  # read when the context begins and with its first node
    try:
        rclpy.init(args=[], context=context)
        node = Node(
            f"smolvla_start_{os.getpid()}",
            context=context,
            enable_rosout=False,
            start_parameter_services=False,
        )
    finally:
        for name, value in before.items():
            os.environ.pop(name)
            if value is not None:
                os.environ[name] = value
    try:
        deadline = time.monotonic() + DISCOVERY
        found: frozenset[str] = frozenset()
        while not found and time.monotonic() < deadline:
            time.sleep(0.05)
            names = node.get_node_names_and_namespaces()
            found = wanted & {_full_name(namespace, name) for name, namespace in names}
        return found
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
