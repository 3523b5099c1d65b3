# SPDX-License-Identifier: Apache-2.0
"""Finds what installed packages offer by name: an entry point for a function of its settings.

The type of the function's one argument, a class that inherits from a base of the group, says which
settings it has.
"""

from __future__ import annotations

import contextlib
import inspect
import sys
from collections.abc import Callable
from importlib.metadata import entry_points
from typing import Any, TypeVar

from smolvla_core.settings import Settings

S = TypeVar("S", bound=Settings)


def available(group: str) -> list[str]:
    """Return the names in a group of entry points, sorted."""
    return sorted({entry.name for entry in entry_points(group=group)})


def load(group: str, noun: str, name: str, base: type[S]) -> tuple[Callable[[Any], Any], type[S]]:
    """Return the function called `name`, and the class of its settings.

    Args:
        group: of entry points.
        noun: what it makes, for the errors.
        name: of the entry point.
        base: from which the settings inherit.

    Raises:
        ValueError: there is none, it cannot be imported, or does not take settings; the text lists
            the installed ones.
    """
    for entry in entry_points(group=group):
        if entry.name == name:
            try:
                factory = entry.load()
            except ImportError as error:
                raise ValueError(
                    f"{noun} '{name}' ({entry.value}) cannot be imported: {error}"
                ) from error
            return factory, _argument(factory, entry.value, base)
    known = ", ".join(available(group)) or "none"
    raise ValueError(
        f"no {noun} '{name}'; installed: {known}. A package offers one through the entry-point "
        f"group '{group}'"
    )


def _argument(factory: Callable[[Any], Any], where: str, base: type[S]) -> type[S]:
    """Return the type of the one argument of a factory."""
    annotations = [one.annotation for one in inspect.signature(factory).parameters.values()]
    with contextlib.suppress(NameError):
        cls = annotations[0] if annotations else None
        if isinstance(cls, str):  # as with ``from __future__ import annotations``
            cls = eval(cls, vars(sys.modules[factory.__module__]))
        if isinstance(cls, type) and issubclass(cls, base):
            return cls
    raise ValueError(
        f"{where} must take one argument with the type of its settings, as in "
        f"create(settings: {base.__name__})"
    )
