# SPDX-License-Identifier: Apache-2.0
"""What a launch file around ours has set for all nodes in it, folded into ours.

``PushROSNamespace``, ``SetRemap``, ``SetParameter`` and ``SetParametersFromFile`` leave it in
launch's configurations, where each ``Node`` takes it up. Names that we derive (the controller
manager of the spawners, frames, the nodes of which there may be one) must follow, so it is read
once, here.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import yaml
from smolvla_core.settings import settings_of

from smolvla_bringup.system.node_spec import NodeSpec, temporary_file
from smolvla_bringup.system.options import Options

CONFIGURATIONS = ("ros_namespace", "ros_remaps", "global_params")
"""Names of the launch configurations that a scope consists of (launch_ros 0.26 to 0.28)."""


class _Dumper(yaml.SafeDumper):
    """Quotes all texts, so that ROS takes none of them for a number or a truth value."""


_Dumper.add_representer(
    str, lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", text, style='"')
)
_Dumper.add_representer(tuple, lambda dumper, values: dumper.represent_list(list(values)))


@dataclasses.dataclass(frozen=True)
class Scope:
    """What holds for all nodes of an include.

    Attributes:
        namespace: in which they are; empty for none.
        remappings: (from, to); of two that match the first counts.
        parameters: parameter files and (name, value); later ones win.
    """

    namespace: str = ""
    remappings: tuple[tuple[str, str], ...] = ()
    parameters: tuple[Path | tuple[str, Any], ...] = ()

    @classmethod
    def of(cls, configurations: Mapping[str, Any]) -> Scope:
        """Return the scope that launch's `configurations` hold."""
        return cls(
            namespace=configurations.get("ros_namespace") or "",
            remappings=tuple(configurations.get("ros_remaps") or ()),
            parameters=tuple(
                given if isinstance(given, tuple) else Path(given).resolve()
                for given in configurations.get("global_params") or ()
            ),
        )

    def options(self, options: Options, given: Collection[str] = ("namespace",)) -> Options:
        """Return `options` with a namespace within that of the scope.

        As everywhere in launch, one with a leading slash stands for itself. One that our file was
        not given is an argument of the same name of a file around, which has often pushed it.

        Args:
            options: what shall be started.
            given: names of the arguments that our file was given.
        """
        outer, inner = self.namespace.strip("/"), options.node_namespace
        if not outer or options.namespace.startswith("/"):
            return options
        pushed = "namespace" not in given and f"/{outer}".endswith(f"/{inner}")
        both = f"{outer}/{inner}" if inner and not pushed else outer
        return dataclasses.replace(options, namespace=both)

    def spec(self, spec: NodeSpec, options: Options) -> NodeSpec:
        """Return `spec` with the remappings and parameters of the scope.

        Remappings win over ours. Parameters win over this package's files and the defaults of the
        launch arguments; `params_file` and arguments that were given win over them.
        """
        remappings: dict[str, str] = {}
        for source, target in (*self.remappings, *spec.remappings.items()):
            remappings.setdefault(source, target)  # in this order: the first that matches counts
        # What runs and is done has no parameters; files would reach the controllers it starts.
        parameters = () if spec.one_shot else self.parameters
        named = {given[0] for given in parameters if isinstance(given, tuple)}
        defaults = {name: option.default for name, option in settings_of(Options).items()}
        files, users = spec.params_files, options.params_path
        position = files.index(users) if users in files else len(files)
        return dataclasses.replace(
            spec,
            remappings=remappings,
            params_files=(*files[:position], *_files(parameters), *files[position:]),
            parameters={
                name: value
                for name, value in spec.parameters.items()
                if name not in named or value != defaults.get(name)
            },
        )


def _files(parameters: tuple[Path | tuple[str, Any], ...]) -> tuple[Path, ...]:
    """Return parameter files that hold `parameters`."""
    files = []
    values: dict[str, Any] = {}  # since the last file
    for given in (*parameters, None):
        if isinstance(given, tuple):
            values[given[0]] = given[1]
            continue
        if values:
            content = {"/**": {"ros__parameters": values}}
            text = yaml.dump(content, Dumper=_Dumper, width=10**9, allow_unicode=True)
            files.append(temporary_file("set_parameter.yaml", text))
            values = {}
        if given is not None:
            files.append(given)
    return tuple(files)
