# SPDX-License-Identifier: Apache-2.0
"""A damaged or foreign dataset is refused, naming file and episode."""

import json
import re

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from smolvla_learning.dataset import Dataset, DatasetError, DatasetWriter, camera_feature
from smolvla_learning.dataset.check import find_problems
from smolvla_learning.dataset.commands import inspect

DATA = "data/chunk-000/file-000.parquet"
EPISODES = "meta/episodes/chunk-000/file-000.parquet"
VIDEO = "videos/observation.images.top/chunk-000/file-000.mp4"


def edit_info(folder, **entries):
    path = folder / "meta/info.json"
    content = {**json.loads(path.read_text()), **entries}
    path.write_text(json.dumps({k: v for k, v in content.items() if v is not None}))


def edit_table(path, name, change):
    """Change a column of a parquet file in place; `change` gets and gives a list."""
    table = pq.read_table(path)
    at = table.column_names.index(name)
    column = pa.array(change(table[name].to_pylist()), table.schema.field(name).type)
    pq.write_table(table.set_column(at, table.schema.field(name), column), path)


def edit_value(path, name, row, value):
    def change(values):
        values[row] = value
        return values

    edit_table(path, name, change)


def cut(path):
    content = path.read_bytes()
    path.write_bytes(content[: len(content) * 3 // 4])


def ragged(path, name):
    table = pq.read_table(path)
    lists = [*table[name].to_pylist()[:-1], [1.0]]
    at = table.column_names.index(name)
    pq.write_table(table.set_column(at, name, pa.array(lists, pa.list_(pa.float32()))), path)


def drop_rows(path, rows):
    table = pq.read_table(path)
    pq.write_table(table.slice(0, len(table) - rows), path)


def drop_column(path, name):
    table = pq.read_table(path)
    pq.write_table(table.drop_columns([name]), path)


def video_of(folder, frames, size=(32, 48)):
    """Put another video in place of the dataset's."""
    features = {"observation.images.top": camera_feature(*size)}
    other = folder.parent / "other"
    with DatasetWriter.create(other, fps=10, robot_type=None, features=features) as writer:
        for _ in range(frames):
            writer.add_frame({"observation.images.top": np.zeros((*size, 3), np.uint8)}, "look")
        writer.save_episode()
    (folder / VIDEO).write_bytes((other / VIDEO).read_bytes())


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (lambda d: (d / "meta/info.json").unlink(), r"no LeRobot dataset \(meta/info.json"),
        (lambda d: (d / "meta/info.json").write_text("{"), "info.json: cannot be read"),
        (lambda d: (d / "meta/info.json").write_text("[]"), "info.json: is not a JSON object"),
        (
            lambda d: edit_info(d, codebase_version="v2.1"),
            r"of version v2.1.*lerobot\.scripts\.convert_dataset_v21_to_v30 --repo-id=\. --root=",
        ),
        (lambda d: edit_info(d, codebase_version="v4.0"), "codebase_version is 'v4.0'"),
        (lambda d: edit_info(d, fps=None), r"info.json: an entry is missing .*KeyError\('fps'\)"),
        (lambda d: edit_info(d, fps=29.97), "info.json: fps is 29.97, not a whole number"),
        (lambda d: edit_info(d, total_frames=15), "info.json: says 3 episodes with 15 frames"),
        (lambda d: (d / DATA).unlink(), f"{DATA}: is missing"),
        (lambda d: cut(d / DATA), f"{DATA}: is damaged or cut short"),
        (lambda d: drop_rows(d / DATA, 2), f"{DATA}: has 12 rows, but episodes 0 to 2 .* 14"),
        (lambda d: (d / VIDEO).unlink(), f"{VIDEO}: is missing"),
        (lambda d: (d / EPISODES).unlink(), "the dataset has no episodes"),
        (lambda d: cut(d / EPISODES), f"{EPISODES}: is damaged or cut short"),
        (lambda d: drop_column(d / EPISODES, "length"), f"{EPISODES}: lacks \\['length'\\]"),
        (
            lambda d: edit_value(d / EPISODES, "length", 1, 6),
            f"{EPISODES}: episode 1 has length 6, but its indices go from 4 to 11",
        ),
        (lambda d: edit_value(d / EPISODES, "tasks", 1, None), r"episode 1: no value of \['tasks"),
        (
            lambda d: edit_value(
                d / EPISODES, "videos/observation.images.top/from_timestamp", 1, float("nan")
            ),
            r"episode 1: no value of \['videos/observation.images.top/from_timestamp'\]",
        ),
        (
            lambda d: edit_value(d / EPISODES, "episode_index", 1, 5),
            "episode 5 stands where episode 1 should",
        ),
        (
            lambda d: (
                edit_table(d / EPISODES, "dataset_from_index", lambda v: [0, 4, 12])
                or edit_table(d / EPISODES, "dataset_to_index", lambda v: [4, 11, 15])
            ),
            "episode 2 begins at index 12, expected 11",
        ),
        (lambda d: (d / "meta/tasks.parquet").unlink(), "meta/tasks.parquet: is missing"),
        (
            lambda d: edit_value(d / "meta/tasks.parquet", "task_index", 1, 7),
            "meta/tasks.parquet: task_index is not 0 to 1",
        ),
    ],
)
def test_a_dataset_that_cannot_be_opened(copy, damage, text):
    damage(copy)
    with pytest.raises(DatasetError, match=text):
        Dataset.open(copy)


@pytest.mark.parametrize(
    ("damage", "text"),
    [
        (
            lambda d: edit_value(d / DATA, "index", 5, 9),
            "episode 1, row 1: index is 9, expected 5",
        ),
        (
            lambda d: edit_value(d / DATA, "episode_index", 5, 0),
            "episode 1, row 1: episode_index is 0, expected 1",
        ),
        (lambda d: edit_value(d / DATA, "frame_index", 12, 5), "episode 2, row 1: frame_index is"),
        (
            lambda d: edit_value(d / DATA, "timestamp", 6, 0.25),
            r"episode 1, row 2: timestamp is 0.2500 s, expected 0.2000 s",
        ),
        (lambda d: edit_value(d / DATA, "timestamp", 6, None), "'timestamp' is not one number"),
        (
            lambda d: edit_value(d / DATA, "task_index", 6, 2),
            r"episode 1: task_index \[1, 2\]; th",
        ),
        (lambda d: edit_value(d / DATA, "task_index", 6, 0), "episode 1: .*name different tasks"),
        (
            lambda d: edit_value(d / DATA, "action", 6, [float("nan"), 0]),
            f"{DATA}: 'action' holds NaN or infinity in episode 1, frame 2",
        ),
        (
            lambda d: edit_value(d / DATA, "observation.state", 13, [0, float("inf")]),
            "'observation.state' holds NaN or infinity in episode 2, frame 2",
        ),
        (lambda d: ragged(d / DATA, "action"), r"'action' is not float32 \[2\]"),
        (lambda d: drop_column(d / DATA, "action"), rf"{DATA}: lacks \['action'\]"),
        (
            lambda d: (d / "data/chunk-000/file-007.parquet").write_bytes((d / DATA).read_bytes()),
            "file-007.parquet: belongs to no episode, but LeRobot would read it",
        ),
        (lambda d: cut(d / VIDEO), f"{VIDEO}: is damaged or cut short"),
        (lambda d: (d / VIDEO).write_bytes(b"no video"), f"{VIDEO}: is damaged or cut short"),
        (lambda d: video_of(d, 13), "episodes 0 to 2: has 13 video frames, its episodes 14"),
        (lambda d: video_of(d, 14, (64, 48)), "the images are 48x64, meta/info.json says 48x32"),
        (
            lambda d: edit_value(
                d / EPISODES, "videos/observation.images.top/to_timestamp", 1, 1.2
            ),
            "episode 1: its video goes from 0.4000 to 1.2000 s, which is not 7 frames at 10",
        ),
        (
            lambda d: (
                edit_table(
                    d / EPISODES,
                    "videos/observation.images.top/from_timestamp",
                    lambda v: [0, 0.4002, 1.1],
                )
                or edit_value(
                    d / EPISODES, "videos/observation.images.top/to_timestamp", 1, 1.1002
                )
            ),
            "episode 1: its video begins at 0.4002 s, not 0.4000 s",
        ),
        (lambda d: (d / "meta/stats.json").unlink(), "meta/stats.json: the statistics are miss"),
        (
            lambda d: (d / "meta/stats.json").write_text('{"index": {}}'),
            r"meta/stats.json: no statistics of \['observation.state', 'action', ",
        ),
    ],
)
def test_a_dataset_that_is_not_sound(copy, damage, text, capsys):
    damage(copy)
    assert inspect([str(copy)]) == 1
    assert re.search(f"error: .*{text}", capsys.readouterr().err)


def test_damage_inside_a_video_is_found_by_decoding(copy, scene):
    path = copy / VIDEO
    content = bytearray(path.read_bytes())
    begin = content.index(b"mdat") + 4
    size = int.from_bytes(content[begin - 8 : begin - 4], "big") - 8
    content[begin : begin + size] = bytes(size)
    path.write_bytes(content)
    dataset = Dataset.open(copy)
    assert not find_problems(dataset)
    (problem,) = find_problems(dataset, deep=True)
    assert re.search(rf"{VIDEO}: episode \d", problem)
    with pytest.raises(DatasetError, match=rf"episode 0, camera '{scene.camera}': .*{VIDEO}"):
        list(dataset.frames(scene.camera, 0))


def test_a_video_that_ends_too_early_is_an_error_not_fewer_frames(copy, scene):
    video_of(copy, 12)
    images = Dataset.open(copy).frames(scene.camera, 2)
    with pytest.raises(DatasetError, match=r"episode 2, .* ends after frame 11; frames 11 to 13"):
        list(images)


def test_all_problems_are_told_at_once(copy):
    edit_value(copy / DATA, "index", 5, 9)
    video_of(copy, 13)
    assert len(find_problems(Dataset.open(copy))) == 2


def test_asking_for_what_is_not_there(recorded, scene):
    dataset = Dataset.open(recorded)
    with pytest.raises(DatasetError, match=r"no feature 'reward'; it has \['observation.state'"):
        dataset.column("reward")
    with pytest.raises(DatasetError, match=r"is a camera; read it with frames\(\)"):
        dataset.column(scene.camera)
    with pytest.raises(DatasetError, match="'action' is no camera; it has"):
        list(dataset.frames("action", 0))
    with pytest.raises(DatasetError, match="no episode 3; it has 0 to 2"):
        list(dataset.frames(scene.camera, 3))


def test_statistics_are_needed_to_extend(copy):
    drop_column(copy / EPISODES, "stats/action/mean")
    with pytest.raises(DatasetError, match=r"no statistics of \['action'\] for each episode"):
        DatasetWriter.resume(copy)


def test_inspect_prints_a_table(recorded, scene, capsys):
    assert inspect([str(recorded), "--deep"]) == 0
    lines = capsys.readouterr().out.splitlines()
    table = {line[:10].strip(): line[10:] for line in lines}
    assert table["robot"] == "so100"
    assert table["episodes"] == "3, of 3 to 7 frames"
    assert table["frames"] == "14 at 10 per second: 0.0 min"
    assert "task      'pick up the cube': 2 episodes" in lines
    assert "feature   action: float32 [2] ['pan.pos', 'gripper.pos']" in lines
    assert f"{scene.camera}: 48x32 h264 yuv420p, 1 files" in table["camera"]
    assert lines[-1] == "sound"


def test_inspect_names_what_is_wrong(copy, tmp_path, capsys):
    assert inspect([str(tmp_path / "nowhere")]) == 2, "nothing there: no answer"
    assert capsys.readouterr().err.startswith("smolvla dataset inspect: ")
    edit_value(copy / DATA, "index", 5, 9)
    assert inspect([str(copy)]) == 1
    captured = capsys.readouterr()
    assert "episode 1, row 1: index is 9" in captured.err
    assert "sound" not in captured.out


def test_a_table_in_the_way_of_other_writers_is_read(copy):
    """Index without a name, as pandas writes it, and lists of free length."""
    path = copy / "meta/tasks.parquet"
    table = pq.read_table(path).rename_columns(["task_index", "__index_level_0__"])
    pq.write_table(table.replace_schema_metadata(None), path)
    data = pq.read_table(copy / DATA)
    at = data.column_names.index("action")
    lists = data["action"].cast(pa.list_(pa.float32()))
    pq.write_table(data.set_column(at, "action", lists), copy / DATA)
    dataset = Dataset.open(copy)
    assert not find_problems(dataset, deep=True)
    assert dataset.tasks == ["pick up the cube", "push the cube"]
    assert dataset.column("action").shape == (14, 2)
