# SPDX-License-Identifier: Apache-2.0
"""A small scene to record: two joints, one camera, gray images that tell frames apart."""

import shutil
from pathlib import Path

import numpy as np
import pytest
from smolvla_learning.dataset import DatasetWriter, camera_feature, joint_features, numeric_feature

FPS = 10
CAMERA = "observation.images.top"


class Scene:
    """Makes frames that can be told apart, and records them."""

    fps = FPS
    camera = CAMERA
    features = {  # noqa: RUF012
        **joint_features(["pan.pos", "gripper.pos"]),
        CAMERA: camera_feature(32, 48),
        "grounding.top": numeric_feature((3,)),
    }
    tasks = ("pick up the cube", "push the cube")

    def gray(self, episode: int, frame: int) -> int:
        return 30 + (40 * episode + 13 * frame) % 190

    def frame(self, episode: int, frame: int) -> dict[str, np.ndarray]:
        value = np.float32(100 * episode + frame)
        image = np.full((32, 48, 3), self.gray(episode, frame), np.uint8)
        return {
            "observation.state": np.array([value, -value], np.float32),
            "action": np.array([value + 0.5, frame], np.float32),
            CAMERA: image,
            "grounding.top": np.array([0.1, 0.2, frame], np.float32),
        }

    def task(self, episode: int) -> str:
        return self.tasks[episode % len(self.tasks)]

    def add(self, writer: DatasetWriter, episode: int, length: int) -> None:
        for frame in range(length):
            writer.add_frame(self.frame(episode, frame), self.task(episode))

    def record(self, writer: DatasetWriter, lengths: list[int]) -> None:
        """Record further episodes."""
        for length in lengths:
            self.add(writer, writer.num_episodes, length)
            writer.save_episode()

    def create(self, folder: Path, **options: object) -> DatasetWriter:
        options = {"features": self.features, **options}
        return DatasetWriter.create(folder, fps=FPS, robot_type="so100", **options)

    def make(self, folder: Path, lengths: list[int], **options: object) -> Path:
        """Record a whole dataset."""
        with self.create(folder, **options) as writer:
            self.record(writer, lengths)
        return folder


@pytest.fixture(scope="session")
def scene() -> Scene:
    return Scene()


@pytest.fixture(scope="session")
def recorded(scene: Scene, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A dataset of three episodes; not to be changed."""
    return scene.make(tmp_path_factory.mktemp("dataset") / "recorded", [4, 7, 3])


@pytest.fixture
def copy(recorded: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may damage."""
    return Path(shutil.copytree(recorded, tmp_path / "copy"))
