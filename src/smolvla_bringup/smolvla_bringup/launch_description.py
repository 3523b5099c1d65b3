# SPDX-License-Identifier: Apache-2.0
"""Launch descriptions made from the one list of nodes; needs launch and launch_ros.

The launch files in ``launch/`` only say which parts of the system they start.
"""

from __future__ import annotations

import dataclasses
import re
import signal
from collections.abc import Callable, Iterable, Mapping, Sequence
from difflib import get_close_matches
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    OpaqueFunction,
    PopLaunchConfigurations,
    PushLaunchConfigurations,
    RegisterEventHandler,
    UnsetLaunchConfiguration,
)
from launch.event_handlers import OnProcessIO
from launch.events.process import ProcessExited, ProcessIO
from launch.logging import get_logger
from launch.substitutions import LaunchConfiguration
from launch_ros.actions import Node

from smolvla_bringup.included import given_arguments
from smolvla_bringup.launch_scope import CONFIGURATIONS, Scope
from smolvla_bringup.node_list import node_list
from smolvla_bringup.node_spec import NodeSpec
from smolvla_bringup.options import Options, SetupError
from smolvla_bringup.running import claim_names, refuse_second_start

_TROUBLE = re.compile(r"\[(ERROR|FATAL)\]|Error\b|error:")
_LOG_HEAD = re.compile(r"^\[\w+\] \[[\d.]+\] \[[^\]]*\]: ")
# Names of other drivers' launch files that would decide which arm moves, and where.
_HABITS = {
    "use_mock_hardware": "hardware:=mock",
    "use_fake_hardware": "hardware:=mock",
    "robot_ip": "port",
    "tf_prefix": "namespace",
}
# Ours, though of another part (one set of arguments may be given to all), and of launch itself.
_UNSAID = {*(field.name for field in dataclasses.fields(Options)), "launch-prefix"}
_UNSAID |= {"launch-prefix-filter"}
_STARTED = "smolvla_started"
_COLOR = re.compile(r"\x1b\[[0-9;]*m")


class NodeEndedError(RuntimeError):
    """A node has ended without which the system cannot go on; the text says which and why."""


def describe(*parts: str) -> LaunchDescription:
    """Return the description that starts `parts` of the system.

    A node that the system cannot do without ends it; the launch then fails with one line that
    quotes what the node complained about last.

    Args:
        parts: of `options.PARTS`.
    """
    fields = [
        field for field in dataclasses.fields(Options) if set(parts) & set(field.metadata["parts"])
    ]
    names = [field.name for field in fields]
    return LaunchDescription(
        [*map(_argument, fields), OpaqueFunction(function=_nodes, args=[parts, names])]
    )


def _argument(field: dataclasses.Field[Any]) -> DeclareLaunchArgument:
    default = "" if field.default is None else str(field.default)
    if field.metadata["kind"] is bool:
        default = default.lower()
    # An empty text keeps the default, so it is always allowed where the default is empty.
    choices = list(field.metadata["choices"]) + ([""] if default == "" else [])
    description = field.metadata["description"]
    if field.metadata["kind"] is bool:
        description += " (true or false)"
    return DeclareLaunchArgument(
        field.name,
        default_value=default,
        description=description,
        choices=choices if field.metadata["choices"] else None,
    )


def _nodes(context: LaunchContext, parts: tuple[str, ...], names: list[str]) -> list[Any]:
    logger = get_logger("launch")
    for name in refuse_typos(*given_arguments(context, names)):
        if name not in _UNSAID:
            logger.warning(f"there is no argument '{name}', it is ignored; --show-args lists all")
    values = {name: LaunchConfiguration(name).perform(context) for name in names}
    scope = Scope.of(context.launch_configurations)
    options = scope.options(Options.from_text(values))
    specs = [scope.spec(spec, options) for spec in node_list(options, parts, logger.info)]
    context.extend_globals({_STARTED: claim_names(specs, _started_before(context))})
    refuse_second_start(specs)
    complaints = {spec.name: Complaints() for spec in specs}
    # The specs have the scope in them; the nodes of launch_ros would add it a second time, and
    # parameters in another order.
    return [
        PushLaunchConfigurations(),
        *map(UnsetLaunchConfiguration, CONFIGURATIONS),
        *(action for spec in specs for action in _actions(spec, complaints)),
        PopLaunchConfigurations(),
    ]


def _started_before(context: LaunchContext) -> frozenset[str]:
    """Return the names that other includes of this launch have claimed."""
    return context.get_locals_as_dict().get(_STARTED, frozenset())


def refuse_typos(arguments: Iterable[str], names: Sequence[str]) -> list[str]:
    """Refuse a misspelled argument, which launch ignores: a real arm would start, say.

    Args:
        arguments: names that were given.
        names: of the arguments that are known.

    Returns:
        Those given that resemble none that is known.

    Raises:
        SetupError: the text has the name that was probably meant.
    """
    strangers = []
    for name in arguments:
        if name in names:
            continue
        if (
            meant := [_HABITS[name]]
            if name in _HABITS
            else get_close_matches(name, names, 1, 0.75)
        ):
            raise SetupError(f"there is no argument '{name}'; did you mean '{meant[0]}'?")
        strangers.append(name)
    return strangers


def _actions(spec: NodeSpec, complaints: Mapping[str, Complaints]) -> list[Any]:
    node = Node(**spec.launch_arguments(), on_exit=_on_exit(spec, complaints))
    hear = complaints[spec.name].hear

    def listen(event: ProcessIO) -> None:
        hear(event.text.decode("utf-8", errors="replace"))

    handler = OnProcessIO(target_action=node, on_stdout=listen, on_stderr=listen)
    return [RegisterEventHandler(handler), node]


class Complaints:
    """What a node complained about: its first and its last error; empty for none."""

    def __init__(self) -> None:
        self.first = ""
        self.last = ""

    def hear(self, text: str) -> None:
        """Take in what the node printed."""
        for line in text.splitlines():
            if _TROUBLE.search(line):
                self.last = _LOG_HEAD.sub("", _COLOR.sub("", line)).strip()
                self.first = self.first or self.last


def _on_exit(
    spec: NodeSpec, complaints: Mapping[str, Complaints]
) -> Callable[[ProcessExited, LaunchContext], None]:
    def handle(event: ProcessExited, context: LaunchContext) -> None:
        if context.is_shutdown or (spec.one_shot and event.returncode == 0):
            return
        words = f"{spec.name} {how_it_ended(event.returncode)}"
        blamed = complaints[spec.blames].first if spec.blames else ""
        if why := blamed or complaints[spec.name].last:
            words += f": {why}"
        if spec.critical:
            raise NodeEndedError(words)
        get_logger("launch").warning(f"{words}; the rest goes on without it")

    return handle


def how_it_ended(code: int) -> str:
    """Return the exit status `code` of a process in words; negative is a signal's number."""
    if code >= 0:
        return "ended by itself" if code == 0 else f"failed with exit status {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"
