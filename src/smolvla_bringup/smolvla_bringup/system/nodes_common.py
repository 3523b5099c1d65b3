# SPDX-License-Identifier: Apache-2.0
"""What the specs of all parts have in common: namespace, parameter files, environment."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from smolvla_core.ros.parameter_names import read_file

from smolvla_bringup.system.environment import config_file, middleware_defaults
from smolvla_bringup.system.node_spec import NodeSpec
from smolvla_bringup.system.options import Options, SetupError
from smolvla_bringup.system.temporary_files import temporary_file


def make_spec(
    options: Options,
    package: str,
    executable: str,
    name: str = "",
    config: tuple[str, ...] = (),
    texts: Mapping[str, str] | None = None,
    **fields: Any,
) -> NodeSpec:
    """Return a spec in the namespace of `options`, with the user's parameter file last.

    Args:
        options: how the system shall be started.
        package, executable: as for ``ros2 run``.
        name: empty for `executable`.
        config: names of parameter files in ``config/``, without suffix.
        texts: parameters too long for a command line; they go into a temporary file.
        fields: others of `NodeSpec`; a `namespace` is within that of `options`.

    Raises:
        SetupError: `params_file` does not exist or is no parameter file, or this package is not
            installed.
    """
    files = [config_file(f"{stem}.yaml") for stem in config]
    if options.params_file:
        extra = Path(options.params_file).expanduser().resolve()
        if not extra.is_file():
            raise SetupError(f"params_file {extra} does not exist")
        try:
            read_file(extra)
        except UnicodeDecodeError as error:
            raise SetupError(f"params_file {extra} is not UTF-8 text: {error}") from error
        except (OSError, ValueError, yaml.YAMLError) as error:
            raise SetupError(f"params_file {' '.join(str(error).split())}") from error
        files.append(extra)
    if texts:
        content = {"/**": {"ros__parameters": dict(texts)}}
        # Quoted, so that ROS takes every value for a text.
        text = yaml.safe_dump(content, default_style='"', width=10**9, allow_unicode=True)
        files.append(temporary_file(f"{name or executable}.yaml", text))
    inner = str(fields.pop("namespace", ""))
    return NodeSpec(
        package=package,
        executable=executable,
        name=name or executable,
        namespace="/".join(part for part in (options.node_namespace, inner) if part),
        params_files=tuple(files),
        env=node_environment(options),
        **fields,
    )


def node_environment(options: Options) -> dict[str, str]:
    """Return the environment variables that every node gets in addition."""
    # A real arm may have its policy on another machine.
    return middleware_defaults(os.environ, local=options.hardware != "real")
