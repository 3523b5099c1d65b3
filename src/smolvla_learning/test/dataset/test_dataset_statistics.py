# SPDX-License-Identifier: Apache-2.0
"""Statistics: right numbers, right shapes, right merging."""

import numpy as np
import pytest
from smolvla_learning.dataset import Dataset, DatasetError, merge_statistics
from smolvla_learning.dataset.statistics import ImageHistograms, numeric_statistics, sampled_frames


def test_numbers():
    values = np.random.default_rng(0).normal(size=(500, 3)).astype(np.float32)
    found = numeric_statistics(values)
    exact = values.astype(np.float64)
    assert np.array_equal(found["min"], exact.min(axis=0))
    assert found["mean"] == pytest.approx(exact.mean(axis=0), abs=1e-12)
    assert found["std"] == pytest.approx(exact.std(axis=0), abs=1e-12)
    assert found["q10"] == pytest.approx(np.quantile(exact, 0.1, axis=0))
    assert found["count"].tolist() == [500]


@pytest.mark.parametrize(("kind", "exact"), [(bool, bool), (np.uint8, np.int64)])
def test_smallest_and_largest_keep_their_kind(kind, exact):
    found = numeric_statistics(np.array([[0, 1], [1, 1]], dtype=kind))
    assert (found["min"].dtype, found["max"].dtype) == (exact, exact)
    assert (found["min"].tolist(), found["max"].tolist()) == ([0, 1], [1, 1])


def test_one_frame_has_no_spread():
    found = numeric_statistics(np.array([[3, 4]]))
    assert found["std"].tolist() == [0, 0]
    assert found["q01"].tolist() == found["q99"].tolist() == [3, 4]
    assert found["min"].dtype == np.int64


def test_images_are_counted_per_channel_between_0_and_1():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (7, 8, 6, 3), dtype=np.uint8)
    images[..., 2] //= 2
    histograms = ImageHistograms()
    for image in images:
        histograms.add(image)
    found = histograms.statistics()
    pixels = images.reshape(-1, 3) / 255
    assert found["mean"].shape == (3, 1, 1)
    assert found["mean"].ravel() == pytest.approx(pixels.mean(axis=0))
    assert found["std"].ravel() == pytest.approx(pixels.std(axis=0))
    assert found["min"].ravel() == pytest.approx(pixels.min(axis=0))
    assert found["max"].ravel() == pytest.approx(pixels.max(axis=0))
    assert found["q90"].ravel() == pytest.approx(np.quantile(pixels, 0.9, axis=0), abs=0.01)
    assert found["count"].tolist() == [7]


def test_large_images_are_thinned_out_first():
    image = np.zeros((480, 640, 3), np.uint8)
    image[::4, ::4] = 255  # 640 // 150: every fourth pixel
    histograms = ImageHistograms()
    histograms.add(image)
    assert histograms.statistics()["mean"].ravel().tolist() == [1, 1, 1]


@pytest.mark.parametrize(("length", "count"), [(1, 1), (60, 60), (100, 100), (1000, 177)])
def test_long_episodes_are_sampled(length, count):
    sample = sampled_frames(length)
    assert len(sample) == count
    assert (sample[0], sample[-1]) == (0, length - 1)


def test_merging_is_as_if_all_were_one():
    rng = np.random.default_rng(1)
    parts = [rng.normal(size=(n, 2)) * n + n for n in (5, 50, 9)]
    merged = merge_statistics([{"action": numeric_statistics(part)} for part in parts])["action"]
    whole = numeric_statistics(np.concatenate(parts))
    for name in ("min", "max", "mean", "std", "count"):
        assert merged[name] == pytest.approx(whole[name]), name
    weighted = sum(len(p) * numeric_statistics(p)["q50"] for p in parts) / 64
    assert merged["q50"] == pytest.approx(weighted)


def test_merging_cameras_keeps_their_shape():
    histograms = ImageHistograms()
    histograms.add(np.full((4, 4, 3), 51, np.uint8))
    part = {"camera": histograms.statistics()}
    assert merge_statistics([part, part])["camera"]["mean"] == pytest.approx(
        np.full((3, 1, 1), 0.2)
    )


def test_what_cannot_be_merged():
    one = {"action": numeric_statistics(np.zeros((2, 2)))}
    with pytest.raises(DatasetError, match="no statistics to merge"):
        merge_statistics([])
    with pytest.raises(DatasetError, match=r"'state'.*only in some"):
        merge_statistics([one, {"state": one["action"]}])
    with pytest.raises(DatasetError, match=r"'action' cannot be merged: no \['std'\]"):
        merge_statistics([{"action": {k: v for k, v in one["action"].items() if k != "std"}}])


def test_statistics_of_a_dataset(recorded, scene):
    dataset = Dataset.open(recorded)
    actions = dataset.column("action").astype(np.float64)
    found = dataset.stats["action"]
    assert found["mean"] == pytest.approx(actions.mean(axis=0))
    assert found["std"] == pytest.approx(actions.std(axis=0))
    assert found["mean"].dtype == np.float64
    gray = [scene.gray(e.index, at) for e in dataset.episodes for at in range(e.length)]
    assert dataset.stats[scene.camera]["mean"].ravel() == pytest.approx([np.mean(gray) / 255] * 3)
    assert dataset.stats[scene.camera]["std"].ravel() == pytest.approx([np.std(gray) / 255] * 3)
