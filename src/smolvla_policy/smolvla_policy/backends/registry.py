# SPDX-License-Identifier: Apache-2.0
"""Finds backends by name among the installed packages.

A package offers one by an entry point in the group ``smolvla_policy.backends``: a function that
takes settings and returns a `Backend`. The type of its argument, `PolicySettings` or a class that
inherits from it, says which parameters the backend has: `policy_node` declares them, launch files
take them as arguments, and parameter files are checked for them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

from smolvla_core.backend import Backend
from smolvla_core.node_settings import PolicySettings
from smolvla_core.plugins import available, load
from smolvla_core.settings import Setting, Settings, settings_of

from smolvla_policy.backends.completion import USUAL_PERIOD

GROUP = "smolvla_policy.backends"
READS_CHECKPOINTS = "smolvla"
"""The backend whose checkpoints say rate and units."""


def available_backends() -> list[str]:
    """Return the names of the installed backends, sorted."""
    return available(GROUP)


def backend_settings(name: str) -> type[PolicySettings]:
    """Return the class of the settings of the backend called `name`.

    Raises:
        ValueError: see `create_backend`.
    """
    return _load(name)[1]


def policy_parameters() -> dict[str, Setting]:
    """Return the parameters that `policy_node` has with any of the installed backends."""
    found = settings_of(PolicySettings)
    for name in available_backends():
        try:
            found = {**settings_of(backend_settings(name)), **found}
        except ValueError:  # of another package; reported where it is chosen
            continue
    return found


def backend_parameters(beside: type[Settings]) -> dict[str, Setting]:
    """Return the parameters of backends alone that `beside` has no setting of the name of."""
    others = {**settings_of(PolicySettings), **settings_of(beside)}
    return {name: one for name, one in policy_parameters().items() if name not in others}


def check_parameters(policy: str, values: Mapping[str, Any]) -> None:
    """Check values of the parameters of a backend.

    Args:
        policy: name of the backend, or ``none``, which has no parameters.
        values: by name.

    Raises:
        ValueError: no such backend, it has no such parameter, or a value does not fit.
    """
    own = {} if policy == "none" else settings_of(backend_settings(policy))
    for name, value in values.items():
        if name not in own:
            raise ValueError(f"policy '{policy}' has no parameter '{name}'")
        own[name].check(value)


def create_backend(settings: PolicySettings) -> Backend:
    """Create the backend that `settings` name.

    Args:
        settings: of the class `backend_settings`.

    Raises:
        ValueError: no such backend, or its package cannot be imported; the text lists the
            installed ones. What the factory itself raises passes through.
    """
    factory, cls = _load(settings.backend)
    if settings.period == 0.0 and "period" not in cls.__annotations__:
        settings = replace(settings, period=USUAL_PERIOD)
    return factory(settings)


def _load(name: str) -> tuple[Callable[[Any], Backend], type[PolicySettings]]:
    return load(GROUP, "backend", name, PolicySettings)
