# SPDX-License-Identifier: Apache-2.0
"""What is recorded comes back."""

import ctypes
import os
import threading

import av
import numpy as np
import pytest
from smolvla_learning.dataset import (
    Dataset,
    DatasetWriter,
    VideoOptions,
    camera_feature,
    joint_features,
    numeric_feature,
)
from smolvla_learning.dataset.check import find_problems
from smolvla_learning.dataset.video import EpisodeVideo


def assert_frames(dataset, scene, episode, length):
    images = list(dataset.frames(scene.camera, episode))
    assert len(images) == length
    for at, image in enumerate(images):
        assert image.shape == (32, 48, 3)
        assert image.dtype == np.uint8
        assert abs(image.mean() - scene.gray(episode, at)) < 3, (episode, at)


def test_numbers_tasks_and_places(recorded, scene):
    dataset = Dataset.open(recorded)
    assert (dataset.fps, dataset.robot_type, dataset.cameras) == (10, "so100", [scene.camera])
    assert (dataset.num_episodes, dataset.num_frames) == (3, 14)
    assert dataset.features == scene.features
    assert dataset.tasks == list(scene.tasks)
    assert not dataset.interrupted
    second = dataset.episodes[1]
    assert (second.length, second.from_index, second.to_index) == (7, 4, 11)
    assert second.tasks == (scene.tasks[1],)
    for name in ("observation.state", "action", "grounding.top"):
        expected = [
            scene.frame(episode.index, frame)[name]
            for episode in dataset.episodes
            for frame in range(episode.length)
        ]
        values = dataset.column(name)
        assert values.dtype == np.float32
        assert np.array_equal(values, expected)
    assert np.array_equal(dataset.column("index"), np.arange(14))
    assert dataset.column("task_index").tolist() == [0] * 4 + [1] * 7 + [0] * 3
    assert not find_problems(dataset, deep=True)


def test_images_of_each_episode(recorded, scene):
    dataset = Dataset.open(recorded)
    for episode, length in enumerate([4, 7, 3]):
        assert_frames(dataset, scene, episode, length)


def test_images_keep_their_colors_and_places(tmp_path):
    image = np.zeros((64, 96, 3), np.uint8)
    image[:32, :48], image[:32, 48:], image[32:, :48] = (200, 40, 40), (40, 180, 60), (50, 60, 190)
    features = {"observation.images.top": camera_feature(64, 96)}
    folder = tmp_path / "d"
    with DatasetWriter.create(folder, fps=30, robot_type=None, features=features) as writer:
        writer.add_frame({"observation.images.top": image}, "look")
        writer.save_episode()
    (decoded,) = Dataset.open(folder).frames("observation.images.top", 0)
    for row, column in [(16, 24), (16, 72), (48, 24), (48, 72)]:
        assert np.abs(decoded[row, column].astype(int) - image[row, column]).max() <= 6


def test_types_other_than_float(tmp_path):
    features = {
        **joint_features(["a"]),
        "flag": numeric_feature((1,), dtype="bool"),
        "count": numeric_feature((2,), dtype="int64"),
        "matrix": numeric_feature((2, 3), dtype="float64"),
    }
    frames = [
        {
            "observation.state": np.array([at], np.float32),
            "action": np.array([at], np.float64),
            "flag": np.array([at % 2 == 0]),
            "count": np.array([at, 2**40 + at]),
            "matrix": np.arange(6.0).reshape(2, 3) + at,
        }
        for at in range(5)
    ]
    with DatasetWriter.create(tmp_path / "d", fps=5, robot_type=None, features=features) as writer:
        for frame in frames:
            writer.add_frame(frame, "count")
        writer.save_episode()
    dataset = Dataset.open(tmp_path / "d")
    assert not find_problems(dataset, deep=True)
    assert dataset.cameras == []
    assert dataset.column("flag").tolist() == [True, False, True, False, True]
    assert dataset.column("flag").dtype == bool
    assert np.array_equal(dataset.column("count"), [frame["count"] for frame in frames])
    assert np.array_equal(dataset.column("matrix"), [frame["matrix"] for frame in frames])
    assert dataset.column("action").shape == (5,)


def test_several_tasks_in_one_episode(tmp_path, scene):
    with scene.create(tmp_path / "d") as writer:
        for at, task in enumerate(["first", "second", "first"]):
            writer.add_frame(scene.frame(0, at), task)
        writer.save_episode()
    dataset = Dataset.open(tmp_path / "d")
    assert dataset.tasks == ["first", "second"]
    assert dataset.episodes[0].tasks == ("first", "second")
    assert dataset.column("task_index").tolist() == [0, 1, 0]


def test_a_discarded_episode_leaves_nothing(tmp_path, scene):
    with scene.create(tmp_path / "d") as writer:
        for at in range(5):
            writer.add_frame(scene.frame(9, at), "never saved")
        writer.discard_episode()
        assert not list((tmp_path / "d").rglob("episode-*"))
        scene.record(writer, [3])
    dataset = Dataset.open(tmp_path / "d")
    assert dataset.tasks == [scene.tasks[0]]
    assert_frames(dataset, scene, 0, 3)
    assert not find_problems(dataset, deep=True)


def test_resuming_continues_after_the_last_episode(copy, scene):
    with DatasetWriter.resume(copy, fps=10, robot_type="so100", features=scene.features) as writer:
        assert (writer.num_episodes, writer.num_frames) == (3, 14)
        for at in range(5):
            writer.add_frame(scene.frame(3, at), "a new task")
        assert writer.save_episode() == 3
        scene.record(writer, [2])
    dataset = Dataset.open(copy)
    assert not find_problems(dataset, deep=True)
    assert [episode.length for episode in dataset.episodes] == [4, 7, 3, 5, 2]
    assert dataset.tasks == [*scene.tasks, "a new task"]
    assert dataset.column("task_index").tolist() == [0] * 4 + [1] * 7 + [0] * 3 + [2] * 5 + [0] * 2
    for episode, length in enumerate([4, 7, 3, 5, 2]):
        assert_frames(dataset, scene, episode, length)
    actions = dataset.column("action")
    assert dataset.stats["action"]["mean"] == pytest.approx(actions.mean(axis=0), rel=1e-6)
    assert dataset.stats["action"]["std"] == pytest.approx(actions.std(axis=0), rel=1e-6)
    assert dataset.stats["action"]["count"] == 21


def test_resuming_without_recording_changes_nothing(copy):
    before = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    DatasetWriter.resume(copy).close()
    after = {path: path.read_bytes() for path in copy.rglob("*") if path.is_file()}
    assert after == before


def test_entries_of_others_in_info_are_kept(copy, scene):
    path = copy / "meta/info.json"
    path.write_text(path.read_text().replace('"fps"', '"tools": ["ruler"],\n"fps"', 1))
    with DatasetWriter.resume(copy) as writer:
        scene.record(writer, [2])
    assert '"tools"' in path.read_text()


@pytest.fixture
def av1():
    try:
        av.codec.Codec("libsvtav1", "w")
        av.codec.Codec("libdav1d", "r")
    except av.error.FFmpegError:
        pytest.skip("this PyAV has no AV1")


def test_av1_takes_no_core_from_a_control_loop(tmp_path, av1):
    """As root, whom the encoder gives the highest real-time priority; in containers, say."""
    video = EpisodeVideo(tmp_path / "v.mp4", 30, 64, 64, VideoOptions(codec="av1"))
    video.add(np.zeros((64, 64, 3), dtype=np.uint8))
    policies = {os.sched_getscheduler(int(thread)) for thread in os.listdir("/proc/self/task")}
    video.finish()
    assert policies == {os.SCHED_OTHER}
    # The C library's own note of it, which threads of other libraries go by.
    policy, priority = ctypes.c_int(-1), (ctypes.c_int * 16)()
    get = ctypes.CDLL(None).pthread_getschedparam
    assert get(ctypes.c_ulong(threading.get_ident()), ctypes.byref(policy), priority) == 0
    assert policy.value == os.SCHED_OTHER


def test_av1(tmp_path, scene, av1):
    folder = scene.make(tmp_path / "d", [3, 4], video=VideoOptions(codec="av1", crf=30))
    dataset = Dataset.open(folder)
    assert not find_problems(dataset, deep=True)
    assert dataset.info.camera_info[scene.camera]["video.codec"] == "av1"
    assert_frames(dataset, scene, 1, 4)
