# SPDX-License-Identifier: Apache-2.0
"""Launch descriptions made from the one list of nodes; needs launch and launch_ros.

The launch files in ``launch/`` only say which parts of the system they start.
"""

from __future__ import annotations

import dataclasses
import inspect
import signal
import time
from collections.abc import Collection, Sequence
from typing import Any

from launch import LaunchContext, LaunchDescription
from launch.actions import (
    DeclareLaunchArgument,
    EmitEvent,
    IncludeLaunchDescription,
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
from launch.utilities import normalize_to_list_of_substitutions, perform_substitutions
from launch_ros.actions import Node
from smolvla_core.settings import Setting, nearest, renamed, settings_of, written
from smolvla_policy.backends.registry import backend_parameters

from smolvla_bringup.system.launch_scope import CONFIGURATIONS, Scope
from smolvla_bringup.system.node_list import node_list
from smolvla_bringup.system.node_spec import NodeSpec
from smolvla_bringup.system.options import Options, SetupError
from smolvla_bringup.system.running import claim_names, not_running
from smolvla_bringup.system.supervision import RESTART_DELAY, Outcome, Supervisor

_STARTED = "smolvla_started"
# Names of other drivers' launch files that would decide which arm moves, and where.
_HABITS = {
    "use_mock_hardware": "hardware:=mock",
    "use_fake_hardware": "hardware:=mock",
    "robot_ip": "port",
    "tf_prefix": "namespace",
}
# Launch's own, and ours of another part: one set of arguments may be given to all parts.
_IGNORED = {"launch-prefix", "launch-prefix-filter", *settings_of(Options)}


class NodeEndedError(RuntimeError):
    """A node has ended without which the system cannot go on; the message says which."""


def describe(*parts: str, required: Collection[str] = (), **defaults: str) -> LaunchDescription:
    """Return the description that starts `parts` of the system.

    `supervision.Supervisor` decides what becomes of it when a node ends. Where that is the end,
    the launch fails with one line that quotes the node's last error.

    Args:
        parts: of `options.PARTS`.
        required: names of arguments that must be given.
        defaults: of arguments, where they are not those of the options.
    """
    declared = {
        name: option
        for name, option in settings_of(Options).items()
        if set(parts) & {*option.tags}
    }
    if "policy" in parts:
        own = backend_parameters(Options)
        declared |= {name: dataclasses.replace(one, default=None) for name, one in own.items()}
    arguments = [
        _argument(dataclasses.replace(one, default=defaults.get(name, one.default)))
        if name not in required
        else DeclareLaunchArgument(name, description=one.description)
        for name, one in declared.items()
    ]
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
    given, known = _given_arguments(context, names)
    for name in given:
        _refuse_typo(name, known)
        if name not in known and name not in _IGNORED:
            logger.warning(f"there is no argument '{name}', it is ignored; --show-args lists all")
    values = {name: LaunchConfiguration(name).perform(context) for name in names}
    scope = Scope.of(context.launch_configurations)
    options = scope.options(Options.from_text(values), given)
    specs = [scope.spec(spec, options) for spec in node_list(options, parts, logger.info)]
    # Other includes of this launch have claimed names, too.
    claimed = context.get_locals_as_dict().get(_STARTED, frozenset())
    context.extend_globals({_STARTED: claim_names(specs, claimed)})
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


def _given_arguments(
    context: LaunchContext, names: Sequence[str]
) -> tuple[list[str], Sequence[str]]:
    """Return the names that were given to the launch file that runs, and those known there.

    ``context.argv`` has what the user typed, for whichever launch file; launch's configurations
    have what all files around ours have declared and set, for themselves or for others. What was
    given to ours alone stands in the include that made it run: ``ros2 launch``, too, includes the
    file that it launches.

    To be called while launch visits the description, as an ``OpaqueFunction`` is.

    Args:
        context: of the launch.
        names: of the arguments of the description.
    """
    include = _include()
    if include is None:  # handed to launch as it is: nobody else could be meant
        return [argument.partition(":=")[0] for argument in context.argv], names
    given = [
        perform_substitutions(context, normalize_to_list_of_substitutions(name))
        for name, _ in include.launch_arguments
    ]
    # The file may have put arguments of its own beside those of our description.
    declared = [
        argument.name
        for description in include.get_sub_entities()
        for argument in description.get_launch_arguments()
    ]
    return given, [*names, *declared]


def _include() -> IncludeLaunchDescription | None:
    """Return the innermost include that is being visited.

    Launch gives a description no access to it. But it visits in depth, each entity in a call
    within that of the entity which has it.
    """
    frame = inspect.currentframe()
    while frame is not None:
        for value in frame.f_locals.values():
            if isinstance(value, IncludeLaunchDescription):
                return value
        frame = frame.f_back
    return None


def _refuse_typo(name: str, known: Sequence[str]) -> None:
    """Refuse a misspelled argument, which launch ignores: a real arm would start, say.

    Raises:
        SetupError: `name` is none of `known`; the text has the one that was probably meant.
    """
    if name in known:
        return
    if renamed(name, known):
        raise SetupError(f"there is no argument '{name}'; {renamed(name, known)}")
    if meant := _HABITS.get(name) or nearest(name, known, 0.75):
        raise SetupError(f"there is no argument '{name}'; did you mean '{meant}'?")


def _actions(spec: NodeSpec, supervisor: Supervisor) -> list[Any]:
    def on_output(event: ProcessIO) -> None:
        supervisor.add_output(spec.name, event.text.decode("utf-8", errors="replace"))

    def interrupt_late_one(event: ProcessStarted, context: LaunchContext) -> EmitEvent | None:
        # Launch leaves Ctrl-C to the terminal, which has reached those alone that were there.
        interrupt = SignalProcess(
            signal_number=signal.SIGINT, process_matcher=matches_action(event.action)
        )
        return EmitEvent(event=interrupt) if context.is_shutdown else None

    def on_exit(event: ProcessExited, context: LaunchContext) -> EmitEvent | None:
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
        # It has ended already: this keeps launch from restarting it.
        return EmitEvent(event=ShutdownProcess(process_matcher=matches_action(event.action)))

    node = Node(
        **spec.launch_arguments(),
        # Launch would do so without end; `on_exit` says when it is enough.
        respawn=spec.restarts,
        respawn_delay=RESTART_DELAY,
        on_exit=on_exit,
    )
    handlers = (
        OnProcessIO(target_action=node, on_stdout=on_output, on_stderr=on_output),
        OnProcessStart(target_action=node, on_start=interrupt_late_one),
    )
    return [*map(RegisterEventHandler, handlers), node]
