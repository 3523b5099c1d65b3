# SPDX-License-Identifier: Apache-2.0
"""What a deployment may change at the start, declared once.

`sim.launch.py` offers these as launch arguments, `start` and `demo` as command-line options.
Everything else stands in the parameter files of `config/`.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any

from smolvla_policy.control.aggregation import AGGREGATIONS


class SetupError(Exception):
    """The system cannot be started as asked for; the text says why and what to do."""


def _option(default: Any, kind: type, description: str, choices: tuple[str, ...] = ()) -> Any:
    return dataclasses.field(
        default=default,
        metadata={"kind": kind, "description": description, "choices": choices},
    )


@dataclasses.dataclass(frozen=True)
class Options:
    """How the system shall be started. None keeps the value of the parameter file.

    Raises:
        SetupError: a value is not one of its choices, is outside its range, or two options
            contradict each other.
    """

    robot: str = _option("sim", str, "which robot: the simulation", ("sim",))
    model: str = _option("so100", str, "which arm is simulated", ("so100", "so101"))
    policy: str | None = _option(
        None,
        str,
        "who thinks: the network, a script that knows the scene, or nobody; default: smolvla",
        ("smolvla", "scripted", "none"),
    )
    checkpoint: str | None = _option(
        None,
        str,
        "checkpoint of the policy: a folder, or an id on the Hugging Face hub; default: the "
        "small one that comes with the simulation",
    )
    task: str = _option(
        "put the red cube into the bowl", str, "task whose success the simulation judges"
    )
    seed: int = _option(0, int, "seed of the simulated scene; the same seed, the same scene")
    rate: float | None = _option(
        None, float, "control rate of the executor [Hz]; default: executor.yaml"
    )
    g: float | None = _option(
        None,
        float,
        "ask for the next chunk when this share of the chunk is still queued (0..1); "
        "default: executor.yaml",
    )
    aggregation: str | None = _option(
        None,
        str,
        "how overlapping chunks are combined; default: executor.yaml",
        tuple(AGGREGATIONS),
    )
    autostart: bool = _option(
        True,
        bool,
        "configure and activate policy and executor at once; otherwise they wait for "
        "`ros2 lifecycle set`",
    )
    wait_for_start: bool = _option(
        False, bool, "the active executor stays idle until ~/start or a RunTask goal"
    )
    dry_run: bool = _option(False, bool, "compute commands but do not publish them")
    viewer: bool = _option(False, bool, "open MuJoCo's window (needs a display)")
    namespace: str = _option("", str, "namespace of all nodes, for several arms in one graph")
    params_file: str | None = _option(
        None, str, "parameter file read after the package's own; its values win"
    )

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), field.metadata["choices"]
            if choices and value is not None and value not in choices:
                raise SetupError(
                    f"{field.name} is '{value}', which is not one of: {', '.join(choices)}"
                )
        if self.checkpoint and self.policy_backend != "smolvla":
            raise SetupError(
                f"policy '{self.policy_backend}' reads no checkpoint; leave out one of the two"
            )
        if self.seed < 0:
            raise SetupError(f"seed is {self.seed}; it must be 0 or more")
        if self.rate is not None and not 0.0 < self.rate <= 1000.0:
            raise SetupError(f"rate is {self.rate} Hz; it must be above 0 and at most 1000")
        if self.g is not None and not 0.0 <= self.g <= 1.0:
            raise SetupError(f"g is {self.g}; it is a share and must lie in 0..1")

    @property
    def policy_backend(self) -> str:
        """The policy's backend."""
        return self.policy or "smolvla"

    @property
    def shipped_checkpoint(self) -> bool:
        """Whether the policy runs the checkpoint that comes with the simulation."""
        return self.policy_backend == "smolvla" and not self.checkpoint

    @classmethod
    def from_text(cls, values: Mapping[str, str]) -> Options:
        """Read options from texts, as launch arguments are; an empty one keeps the default.

        Raises:
            SetupError: a text is no value of the option's kind.
        """
        kinds = {field.name: field.metadata["kind"] for field in dataclasses.fields(cls)}
        return cls(
            **{name: _parse(name, text, kinds[name]) for name, text in values.items() if text}
        )


def _parse(name: str, text: str, kind: type) -> Any:
    if kind is bool:
        known = {"true": True, "1": True, "false": False, "0": False}
        if text.lower() not in known:
            raise SetupError(f"{name} is '{text}'; it must be true or false")
        return known[text.lower()]
    try:
        return kind(text)
    except ValueError as error:
        raise SetupError(f"{name} is '{text}', which is no number") from error


def add_arguments(parser: argparse.ArgumentParser, names: Iterable[str] | None = None) -> None:
    """Give `parser` one option per field of `Options`, or those in `names` only."""
    wanted = None if names is None else set(names)
    for field in dataclasses.fields(Options):
        if wanted is not None and field.name not in wanted:
            continue
        flag = "--" + field.name.replace("_", "-")
        kind, text = field.metadata["kind"], field.metadata["description"]
        if kind is bool:
            parser.add_argument(
                flag, action=argparse.BooleanOptionalAction, default=field.default, help=text
            )
            continue
        if field.default is not None and field.default != "":
            text += f" (default: {field.default})"
        parser.add_argument(
            flag,
            type=kind,
            default=field.default,
            choices=field.metadata["choices"] or None,
            help=text,
            metavar=None if field.metadata["choices"] else field.name.upper(),
        )


def from_arguments(arguments: argparse.Namespace) -> Options:
    """Return the options that `arguments` holds; the others keep their defaults."""
    names = [field.name for field in dataclasses.fields(Options)]
    given = vars(arguments)
    return Options(**{name: given[name] for name in names if name in given})
