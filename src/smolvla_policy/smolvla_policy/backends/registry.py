# SPDX-License-Identifier: Apache-2.0
"""Finds backends by name among the installed packages.

A package offers one by an entry point in the group ``smolvla_policy.backends``: a function
that takes a mapping of options and returns a `Backend`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from smolvla_core.backend import Backend

from smolvla_policy.backends.parameter_defaults import USUAL_PERIOD

GROUP = "smolvla_policy.backends"
READS_CHECKPOINTS = "smolvla"
"""The backend whose checkpoints may say the period; the others are told one always."""


def available_backends() -> list[str]:
    """Return the names of the installed backends, sorted."""
    return sorted({entry.name for entry in entry_points(group=GROUP)})


def create_backend(name: str, options: Mapping[str, Any]) -> Backend:
    """Create the backend called `name`.

    Args:
        name: as listed by `available_backends`.
        options: what the backend's factory understands (checkpoint, device, seed, …).

    Raises:
        ValueError: no such backend, or its package cannot be imported; the text lists the
            installed ones. What the factory itself raises passes through.
    """
    for entry in entry_points(group=GROUP):
        if entry.name == name:
            try:
                factory: Callable[[Mapping[str, Any]], Backend] = entry.load()
            except ImportError as error:
                raise ValueError(
                    f"backend '{name}' ({entry.value}) cannot be imported: {error}"
                ) from error
            if name != READS_CHECKPOINTS and options.get("period") == 0.0:
                options = {**options, "period": USUAL_PERIOD}
            return factory(options)
    known = ", ".join(available_backends()) or "none"
    raise ValueError(
        f"no backend '{name}'; installed: {known}. A package offers one through the entry-point "
        f"group '{GROUP}'"
    )
