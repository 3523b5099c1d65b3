# SPDX-License-Identifier: Apache-2.0
"""A dataset is continued only by a recorder with the same settings."""

import pytest
from smolvla_learning.dataset import Dataset, DatasetError
from smolvla_learning.dataset.check import find_problems


@pytest.fixture
def recorded(make_bench):
    bench = make_bench()
    bench.record(4)
    bench.close()
    return bench.store.folder


def test_a_recording_goes_on_after_the_last_episode(make_bench, recorded):
    bench = make_bench()
    assert bench.store.num_episodes == 1
    assert "saved episode 1: 6 frames" in bench.record(6)
    bench.close()
    data = Dataset.open(recorded)
    assert not find_problems(data, deep=True)
    assert [of.length for of in data.episodes] == [4, 6]


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"fps": 20}, "fps is 10 in the dataset, wanted 20"),
        ({"arm": {"robot_type": "other"}}, "robot_type is 'test_arm', wanted 'other'"),
        ({"arm": {"joints": ("pan", "claw")}}, "'pan.pos', 'claw.pos'"),
        ({"cameras": ("top",)}, "the dataset also has 'observation.images.wrist'"),
        ({"cameras": ("top", "wrist", "side")}, "it has no observation.images.side"),
    ],
)
def test_what_differs_is_named(make_bench, recorded, options, text):
    with pytest.raises(DatasetError, match="cannot be continued") as caught:
        make_bench(**options)
    assert text in str(caught.value)
    make_bench().record(3)  # nothing is locked or broken


def test_another_size_of_image_is_refused_at_the_start(make_bench, recorded):
    bench = make_bench()
    bench.size = (24, 32)
    with pytest.raises(ValueError, match="not started") as caught:
        bench.start()
    assert "'observation.images.top' is video [12, 16, 3] in the dataset" in str(caught.value)


def test_a_folder_with_something_else_is_refused(make_bench, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(DatasetError, match="no LeRobot dataset"):
        make_bench(folder=tmp_path)
    assert (tmp_path / "notes.txt").exists()


def test_two_recorders_cannot_share_a_dataset(make_bench, recorded):
    first = make_bench()
    with pytest.raises(DatasetError, match="another program is recording"):
        make_bench()
    first.record(3)


def test_an_empty_folder_and_a_dataset_without_episodes_will_do(make_bench, tmp_path):
    folder = tmp_path / "empty"
    folder.mkdir()
    bench = make_bench(folder=folder)
    bench.start()
    bench.run(2)
    bench.close()  # nothing saved
    again = make_bench(folder=folder)
    assert "saved episode 0" in again.record(3)


def test_units_are_noted_and_others_are_not_recorded_behind_them(make_bench, tmp_path):
    folder = tmp_path / "noted"
    bench = make_bench(folder=folder)
    bench.record(3)
    bench.close()
    about = Dataset.open(folder).info.raw["features"]
    for feature in ("observation.state", "action"):
        output = about[feature]["info"]
        assert output == {
            "units": "degrees",
            "joint_signs": [1.0, 1.0],
            "gripper_range": [0.0, 2.0],
        }
    with pytest.raises(DatasetError, match="units is degrees in the dataset, wanted radians"):
        make_bench(folder=folder, units="radians")
    make_bench(folder=folder).record(3)


def test_a_folder_that_cannot_be_written_is_refused_at_once(make_bench, tmp_path):
    (tmp_path / "letter").write_text("dear arm")
    with pytest.raises(DatasetError, match="letter/cubes: nothing can be written: Not a d"):
        make_bench(folder=tmp_path / "letter" / "cubes")
