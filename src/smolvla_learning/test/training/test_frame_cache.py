# SPDX-License-Identifier: Apache-2.0
"""Decoded frames: the size the network reads, in the right order, made once."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch
from smolvla_learning.dataset import Dataset
from smolvla_learning.training import frame_cache
from smolvla_learning.training.frame_cache import fit, fitted_frames
from smolvla_learning.training.options import TrainingError
from smolvla_policy.model.preprocess import to_pixels

CAMERA = "observation.images.top"


@pytest.mark.parametrize("shape", [(48, 64), (64, 48), (24, 32), (32, 32)])
def test_fitting_equals_the_networks_preprocessing(shape):
    images = np.random.default_rng(0).integers(0, 256, (2, *shape, 3), dtype=np.uint8)
    direct, cached = torch.empty(2, 3, 32, 32), torch.empty(2, 3, 32, 32)
    to_pixels(images, direct, (32, 32))
    to_pixels(fit(images, 32), cached, (32, 32))
    # At most one step of 8 bits apart.
    assert (direct - cached).abs().max() <= 2.0 / 255.0 + 1e-6


def test_frames_lie_in_the_datasets_order_and_are_decoded_once(dataset_folder, tmp_path):
    dataset = Dataset.open(dataset_folder)
    frames = fitted_frames(dataset, CAMERA, 32, tmp_path)
    assert frames.shape == (dataset.num_frames, 24, 32, 3)
    for index, episode in enumerate(dataset.episodes):
        decoded = np.stack(list(dataset.frames(CAMERA, index)))
        assert np.array_equal(frames[episode.from_index : episode.to_index], decoded)
    before = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    fitted_frames(dataset, CAMERA, 32, tmp_path)
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == before


def test_a_full_disk_is_told_before_decoding(dataset_folder, tmp_path, monkeypatch):
    usage = shutil.disk_usage(tmp_path)._replace(free=1000)
    monkeypatch.setattr(frame_cache.shutil, "disk_usage", lambda path: usage)
    with pytest.raises(TrainingError, match="make room, or choose another disk with --cache"):
        fitted_frames(Dataset.open(dataset_folder), CAMERA, 32, tmp_path)
    assert not list(tmp_path.iterdir())
