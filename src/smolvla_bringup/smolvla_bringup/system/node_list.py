# SPDX-License-Identifier: Apache-2.0
"""The one list of nodes that launch files, starter and demo share, so that they cannot drift."""

from __future__ import annotations

import dataclasses
import importlib
import shlex
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from smolvla_core.ros.parameter_names import check_file
from smolvla_core.ros.parameters import wrong_type
from smolvla_core.settings import Setting, settings_of
from smolvla_policy.backends.registry import policy_parameters

from smolvla_bringup.system.arm_nodes import arm_nodes
from smolvla_bringup.system.camera_nodes import camera_nodes
from smolvla_bringup.system.description import description_nodes
from smolvla_bringup.system.node_spec import NodeSpec
from smolvla_bringup.system.options import PARTS, Options, SetupError
from smolvla_bringup.system.policy_nodes import policy_nodes
from smolvla_bringup.system.visualization_nodes import visualization_nodes


def _parameters(executable: str) -> dict[str, Setting]:
    """Return the parameters of one of the suite's nodes; none of another one."""
    if executable == "policy_node":
        return policy_parameters()
    # Imported when needed: not every machine has all of it.
    module, name = {
        "executor_node": ("smolvla_core.node_settings", "ExecutorSettings"),
        "visualization_node": (
            "smolvla_executor.visualization_node.markers",
            "VisualizationSettings",
        ),
        "sim_node": ("smolvla_sim.node.parameters", "SimSettings"),
    }.get(executable, ("smolvla_core.settings", "Settings"))
    return settings_of(getattr(importlib.import_module(module), name))


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
    specs = tuple(
        dataclasses.replace(node, part=part, again=_again(options, part))
        for part in PARTS
        if part in parts
        for node in makers[part]()
    )
    if options.params_file:
        _check_file(Path(options.params_file).expanduser().resolve(), specs)
    return specs


def _again(options: Options, part: str) -> str:
    """Return the command that starts `part` beside the rest; empty where there is none."""
    if part not in ("cameras", "policy", "visualization") or not shutil.which("ros2"):
        return ""
    given = [
        f"{name}:={str(value).lower() if isinstance(value, bool) else value}"
        for name, option in settings_of(Options).items()
        if part in option.tags and (value := getattr(options, name)) != option.default
    ]
    return shlex.join(["ros2", "launch", "smolvla_bringup", f"{part}.launch.py", *given])


def _check_file(file: Path, specs: Sequence[NodeSpec]) -> None:
    """Look for typing errors and wrong types in the user's parameter file.

    Raises:
        SetupError: there are some; the text names what was probably meant.
    """
    parameters = {}
    wrong: dict[str, None] = {}
    for spec in specs:
        declared = _parameters(spec.executable)
        if declared:
            full_name = "/" + "/".join(part for part in (spec.namespace, spec.name) if part)
            parameters[full_name] = declared
            wrong |= {
                f"{full_name}: {problem}": None
                for values in spec.values_in(file)
                for name, setting in declared.items()
                if (problem := wrong_type(setting, values.get(name)))
            }
    try:
        check_file(file, parameters)
    except ValueError as error:
        raise SetupError(str(error)) from error
    if wrong:
        raise SetupError(f"{file}: {'; '.join(wrong)}")


def simulation_nodes(options: Options) -> tuple[NodeSpec, ...]:
    """Return what a run in the simulation needs and nothing to look at: arm and policy."""
    return node_list(options, ("arm", "policy"))
