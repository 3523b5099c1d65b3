# SPDX-License-Identifier: Apache-2.0
"""Find and read a LeRobotDataset v3.0, also one whose recording was killed."""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Iterator
from functools import cached_property, partial
from pathlib import Path

import numpy as np

from smolvla_learning.dataset.catalog import (
    Catalog,
    Episode,
    read_catalog,
    read_merged_statistics,
    span_of,
)
from smolvla_learning.dataset.features import FRAME_COLUMNS, Array, Feature
from smolvla_learning.dataset.journal import journal_path
from smolvla_learning.dataset.layout import INFO, VERSION, DatasetError, missing
from smolvla_learning.dataset.metadata import Info, read_info, read_statistics
from smolvla_learning.dataset.statistics import Statistics, merge_statistics
from smolvla_learning.dataset.tables import parquet_file, read_pictures, read_table, to_array
from smolvla_learning.dataset.video import decode_frames, video_facts

NEEDED = ("observation.state", "action")
"""Features that every training needs: with statistics, and without NaN and infinity."""


class Dataset:
    """A dataset that is read; made by `open`.

    Attributes:
        folder: of the dataset.
        info: what meta/info.json says.
        features: of the user: name -> feature.
        episodes: of the dataset, in order.
        tasks: texts, in the order of task_index.
    """

    def __init__(self, folder: Path, info: Info, catalog: Catalog) -> None:
        self.folder = folder
        self.info = info
        self.features: dict[str, Feature] = dict(info.features)
        self.episodes = catalog.episodes
        self.tasks = catalog.tasks
        self._pending = catalog.pending

    @classmethod
    def open(cls, source: str | Path) -> Dataset:
        """Open a dataset.

        Args:
            source: the folder that holds meta/, data/ and videos/, or a hub id; see
                `find_dataset`.

        Raises:
            DatasetError: there is no dataset, it is of another version, has no episodes, a file
                is missing or damaged, files contradict each other, or it cannot be downloaded.
        """
        folder = find_dataset(source)
        info = read_info(folder)
        catalog = read_catalog(folder, info)
        if not catalog.episodes:
            raise DatasetError(f"{folder}: the dataset has no episodes")
        dataset = cls(folder, info, catalog)
        dataset._check_files()
        return dataset

    @property
    def interrupted(self) -> bool:
        """Whether its recording was not closed (or goes on): LeRobot needs a repair first."""
        return journal_path(self.folder).exists()

    @property
    def fps(self) -> int:
        """Frames per second."""
        return self.info.fps

    @property
    def robot_type(self) -> str | None:
        """Name of the robot."""
        return self.info.robot_type

    @property
    def cameras(self) -> list[str]:
        """Names of the color cameras; their images are read with `frames`."""
        return self.info.cameras

    @property
    def depth_cameras(self) -> list[str]:
        """Names of the cameras that measure distances; their images are not read."""
        return [name for name, feature in self.features.items() if feature.is_depth]

    @property
    def num_episodes(self) -> int:
        """Number of episodes."""
        return len(self.episodes)

    @property
    def num_frames(self) -> int:
        """Frames of all episodes."""
        return self.episodes[-1].to_index

    @cached_property
    def stats(self) -> Statistics:
        """Statistics of the features over the whole dataset, float64.

        stats[name] has min, max, mean, std, q01, q10, q50, q90, q99 with the feature's shape
        (cameras: (3, 1, 1), values in [0, 1]) and count with shape (1,). LeRobot's tools leave
        out those of features that they add or convert; see `without_statistics`.

        Raises:
            DatasetError: the file, or those of state or action, are missing or damaged.
        """
        if not self.interrupted:
            stats = read_statistics(self.folder)
        else:
            parts = [entry.statistics for entry in self._pending]
            if len(parts) < self.num_episodes:
                parts.append(read_merged_statistics(self.folder, self.info))
            stats = merge_statistics(parts)
        lacking = self._lacking(stats)
        if any(name in NEEDED for name in lacking):
            raise DatasetError(f"{self.folder}/meta/stats.json: no statistics of {lacking}")
        return {
            name: {key: value.astype(np.float64) for key, value in about.items()}
            for name, about in stats.items()
        }

    @property
    def without_statistics(self) -> list[str]:
        """Names of the features that should have statistics and have none."""
        return self._lacking(self.stats)

    def _lacking(self, stats: Statistics) -> list[str]:
        return [
            name
            for name, feature in self.features.items()
            if feature.has_statistics and name not in stats
        ]

    def data_files(self) -> dict[Path, list[Episode]]:
        """Data files in order, each with its episodes."""
        files: dict[Path, list[Episode]] = {}
        for episode in self.episodes:
            files.setdefault(episode.data, []).append(episode)
        return files

    def column(self, name: str) -> Array:
        """Read a feature of numbers over all frames.

        Args:
            name: of a feature, or timestamp, frame_index, episode_index, index, task_index.

        Returns:
            (num_frames, *shape); (num_frames,) for features of shape (1,) and the five above.

        Raises:
            DatasetError: there is no such column, it holds images, a file is damaged, or state
                or action hold NaN or infinity.
        """
        feature = self.stored_feature(name)
        shape = () if feature.shape == (1,) else feature.shape
        parts = []
        for path in self.data_files():
            column = read_table(path, [name])[name]
            try:
                parts.append(to_array(column, shape))
            except ValueError as error:
                raise DatasetError(f"{path}: {name!r} is not {feature} ({error})") from error
        values = np.concatenate(parts)
        if name in NEEDED:
            self._check_finite(name, values)
        return values

    def video_files(self, camera: str) -> dict[Path, list[Episode]]:
        """Video files of a camera in order, each with its episodes."""
        files: dict[Path, list[Episode]] = {}
        for episode in self.episodes:
            files.setdefault(episode.videos[camera].path, []).append(episode)
        return files

    def _check_files(self) -> None:
        """Check what can be checked without reading the data: totals, files, rows.

        Raises:
            DatasetError: files are missing, damaged, or contradict each other.
        """
        if not self.interrupted:
            said = (self.info.total_episodes, self.info.total_frames)
            if said != (self.num_episodes, self.num_frames):
                raise DatasetError(
                    f"{self.folder / INFO}: says {said[0]} episodes with {said[1]} frames, but "
                    f"meta/episodes holds {self.num_episodes} with {self.num_frames}"
                )
        for path, episodes in self.data_files().items():
            wanted = sum(episode.length for episode in episodes)
            with parquet_file(path) as file:
                rows = file.metadata.num_rows
            if rows != wanted:
                raise DatasetError(
                    f"{path}: has {rows} rows, but {span_of(episodes)} in it have {wanted} frames"
                )
        for camera in self.info.videos:
            for path in self.video_files(camera):
                if not path.exists():
                    raise missing(path)

    def stored_feature(self, name: str) -> Feature:
        """Find a feature that is in the data files.

        Raises:
            DatasetError: there is none of that name, or it holds images.
        """
        feature = self.features.get(name) or FRAME_COLUMNS.get(name)
        if feature is None:
            known = [*self.features, *FRAME_COLUMNS]
            raise DatasetError(f"{self.folder}: has no feature {name!r}; it has {known}")
        if feature.is_depth:
            raise DatasetError(
                f"{self.folder}: {name!r} is a depth camera, which is not read; choose a color "
                f"camera: {', '.join(self.cameras) or 'it has none'}"
            )
        if feature.is_camera:
            raise DatasetError(f"{self.folder}: {name!r} is a camera; read it with frames()")
        if feature.is_annotation:
            raise DatasetError(
                f"{self.folder}: {name!r} holds annotations, not numbers; read them with LeRobot"
            )
        return feature

    def _check_finite(self, name: str, values: Array) -> None:
        bad = ~np.isfinite(values.reshape(len(values), -1)).all(axis=1)
        if not bad.any():
            return
        index = int(bad.argmax())
        episode = next(episode for episode in self.episodes if index < episode.to_index)
        raise DatasetError(
            f"{episode.data}: {name!r} holds NaN or infinity in episode {episode.index}, frame "
            f"{index - episode.from_index} ({int(bad.sum())} frames in all); record that episode "
            "again, or take it out with LeRobot's lerobot-edit-dataset"
        )

    def frames(self, camera: str, episode: int) -> Iterator[Array]:
        """Decode the images of one camera in one episode.

        Args:
            camera: name of the feature.
            episode: index of the episode.

        Yields:
            (height, width, 3) uint8 RGB, exactly as many as the episode has frames.

        Raises:
            DatasetError: there is no such camera or episode, it measures depth, or its images
                are damaged.
        """
        self._check_camera(camera)
        if not 0 <= episode < self.num_episodes:
            raise DatasetError(
                f"{self.folder}: has no episode {episode}; it has 0 to {self.num_episodes - 1}"
            )
        try:
            yield from self._frames(camera, self.episodes[episode])
        except DatasetError as error:
            raise DatasetError(f"episode {episode}, camera {camera!r}: {error}") from error

    def _frames(self, camera: str, episode: Episode) -> Iterator[Array]:
        if not self.features[camera].is_video:
            begin = episode.from_index - self.data_files()[episode.data][0].from_index
            return read_pictures(self.folder, episode.data, camera, begin, episode.length)
        span = episode.videos[camera]
        first = round(span.from_timestamp * self.fps)
        return decode_frames(span.path, first, episode.length, self.fps)

    def image_size(self, camera: str) -> tuple[int, int]:
        """Return height and width of a camera's images, as its first file holds them.

        Raises:
            DatasetError: there is no such camera, it measures depth, or the file is damaged.
        """
        self._check_camera(camera)
        first = self.episodes[0]
        if self.features[camera].is_video:
            facts = video_facts(first.videos[camera].path)
            return facts.height, facts.width
        height, width, _ = next(read_pictures(self.folder, first.data, camera, 0, 1)).shape
        return height, width

    def _check_camera(self, name: str) -> None:
        if name not in self.cameras:
            self.stored_feature(name)
            raise DatasetError(f"{self.folder}: {name!r} is no camera; it has {self.cameras}")


HUB_ID = re.compile(r"([A-Za-z0-9][\w.-]*/[\w.-]+)(?:@([\w./-]+))?")
PATTERNS = ["meta/*", "data/*", "videos/*"]
"""What is downloaded; `*` stands for folders, too."""


def find_dataset(source: str | Path) -> Path:
    """Return the folder that holds a dataset.

    Args:
        source: a folder; or a hub id such as ``lerobot/svla_so101_pickplace``, which is looked
            for where LeRobot keeps its datasets (``HF_LEROBOT_HOME``), then in the cache of the
            hub (LeRobot's own if it has the dataset) and on the hub. ``owner/name@revision``
            asks for a branch, tag or commit; without it the tag v3.0 is taken if there is one,
            as LeRobot does, else the main branch.

    Returns:
        The folder with ``meta``, ``data`` and ``videos``; it may turn out to be no dataset.

    Raises:
        DatasetError: there is none, it cannot be downloaded, or is of a version that is not
            read.
    """
    folder = Path(source).expanduser()
    if folder.exists():
        return folder
    asked = HUB_ID.fullmatch(str(source))
    if asked is None:
        raise DatasetError(
            f"{source}: no LeRobot dataset (there is no such folder, and it is no hub id like "
            "owner/name)"
        )
    repo_id, revision = asked.groups()
    home = _lerobot_home()
    if revision is None and (home / repo_id / INFO).is_file():
        return home / repo_id
    cache = home / "hub"
    known = (cache / f"datasets--{repo_id.replace('/', '--')}").is_dir()
    return _download(repo_id, revision, cache if known else None)


def _lerobot_home() -> Path:
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    hub = os.environ.get("HF_HOME") or f"{cache}/huggingface"
    return Path(os.environ.get("HF_LEROBOT_HOME") or f"{hub}/lerobot").expanduser()


def _download(repo_id: str, revision: str | None, cache: Path | None) -> Path:
    from huggingface_hub import errors, snapshot_download

    download = partial(snapshot_download, repo_id, repo_type="dataset", cache_dir=cache)
    wanted = [revision] if revision else [VERSION, None]
    folder = None
    try:
        for name in wanted:
            try:
                # First what says the version: an old dataset is not worth its gigabytes.
                found = download(revision=name, allow_patterns=[INFO])
            except (errors.RevisionNotFoundError, errors.LocalEntryNotFoundError):
                if name is wanted[-1]:
                    raise
                continue
            folder = Path(found)
            break
        assert folder is not None
        read_info(folder, repo_id)
        download(revision=folder.name, allow_patterns=PATTERNS)
    except DatasetError:
        raise
    except (OSError, ValueError, RuntimeError) as error:
        raise DatasetError(f"dataset {repo_id!r}: {_reason(repo_id, revision, error)}") from error
    return folder


def _reason(repo_id: str, revision: str | None, error: Exception) -> str:
    """Return why a dataset is unavailable, and the remedy."""
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError):
        return (
            "its owner asks for consent; give it on the dataset's page on the Hugging Face Hub, "
            "then log in with `hf auth login`"
        )
    if isinstance(error, errors.RepositoryNotFoundError):
        return (
            "there is no folder of this name here and no such dataset on the Hugging Face Hub; "
            "check the name, or log in with `hf auth login` if it is private"
        )
    if isinstance(error, errors.RevisionNotFoundError):
        return f"has no branch, tag or commit {revision!r} on the Hugging Face Hub"
    if getattr(error, "errno", None) in (errno.ENOSPC, errno.EDQUOT):
        return "the disk is full; make room, or set HF_HOME to a folder on another disk"
    at = f" --revision {revision}" if revision else ""
    reason = (str(error).strip().splitlines() or [""])[0]
    return (
        f"there is no folder of this name here, it is not complete in the cache of the Hugging "
        f"Face Hub, and the hub cannot be reached ({type(error).__name__}: {reason}). Give a "
        "folder; or, where there is a network and HF_HUB_OFFLINE is not set, run `hf download "
        f"--repo-type dataset {repo_id}{at}`"
    )
