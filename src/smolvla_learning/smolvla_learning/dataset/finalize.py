# SPDX-License-Identifier: Apache-2.0
"""Bring saved episodes from the recording folder into the final files.

Final files are only added, never changed. The new file of the episode table is what makes the
new episodes count; before it, a kill leaves files that nothing refers to and that the next
attempt replaces; after it, the totals and statistics are made again from the table.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pyarrow as pa

from smolvla_learning.dataset.catalog import (
    Episode,
    VideoSpan,
    episode_files,
    episode_table,
    read_merged_statistics,
)
from smolvla_learning.dataset.journal import Saved, saved_data, saved_video
from smolvla_learning.dataset.layout import (
    BEFORE_FIRST,
    EPISODES_PATH,
    MEGABYTE,
    PARTIAL,
    DatasetError,
    Position,
    complete_file,
    damaged,
    data_file,
    video_file,
)
from smolvla_learning.dataset.metadata import (
    Info,
    camera_facts,
    write_info,
    write_statistics,
    write_tasks,
)
from smolvla_learning.dataset.tables import frame_schema, parquet_file, read_table, write_rows
from smolvla_learning.dataset.video import JoinedVideo, video_facts


def finalize(
    folder: Path,
    info: Info,
    rows: Sequence[Episode],
    saved: Sequence[Saved],
    tasks: Sequence[str],
) -> Info:
    """Bring saved episodes into the final files, and make totals and statistics.

    Args:
        folder: of the dataset.
        info: of the dataset.
        rows: the episodes that are in the final files already.
        saved: the episodes in the recording folder, that follow them.
        tasks: all texts, in the order of task_index.

    Returns:
        What info.json says now.
    """
    added: list[Episode] = []
    if saved:
        _remove_strays(folder, info, rows)
        added = _add_files(folder, info, rows, saved)
    write_tasks(folder, tasks)
    if added:
        _add_table(folder, info, added, saved)
    write_statistics(folder, read_merged_statistics(folder, info))
    everything = [*rows, *added]
    info = _with_camera_info(info, everything)
    info = replace(
        info,
        total_episodes=len(everything),
        total_frames=sum(row.length for row in everything),
        total_tasks=len(tasks),
    )
    write_info(folder, info)
    return info


def _last_data(rows: Sequence[Episode]) -> Position:
    return max((row.position for row in rows), default=BEFORE_FIRST)


def _last_video(rows: Sequence[Episode], camera: str) -> Position:
    return max((row.videos[camera].position for row in rows), default=BEFORE_FIRST)


def _remove_strays(folder: Path, info: Info, rows: Sequence[Episode]) -> None:
    """Remove what an earlier attempt left behind the last file that an episode is in."""
    places = [(folder / "data", _last_data(rows))]
    places += [(folder / "videos" / camera, _last_video(rows, camera)) for camera in info.videos]
    for place, last in places:
        for path in place.glob("chunk-*/file-*"):
            number = path.name.split(".")[0].removeprefix("file-")
            chunk = path.parent.name.removeprefix("chunk-")
            if path.name.endswith(PARTIAL) or (
                number.isdigit() and chunk.isdigit() and Position(int(chunk), int(number)) > last
            ):
                path.unlink()


def _add_files(
    folder: Path, info: Info, rows: Sequence[Episode], saved: Sequence[Saved]
) -> list[Episode]:
    data = _add_data(folder, info, _last_data(rows), saved)
    videos = {
        camera: _add_videos(folder, info, camera, _last_video(rows, camera), saved)
        for camera in info.videos
    }
    added = []
    begin = rows[-1].to_index if rows else 0
    for at, entry in enumerate(saved):
        parts = {camera: videos[camera][at] for camera in info.videos}
        path = folder / data_file(data[at], info.data_path)
        added.append(Episode(entry.index, entry.length, begin, entry.tasks, path, parts, data[at]))
        begin += entry.length
    return added


def _add_data(folder: Path, info: Info, last: Position, saved: Sequence[Saved]) -> list[Position]:
    """Write the data files; returns the file of each episode."""
    schema = frame_schema(info.stored)
    earlier = folder / data_file(last, info.data_path)
    if last != BEFORE_FIRST:
        with parquet_file(earlier) as file:
            schema = file.schema_arrow
    annotated = [name for name in info.features if name not in info.recorded]
    positions: list[Position] = []
    sizes = [saved_data(folder, entry.index).stat().st_size for entry in saved]
    for group in _groups(saved, sizes, info.limits.data_mb * MEGABYTE):
        last = last.next(info.limits)
        tables = (_frames_of(folder, entry, schema, annotated) for entry in group)
        write_rows(folder / data_file(last, info.data_path), schema, tables)
        positions += [last] * len(group)
    return positions


def _groups(
    saved: Sequence[Saved], sizes: Sequence[int], limit: float
) -> Iterator[Sequence[Saved]]:
    """Cut the episodes into groups that are not larger than a limit, if they can be."""
    begin, total = 0, 0
    for at, size in enumerate(sizes):
        if at > begin and total + size > limit:
            yield saved[begin:at]
            begin, total = at, 0
        total += size
    yield saved[begin:]


def _frames_of(
    folder: Path, entry: Saved, schema: pa.Schema, annotated: Sequence[str]
) -> pa.Table:
    path = saved_data(folder, entry.index)
    recorded = [name for name in schema.names if name not in annotated]
    table = read_table(path, recorded)
    if len(table) != entry.length:
        raise damaged(path, f"it has {len(table)} rows, its episode {entry.length} frames")
    for name in annotated:  # nobody has annotated the new frames yet
        if name in schema.names:
            table = table.append_column(name, _empty_lists(schema.field(name).type, len(table)))
    return _cast(table.select(schema.names), schema, path)


def _empty_lists(kind: pa.DataType, rows: int) -> pa.Array:
    """Make a column of lists without entries, whatever their entries would be."""
    nothing = pa.array([0] * (rows + 1), pa.int32())
    return pa.ListArray.from_arrays(nothing, pa.nulls(0, kind.value_type), type=kind)


def _cast(table: pa.Table, schema: pa.Schema, path: Path) -> pa.Table:
    """Give a table the types of the earlier files, which others may have written."""
    try:
        return table.replace_schema_metadata(schema.metadata).cast(schema)
    except (pa.ArrowException, ValueError) as error:
        raise DatasetError(f"{path}: does not fit to the earlier files ({error})") from error


def _add_videos(
    folder: Path, info: Info, camera: str, last: Position, saved: Sequence[Saved]
) -> list[VideoSpan]:
    """Write the video files of a camera; returns the part of each episode."""
    parts: list[VideoSpan] = []
    at = 0
    while at < len(saved):
        last = last.next(info.limits)
        joint_file = folder / video_file(camera, last, info.video_path)
        with complete_file(joint_file) as partial:
            joined = JoinedVideo(partial, info.fps)
            try:
                for entry in itertools.islice(saved, at, None):
                    path = saved_video(folder, camera, entry.index)
                    if joined.frames and not _fits(joined, entry, path, info):
                        break
                    begin = joined.frames
                    if not joined.append(path, entry.length):
                        break
                    times = begin / info.fps, joined.frames / info.fps
                    parts.append(VideoSpan(joint_file, *times, last))
            finally:
                joined.close()
        at = len(parts)
    return parts


def _fits(joined: JoinedVideo, entry: Saved, path: Path, info: Info) -> bool:
    size = joined.size + path.stat().st_size
    seconds = (joined.frames + entry.length) / info.fps
    limits = info.limits
    return size <= limits.video_mb * MEGABYTE and seconds <= limits.video_seconds


def _add_table(folder: Path, info: Info, added: Sequence[Episode], saved: Sequence[Saved]) -> None:
    """Write the new file of the episode table; from then on the episodes count."""
    files = episode_files(folder)
    last = BEFORE_FIRST
    if files:
        numbers = files[-1].parent.name, files[-1].stem
        last = Position(*(int(name.split("-")[1]) for name in numbers))
    position = last.next(info.limits)
    path = folder / data_file(position, EPISODES_PATH)
    table = episode_table(added, [entry.statistics for entry in saved], position)
    if files:
        with parquet_file(files[-1]) as file:
            schema = file.schema_arrow
        for field in schema:
            if field.name not in table.column_names:
                table = table.append_column(field, pa.nulls(len(table), field.type))
        table = _cast(table.select(schema.names), schema, path)
    write_rows(path, table.schema, iter([table]))


def _with_camera_info(info: Info, rows: Sequence[Episode]) -> Info:
    about = dict(info.camera_info)
    for camera in info.videos:
        if camera not in about and rows:
            facts = video_facts(rows[0].videos[camera].path)
            about[camera] = camera_facts(
                info.features[camera], info.fps, facts.codec, facts.pix_fmt
            )
    return replace(info, camera_info=about)
