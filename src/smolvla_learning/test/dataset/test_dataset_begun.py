# SPDX-License-Identifier: Apache-2.0
"""A dataset of which no episode was saved is begun anew; anything else is left as it is."""

from __future__ import annotations

import numpy as np
import pytest
from smolvla_learning.dataset import (
    Dataset,
    DatasetError,
    DatasetWriter,
    camera_feature,
    clear_begun,
    holds_dataset,
    joint_features,
)
from smolvla_learning.dataset.check import find_problems

PICTURE = np.full((16, 32, 3), 70, np.uint8)


def begin(folder, *, joints=("hinge.pos",), frames=1, save=False, close=True, fps=7):
    features = {**joint_features(joints), "observation.images.eye": camera_feature(16, 32)}
    writer = DatasetWriter.create(folder, fps=fps, robot_type="crane", features=features)
    values = np.ones(len(joints), np.float32)
    for _ in range(frames):
        frame = {"observation.state": values, "action": values, "observation.images.eye": PICTURE}
        writer.add_frame(frame, "lower the hook")
    if save:
        writer.save_episode()
    else:
        writer.discard_episode()
    if close:
        writer.close()
    return writer


def killed(folder):
    """Leave what a program leaves that is killed in the middle of its first episode."""
    begin(folder)
    left = folder / "recording" / "videos" / "observation.images.eye"
    left.mkdir(parents=True)
    (left / "episode-000000.mp4.partial").write_bytes(b"half")
    (folder / "recording" / "journal.jsonl").write_bytes(b'{"episode_in')


@pytest.mark.parametrize("leave", [begin, killed])
def test_with_other_settings_too(tmp_path, leave):
    leave(tmp_path / "set")
    assert not holds_dataset(tmp_path / "set")
    begin(tmp_path / "set", joints=("hinge.pos", "winch.pos"), fps=9, save=True)
    data = Dataset.open(tmp_path / "set")
    assert not find_problems(data, deep=True)
    assert (data.fps, data.num_episodes) == (9, 1)


def test_an_episode_is_worth_keeping(tmp_path):
    begin(tmp_path / "set", save=True)
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DatasetError, match="is not empty"):
        begin(tmp_path / "set")
    clear_begun(tmp_path / "set")
    assert sorted(tmp_path.rglob("*")) == before


def test_an_episode_that_was_saved_and_not_yet_closed_is_too(tmp_path):
    begin(tmp_path / "set", save=True, close=False)._journal.close()
    assert holds_dataset(tmp_path / "set")
    with pytest.raises(DatasetError, match="is not empty"):
        begin(tmp_path / "set")


def test_a_recording_that_runs_is_left_alone(tmp_path):
    writer = begin(tmp_path / "set", close=False)
    with pytest.raises(DatasetError, match="is not empty"):
        begin(tmp_path / "set")
    writer.close()


@pytest.mark.parametrize("foreign", ["notes.txt", "meta/mine.json", "recording/mine.txt"])
def test_a_file_of_somebody_else_is_never_removed(tmp_path, foreign):
    killed(tmp_path / "set")
    (tmp_path / "set" / foreign).write_text("mine")
    before = sorted(tmp_path.rglob("*"))
    with pytest.raises(DatasetError, match="is not empty"):
        begin(tmp_path / "set")
    assert sorted(tmp_path.rglob("*")) == before


def test_a_callers_own_file_goes_with_the_rest(tmp_path):
    begin(tmp_path / "set")
    (tmp_path / "set" / "meta" / "seeds.json").write_text("[]")
    clear_begun(tmp_path / "set", "meta/seeds.json")
    assert list((tmp_path / "set").iterdir()) == []


def test_a_folder_that_is_not_there_or_a_file(tmp_path):
    clear_begun(tmp_path / "none")
    assert not holds_dataset(tmp_path / "none")
    (tmp_path / "file").write_text("mine")
    clear_begun(tmp_path / "file")
    assert holds_dataset(tmp_path / "file")
