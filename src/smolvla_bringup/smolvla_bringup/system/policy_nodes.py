# SPDX-License-Identifier: Apache-2.0
"""The policy and the executor: what thinks and what acts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from smolvla_core.settings import settings_of
from smolvla_sim.settings import CHECKPOINT

from smolvla_bringup.system.node_spec import NodeSpec, make_spec
from smolvla_bringup.system.options import Options, SetupError


def policy_nodes(options: Options) -> list[NodeSpec]:
    """Return policy and executor; none with policy 'none'.

    Raises:
        SetupError: the policy cannot work with this hardware, or needs a checkpoint.
    """
    if options.policy == "none":
        return []
    if options.policy == "scripted" and options.hardware != "sim":
        raise SetupError(
            "policy 'scripted' knows where things are in the simulation only; choose hardware "
            "'sim', or a checkpoint"
        )
    return [_policy(options), _executor(options)]


def _policy(options: Options) -> NodeSpec:
    parameters: dict[str, Any] = {
        "backend": options.policy,
        "robot": options.robot_source,
        **{k: list(v) if isinstance(v, tuple) else v for k, v in options.backend.items()},
    }
    if options.calibration:
        parameters["calibration"] = options.existing_calibration()
    if options.checkpoint:
        parameters["checkpoint"] = _checkpoint(options.checkpoint)

    def spec() -> NodeSpec:
        return make_spec(
            options,
            "smolvla_policy",
            "policy_node",
            parameters=parameters,
        )

    if options.policy == "smolvla" and not spec().has("checkpoint"):
        if not options.shipped_checkpoint:
            raise SetupError(
                f"policy 'smolvla' with hardware '{options.hardware}' needs a checkpoint: "
                "checkpoint:= a folder or an id on the Hugging Face hub; or choose policy 'none' "
                "to start without one"
            )
        parameters["checkpoint"] = str(CHECKPOINT)
    parameters |= _flags(options, spec(), "autostart")
    return spec()


def _checkpoint(given: str) -> str:
    """Return `given` with a whole path where it is one; a hub id stays as it is.

    Raises:
        SetupError: it is a path and there is nothing.
    """
    path = Path(given).expanduser()
    if path.exists():
        return str(path.resolve())
    # A hub id is a name or owner/name; everything else can only be a path.
    if given.startswith((".", "/", "~")) or given.count("/") > 1:
        raise SetupError(f"no such checkpoint {path.absolute()}; give a folder or a hub id")
    return given


def _executor(options: Options) -> NodeSpec:
    optional = {
        "output": options.output,
        "rate": options.rate,
        "chunk_size_threshold": options.chunk_size_threshold,
        "aggregate": options.aggregate,
    }
    parameters: dict[str, Any] = {
        "robot": options.robot_source,
        **{name: value for name, value in optional.items() if value is not None},
    }

    def spec() -> NodeSpec:
        return make_spec(
            options,
            "smolvla_executor",
            "executor_node",
            parameters=parameters,
        )

    if options.hardware == "sim" and not spec().has("success_topic"):
        parameters["success_topic"] = "sim/success"
    parameters |= _flags(options, spec(), "autostart", "wait_for_start", "dry_run")
    return spec()


def _flags(options: Options, spec: NodeSpec, *names: str) -> dict[str, bool]:
    """Return the options `names`, less those that were not given where a parameter file has them.

    What is not asked for must not end a dry run that the user's file asks for.
    """
    defaults = {name: option.default for name, option in settings_of(Options).items()}
    flags = {name: getattr(options, name) for name in names}
    return {
        name: flag for name, flag in flags.items() if flag != defaults[name] or not spec.has(name)
    }
