# SPDX-License-Identifier: Apache-2.0
"""The files are those of LeRobotDataset v3.0, checked without our own reader."""

import itertools
import json

import av
import numpy as np
import pyarrow.parquet as pq
import pytest
from smolvla_learning.dataset import Dataset, DatasetWriter, Limits, VideoOptions
from smolvla_learning.dataset.check import find_problems

QUANTITIES = ["min", "max", "mean", "std", "count", "q01", "q10", "q50", "q90", "q99"]


def files(folder):
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_files_are_where_lerobot_looks_for_them(recorded):
    assert files(recorded) == [
        "data/chunk-000/file-000.parquet",
        "meta/episodes/chunk-000/file-000.parquet",
        "meta/info.json",
        "meta/stats.json",
        "meta/tasks.parquet",
        "videos/observation.images.top/chunk-000/file-000.mp4",
    ]


def test_info(recorded, scene):
    info = json.loads((recorded / "meta/info.json").read_text())
    features = info.pop("features")
    assert info == {
        "codebase_version": "v3.0",
        "robot_type": "so100",
        "total_episodes": 3,
        "total_frames": 14,
        "total_tasks": 2,
        "chunks_size": 1000,
        "data_files_size_in_mb": 100,
        "video_files_size_in_mb": 200,
        "fps": 10,
        "splits": {"train": "0:3"},
        "data_path": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet",
        "video_path": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4",
    }
    assert features["action"] == {
        "dtype": "float32",
        "shape": [2],
        "names": ["pan.pos", "gripper.pos"],
    }
    assert features["index"] == {"dtype": "int64", "shape": [1], "names": None}
    assert features["timestamp"] == {"dtype": "float32", "shape": [1], "names": None}
    assert features[scene.camera] == {
        "dtype": "video",
        "shape": [32, 48, 3],
        "names": ["height", "width", "channels"],
        "info": {
            "video.height": 32,
            "video.width": 48,
            "video.codec": "h264",
            "video.pix_fmt": "yuv420p",
            "video.is_depth_map": False,
            "video.fps": 10,
            "video.channels": 3,
            "has_audio": False,
        },
    }


def test_data_rows(recorded):
    file = pq.ParquetFile(recorded / "data/chunk-000/file-000.parquet")
    assert file.num_row_groups == 3
    types = {field.name: str(field.type) for field in file.schema_arrow}
    assert types == {
        "observation.state": "fixed_size_list<element: float>[2]",
        "action": "fixed_size_list<element: float>[2]",
        "grounding.top": "fixed_size_list<element: float>[3]",
        "timestamp": "float",
        "frame_index": "int64",
        "episode_index": "int64",
        "index": "int64",
        "task_index": "int64",
    }
    rows = file.read().to_pydict()
    assert rows["index"] == list(range(14))
    assert rows["episode_index"] == [0] * 4 + [1] * 7 + [2] * 3
    assert rows["frame_index"] == [*range(4), *range(7), *range(3)]
    assert rows["task_index"] == [0] * 4 + [1] * 7 + [0] * 3
    assert rows["timestamp"] == [np.float32(at / 10) for at in rows["frame_index"]]
    assert file.metadata.row_group(0).column(0).compression == "SNAPPY"


def test_tasks_are_a_pandas_table_with_the_text_as_index(recorded, scene):
    table = pq.read_table(recorded / "meta/tasks.parquet")
    assert table.to_pydict() == {"task_index": [0, 1], "task": list(scene.tasks)}
    pandas = json.loads(table.schema.metadata[b"pandas"])
    assert pandas["index_columns"] == ["task"]
    assert {column["field_name"] for column in pandas["columns"]} == {"task", "task_index"}


def test_episode_rows(recorded, scene):
    table = pq.read_table(recorded / "meta/episodes/chunk-000/file-000.parquet")
    rows = table.to_pydict()
    video = f"videos/{scene.camera}/"
    assert rows["episode_index"] == [0, 1, 2]
    assert rows["tasks"] == [[scene.tasks[0]], [scene.tasks[1]], [scene.tasks[0]]]
    assert rows["length"] == [4, 7, 3]
    assert rows["dataset_from_index"] == [0, 4, 11]
    assert rows["dataset_to_index"] == [4, 11, 14]
    assert rows[video + "from_timestamp"] == [0.0, 0.4, 1.1]
    assert rows[video + "to_timestamp"] == [0.4, 1.1, 1.4]
    places = ["data/chunk_index", "data/file_index", video + "chunk_index", video + "file_index"]
    places += ["meta/episodes/chunk_index", "meta/episodes/file_index"]
    assert all(rows[place] == [0, 0, 0] for place in places)
    own = ["timestamp", "frame_index", "episode_index", "index", "task_index"]
    for name in [*scene.features, *own]:
        assert all(f"stats/{name}/{quantity}" in rows for quantity in QUANTITIES), name
    assert rows["stats/action/max"] == [[3.5, 3.0], [106.5, 6.0], [202.5, 2.0]]
    assert rows["stats/action/count"] == [[4], [7], [3]]
    assert np.shape(rows[f"stats/{scene.camera}/mean"]) == (3, 3, 1, 1)
    assert rows["stats/index/min"] == [[0], [4], [11]]


def test_statistics_file(recorded, scene):
    stats = json.loads((recorded / "meta/stats.json").read_text())
    assert stats["action"]["max"] == [202.5, 6.0]
    assert stats["action"]["count"] == [14]
    assert stats["index"]["max"] == [13]
    assert set(stats["action"]) == set(QUANTITIES)
    assert np.shape(stats[scene.camera]["std"]) == (3, 1, 1)


def test_video_frames_are_evenly_spaced_with_a_keyframe_every_other(recorded, scene):
    path = recorded / f"videos/{scene.camera}/chunk-000/file-000.mp4"
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        assert (stream.codec_context.name, stream.codec_context.pix_fmt) == ("h264", "yuv420p")
        assert (stream.width, stream.height, stream.frames) == (48, 32, 14)
        assert stream.average_rate == 10
        assert stream.start_time == 0
        frames = list(container.decode(stream))
    assert [float(frame.pts * frame.time_base) for frame in frames] == pytest.approx(
        [at / 10 for at in range(14)], abs=1e-6
    )
    keys = [frame.key_frame for frame in frames]
    assert all(keys[at] for at in [0, 4, 11]), "an episode begins with a keyframe"
    assert all(one or other for one, other in itertools.pairwise(keys))


def test_files_roll_over_at_the_limits(tmp_path, scene):
    limits = Limits(files_per_chunk=2, data_mb=1e-6, video_mb=1e-6)
    folder = scene.make(tmp_path / "d", [2, 3, 2], limits=limits)
    names = ["chunk-000/file-000", "chunk-000/file-001", "chunk-001/file-000"]
    found = files(folder)
    assert [name for name in found if name.startswith("data")] == [
        f"data/{name}.parquet" for name in names
    ]
    assert [name for name in found if name.startswith("videos")] == [
        f"videos/{scene.camera}/{name}.mp4" for name in names
    ]
    rows = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pydict()
    assert rows["data/chunk_index"] == [0, 0, 1]
    assert rows["data/file_index"] == [0, 1, 0]
    assert rows[f"videos/{scene.camera}/from_timestamp"] == [0, 0, 0]
    assert json.loads((folder / "meta/info.json").read_text())["chunks_size"] == 2
    assert not find_problems(Dataset.open(folder), deep=True)


def test_episodes_share_a_file_up_to_the_limits(tmp_path, scene):
    limits = Limits(video_seconds=1.0)
    folder = scene.make(tmp_path / "d", [4, 6, 1, 9, 1], limits=limits)
    rows = pq.read_table(folder / "meta/episodes/chunk-000/file-000.parquet").to_pydict()
    assert rows["data/file_index"] == [0] * 5
    assert rows[f"videos/{scene.camera}/file_index"] == [0, 0, 1, 1, 2]
    assert rows[f"videos/{scene.camera}/from_timestamp"] == [0, 0.4, 0, 0.1, 0]
    assert not find_problems(Dataset.open(folder), deep=True)


def test_other_compression_begins_a_new_video_file(tmp_path, scene):
    writer = scene.create(tmp_path / "d", video=VideoOptions(crf=18))
    scene.record(writer, [3])
    del writer
    with DatasetWriter.resume(tmp_path / "d", video=VideoOptions(crf=40)) as writer:
        scene.record(writer, [3])
    spans = [episode.videos[scene.camera] for episode in Dataset.open(tmp_path / "d").episodes]
    assert [span.path.name for span in spans] == ["file-000.mp4", "file-001.mp4"]
    assert not find_problems(Dataset.open(tmp_path / "d"), deep=True)
