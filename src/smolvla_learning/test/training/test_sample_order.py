# SPDX-License-Identifier: Apache-2.0
"""The order of the samples depends on the seed alone and leaves nothing out."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from smolvla_learning.dataset import Dataset, DatasetWriter, numeric_feature
from smolvla_learning.dataset.features import INTERVENTION
from smolvla_learning.training.samples import SampleOrder, draw_delays, intervention_repeats


def test_an_epoch_shows_every_frame_once():
    order = SampleOrder([5, 3])
    rows = order(0, order.epoch_length)
    assert sorted(map(tuple, rows)) == [(0, f) for f in range(5)] + [(1, f) for f in range(3)]


def test_any_part_can_be_asked_for_without_those_before():
    whole = SampleOrder([7, 4], seed=3)(0, 50)
    for first, count in ((0, 1), (9, 5), (10, 30), (44, 6)):
        assert np.array_equal(
            SampleOrder([7, 4], seed=3)(first, count), whole[first : first + count]
        )


def test_epochs_and_seeds_differ():
    order = SampleOrder([50])
    assert not np.array_equal(order(0, 50), order(50, 50))
    assert not np.array_equal(order(0, 50), SampleOrder([50], seed=1)(0, 50))


def test_shares_decide_how_often_a_dataset_comes_up():
    order = SampleOrder([10, 90], shares=[3, 1])
    rows = order(0, order.epoch_length)
    small = rows[rows[:, 0] == 0, 1]
    assert len(small) == 75
    counts = np.bincount(small, minlength=10)
    assert counts.min() >= 7
    assert counts.max() <= 8


def test_frames_come_up_as_often_as_they_are_repeated():
    order = SampleOrder([3, 2], repeats=[np.array([1, 4, 1]), None])
    assert order.epoch_length == 8
    rows = order(0, 8)
    assert np.bincount(rows[rows[:, 0] == 0, 1]).tolist() == [1, 4, 1]
    assert np.bincount(rows[rows[:, 0] == 1, 1]).tolist() == [1, 1]


def test_frames_of_a_human_weigh_more(tmp_path):
    features = {"action": numeric_feature((1,)), INTERVENTION: numeric_feature((1,), dtype="bool")}
    with DatasetWriter.create(
        tmp_path / "data", fps=10, robot_type="arm", features=features
    ) as writer:
        for human in (False, True, True, False):
            writer.add_frame({"action": np.zeros(1), INTERVENTION: np.array([human])}, "pick")
        writer.save_episode()
    dataset = Dataset.open(tmp_path / "data")
    repeats = intervention_repeats(dataset, 3)
    assert repeats is not None
    assert repeats.tolist() == [1, 3, 3, 1]
    assert intervention_repeats(dataset, 1) is None


@pytest.mark.parametrize(
    ("lengths", "shares"), [([], None), ([3, 0], None), ([3], [1, 2]), ([3, 3], [1, 0])]
)
def test_what_cannot_be_sampled_is_refused(lengths, shares):
    with pytest.raises(ValueError, match="got"):
        SampleOrder(lengths, shares)


def test_every_delay_is_trained_and_none_most_of_all():
    drawn = draw_delays(4, 5000, torch.Generator().manual_seed(0))
    counts = torch.bincount(drawn, minlength=5).tolist()
    assert counts == sorted(counts, reverse=True)
    assert len(counts) == 5
    assert min(counts) > 300
