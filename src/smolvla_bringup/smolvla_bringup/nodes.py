# SPDX-License-Identifier: Apache-2.0
"""The one list of nodes that launch file, starter and demo share, so that they cannot drift.

Pure data; files and executables are looked up in the installed workspace.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from smolvla_sim.shipped import CHECKPOINT

from smolvla_bringup.environment import REBUILD, config_file, middleware_defaults
from smolvla_bringup.options import Options, SetupError


@dataclass(frozen=True)
class NodeSpec:
    """One node to start.

    Attributes:
        package, executable: as for ``ros2 run``.
        name: node name.
        namespace: empty for none, else without a leading slash.
        params_files: parameter files, later ones win.
        parameters: values that win over all files.
        remappings: from -> to.
        critical: whether the system ends when this node does.
        env: environment variables that it gets in addition.
    """

    package: str
    executable: str
    name: str
    namespace: str = ""
    params_files: tuple[Path, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    remappings: Mapping[str, str] = field(default_factory=dict)
    critical: bool = True
    env: Mapping[str, str] = field(default_factory=dict)

    def configured(self, parameter: str) -> Any:
        """Return the value that the node will get for `parameter`.

        Raises:
            SetupError: neither `parameters` nor a parameter file has it.
        """
        for values in self._values():
            if parameter in values:
                return values[parameter]
        files = ", ".join(str(file) for file in self.params_files)
        raise SetupError(f"{self.name}: parameter '{parameter}' stands in none of {files}")

    def has(self, parameter: str) -> bool:
        """Say whether `parameters` or a parameter file names `parameter`."""
        return any(parameter in values for values in self._values())

    def _values(self) -> Iterator[Mapping[str, Any]]:
        """Yield the sets of parameters, the winning ones first."""
        yield self.parameters
        for file in reversed(self.params_files):
            content = yaml.safe_load(file.read_text(encoding="utf-8")) or {}
            for node in (f"/{self.namespace}/{self.name}", f"/{self.name}", self.name, "/**"):
                yield (content.get(node) or {}).get("ros__parameters") or {}

    def ros_arguments(self) -> list[str]:
        """Return name, namespace, remappings and parameters as ROS 2 command-line arguments."""
        arguments = ["--ros-args", "-r", f"__node:={self.name}"]
        if self.namespace:
            arguments += ["-r", f"__ns:=/{self.namespace}"]
        for source, target in self.remappings.items():
            arguments += ["-r", f"{source}:={target}"]
        for file in self.params_files:
            arguments += ["--params-file", str(file)]
        for name, value in self.parameters.items():
            arguments += ["-p", f"{name}:={_yaml(value)}"]
        return arguments

    def command(self) -> list[str]:
        """Return the command line that starts the node from the installed workspace.

        Raises:
            SetupError: package or executable is not installed.
        """
        try:
            prefix = get_package_prefix(self.package)
        except PackageNotFoundError as error:
            raise SetupError(f"package {self.package} is not installed; {REBUILD}") from error
        path = Path(prefix, "lib", self.package, self.executable)
        if not os.access(path, os.X_OK):
            raise SetupError(f"{self.name}: there is no executable {path}; {REBUILD}")
        return [str(path), *self.ros_arguments()]

    def launch_arguments(self) -> dict[str, Any]:
        """Return the same node as keyword arguments of ``launch_ros.actions.Node``."""
        return {
            "package": self.package,
            "executable": self.executable,
            "name": self.name,
            "namespace": self.namespace,
            "parameters": [
                *(str(file) for file in self.params_files),
                *([dict(self.parameters)] if self.parameters else []),
            ],
            "remappings": list(self.remappings.items()),
            "additional_env": dict(self.env),
            "output": "both",
        }


def _yaml(value: Any) -> str:
    """Return a parameter value as YAML of unmistakable type: quoted texts, floats with a dot."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        if not value:
            raise ValueError("ROS 2 cannot tell the type of an empty list; leave it out")
        return f"[{', '.join(_yaml(element) for element in value)}]"
    if isinstance(value, float):
        if math.isnan(value):
            return ".nan"
        if math.isinf(value):
            return ".inf" if value > 0 else "-.inf"
        text = repr(value)
        return text if "e" not in text or "." in text else text.replace("e", ".0e")
    if isinstance(value, int):
        return str(value)
    return json.dumps(str(value), ensure_ascii=False)


def node_list(options: Options) -> tuple[NodeSpec, ...]:
    """Return the nodes that `options` ask for, in the order of their start.

    Raises:
        SetupError: `params_file` does not exist, or this package is not installed.
    """
    nodes = [_sim(options)]
    if options.policy_backend != "none":
        nodes += [_policy(options), _executor(options)]
    return tuple(nodes)


def _sim(options: Options) -> NodeSpec:
    return _spec(
        options,
        package="smolvla_sim",
        config=("sim",),
        executable="sim_node",
        parameters={
            "model": options.model,
            "seed": options.seed,
            "task": options.task,
            "viewer": options.viewer,
        },
    )


def _policy(options: Options) -> NodeSpec:
    parameters: dict[str, Any] = {
        "autostart": options.autostart,
        "backend": options.policy_backend,
        "model": options.model,
    }
    if options.checkpoint:
        parameters["checkpoint"] = options.checkpoint
    package, executable = "smolvla_policy", "policy_node"
    spec = _spec(options, package, ("policy",), executable, parameters)
    if not options.shipped_checkpoint or spec.has("checkpoint"):
        return spec
    parameters["checkpoint"] = str(CHECKPOINT)
    return _spec(options, package, ("policy", "shipped_policy"), executable, parameters)


def _executor(options: Options) -> NodeSpec:
    optional = {
        "rate": options.rate,
        "chunk_size_threshold": options.g,
        "aggregate": options.aggregation,
    }
    parameters = {name: value for name, value in optional.items() if value is not None}
    return _spec(
        options,
        package="smolvla_policy",
        config=("executor",),
        executable="executor_node",
        parameters={
            "autostart": options.autostart,
            "wait_for_start": options.wait_for_start,
            "dry_run": options.dry_run,
            **parameters,
        },
    )


def _spec(
    options: Options,
    package: str,
    config: tuple[str, ...],
    executable: str,
    parameters: dict[str, Any],
) -> NodeSpec:
    files = [config_file(f"{name}.yaml") for name in config]
    if options.params_file:
        extra = Path(options.params_file).expanduser().resolve()
        if not extra.is_file():
            raise SetupError(f"params_file {extra} does not exist")
        files.append(extra)
    return NodeSpec(
        package=package,
        executable=executable,
        name=executable,
        namespace=options.namespace.strip("/"),
        params_files=tuple(files),
        parameters=parameters,
        env=middleware_defaults(os.environ),
    )
