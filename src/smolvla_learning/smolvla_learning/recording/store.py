# SPDX-License-Identifier: Apache-2.0
"""The dataset that is recorded into: begun with the first episode, or one that is continued."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

from smolvla_core.node_settings import RecordSettings
from smolvla_core.settings import SettingError
from smolvla_core.units.calibration import GRIPPER
from smolvla_policy.checkpoint.config import ACTION
from smolvla_policy.checkpoint.robot import CONVERSION, RobotFacts

from smolvla_learning.dataset import (
    DatasetError,
    DatasetWriter,
    Feature,
    VideoOptions,
    camera_feature,
    holds_dataset,
    joint_features,
)
from smolvla_learning.dataset.features import (
    INTERVENTION,
    feature_differences,
    numeric_feature,
)
from smolvla_learning.recording.inputs import image_feature


class EpisodeStore:
    """Opens the dataset; what it shall hold is known only when the first images came.

    Args:
        settings: of the recorder. `dataset` is a folder that is new or empty, or a dataset with
            the same features, which is continued; one of which no episode was saved is begun
            anew. Units, signs and gripper are noted in the dataset, for its state and action.

    Raises:
        ValueError: no folder is named.
        DatasetError: the folder holds something else, or a dataset that differs; the text says
            in what.
    """

    def __init__(self, settings: RecordSettings) -> None:
        if not settings.dataset.strip():
            raise SettingError(
                "dataset", "is empty: name a folder, e.g. -p dataset:=$HOME/datasets/cubes"
            )
        self.folder = Path(settings.dataset).expanduser()
        self._settings = settings
        self._numbers = joint_features([joint.feature for joint in settings.body.moving])
        flag = numeric_feature((1,), dtype="bool")
        self._flags = {INTERVENTION: flag} if settings.intervention else {}
        self._video = VideoOptions(
            codec=settings.video_codec,
            crf=settings.video_crf,
            preset=settings.video_preset or None,
            threads=settings.video_threads,
        )
        joints = settings.body.moving
        grippers = [joint.gripper_range for joint in joints if joint.role == GRIPPER]
        self._facts = RobotFacts(
            units=settings.units,
            joint_signs=tuple(float(joint.sign or 1) for joint in joints),
            gripper_range=grippers[0] if grippers else (),
        ).known(*CONVERSION)
        self._writer: DatasetWriter | None = None
        try:
            with tempfile.TemporaryFile(dir=self._existing()):
                pass  # before an episode is lost
        except OSError as error:
            raise DatasetError(
                f"{self.folder}: nothing can be written: {error.strerror}"
            ) from error
        if holds_dataset(self.folder):
            self._writer = self._resumed()

    @property
    def writer(self) -> DatasetWriter | None:
        """The open dataset; None before the first episode of a new one."""
        return self._writer

    @property
    def num_episodes(self) -> int:
        """Saved episodes, those of earlier recordings included."""
        return 0 if self._writer is None else self._writer.num_episodes

    def _existing(self) -> Path:
        """Return the folder of the dataset, or the nearest one above it that there is."""
        folder = self.folder.absolute()
        while not folder.exists():
            folder = folder.parent
        return folder

    def disk_problem(self, least: float) -> str:
        """Return an error where less than `least` [GB] is free, else an empty text."""
        folder = self._existing()
        free = shutil.disk_usage(folder).free
        if free >= least * 1e9:
            return ""
        return (
            f"only {free / 1e9:.1f} GB are free at {folder}, less than min_free_disk "
            f"({least:g} GB)"
        )

    def open(self, shapes: Mapping[str, tuple[int, ...]]) -> DatasetWriter:
        """Return the dataset, which is begun if there is none yet.

        Args:
            shapes: camera name -> (height, width, 3) of its images.

        Raises:
            DatasetError: a size is odd or not that of the dataset, or nothing can be written.
        """
        features = self._features(
            {camera: camera_feature(*shape[:2]) for camera, shape in shapes.items()}
        )
        if self._writer is None:
            self._writer = DatasetWriter.create(
                self.folder,
                fps=self._settings.fps,
                robot_type=self._settings.body.robot_type,
                features=features,
                video=self._video,
                about=dict.fromkeys(self._numbers, self._facts) if self._facts else None,
            )
        else:
            self._check(self._writer, features)
        return self._writer

    def _features(self, cameras: Mapping[str, Feature]) -> dict[str, Feature]:
        images = {image_feature(name): of for name, of in cameras.items()}
        return {**self._numbers, **images, **self._flags}

    def _resumed(self) -> DatasetWriter:
        writer = DatasetWriter.resume(
            self.folder,
            fps=self._settings.fps,
            robot_type=self._settings.body.robot_type,
            video=self._video,
        )
        known, noted = writer.features, writer.about(ACTION)
        names = {camera: image_feature(camera) for camera in self._settings.cameras}
        lacking = [name for name in names.values() if name not in known]
        try:
            if lacking:
                raise DatasetError(
                    f"{self.folder}: cannot be continued: it has no {', '.join(lacking)}; its "
                    f"features are {', '.join(known)}"
                )
            for name, value in self._facts.items():
                if noted.get(name, value) != value:
                    raise DatasetError(
                        f"{self.folder}: cannot be continued: {name} is {noted[name]} in the "
                        f"dataset, wanted {value}"
                    )
            # Sizes of images are not known yet: they are compared when an episode begins.
            self._check(
                writer, self._features({camera: known[name] for camera, name in names.items()})
            )
        except DatasetError:
            writer.close()
            raise
        return writer

    def _check(self, writer: DatasetWriter, features: Mapping[str, Feature]) -> None:
        differences = list(feature_differences(features, writer.features))
        if differences:
            raise DatasetError(f"{self.folder}: cannot be continued: {'; '.join(differences)}")
