# SPDX-License-Identifier: Apache-2.0
"""Backends are found by name; an unknown name lists what is installed."""

import pytest
from smolvla_policy.backends.registry import available_backends, create_backend


def test_the_suites_own_backends_are_installed():
    assert {"smolvla", "scripted"} <= set(available_backends())


def test_unknown_backend_lists_the_installed_ones():
    with pytest.raises(ValueError, match=r"no backend 'nope'; installed: .*scripted.*smolvla"):
        create_backend("nope", {})


def test_a_backend_without_checkpoints_is_told_a_period():
    options = {"model": "so100", "cameras": ["top"]}
    assert create_backend("scripted", {**options, "period": 0.0}).period == pytest.approx(1 / 30)
    assert create_backend("scripted", {**options, "period": 0.2}).period == 0.2
