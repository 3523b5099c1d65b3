# SPDX-License-Identifier: Apache-2.0
"""One node to start, as data: what launch files and starter turn into a process.

`make_spec` gives it what the nodes of all parts have in common: namespace, parameter files,
environment.
"""

from __future__ import annotations

import functools
import json
import os
import shlex
import subprocess
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from ament_index_python.packages import PackageNotFoundError, get_package_prefix
from smolvla_core.console import LAUNCH_PID
from smolvla_core.ros.parameter_names import read_file

from smolvla_bringup.system.environment import REBUILD, middleware_defaults
from smolvla_bringup.system.options import Options, SetupError

SIGTERM_TIMEOUT = "15"
"""How long launch lets a node end by itself [s]; a text, as launch wants it."""

LEADER_DRIVER = "leader_driver"
"""Name of the spec of a leader arm's controller manager: there is another one, of the arm."""

# Packages whose console scripts unblock SIGINT: `smolvla_core.console.end_on_interrupt`.
_TAKE_SIGINT = (
    "smolvla_bringup",
    "smolvla_executor",
    "smolvla_learning",
    "smolvla_policy",
    "smolvla_sim",
)

_folder: tempfile.TemporaryDirectory[str] | None = None


@dataclass(frozen=True)
class NodeSpec:
    """One node to start.

    Attributes:
        package, executable: as for ``ros2 run``.
        name: what the process is called in messages and log files; the node's name, too, where
            `renamed`.
        namespace: empty for none, else without a leading slash.
        params_files: parameter files, later ones win.
        parameters: values that win over all files.
        remappings: from -> to.
        critical: whether the system can do nothing without this node.
        restarts: whether it is restarted when it fails; see `supervision`.
        holds_arm: whether it keeps the torque of an arm on, which drops when it ends.
        env: environment variables that it gets in addition.
        arguments: plain arguments, before those of ROS.
        renamed: whether the process gets `name` as node name. False where a process holds
            several nodes (a new name would go to all of them) or names itself.
        one_shot: it is done after a while; only an exit status other than 0 counts as an end.
        error_source: name of the node whose first error is the reason when this one fails.
        part: of `options.PARTS`, the part that it belongs to.
        restart_command: starts its part again beside the rest; empty for none.
    """

    package: str
    executable: str
    name: str
    namespace: str = ""
    params_files: tuple[Path, ...] = ()
    parameters: Mapping[str, Any] = field(default_factory=dict)
    remappings: Mapping[str, str] = field(default_factory=dict)
    critical: bool = True
    restarts: bool = True
    holds_arm: bool = False
    env: Mapping[str, str] = field(default_factory=dict)
    arguments: tuple[str, ...] = ()
    renamed: bool = True
    one_shot: bool = False
    error_source: str = ""
    part: str = ""
    restart_command: str = ""

    @property
    def full_name(self) -> str:
        """Namespace and name, with a leading slash."""
        return full_name(self.namespace, self.name)

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
            yield from self.values_in(file)

    def values_in(self, file: Path) -> Iterator[Mapping[str, Any]]:
        """Yield the sets of parameters that a file has for the node, the winning ones first."""
        content, full = read_file(file), self.full_name
        for node in (full, full[1:], f"/**/{self.name}", "/**"):
            yield (content.get(node) or {}).get("ros__parameters") or {}

    def ros_arguments(self) -> list[str]:
        """Return name, namespace, remappings and parameters as ROS 2 command-line arguments."""
        arguments = []
        names = {"__node": self.name} if self.renamed else {}
        if self.namespace:
            names["__ns"] = f"/{self.namespace}"
        for source, target in (names | dict(self.remappings)).items():
            arguments += ["-r", f"{source}:={target}"]
        for file in self.params_files:
            arguments += ["--params-file", str(file)]
        for name, value in self.parameters.items():
            arguments += ["-p", f"{name}:={_yaml(value)}"]
        for file in self.params_files if self.parameters else ():
            if set(read_file(file)) - {"/**"}:
                arguments += ["--params-file", str(self._overrides(file))]
        return ["--ros-args", *arguments] if arguments else []

    def _overrides(self, file: Path) -> Path:
        """Return a file that has `parameters` under each name that `file` has for a node.

        Of several names that fit a node, ROS takes the one that came first last: a value for
        ``/executor_node`` would win over one of the command line, which is for ``/**``.
        """

        def replaced(content: Any) -> Any:
            if not isinstance(content, Mapping):
                return content
            return {
                name: dict(self.parameters) if name == "ros__parameters" else replaced(inner)
                for name, inner in content.items()
            }

        text = yaml.safe_dump(replaced(read_file(file)), allow_unicode=True)
        return temporary_file(f"{self.name}.yaml", text)

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
        return [str(path), *self.arguments, *self.ros_arguments()]

    def launch_arguments(self) -> dict[str, Any]:
        """Return the same node as keyword arguments of ``launch_ros.actions.Node``.

        The command line is the one of `command`, word for word: launch's own arguments for
        name, parameters and remappings would write it by other rules.
        """
        return {
            "package": self.package,
            "executable": self.executable,
            "exec_name": self.executable,
            "arguments": [*self.arguments, *self.ros_arguments()],
            # A pipe would otherwise hold back the output of a Python node until it ends.
            "additional_env": {
                "PYTHONUNBUFFERED": "1",
                LAUNCH_PID: str(os.getpid()),
                **self.env,
            },
            "prefix": shlex.join(self.signal_prefix()),
            "output": "both",
            # Before SIGTERM, which cuts short: an inference ends first, and the torque goes off.
            "sigterm_timeout": SIGTERM_TIMEOUT,
        }

    def signal_prefix(self) -> tuple[str, ...]:
        """Return what to put before the command line so that signals find the process as it is.

        Ctrl-C reaches all nodes at once, also one whose Python is not ready to end without a
        traceback: SIGINT is held back until ours take it.
        """
        # It is interrupted in the end. Where the one who starts it ignores SIGINT (a job in the
        # background, nohup) it would, too.
        options = ["--default-signal=INT"]
        if self.holds_arm:
            options.append("--ignore-signal=PIPE")  # it outlives who reads what it prints
        if self.package in _TAKE_SIGINT:
            options.append("--block-signal=INT")
        return env_prefix(*options)


def full_name(namespace: str, name: str) -> str:
    """Return `name` within `namespace`, with a leading slash; either may be empty."""
    return "/" + "/".join(part for part in (namespace.strip("/"), name) if part)


def make_spec(
    options: Options,
    package: str,
    executable: str,
    name: str = "",
    texts: Mapping[str, str] | None = None,
    files: Mapping[str, Any] | None = None,
    **fields: Any,
) -> NodeSpec:
    """Return a spec in the namespace of `options`, with the user's parameter file last.

    Args:
        options: what shall be started.
        package, executable: as for ``ros2 run``.
        name: empty for `executable`.
        texts: parameters too long for a command line; they go into a temporary file.
        files: name of a temporary parameter file -> its content.
        fields: others of `NodeSpec`; a `namespace` is within that of `options`.

    Raises:
        SetupError: `params_file` does not exist or is no parameter file.
    """
    params_files = [
        temporary_file(f"{stem}.yaml", yaml.safe_dump(content, sort_keys=False))
        for stem, content in (files or {}).items()
    ]
    if extra := options.params_path:
        if not extra.is_file():
            raise SetupError(f"params_file {extra} does not exist")
        try:
            read_file(extra)
        except UnicodeDecodeError as error:
            raise SetupError(f"params_file {extra} is not UTF-8 text: {error}") from error
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise SetupError(f"params_file {' '.join(str(error).split())}") from error
        params_files.append(extra)
    if texts:
        content = {"/**": {"ros__parameters": dict(texts)}}
        # Quoted, so that ROS takes every value for a text.
        text = yaml.safe_dump(content, default_style='"', width=10**9, allow_unicode=True)
        params_files.append(temporary_file(f"{name or executable}.yaml", text))
    inner = str(fields.pop("namespace", ""))
    return NodeSpec(
        package=package,
        executable=executable,
        name=name or executable,
        namespace=full_name(options.node_namespace, inner)[1:],
        params_files=tuple(params_files),
        env=node_environment(options),
        **fields,
    )


def node_environment(options: Options) -> dict[str, str]:
    """Return the environment variables that every node gets in addition."""
    # A real arm may have its policy on another machine.
    return middleware_defaults(os.environ, local=options.hardware != "real")


def temporary_file(name: str, text: str) -> Path:
    """Write `text` to a file `name`, gone when this process ends; return its path."""
    global _folder
    if _folder is None:
        # Removed at the end of the interpreter.
        _folder = tempfile.TemporaryDirectory(prefix="smolvla_")
    path = Path(tempfile.mkdtemp(dir=_folder.name)) / name
    path.write_text(text, encoding="utf-8")
    return path


@functools.cache
def env_prefix(*options: str) -> tuple[str, ...]:
    """Return what to put before a command line so that it starts with signals as `options` say.

    Args:
        options: of ``env``, e.g. ``--default-signal=INT``.

    Returns:
        Nothing where this machine's ``env`` (GNU coreutils 8.31 or newer) has them not.
    """
    prefix = ("env", *options)
    try:
        tried = subprocess.run([*prefix, "true"], stderr=subprocess.DEVNULL)
    except OSError:
        return ()
    return prefix if tried.returncode == 0 else ()


def _yaml(value: Any) -> str:
    """Return a parameter value as YAML of unmistakable type: quoted texts, floats with a dot."""
    if isinstance(value, (list, tuple)):
        if not value:
            raise ValueError("ROS 2 cannot infer the type of an empty list; leave it out")
        return f"[{', '.join(_yaml(element) for element in value)}]"
    if isinstance(value, (bool, int, float)):
        return str(yaml.safe_dump(value)).splitlines()[0]
    return json.dumps(str(value), ensure_ascii=False)
