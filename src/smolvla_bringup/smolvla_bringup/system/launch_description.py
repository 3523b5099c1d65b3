# SPDX-License-Identifier: Apache-2.0
"""Launch descriptions made from the one list of nodes; needs launch and launch_ros.

The launch files in ``launch/`` only say which parts of the system they start.
"""

from __future__ import annotations

import dataclasses
import signal
import time
from collections.abc import Callable
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    OpaqueFunction,
    PopLaunchConfigurations,
    PushLaunchConfigurations,
    RegisterEventHandler,
    UnsetLaunchConfiguration,
)
from launch.event_handlers import OnProcessIO, OnProcessStart
from launch.events import matches_action
from launch.events.process import (
    ProcessExited,
    ProcessIO,
    ProcessStarted,
    ShutdownProcess,
    SignalProcess,
)
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node
from smolvla_core.settings import Setting, settings_of, written

from smolvla_bringup.system.given_arguments import given_arguments, refuse_typos
from smolvla_bringup.system.launch_scope import CONFIGURATIONS, Scope
from smolvla_bringup.system.node_list import node_list
from smolvla_bringup.system.node_spec import NodeSpec
from smolvla_bringup.system.options import Options, backend_parameters
from smolvla_bringup.system.running import claim_names, not_running
from smolvla_bringup.system.supervision import RESTART_DELAY, Outcome, Supervisor

_STARTED = "smolvla_started"


class NodeEndedError(RuntimeError):
    """A node has ended without which the system cannot go on; the text says which and why."""


def describe(*parts: str) -> LaunchDescription:
    """Return the description that starts `parts` of the system.

    `supervision.Supervisor` decides what becomes of it when a node ends. Where that is the end,
    the launch fails with one line that quotes what the node complained about last.

    Args:
        parts: of `options.PARTS`.
    """
    declared = {
        name: option
        for name, option in settings_of(Options).items()
        if set(parts) & {*option.tags}
    }
    if "policy" in parts:
        own = backend_parameters()
        declared |= {name: dataclasses.replace(one, default=None) for name, one in own.items()}
    arguments = map(_argument, declared.values())
    return LaunchDescription(
        [*arguments, OpaqueFunction(function=_nodes, args=[parts, list(declared)])]
    )


def _argument(option: Setting) -> DeclareLaunchArgument:
    default = "" if option.default in (None, "") else written(option.default).strip('"')
    # An empty text keeps the default, so it is always allowed where the default is empty.
    choices = [*option.choices] + ([""] if default == "" else [])
    kind = " (true or false)" if option.kind is bool else ""
    return DeclareLaunchArgument(
        option.name,
        default_value=default,
        description=option.description + kind,
        choices=choices if option.choices else None,
    )


def _nodes(context: LaunchContext, parts: tuple[str, ...], names: list[str]) -> list[Any]:
    logger = get_logger("launch")
    given, known = given_arguments(context, names)
    for name in refuse_typos(given, known):
        logger.warning(f"there is no argument '{name}', it is ignored; --show-args lists all")
    values = {name: LaunchConfiguration(name).perform(context) for name in names}
    scope = Scope.of(context.launch_configurations)
    options = scope.options(Options.from_text(values), given)
    specs = [scope.spec(spec, options) for spec in node_list(options, parts, logger.info)]
    context.extend_globals({_STARTED: claim_names(specs, _started_before(context))})
    specs = list(not_running(specs, logger.info))
    supervisor = Supervisor(specs, time.monotonic())
    # The specs have the scope in them; the nodes of launch_ros would add it a second time, and
    # parameters in another order.
    return [
        PushLaunchConfigurations(),
        *map(UnsetLaunchConfiguration, CONFIGURATIONS),
        *(action for spec in specs for action in _actions(spec, supervisor)),
        PopLaunchConfigurations(),
    ]


def _started_before(context: LaunchContext) -> frozenset[str]:
    """Return the names that other includes of this launch have claimed."""
    return context.get_locals_as_dict().get(_STARTED, frozenset())


def _actions(spec: NodeSpec, supervisor: Supervisor) -> list[Any]:
    node = Node(
        **spec.launch_arguments(),
        # Launch would do so without end; `_on_exit` says when it is enough.
        respawn=spec.restarts,
        respawn_delay=RESTART_DELAY,
        on_exit=_on_exit(spec, supervisor),
    )

    def listen(event: ProcessIO) -> None:
        supervisor.hear(spec.name, event.text.decode("utf-8", errors="replace"))

    def end_late_one(event: ProcessStarted, context: LaunchContext) -> EmitEvent | None:
        # Launch leaves Ctrl-C to the terminal, which has reached those alone that were there.
        interrupt = SignalProcess(
            signal_number=signal.SIGINT, process_matcher=matches_action(event.action)
        )
        return EmitEvent(event=interrupt) if context.is_shutdown else None

    handlers = (
        OnProcessIO(target_action=node, on_stdout=listen, on_stderr=listen),
        OnProcessStart(target_action=node, on_start=end_late_one),
    )
    return [*map(RegisterEventHandler, handlers), node]


def _on_exit(
    spec: NodeSpec, supervisor: Supervisor
) -> Callable[[ProcessExited, LaunchContext], EmitEvent | None]:
    def handle(event: ProcessExited, context: LaunchContext) -> EmitEvent | None:
        if context.is_shutdown:
            return None
        verdict = supervisor.ended(spec.name, event.returncode, time.monotonic())
        if verdict is None:
            return None
        if verdict.outcome is Outcome.END:
            raise NodeEndedError(verdict.message)
        getattr(get_logger("launch"), verdict.level)(verdict.message)
        if verdict.outcome is Outcome.RESTART:
            return None
        # It has ended already: this keeps launch from starting it anew.
        return EmitEvent(event=ShutdownProcess(process_matcher=matches_action(event.action)))

    return handle
