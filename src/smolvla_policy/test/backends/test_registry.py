# SPDX-License-Identifier: Apache-2.0
"""Backends are found by name, with their parameters; an unknown name lists what is installed."""

import dataclasses
import sys
from importlib.metadata import EntryPoint
from types import ModuleType

import pytest
from smolvla_core.node_settings import PolicySettings
from smolvla_core.settings import live_setting, settings_of
from smolvla_policy.backends import registry
from smolvla_policy.backends.registry import (
    available_backends,
    backend_settings,
    create_backend,
    policy_parameters,
)

from smolvla_core import plugins


def test_the_suites_own_backends_are_installed():
    assert {"smolvla", "scripted"} <= set(available_backends())


def test_unknown_backend_lists_the_installed_ones():
    with pytest.raises(ValueError, match=r"no backend 'nope'; installed: .*scripted.*smolvla"):
        create_backend(PolicySettings(backend="nope"))


def test_a_backend_without_checkpoints_is_told_a_period():
    settings = backend_settings("scripted")(backend="scripted", robot="so101")
    assert create_backend(settings).period == pytest.approx(1 / 30)
    assert create_backend(dataclasses.replace(settings, period=0.2)).period == 0.2


def test_to_know_the_parameters_of_a_network_loads_no_pytorch():
    assert "noise_scale" in policy_parameters()
    module = sys.modules[backend_settings("smolvla").__module__]
    assert not hasattr(module, "torch")


@dataclasses.dataclass(frozen=True, kw_only=True)
class MetronomeSettings(PolicySettings):
    beats: int = live_setting(90, "Beats per minute.", 20, 300)


def beat(settings: "MetronomeSettings"):  # a text, as with ``from __future__ import annotations``
    return settings


def of_before(options):
    return options


@pytest.fixture
def offered(monkeypatch):
    """Offers a function of this module as a backend, as an installed package does."""
    module = ModuleType("my_package")
    module.__dict__.update(vars(sys.modules[__name__]))
    monkeypatch.setitem(sys.modules, "my_package", module)

    def offer(name):
        entry = EntryPoint("metronome", f"my_package:{name}", registry.GROUP)
        monkeypatch.setattr(plugins, "entry_points", lambda group: [entry])

    return offer


def test_a_backend_brings_its_parameters(offered):
    offered("beat")
    assert backend_settings("metronome") is MetronomeSettings
    assert policy_parameters()["beats"].live
    assert set(settings_of(PolicySettings)) < set(policy_parameters())
    made = create_backend(MetronomeSettings(backend="metronome", beats=60))
    assert (made.beats, made.period) == (60, pytest.approx(1 / 30))


def test_a_backend_whose_argument_has_no_type_says_what_is_missing(offered):
    offered("of_before")
    with pytest.raises(ValueError, match=r"my_package:of_before must take one argument with the"):
        create_backend(PolicySettings(backend="metronome"))
    assert set(policy_parameters()) == set(settings_of(PolicySettings))
