# SPDX-License-Identifier: Apache-2.0
"""Statistics that must be chosen, as in lerobot/smolvla_base, and normalization formulas."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from smolvla_policy.checkpoint.statistics import make_normalizer

from smolvla_policy import CheckpointError

STATE, ACTION = "observation.state", "action"
SETS = ("so100", "so100-blue", "so100-red")


@pytest.fixture
def base(copy):
    """A checkpoint with the statistics' names of lerobot/smolvla_base: actions alone."""
    own = load_file(copy.folder / "policy_preprocessor_step_5_normalizer_processor.safetensors")

    def rename(_):
        return {
            f"{name}.buffer.action.{stat}": own[f"action.{stat}"] + (100.0 if at else 0.0)
            for at, name in enumerate(SETS)
            for stat in ("mean", "std")
        }

    copy.statistics(rename)
    copy.own = own
    return copy


def test_base_checkpoint_is_refused_with_its_choices(base):
    with pytest.raises(CheckpointError) as caught:
        base.load()
    text = str(caught.value)
    assert "'observation.state' and 'action'" in text
    for name in SETS:
        assert f"stats='{name},state=action'" in text
        assert f"stats='{name},state=identity'" in text


def test_a_set_alone_says_nothing_about_the_state(base):
    with pytest.raises(CheckpointError, match=r"no statistics for 'observation.state'.*state="):
        base.load(stats="so100")


def test_state_as_it_is(base, sample, want):
    policy = base.load(stats="so100,state=identity")
    normalized = (sample["state"] - base.own["observation.state.mean"].numpy()) / (
        base.own["observation.state.std"].numpy() + 1e-8
    )
    got = policy.predict_chunk(**{**sample, "state": normalized.astype(np.float32)})
    assert np.abs(got - want).max() <= 1e-4


def test_statistics_of_the_action_for_the_state(base):
    policy = base.load(stats="so100,state=action")
    assert np.array_equal(policy.normalizers[STATE].low, policy.normalizers[ACTION].low)
    assert np.array_equal(policy.normalizers[ACTION].low, base.own["action.mean"].numpy())


@pytest.mark.parametrize(
    ("wish", "message"),
    [
        ("so200", r"'so100', 'so100-blue', 'so100-red'"),
        ("so100,state=whatever", "state=whatever"),
        ("", "no set"),
    ],
)
def test_unknown_choice(base, wish, message):
    with pytest.raises(CheckpointError, match=message):
        base.load(stats=wish)


@pytest.mark.parametrize("form", ["mapping", "file", "data set"])
def test_statistics_of_a_data_set(base, sample, want, tmp_path, form):
    stats = {
        feature: {stat: base.own[f"{feature}.{stat}"].tolist() for stat in ("mean", "std")}
        for feature in (STATE, ACTION)
    }
    (tmp_path / "meta").mkdir()
    file = tmp_path / "meta" / "stats.json"
    file.write_text(json.dumps(stats))
    wish = {"mapping": stats, "file": str(file), "data set": tmp_path}[form]
    assert np.abs(base.load(stats=wish).predict_chunk(**sample) - want).max() <= 1e-4


@pytest.mark.parametrize(
    ("stats", "message"),
    [
        ({ACTION: [1.0]}, "must map statistics"),
        ({ACTION: {"mean": ["x"]}}, "no numbers"),
        ({ACTION: {"mean": [0.0] * 6, "std": [1.0] * 6}}, "no statistics for 'observation.state'"),
    ],
)
def test_bad_mapping(copy, stats, message):
    with pytest.raises(CheckpointError, match=message):
        copy.load(stats=stats)


NUMBERS = {
    "mean": [1.0, 2.0],
    "std": [2.0, 0.5],
    "min": [-1.0, 3.0],
    "max": [3.0, 3.0],
    "q01": [0.0, 0.0],
    "q99": [4.0, 2.0],
    "q10": [1.0, 0.0],
    "q90": [3.0, 1.0],
}
FORMULAS = [
    ("MEAN_STD", [3.0, 2.0], [1.0, 0.0]),
    ("MIN_MAX", [1.0, 3.0], [0.0, -1.0]),
    ("QUANTILES", [4.0, 0.5], [1.0, -0.5]),
    ("QUANTILE10", [1.0, 1.0], [-1.0, 1.0]),
    ("IDENTITY", [7.0, 8.0], [7.0, 8.0]),
]


@pytest.mark.parametrize(("mode", "values", "normalized"), FORMULAS)
def test_formula(mode, values, normalized):
    stats = {name: np.array(numbers, np.float32) for name, numbers in NUMBERS.items()}
    made = make_normalizer("x", mode, stats, 2, 1e-8)
    got = made.normalize(np.array(values, np.float32))
    assert got.tolist() == pytest.approx(normalized, abs=1e-6)
    assert made.unnormalize(got).tolist() == pytest.approx(values, abs=1e-6)


def test_epsilon_is_only_in_the_forward_direction():
    stats = {"mean": np.zeros(1, np.float32), "std": np.ones(1, np.float32)}
    made = make_normalizer("x", "MEAN_STD", stats, 1, 1.0)
    assert made.normalize(np.array([4.0], np.float32)).tolist() == [2.0]
    assert made.unnormalize(np.array([4.0], np.float32)).tolist() == [4.0]


def test_images_are_normalized_if_the_checkpoint_says_so(copy, sample, want):
    norm_map = {"VISUAL": "MIN_MAX", "STATE": "MEAN_STD", "ACTION": "MEAN_STD"}
    copy.edit(
        "policy_preprocessor.json", lambda c: c["steps"][5]["config"].update(norm_map=norm_map)
    )

    def bounds(tensors):
        for camera in ("top", "wrist", "side"):
            # 2 (x + 1) / 2 - 1 leaves values as they are.
            tensors[f"observation.images.{camera}.min"] = torch.full((3, 1, 1), -1.0)
            tensors[f"observation.images.{camera}.max"] = torch.full((3, 1, 1), 1.0)
        return tensors

    copy.statistics(bounds)
    assert np.abs(copy.load().predict_chunk(**sample) - want).max() <= 1e-3
    copy.statistics(lambda t: {k: v for k, v in t.items() if "images.top" not in k})
    without = copy.load()
    (note,) = without.notes
    assert "no statistics of observation.images.top: as in LeRobot" in note
    assert np.abs(without.predict_chunk(**sample) - want).max() <= 1e-3
    copy.statistics(lambda t: {k: v for k, v in t.items() if k != "observation.images.side.min"})
    with pytest.raises(CheckpointError, match=r"images.side.*'min'"):
        copy.load()


def test_the_only_set_lacks_the_state(copy, sample, want):
    own = load_file(copy.folder / "policy_preprocessor_step_5_normalizer_processor.safetensors")
    copy.statistics(lambda t: {k: v for k, v in t.items() if not k.startswith(STATE)})
    with pytest.raises(CheckpointError, match=r"stats='state=action'.*; stats='state=identity'"):
        copy.load()
    mean, std = (own[f"{STATE}.{name}"].numpy() for name in ("mean", "std"))
    state = ((sample["state"] - mean) / (std + 1e-8)).astype(np.float32)
    got = copy.load(stats="state=identity").predict_chunk(**{**sample, "state": state})
    assert np.abs(got - want).max() <= 1e-4
    normalizers = copy.load(stats="state=action").normalizers
    assert np.array_equal(normalizers[STATE].low, normalizers[ACTION].low)
