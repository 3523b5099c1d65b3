# SPDX-License-Identifier: Apache-2.0
"""A recording may end at any moment: the saved episodes stay, and it can go on."""

import os
import shutil
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest
from smolvla_learning.dataset import Dataset, DatasetError, DatasetWriter, layout
from smolvla_learning.dataset.check import find_problems
from smolvla_learning.dataset.commands import repair
from smolvla_learning.dataset.journal import journal_path, saved_data, saved_video


@pytest.fixture
def killed(tmp_path, scene):
    """A recording that ended in the middle of its third episode."""
    folder = tmp_path / "killed"
    writer = scene.create(folder)
    scene.record(writer, [4, 7])
    scene.add(writer, 2, 3)
    del writer
    return folder


def assert_recorded(folder, scene, lengths):
    """The dataset is complete, holds these episodes, and nothing else lies around."""
    dataset = Dataset.open(folder)
    assert not find_problems(dataset, deep=True)
    assert [episode.length for episode in dataset.episodes] == lengths
    pairs = [(e.index, at) for e in dataset.episodes for at in range(e.length)]
    expected = [scene.frame(*pair)["action"] for pair in pairs]
    assert np.array_equal(dataset.column("action"), expected)
    tasks = [dataset.tasks[at] for at in dataset.column("task_index")]
    assert tasks == [scene.task(episode) for episode, _ in pairs]
    for episode, length in enumerate(lengths):
        images = dataset.frames(scene.camera, episode)
        for at, image in enumerate(images):
            assert abs(image.mean() - scene.gray(episode, at)) < 3
        assert at == length - 1
    assert dataset.stats["action"]["mean"] == pytest.approx(np.mean(expected, axis=0))
    assert dataset.stats["action"]["count"] == len(expected)
    assert not list(folder.rglob("*.partial"))


def assert_closed(folder):
    assert not (folder / "recording").exists()
    assert not Dataset.open(folder).interrupted


def test_a_killed_recording_can_be_read(killed, scene):
    assert Dataset.open(killed).interrupted
    dataset = Dataset.open(killed)
    assert (dataset.num_episodes, dataset.num_frames) == (2, 11)
    assert dataset.tasks == list(scene.tasks)
    assert dataset.stats["action"]["count"] == 11
    assert [len(list(dataset.frames(scene.camera, at))) for at in (0, 1)] == [4, 7]
    assert dataset.column("action").shape == (11, 2)
    assert not find_problems(dataset, deep=True)


def test_a_killed_recording_goes_on_at_the_last_saved_episode(killed, scene):
    with DatasetWriter.resume(killed, features=scene.features) as writer:
        assert (writer.num_episodes, writer.num_frames) == (2, 11)
        assert not list(killed.rglob("*.partial")), "leftovers of the lost episode"
        scene.record(writer, [5])
    assert_recorded(killed, scene, [4, 7, 5])
    assert_closed(killed)


def test_killed_again_after_resuming_a_complete_dataset(copy, scene):
    writer = DatasetWriter.resume(copy)
    scene.record(writer, [2])
    del writer
    assert_recorded(copy, scene, [4, 7, 3, 2])
    assert Dataset.open(copy).interrupted
    assert repair([str(copy)]) == 0
    assert_recorded(copy, scene, [4, 7, 3, 2])
    assert_closed(copy)


def test_half_a_line_in_the_journal_is_not_an_episode(killed, scene):
    line = journal_path(killed).read_bytes().splitlines()[-1]
    with journal_path(killed).open("ab") as file:
        file.write(line[: len(line) // 2])
    for source in (saved_data(killed, 1), saved_video(killed, scene.camera, 1)):
        source.with_name(source.name.replace("000001", "000002")).write_bytes(source.read_bytes())
    assert Dataset.open(killed).num_episodes == 2
    with DatasetWriter.resume(killed) as writer:
        assert writer.num_episodes == 2
        assert not saved_data(killed, 2).exists()
        scene.record(writer, [3])
    assert_recorded(killed, scene, [4, 7, 3])


def test_a_kill_at_any_step_of_closing(tmp_path, scene, monkeypatch):
    """Closing is stopped before each file in turn; afterwards nothing is lost or doubled."""
    lengths = [2, 3, 1]
    before = scene.make(tmp_path / "before", lengths[:1])
    writer = DatasetWriter.resume(before)
    scene.record(writer, lengths[1:])
    del writer
    for step in range(10):
        folder = Path(shutil.copytree(before, tmp_path / str(step)))
        writer = DatasetWriter.resume(folder)
        left = iter(range(step))

        def replace(source, target, left=left):
            if next(left, None) is None:
                raise KeyboardInterrupt
            os.rename(source, target)

        with monkeypatch.context() as patch:
            patch.setattr(layout.os, "replace", replace)
            try:
                writer.close()
                stopped = False
            except KeyboardInterrupt:
                stopped = True
        del writer
        assert_recorded(folder, scene, lengths)
        assert Dataset.open(folder).interrupted == stopped
        assert repair([str(folder)]) == 0
        assert_recorded(folder, scene, lengths)
        assert_closed(folder)
        assert len(list((folder / "data").rglob("*.parquet"))) == 2
        if not stopped:
            break
    assert step == 6, "data, video, tasks, episodes, stats and info are written in turn"


def test_kill_9(tmp_path, scene):
    folder = tmp_path / "d"
    program = f"""
        import numpy as np
        from smolvla_learning.dataset import DatasetWriter, camera_feature, joint_features
        features = {{**joint_features(["a"]), "observation.images.top": camera_feature(32, 48)}}
        writer = DatasetWriter.create({str(folder)!r}, fps=10, robot_type=None, features=features)
        image, value = np.zeros((32, 48, 3), np.uint8), np.zeros(1, np.float32)
        frame = {{"observation.state": value, "action": value, "observation.images.top": image}}
        while True:
            for _ in range(4):
                writer.add_frame(frame, "wait")
            writer.save_episode()
            print(writer.num_episodes, flush=True)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with process:
        seen = [int(process.stdout.readline()) for _ in range(3)]
        process.send_signal(signal.SIGKILL)
        seen += [int(line) for line in process.stdout.read().splitlines()]
    dataset = Dataset.open(folder)
    assert not find_problems(dataset, deep=True)
    assert len(seen) <= dataset.num_episodes <= len(seen) + 1
    with DatasetWriter.resume(folder) as writer:
        assert writer.num_episodes == dataset.num_episodes
    assert not find_problems(Dataset.open(folder), deep=True)


def test_one_program_records_at_a_time(killed):
    first = DatasetWriter.resume(killed)
    with pytest.raises(DatasetError, match="another program is recording into"):
        DatasetWriter.resume(killed)
    first.close()


def test_an_error_while_recording_costs_the_running_episode_only(tmp_path, scene):
    class CameraLost(Exception):  # noqa: N818
        pass

    def record():
        with scene.create(tmp_path / "d") as writer:
            scene.record(writer, [4])
            scene.add(writer, 1, 2)
            raise CameraLost

    with pytest.raises(CameraLost):
        record()
    assert_recorded(tmp_path / "d", scene, [4])
    assert_closed(tmp_path / "d")


def test_repair_says_what_it_did(killed, copy, tmp_path, scene, capsys):
    assert repair([str(killed)]) == 0
    assert "complete, 2 episodes" in capsys.readouterr().out
    assert repair([str(copy)]) == 0
    assert "nothing to repair, 3 episodes" in capsys.readouterr().out
    scene.create(tmp_path / "empty").close()
    assert repair([str(tmp_path / "empty")]) == 2
    assert "no episode was saved" in capsys.readouterr().err
    assert repair([str(tmp_path / "nowhere")]) == 2
    assert "no LeRobot dataset" in capsys.readouterr().err


def test_a_damaged_saved_episode_can_be_given_up(killed, scene):
    saved_video(killed, scene.camera, 1).write_bytes(b"")
    with pytest.raises(DatasetError, match=r"episode-000001.mp4: .*remove their lines from"):
        DatasetWriter.resume(killed).close()
    path = journal_path(killed)
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    assert repair([str(killed)]) == 0
    assert_recorded(killed, scene, [4])
