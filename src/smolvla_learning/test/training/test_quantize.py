# SPDX-License-Identifier: Apache-2.0
"""``smolvla quantize``, from a dataset to a policy in int8."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from smolvla_learning.quantize import choose_frames, main
from smolvla_policy.policy import SmolVLAPolicy

pytest.importorskip("openvino")
pytest.importorskip("nncf")

CHECKPOINT = Path(__file__).parents[3] / "smolvla_policy" / "test" / "golden" / "ckpt"


def quantize(*datasets, options=()):
    line = ["--checkpoint", CHECKPOINT, "--samples", 4, "--dataset", *datasets, *options]
    return main([str(word) for word in line])


def test_a_dataset_makes_a_policy_in_int8_and_shows_what_it_costs(
    dataset_folder, record, tmp_path, capsys
):
    other = record(tmp_path / "other", cameras=("eye",), seed=1)
    assert quantize(dataset_folder, other, options=["--rename-map", "eye=side"]) == 0
    shown = capsys.readouterr().out
    assert "observation.images.eye is observation.images.side" in shown
    table = shown.splitlines()[-6:]
    assert [float(row.split()[1]) > 0.0 for row in table] == [True] * 6
    policy = SmolVLAPolicy.from_pretrained(CHECKPOINT, dtype="int8", engine="openvino")
    assert policy.dtype == "int8"


def test_cameras_of_other_names_are_asked_for(record, tmp_path, capsys):
    folder = record(tmp_path / "set", cameras=("eye",))
    assert quantize(folder) == 2
    assert "--rename-map eye=top" in capsys.readouterr().err
    assert quantize(folder, options=["--rename-map", "eye=nose"]) == 2
    assert "'nose' is unknown" in capsys.readouterr().err


def test_another_robot_is_refused(record, tmp_path, capsys):
    assert quantize(record(tmp_path / "set", joints=["a.pos", "b.pos"])) == 2
    assert "give a dataset of the same robot" in capsys.readouterr().err


def test_nothing_is_quantized_without_a_dataset_or_a_checkpoint(tmp_path, capsys):
    assert quantize(tmp_path) == 2
    assert main(["--checkpoint", str(tmp_path), "--dataset", str(tmp_path)]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 2


@pytest.mark.parametrize(("total", "samples", "others"), [(1000, 64, 16), (20, 64, 16), (1, 4, 4)])
def test_frames_are_spread_and_those_held_out_are_others(total, samples, others):
    ours, theirs = choose_frames(total, samples, others, np.random.default_rng(0))
    both = np.sort(np.concatenate([ours, theirs]))
    assert len(both) == len(set(both.tolist())) == min(total, samples + others)
    assert len(ours) >= 1
    assert both.max() < total
    if total > 1:
        assert np.diff(both).max() <= 2 * total / len(both)
        assert len(theirs) == len(both) * others // (samples + others)
