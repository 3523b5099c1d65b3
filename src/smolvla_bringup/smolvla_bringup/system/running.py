# SPDX-License-Identifier: Apache-2.0
"""Checks whether the nodes that a start would add run already in the graph that it joins.

Names are shared: a second executor would command the first one's arm, and a simulated arm's policy
would move a real one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence

from smolvla_bringup.system.node_spec import LEADER_DRIVER, NodeSpec, full_name
from smolvla_bringup.system.options import SetupError

# Of two arms one has a simulation and the other a controller manager.
_ARMS = frozenset(("sim_node", "controller_manager"))
_UNIQUE = _ARMS | {"policy_node", "executor_node"}
DISCOVERY = 1.5
"""How long to look [s]; on an idle machine nodes are seen within a third of it."""
_OTHERS = 0.5  # [s] to look on when one was found
_BUSIEST = 4.0  # times as long at most on a busy machine


def claim_names(specs: Sequence[NodeSpec], claimed: Iterable[str] = ()) -> frozenset[str]:
    """Return `claimed` with the names of `specs` that may be there once.

    Args:
        specs: nodes that shall be started.
        claimed: names of nodes that the same start begins too.

    Raises:
        SetupError: a name would be there twice; the text says which and what to do.
    """
    wanted = _unique_names(specs, arm=True)
    if twice := sorted(wanted.intersection(claimed)):
        raise SetupError(
            f"{', '.join(twice)} would be started twice in this launch: give each include of the "
            "arm a namespace of its own (namespace:=, or PushROSNamespace in a GroupAction)"
        )
    return wanted.union(claimed)


def not_running(specs: Sequence[NodeSpec], log: Callable[[str], object]) -> tuple[NodeSpec, ...]:
    """Return those of `specs` that shall be started, by what runs in their graph.

    Beside an arm that runs, what is missing of its cameras and its policy may be started again;
    with an arm of its own a start begins alone. Takes `DISCOVERY` seconds, on a machine with more
    programs than processors up to four times as long.

    Args:
        specs: the nodes that are asked for.
        log: called with each node that runs already.

    Raises:
        SetupError: all of them run, or there is an arm and another one, a policy or an executor
            run already; the text says which and what to do.
    """
    arm = any(spec.name in _ARMS or spec.name == LEADER_DRIVER for spec in specs)
    wanted = _unique_names(specs, arm)
    if not wanted:
        return tuple(specs)
    running = _running(wanted, specs[0].env)
    missing = tuple(spec for spec in specs if spec.full_name not in running)
    if running and (arm or not missing):
        domain = os.environ.get("ROS_DOMAIN_ID") or "0"
        raise SetupError(
            f"already on ROS domain {domain}: {', '.join(sorted(running))}; two of a "
            "name would move each other's arm: end them, or choose a namespace or another "
            "ROS_DOMAIN_ID; a node that was killed is seen for up to 20 s"
        )
    for name in sorted(running):
        log(f"{name} runs already and is left as it is")
    return missing


def _unique_names(specs: Sequence[NodeSpec], arm: bool) -> frozenset[str]:
    """Return the names of which there may be only one in a graph.

    Args:
        specs: the nodes that are asked for.
        arm: whether the arm's own are among them.
    """
    # A second driver of a camera finds the device busy, and reports it.
    wanted = {
        spec.full_name
        for spec in specs
        if spec.name in _UNIQUE or (spec.part == "cameras" and not arm)
    }
    for spec in specs:
        if spec.name in _ARMS:
            wanted |= {full_name(spec.namespace, name) for name in _ARMS}
        if spec.name == LEADER_DRIVER:
            wanted.add(full_name(spec.namespace, "controller_manager"))
    return frozenset(wanted)


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
        # How many times as long as on an idle machine things take here now.
        longer = min(max(os.getloadavg()[0] / (os.cpu_count() or 1), 1.0), _BUSIEST)
        deadline = time.monotonic() + DISCOVERY * longer
        found: frozenset[str] = frozenset()
        while found != wanted and time.monotonic() < deadline:
            time.sleep(0.05)
            names = node.get_node_names_and_namespaces()
            seen = wanted & {full_name(namespace, name) for name, namespace in names}
            if seen and not found:  # the others come at about the same time
                deadline = min(deadline, time.monotonic() + _OTHERS * longer)
            found |= seen
        return found
    finally:
        node.destroy_node()
        rclpy.shutdown(context=context)
