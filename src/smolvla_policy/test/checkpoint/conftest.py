# SPDX-License-Identifier: Apache-2.0
"""The golden checkpoint, copies of it to be mutated, and one observation."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file as load_numpy
from safetensors.torch import load_file, save_file
from smolvla_policy.policy import SmolVLAPolicy

GOLDEN = Path(__file__).parents[1] / "golden"


class Copy:
    """A copy of the golden checkpoint with handles to change it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(GOLDEN / "ckpt", folder)

    def edit(self, name: str, change) -> None:
        """Let `change` modify a JSON file."""
        path = self.folder / name
        content = json.loads(path.read_text())
        change(content)
        path.write_text(json.dumps(content))

    def config(self, **fields) -> None:
        self.edit("config.json", lambda content: content.update(fields))

    def robot(self, **fields) -> None:
        path = self.folder / "robot.json"
        content = json.loads(path.read_text()) if path.exists() else {}
        path.write_text(json.dumps({**content, **fields}))

    def tensors(self, change, name: str = "model.safetensors") -> None:
        """Let `change` replace the tensors of a file."""
        path = self.folder / name
        save_file({key: value.clone() for key, value in change(load_file(path)).items()}, path)

    def statistics(self, change) -> None:
        """Let `change` replace the tensors of both statistics files."""
        for path in self.folder.glob("policy_*.safetensors"):
            self.tensors(change, path.name)

    def without_processors(self) -> None:
        for path in self.folder.glob("policy_*"):
            path.unlink()

    def load(self, **options) -> SmolVLAPolicy:
        return SmolVLAPolicy.from_pretrained(self.folder, **{"dtype": "float32", **options})


@pytest.fixture
def copy(tmp_path):
    return Copy(tmp_path / "copy")


@pytest.fixture(scope="session")
def policy():
    return SmolVLAPolicy.from_pretrained(GOLDEN / "ckpt", dtype="float32")


@pytest.fixture(scope="session")
def sample():
    """Return the first golden observation as arguments of `predict_chunk`."""
    data = load_numpy(GOLDEN / "inputs.safetensors")
    task = json.loads((GOLDEN / "meta.json").read_text())["tasks"][0]
    cameras = ("top", "wrist", "side")
    return {
        "images": {f"observation.images.{c}": data[f"image_u8.{c}"][0] for c in cameras},
        "state": data["state_raw"][0],
        "task": task,
        "noise": data["noise"][0],
    }


@pytest.fixture(scope="session")
def want():
    """Return LeRobot's actions for `sample`, in the robot's units."""
    data = load_numpy(GOLDEN / "f32_b1.safetensors")
    return np.asarray(data["actions_unnormalized"][0])
