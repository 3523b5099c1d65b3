# SPDX-License-Identifier: Apache-2.0
"""A dataset again, with other sentences."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from smolvla_learning.dataset.catalog import episode_files
from smolvla_learning.dataset.features import Array
from smolvla_learning.dataset.layout import INFO, STATS, DatasetError, complete_file
from smolvla_learning.dataset.metadata import write_tasks
from smolvla_learning.dataset.reader import Dataset
from smolvla_learning.dataset.statistics import FeatureStatistics, numeric_statistics
from smolvla_learning.dataset.tables import read_table, write_rows

TASK = "task_index"
ORIGINAL = "original_tasks"
"""Column of meta/episodes: the sentences that an episode had before."""


@dataclass(frozen=True)
class Segment:
    """The frames of an episode that have one sentence.

    Attributes:
        episode: its index.
        task: the sentence up to now.
        frames: their indices within the episode.
    """

    episode: int
    task: str
    frames: tuple[int, ...]


def segments(dataset: Dataset) -> list[Segment]:
    """Return the segments of a dataset, in order.

    Raises:
        DatasetError: a file is damaged, or names a sentence that there is not.
    """
    index = _task_index(dataset)
    found = []
    for episode in dataset.episodes:
        own = index[episode.from_index : episode.to_index]
        found += [
            Segment(
                episode.index, dataset.tasks[task], tuple(np.flatnonzero(own == task).tolist())
            )
            for task in dict.fromkeys(own.tolist())
        ]
    return found


def _task_index(dataset: Dataset) -> Array:
    index = dataset.column(TASK).reshape(-1).astype(np.int64)
    if index.min() < 0 or index.max() >= len(dataset.tasks):
        raise DatasetError(
            f"{dataset.folder}: frames have task_index up to {index.max()}, but "
            f"meta/tasks.parquet has {len(dataset.tasks)} sentences"
        )
    return index


def relabel(dataset: Dataset, sentences: Mapping[tuple[int, str], str], output: Path) -> int:
    """Write a copy of a dataset with other sentences; return how many different ones it has.

    Everything else stays as it is, byte by byte in the videos. The sentences of before are in the
    column `ORIGINAL` of ``meta/episodes``. It appears under its name only when it is complete.

    Args:
        dataset: closed, see `Dataset.interrupted`.
        sentences: (episode, its sentence up to now) -> the new one; others stay.
        output: folder that does not exist.

    Raises:
        DatasetError: the dataset is not closed, or `output` exists.
        OSError: it cannot be written; nothing is left of it.
    """
    if dataset.interrupted:
        raise DatasetError(
            f"{dataset.folder}: its recording was not closed; run smolvla dataset repair first"
        )
    if output.exists():
        raise DatasetError(f"{output}: exists; choose another --output")
    index = _task_index(dataset)
    tasks: dict[str, int] = {}
    new = np.empty_like(index)
    named: list[list[str]] = []
    for episode in dataset.episodes:
        own = index[episode.from_index : episode.to_index]
        texts = {}
        for task in dict.fromkeys(own.tolist()):
            before = dataset.tasks[task]
            texts[task] = sentences.get((episode.index, before), before)
            tasks.setdefault(texts[task], len(tasks))
        new[episode.from_index : episode.to_index] = [tasks[texts[t]] for t in own.tolist()]
        named.append(list(dict.fromkeys(texts.values())))
    partial = output.with_name(output.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    try:
        partial.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(dataset.folder, partial)
        _write_data(dataset, partial, new)
        _write_episodes(dataset, partial, new, named)
        _write_meta(partial, list(tasks), new)
        partial.rename(output)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    return len(tasks)


def _write_data(dataset: Dataset, folder: Path, index: Array) -> None:
    for path, episodes in dataset.data_files().items():
        table = read_table(path)
        column = table.schema.get_field_index(TASK)
        rows = np.concatenate([index[one.from_index : one.to_index] for one in episodes])
        field = table.schema.field(column)
        table = table.set_column(column, field, pa.array(rows).cast(field.type))
        begin = episodes[0].from_index
        groups = (table.slice(one.from_index - begin, one.length) for one in episodes)
        write_rows(folder / path.relative_to(dataset.folder), table.schema, groups)


def _write_episodes(
    dataset: Dataset, folder: Path, index: Array, named: Sequence[Sequence[str]]
) -> None:
    for source in episode_files(dataset.folder):
        table = read_table(source)
        numbers = table["episode_index"].to_pylist()
        episodes = [dataset.episodes[number] for number in numbers]
        own = [numeric_statistics(_column(index[e.from_index : e.to_index])) for e in episodes]
        columns: dict[str, Any] = {"tasks": [list(named[number]) for number in numbers]}
        if ORIGINAL not in table.column_names:
            columns[ORIGINAL] = [list(episode.tasks) for episode in episodes]
        for key in own[0]:
            name = f"stats/{TASK}/{key}"
            if name in table.column_names:
                columns[name] = [about[key].tolist() for about in own]
        for name, values in columns.items():
            known = name in table.column_names
            kind = table.schema.field(name).type if known else pa.list_(pa.string())
            made = pa.array(values, kind)
            if known:
                table = table.set_column(table.schema.get_field_index(name), name, made)
            else:
                table = table.append_column(name, made)
        with complete_file(folder / source.relative_to(dataset.folder)) as file:
            pq.write_table(table, file, compression="snappy")


def _write_meta(folder: Path, tasks: Sequence[str], index: Array) -> None:
    write_tasks(folder, tasks)
    changed: FeatureStatistics = numeric_statistics(_column(index))
    _edit(folder / STATS, {TASK: {key: value.tolist() for key, value in changed.items()}})
    _edit(folder / INFO, {"total_tasks": len(tasks)})


def _edit(path: Path, changes: Mapping[str, Any]) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    with complete_file(path) as file:
        text = json.dumps({**content, **changes}, indent=4, ensure_ascii=False)
        file.write_text(text, encoding="utf-8")


def _column(index: Array) -> Array:
    return index.reshape(-1, 1)
