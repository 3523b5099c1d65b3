# SPDX-License-Identifier: Apache-2.0
"""Cameras as LeRobot and its converters declare and keep them, trained on."""

from __future__ import annotations

import json

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from smolvla_learning.dataset import (
    Dataset,
    DatasetWriter,
    Limits,
    VideoOptions,
    camera_feature,
    joint_features,
)
from smolvla_learning.dataset.video import EpisodeVideo
from smolvla_learning.training.frame_cache import fitted_frames
from smolvla_learning.training.options import TrainingError
from smolvla_learning.training.train import main

TOP, WRIST = "observation.images.top", "observation.images.wrist"


def declare(folder, camera, **about):
    path = folder / "meta/info.json"
    info = json.loads(path.read_text())
    info["features"][camera].update(about)
    path.write_text(json.dumps(info))


def channels_first(folder):
    declare(folder, TOP, shape=[3, 24, 32], names=["channels", "height", "width"])


def inside_parquet(folder):
    """Bring the images of the camera into the parquet file, channels declared first."""
    dataset = Dataset.open(folder)
    rows = []
    for episode in dataset.episodes:
        for image in dataset.frames(TOP, episode.index):
            _, png = cv2.imencode(".png", cv2.cvtColor(image, cv2.COLOR_RGB2BGR))
            rows.append({"bytes": png.tobytes(), "path": None})
    path = dataset.episodes[0].data
    table = pq.read_table(path)
    kind = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
    pq.write_table(table.append_column(TOP, pa.array(rows, kind)), path, row_group_size=6)
    declare(folder, TOP, dtype="image")
    channels_first(folder)


def wrong_size(folder):
    """A size that is not that of the images, as LeRobot's tools leave it; it is not needed."""
    declare(folder, TOP, shape=[48, 64, 3])


def initial_config(output):
    path = next((output / "checkpoints").glob("*/pretrained_model/config.json"))
    return json.loads(path.read_text())


@pytest.mark.parametrize("change", [channels_first, inside_parquet, wrong_size])
def test_a_new_policy_reads_the_images_as_they_are(options, record, tmp_path, change):
    folder = record(tmp_path / "set", episodes=2)
    before = [image for at in range(2) for image in Dataset.open(folder).frames(TOP, at)]
    change(folder)
    assert main(options(dataset=[folder], steps=1)) == 0
    features = initial_config(tmp_path / "out")["input_features"]
    assert features[TOP]["shape"] == [3, 24, 32]
    frames = fitted_frames(Dataset.open(folder), TOP, 32, tmp_path / "cache")
    assert np.array_equal(frames, before)


def test_a_depth_camera_becomes_no_camera_of_a_new_policy(options, record, tmp_path, capsys):
    folder = record(tmp_path / "set", episodes=2)
    declare(folder, WRIST, info={"is_depth_map": True})
    assert main(options(dataset=[folder], steps=1)) == 0
    assert f"left out, as depth: {WRIST}" in capsys.readouterr().out
    assert TOP in initial_config(tmp_path / "out")["input_features"]
    assert WRIST not in initial_config(tmp_path / "out")["input_features"]


def test_a_depth_camera_that_is_asked_for_is_told(options, record, tmp_path, capsys):
    folder = record(tmp_path / "set", episodes=2)
    declare(folder, WRIST, info={"is_depth_map": True})
    assert main(options(dataset=[folder], cameras=["wrist"])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"cameras of {folder} are {TOP} (depth is not read: {WRIST})" in line


def test_depth_alone_is_not_enough(options, record, tmp_path, capsys):
    folder = record(tmp_path / "set", cameras=("wrist",), episodes=2)
    declare(folder, WRIST, info={"video.is_depth_map": True})
    assert main(options(dataset=[folder])) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"has no color camera (depth is not read: {WRIST})" in line


def test_images_of_two_sizes_are_told_with_their_episode(tmp_path):
    features = {**joint_features(["pan.pos"]), TOP: camera_feature(24, 32)}
    frame = {name: np.zeros(item.shape, np.float32) for name, item in features.items()}
    frame[TOP] = np.zeros((24, 32, 3), np.uint8)
    limits = Limits(video_mb=1e-6)  # a video file for each episode
    with DatasetWriter.create(
        tmp_path / "d", fps=10, robot_type=None, features=features, limits=limits
    ) as writer:
        for _ in range(2):
            writer.add_frame(frame, "wait")
            writer.save_episode()
    dataset = Dataset.open(tmp_path / "d")
    other = EpisodeVideo(dataset.episodes[1].videos[TOP].path, 10, 32, 48, VideoOptions())
    other.add(np.zeros((32, 48, 3), np.uint8))
    other.finish()
    with pytest.raises(TrainingError, match=f"'{TOP}' in episode 1 are 48x32, others are not"):
        fitted_frames(dataset, TOP, None, tmp_path / "cache")
