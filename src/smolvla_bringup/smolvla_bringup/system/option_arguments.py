# SPDX-License-Identifier: Apache-2.0
"""The options of `options.Options` on a command line."""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterable
from typing import Any

from smolvla_bringup.system.options import Options


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


def from_arguments(arguments: argparse.Namespace, **fixed: Any) -> Options:
    """Return the options that `arguments` holds; the others keep their defaults.

    Args:
        arguments: what a parser with `add_arguments` has read.
        fixed: options that the program decides itself; they win.

    Raises:
        SetupError: see `Options`.
    """
    names = [field.name for field in dataclasses.fields(Options)]
    given = {name: value for name, value in vars(arguments).items() if name in names}
    return Options(**{**given, **fixed})
