# SPDX-License-Identifier: Apache-2.0
"""What cannot be recorded is refused with a remedy."""

import errno
import os
import re

import numpy as np
import pytest
from smolvla_learning.dataset import (
    Dataset,
    DatasetError,
    DatasetWriter,
    Feature,
    VideoOptions,
    camera_feature,
    finalize,
    numeric_feature,
)
from smolvla_learning.dataset.check import find_problems
from smolvla_learning.dataset.commands import repair


@pytest.fixture
def writer(tmp_path, scene):
    """A dataset with one episode and one frame of the next."""
    writer = scene.create(tmp_path / "d")
    scene.record(writer, [2])
    scene.add(writer, 1, 1)
    return writer


FULL = "/dev/full"
needs_full = pytest.mark.skipif(not os.path.exists(FULL), reason="no /dev/full")


@pytest.mark.parametrize(
    ("change", "text"),
    [
        ({"action": None}, r"without \['action'\]"),
        ({"reward": np.zeros(1)}, r"with unknown \['reward'\]"),
        ({"action": np.zeros(3)}, r"'action' has shape \[3\], the dataset was made for \[2\]"),
        ({"action": np.array(["a", "b"])}, "'action' holds <U1, not float32"),
        ({"action": [1j, 0]}, "'action' holds complex128, not float32"),
        ({"action": np.array([np.nan, 0])}, "'action' holds NaN or infinity"),
        ({"observation.state": np.array([0, np.inf])}, "'observation.state' holds NaN"),
        ({"action": np.array([1e300, 0])}, "'action' holds NaN or infinity"),
        (
            {"observation.images.top": np.zeros((64, 48, 3), np.uint8)},
            r"camera 'observation.images.top' gave an image of shape \[64, 48, 3\], the dataset "
            r"was made for \[32, 48, 3\].*cannot change",
        ),
        (
            {"observation.images.top": np.zeros((32, 48, 3))},
            "'observation.images.top' gave float64, not uint8 RGB",
        ),
    ],
)
def test_a_frame_that_does_not_fit(writer, scene, tmp_path, change, text):
    frame = {**scene.frame(1, 1), **change}
    frame = {name: value for name, value in frame.items() if value is not None}
    with pytest.raises(DatasetError, match=f"episode 1, frame 1: .*{text}"):
        writer.add_frame(frame, "task")
    # The episode goes on as if the frame had not been offered.
    writer.add_frame(scene.frame(1, 1), scene.task(1))
    writer.save_episode()
    writer.close()
    dataset = Dataset.open(tmp_path / "d")
    assert not find_problems(dataset, deep=True)
    assert [episode.length for episode in dataset.episodes] == [2, 2]


@pytest.mark.parametrize("task", ["", "  ", None])
def test_an_empty_task(writer, scene, task):
    with pytest.raises(DatasetError, match="episode 1, frame 1: the task is empty"):
        writer.add_frame(scene.frame(1, 1), task)


def test_an_empty_episode(tmp_path, scene):
    writer = scene.create(tmp_path / "d")
    with pytest.raises(DatasetError, match="episode 0: has no frames"):
        writer.save_episode()
    scene.record(writer, [1])
    writer.discard_episode()
    with pytest.raises(DatasetError, match="episode 1: has no frames"):
        writer.save_episode()


def test_closing_with_unsaved_frames(writer, tmp_path):
    with pytest.raises(DatasetError, match="episode 1: its 1 frames are not saved; call save_ep"):
        writer.close()
    writer.discard_episode()
    writer.close()
    writer.close()
    assert Dataset.open(tmp_path / "d").num_episodes == 1


def test_recording_after_closing(tmp_path, scene):
    with scene.create(tmp_path / "d") as writer:
        scene.record(writer, [1])
    with pytest.raises(DatasetError, match="the dataset is closed"):
        writer.add_frame(scene.frame(1, 0), "task")
    with pytest.raises(DatasetError, match="the dataset is closed"):
        writer.save_episode()


@pytest.mark.parametrize(
    ("name", "feature", "text"),
    [
        ("observation.images.top", camera_feature(31, 48), "48x31: .*even.*crop to 48x30"),
        ("observation.images.top", Feature("video", (32, 48, 1)), r"not \[height, width, 3\]"),
        ("a/b", numeric_feature((1,)), "must not be empty or contain '/'"),
        ("index", numeric_feature((1,)), "the writer makes it itself"),
        ("task", numeric_feature((1,)), "the writer makes it itself"),
        ("action", numeric_feature(()), r"shape \[\]; a single number has shape \[1\]"),
        ("action", numeric_feature((2,), ["a"]), "has 1 names for 2 entries"),
        ("action", numeric_feature((2,), dtype="float16"), "has type 'float16'"),
        ("text", Feature("string", (1,)), "has type 'string'"),
    ],
)
def test_features_that_cannot_be_recorded(tmp_path, name, feature, text):
    with pytest.raises(DatasetError, match=f"{name!r}.*{text}"):
        DatasetWriter.create(tmp_path / "d", fps=10, robot_type=None, features={name: feature})
    assert not (tmp_path / "d").exists()


def test_other_bad_beginnings(tmp_path, scene):
    with pytest.raises(DatasetError, match="at least one feature"):
        DatasetWriter.create(tmp_path / "d", fps=10, robot_type=None, features={})
    with pytest.raises(DatasetError, match=r"fps is 29.97"):
        DatasetWriter.create(tmp_path / "d", fps=29.97, robot_type=None, features=scene.features)
    (tmp_path / "file").write_text("")
    for folder in (tmp_path, tmp_path / "file"):
        with pytest.raises(DatasetError, match=r"exists and is not empty; .*DatasetWriter.resume"):
            scene.create(folder)
    with pytest.raises(DatasetError, match="cannot be written"):
        scene.create(tmp_path / "file" / "d")


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"codec": "mjpeg"}, r"codec 'mjpeg': choose one of \['h264', 'av1'\]"),
        ({"crf": 60}, "crf 60 is outside of the range of h264"),
        ({"keyframe_interval": 0}, "keyframe_interval"),
    ],
)
def test_video_options(options, text):
    with pytest.raises(DatasetError, match=text):
        VideoOptions(**options)


@pytest.mark.parametrize(
    ("wanted", "text"),
    [
        ({"fps": 30}, "fps is 10 in the dataset, wanted 30"),
        ({"robot_type": "so101"}, "robot_type is 'so100', wanted 'so101'"),
        (
            {"action": numeric_feature((7,))},
            r"'action' is float32 \[2\] \['pan.pos', 'gripper.pos'\] in the dataset, "
            r"wanted float32 \[7\]",
        ),
        ({"observation.images.top": camera_feature(48, 64)}, r".* wanted video \[48, 64, 3\]"),
        ({"effort": numeric_feature((2,))}, r"the dataset lacks 'effort' \(float32 \[2\]\)"),
        ({"grounding.top": None}, r"the dataset also has 'grounding.top' \(float32 \[3\]\)"),
    ],
)
def test_resuming_another_dataset(recorded, scene, wanted, text):
    options = {key: value for key, value in wanted.items() if key in ("fps", "robot_type")}
    if not options:
        features = {**scene.features, **wanted}
        options["features"] = {k: v for k, v in features.items() if v is not None}
    with pytest.raises(DatasetError, match=f"cannot be continued: {text}"):
        DatasetWriter.resume(recorded, **options)
    assert not (recorded / "recording").exists()


def test_resuming_where_nothing_is(tmp_path):
    with pytest.raises(DatasetError, match="no LeRobot dataset"):
        DatasetWriter.resume(tmp_path)


def fill_disk(folder, name):
    """Make a file that the writer will write end up on a full disk."""
    path = folder / (name + ".partial")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.symlink_to(FULL)


@needs_full
@pytest.mark.parametrize(
    "name",
    [
        "recording/data/episode-000002.parquet",
        "recording/videos/observation.images.top/episode-000002.mp4",
    ],
)
def test_disk_full_while_recording(tmp_path, scene, name):
    folder = tmp_path / "d"
    writer = scene.create(folder)
    scene.record(writer, [3, 4])
    fill_disk(folder, name)
    with pytest.raises(DatasetError, match="disk is full; episode 2 is lost, all 2 before it"):
        scene.record(writer, [5])
    assert not list(folder.rglob("*000002*"))
    # The disk has room again.
    scene.record(writer, [6])
    writer.close()
    dataset = Dataset.open(folder)
    assert not find_problems(dataset, deep=True)
    assert [episode.length for episode in dataset.episodes] == [3, 4, 6]


def test_disk_full_in_the_journal(tmp_path, scene):
    folder = tmp_path / "d"
    writer = scene.create(folder)
    scene.record(writer, [3])
    real = writer._journal._file

    class Full:
        written = False

        def write(self, line):
            if not self.written:
                self.written = True
                return real.write(line[:10])
            raise OSError(errno.ENOSPC, "No space left on device")

        def __getattr__(self, name):
            return getattr(real, name)

    writer._journal._file = Full()
    with pytest.raises(DatasetError, match="disk is full; episode 1 is lost, all 1 before it"):
        scene.record(writer, [4])
    writer._journal._file = real
    scene.record(writer, [5])
    writer.close()
    assert [episode.length for episode in Dataset.open(folder).episodes] == [3, 5]


@needs_full
@pytest.mark.parametrize(
    "name",
    [
        "data/chunk-000/file-000.parquet",
        "videos/observation.images.top/chunk-000/file-000.mp4",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/stats.json",
    ],
)
def test_disk_full_while_closing(tmp_path, scene, name, monkeypatch):
    folder = tmp_path / "d"
    writer = scene.create(folder)
    scene.record(writer, [3, 4])
    fill_disk(folder, name)
    message = (
        f"disk is full while closing.*all 2 episodes are safe.*repair {re.escape(str(folder))}"
    )
    with monkeypatch.context() as patch:
        patch.setattr(finalize, "_remove_strays", lambda *_: None)  # it would find the link
        with pytest.raises(DatasetError, match=message):
            writer.close()
    assert Dataset.open(folder).num_episodes == 2
    assert repair([str(folder)]) == 0
    dataset = Dataset.open(folder)
    assert not find_problems(dataset, deep=True)
    assert [episode.length for episode in dataset.episodes] == [3, 4]
