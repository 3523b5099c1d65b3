# SPDX-License-Identifier: Apache-2.0
"""The small files that describe a dataset: info.json, tasks.parquet, stats.json."""

from __future__ import annotations

import json
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smolvla_learning.dataset.features import (
    CAMERA_TYPES,
    FRAME_COLUMNS,
    Feature,
    image_shape,
    is_depth_format,
)
from smolvla_learning.dataset.layout import (
    DATA_PATH,
    INFO,
    STATS,
    TASKS,
    VERSION,
    VIDEO_PATH,
    DatasetError,
    Limits,
    complete_file,
)
from smolvla_learning.dataset.statistics import Statistics
from smolvla_learning.dataset.tables import read_table


@dataclass(frozen=True)
class Info:
    """What meta/info.json says.

    Attributes:
        fps: frames per second.
        robot_type: name of the robot, or None.
        features: of the user; the columns that every dataset has are left out.
        limits: how large files may become.
        total_episodes: in the final files.
        total_frames: in the final files.
        total_tasks: in the final files.
        data_path: template of the data files.
        video_path: template of the video files.
        camera_info: camera -> what is known about its video.
        raw: the file as it was read; entries that are unknown here are kept.
    """

    fps: int
    robot_type: str | None
    features: dict[str, Feature]
    limits: Limits = field(default_factory=Limits)
    total_episodes: int = 0
    total_frames: int = 0
    total_tasks: int = 0
    data_path: str = DATA_PATH
    video_path: str = VIDEO_PATH
    camera_info: dict[str, dict[str, Any]] = field(default_factory=dict)
    raw: dict[str, Any] = field(default_factory=dict)

    @property
    def cameras(self) -> list[str]:
        """Names of the color cameras."""
        return [name for name, feature in self.features.items() if feature.is_camera]

    @property
    def videos(self) -> list[str]:
        """Names of the features in video files, depth cameras included."""
        return [name for name, feature in self.features.items() if feature.is_video]

    @property
    def recorded(self) -> dict[str, Feature]:
        """Features that each frame brings while it is recorded."""
        return {name: item for name, item in self.features.items() if not item.is_annotation}

    @property
    def stored(self) -> dict[str, Feature]:
        """Features that a recording puts in the data files, the writer's own included."""
        own = {name: item for name, item in self.recorded.items() if not item.is_video}
        return {**own, **FRAME_COLUMNS}


def camera_facts(feature: Feature, fps: int, codec: str, pix_fmt: str) -> dict[str, Any]:
    """What info.json says about the video of a camera."""
    return {
        "video.height": feature.shape[0],
        "video.width": feature.shape[1],
        "video.codec": codec,
        "video.pix_fmt": pix_fmt,
        "video.is_depth_map": False,
        "video.fps": fps,
        "video.channels": feature.shape[2],
        "has_audio": False,
    }


def _feature_json(info: Info, name: str, feature: Feature) -> dict[str, Any]:
    before: dict[str, Any] = dict(info.raw.get("features", {}).get(name, {}))
    names = None if feature.names is None else list(feature.names)
    entry = {"dtype": feature.dtype, "shape": list(feature.shape), "names": names, **before}
    if name in info.camera_info:
        entry["info"] = info.camera_info[name]
    return entry


def write_info(folder: Path, info: Info) -> None:
    """Write meta/info.json."""
    features = {**info.features, **FRAME_COLUMNS}
    content = {
        **info.raw,
        "codebase_version": VERSION,
        "robot_type": info.robot_type,
        "total_episodes": info.total_episodes,
        "total_frames": info.total_frames,
        "total_tasks": info.total_tasks,
        "chunks_size": info.limits.files_per_chunk,
        "data_files_size_in_mb": info.limits.data_mb,
        "video_files_size_in_mb": info.limits.video_mb,
        "fps": info.fps,
        "splits": {"train": f"0:{info.total_episodes}"} if info.total_episodes else {},
        "data_path": info.data_path,
        "video_path": info.video_path if info.videos else None,
        "features": {name: _feature_json(info, name, item) for name, item in features.items()},
    }
    _write_json(folder / INFO, content)


def read_info(folder: Path, hub_id: str | None = None) -> Info:
    """Read meta/info.json.

    Args:
        folder: of the dataset.
        hub_id: where the folder was downloaded from.

    Raises:
        DatasetError: there is no dataset, it is of another version, or an entry is wrong.
    """
    path = folder / INFO
    raw = _read_json(path, f"{folder}: no LeRobot dataset ({INFO} is missing)")
    version = str(raw.get("codebase_version"))
    if version.startswith(("v1", "v2")):
        # "." is the folder itself for LeRobot 0.4, which puts root and repo-id together, and
        # means nothing to later ones, for which the root is the folder.
        which = (
            f"--repo-id={hub_id}"
            if hub_id
            else f"--repo-id=. --root={shlex.quote(str(folder.absolute()))}"
        )
        raise DatasetError(
            f"{hub_id or folder}: is a dataset of version {version}, {VERSION} is read here; "
            "convert it with LeRobot 0.6: python -m lerobot.scripts.convert_dataset_v21_to_v30 "
            f"{which} --push-to-hub=false (with 0.4: lerobot.datasets.v30."
            "convert_dataset_v21_to_v30)"
        )
    if not version.startswith("v3."):
        raise DatasetError(f"{path}: codebase_version is {version!r}, {VERSION} is read here")
    try:
        features = {
            name: _feature(about)
            for name, about in raw["features"].items()
            if name not in FRAME_COLUMNS
        }
        default = Limits()
        return Info(
            fps=_whole_fps(path, raw["fps"]),
            robot_type=raw.get("robot_type"),
            features=features,
            limits=Limits(
                int(raw.get("chunks_size") or default.files_per_chunk),
                raw.get("data_files_size_in_mb") or default.data_mb,
                raw.get("video_files_size_in_mb") or default.video_mb,
            ),
            total_episodes=int(raw["total_episodes"]),
            total_frames=int(raw["total_frames"]),
            total_tasks=int(raw.get("total_tasks", 0)),
            data_path=raw.get("data_path") or DATA_PATH,
            video_path=raw.get("video_path") or VIDEO_PATH,
            camera_info={
                name: about["info"] for name, about in raw["features"].items() if about.get("info")
            },
            raw=raw,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise DatasetError(f"{path}: an entry is missing or wrong ({error!r})") from error


def _whole_fps(path: Path, fps: float) -> int:
    if fps < 1 or int(fps) != fps:
        raise DatasetError(f"{path}: fps is {fps}, not a whole number of frames per second")
    return int(fps)


def _feature(about: Mapping[str, Any]) -> Feature:
    names = about.get("names")
    if isinstance(names, dict):  # older datasets: {"motors": [...]}
        values = list(names.values())
        names = values[0] if len(values) == 1 and isinstance(values[0], list) else None
    shape = tuple(int(size) for size in about["shape"])
    dtype = str(about["dtype"])
    if dtype in CAMERA_TYPES:
        shape = image_shape(shape, names)
        return Feature(dtype, shape, ("height", "width", "channels"), _is_depth(about))
    return Feature(dtype, shape, tuple(map(str, names)) if names else None)


def _is_depth(about: Mapping[str, Any]) -> bool:
    """Whether a camera measures distances: LeRobot's mark, or gray of more than 8 bits."""
    facts = [about.get(key) or {} for key in ("info", "video_info")]
    marks = ("is_depth_map", "video.is_depth_map")
    formats = [str(part.get("video.pix_fmt", "")) for part in facts]
    marked = any(part.get(mark) for part in facts for mark in marks)
    return marked or any(map(is_depth_format, formats))


def write_tasks(folder: Path, tasks: Sequence[str]) -> None:
    """Write meta/tasks.parquet: a pandas table whose index "task" holds the texts."""
    described = [
        {"name": "task_index", "pandas_type": "int64", "numpy_type": "int64"},
        {"name": "task", "pandas_type": "unicode", "numpy_type": "object"},
    ]
    index = {"name": None, "pandas_type": "unicode", "numpy_type": "object"}
    pandas = {
        "index_columns": ["task"],
        "column_indexes": [{**index, "field_name": None, "metadata": {"encoding": "UTF-8"}}],
        "columns": [
            {**about, "field_name": about["name"], "metadata": None} for about in described
        ],
        "creator": {"library": "pyarrow", "version": pa.__version__},
        "pandas_version": "2.2.0",
    }
    table = pa.table(
        {
            "task_index": pa.array(range(len(tasks)), pa.int64()),
            "task": pa.array(list(tasks), pa.string()),
        }
    ).replace_schema_metadata({"pandas": json.dumps(pandas)})
    with complete_file(folder / TASKS) as partial:
        pq.write_table(table, partial, compression="snappy")


def read_tasks(folder: Path) -> list[str]:
    """Read meta/tasks.parquet: the texts in the order of task_index.

    Raises:
        DatasetError: the file is missing or damaged, or its numbers have gaps.
    """
    path = folder / TASKS
    table = read_table(path)
    texts = [name for name in table.column_names if name != "task_index"]
    if "task_index" not in table.column_names or not texts:
        raise DatasetError(
            f"{path}: has the columns {table.column_names}, not task and task_index"
        )
    name = "task" if "task" in texts else texts[-1]
    rows = zip(table["task_index"].to_pylist(), table[name].to_pylist(), strict=True)
    by_index = dict(rows)
    if sorted(by_index) != list(range(len(table))):
        raise DatasetError(f"{path}: task_index is not 0 to {len(table) - 1}")
    return [str(by_index[at]) for at in range(len(by_index))]


def write_statistics(folder: Path, statistics: Statistics) -> None:
    """Write meta/stats.json."""
    content = {
        name: {key: value.tolist() for key, value in about.items()}
        for name, about in statistics.items()
    }
    _write_json(folder / STATS, content)


def read_statistics(folder: Path) -> Statistics:
    """Read meta/stats.json: float64 arrays.

    Raises:
        DatasetError: the file is missing or damaged.
    """
    path = folder / STATS
    raw = _read_json(path, f"{path}: the statistics are missing; copy or download it again")
    try:
        return {
            name: {key: np.atleast_1d(np.array(value, np.float64)) for key, value in about.items()}
            for name, about in raw.items()
        }
    except (AttributeError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be understood ({error})") from error


def _write_json(path: Path, content: Mapping[str, Any]) -> None:
    with complete_file(path) as partial:
        partial.write_text(json.dumps(content, indent=4, ensure_ascii=False), encoding="utf-8")


def _read_json(path: Path, missing: str) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DatasetError(missing) from error
    except (OSError, ValueError) as error:
        raise DatasetError(f"{path}: cannot be read ({error})") from error
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: is not a JSON object")
    return content
