# SPDX-License-Identifier: Apache-2.0
"""Read a LeRobotDataset v3.0, also one whose recording was killed."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from .catalog import Catalog, Episode, read_catalog
from .check import check_files, find_problems
from .decode import decode_frames
from .episodes import read_merged_statistics
from .errors import DatasetError
from .features import FRAME_COLUMNS, Array, Feature
from .journal import journal_path
from .metadata import Info, read_info, read_statistics
from .statistics import Statistics, merge_statistics
from .tables import read_table, to_array

FINITE = ("observation.state", "action")
"""Features in which NaN or infinity is an error."""


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
    def open(cls, folder: str | Path) -> Dataset:
        """Open a dataset.

        Args:
            folder: that holds meta/, data/ and videos/.

        Raises:
            DatasetError: there is no dataset, it is of another version, has no episodes, a file
                is missing or damaged, or files contradict each other.
        """
        folder = Path(folder)
        info = read_info(folder)
        catalog = read_catalog(folder, info)
        if not catalog.episodes:
            raise DatasetError(f"{folder}: the dataset has no episodes")
        dataset = cls(folder, info, catalog)
        check_files(dataset)
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
        """Names of the features that are videos."""
        return self.info.cameras

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
        """Statistics of every feature over the whole dataset, float64.

        stats[name] has min, max, mean, std, q01, q10, q50, q90, q99 with the feature's shape
        (cameras: (3, 1, 1), values in [0, 1]) and count with shape (1,).

        Raises:
            DatasetError: they are missing or damaged.
        """
        if not self.interrupted:
            stats = read_statistics(self.folder)
        else:
            parts = [entry.statistics for entry in self._pending]
            if len(parts) < self.num_episodes:
                parts.append(read_merged_statistics(self.folder, self.info))
            stats = merge_statistics(parts)
        lacking = [name for name in self.features if name not in stats and self._has_stats(name)]
        if lacking:
            raise DatasetError(f"{self.folder}/meta/stats.json: no statistics of {lacking}")
        return {
            name: {key: value.astype(np.float64) for key, value in about.items()}
            for name, about in stats.items()
        }

    def _has_stats(self, name: str) -> bool:
        return self.features[name].dtype != "string"

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
        if name in FINITE:
            self._check_finite(name, values)
        return values

    def check(self, deep: bool = False) -> None:
        """Check everything that LeRobot and the training rely on.

        Args:
            deep: decode all videos too.

        Raises:
            DatasetError: something is wrong; the text lists all that was found, one a line.
        """
        problems = find_problems(self, deep)
        if problems:
            raise DatasetError("\n".join(problems))

    def stored_feature(self, name: str) -> Feature:
        """Find a feature that is in the data files.

        Raises:
            DatasetError: there is none of that name, or it holds images.
        """
        feature = self.features.get(name) or FRAME_COLUMNS.get(name)
        if feature is None:
            known = [*self.features, *FRAME_COLUMNS]
            raise DatasetError(f"{self.folder}: has no feature {name!r}; it has {known}")
        if feature.is_camera:
            raise DatasetError(f"{self.folder}: {name!r} is a camera; read it with frames()")
        if feature.dtype == "image":
            raise DatasetError(
                f"{self.folder}: {name!r} is kept as pictures inside parquet, which is not read "
                "here; record with use_videos=True or convert it to video with LeRobot"
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
            DatasetError: there is no such camera or episode, or its video is damaged.
        """
        if camera not in self.cameras:
            self.stored_feature(camera)
            raise DatasetError(f"{self.folder}: {camera!r} is no camera; it has {self.cameras}")
        if not 0 <= episode < self.num_episodes:
            raise DatasetError(
                f"{self.folder}: has no episode {episode}; it has 0 to {self.num_episodes - 1}"
            )
        about = self.episodes[episode]
        span = about.videos[camera]
        first = round(span.from_timestamp * self.fps)
        try:
            yield from decode_frames(span.path, first, about.length, self.fps)
        except DatasetError as error:
            raise DatasetError(f"episode {episode}, camera {camera!r}: {error}") from error
