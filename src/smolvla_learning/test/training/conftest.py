# SPDX-License-Identifier: Apache-2.0
"""A tiny dataset and a tiny architecture, so that a training takes a second."""

from __future__ import annotations

import json

import numpy as np
import pytest
from smolvla_learning.dataset import DatasetWriter, camera_feature, joint_features, numeric_feature

JOINTS = [f"joint_{index}.pos" for index in range(6)]
OBJECTS = ("red_cube", "blue_cube")
SENTENCES = ("touch the red cube", "touch the blue cube")
TINY = {
    "vlm": {
        "scale_factor": 2,
        "vision_config": {
            "hidden_size": 16,
            "intermediate_size": 32,
            "num_hidden_layers": 1,
            "num_attention_heads": 2,
            "image_size": 32,
            "patch_size": 8,
        },
        "text_config": {
            "hidden_size": 32,
            "intermediate_size": 48,
            "num_hidden_layers": 2,
            "num_attention_heads": 2,
            "num_key_value_heads": 1,
            "head_dim": 16,
            "vocab_size": 300,
            "torch_dtype": "float32",
        },
    },
    "policy": {
        "resize_imgs_with_padding": [32, 32],
        "chunk_size": 4,
        "n_action_steps": 2,
        "num_vlm_layers": 2,
        "num_steps": 2,
        "freeze_vision_encoder": False,
        "train_expert_only": False,
        "optimizer_lr": 1e-3,
    },
}


def write_dataset(folder, *, fps=10, cameras=("top", "wrist"), joints=JOINTS, episodes=3, seed=0):
    """Record random episodes of 4 to 6 frames with grounding labels."""
    names = [f"{name}.{value}" for name in OBJECTS for value in ("u", "v", "visible")]
    features = {
        **joint_features(joints),
        **{f"observation.images.{camera}": camera_feature(24, 32) for camera in cameras},
        **{f"grounding.{camera}": numeric_feature((6,), names=names) for camera in cameras},
    }
    rng = np.random.default_rng(seed)
    with DatasetWriter.create(folder, fps=fps, robot_type="so100", features=features) as writer:
        for episode in range(episodes):
            for _ in range(4 + episode % 3):
                frame = {
                    "observation.state": rng.normal(size=len(joints)).astype(np.float32),
                    "action": rng.normal(size=len(joints)).astype(np.float32),
                }
                for camera in cameras:
                    frame[f"observation.images.{camera}"] = rng.integers(
                        0, 256, (24, 32, 3), dtype=np.uint8
                    )
                    labels = rng.uniform(0.0, 1.0, (2, 3)).astype(np.float32)
                    labels[:, 2] = 1.0
                    frame[f"grounding.{camera}"] = labels.reshape(-1)
                writer.add_frame(frame, SENTENCES[episode % 2])
            writer.save_episode()
    return folder


@pytest.fixture(scope="session")
def record():
    """Return `write_dataset`."""
    return write_dataset


@pytest.fixture(scope="session")
def dataset_folder(tmp_path_factory):
    return write_dataset(tmp_path_factory.mktemp("data") / "set")


@pytest.fixture(scope="session")
def architecture(tmp_path_factory):
    path = tmp_path_factory.mktemp("architecture") / "tiny.json"
    path.write_text(json.dumps(TINY))
    return path


@pytest.fixture
def options(tmp_path, dataset_folder, architecture):
    """Return a function that composes a command line; keyword arguments win."""

    def compose(**changes):
        values = {
            "output": tmp_path / "out",
            "dataset": [dataset_folder],
            "architecture": architecture,
            "steps": 4,
            "batch-size": 4,
            "log-every": 1,
            "save-every": 2,
            "cache": tmp_path / "cache",
            "device": "cpu",
            "precision": "float32",
            "threads": 1,
            **{name.replace("_", "-"): value for name, value in changes.items()},
        }
        line = []
        for name, value in values.items():
            if value is None:
                continue
            line.append(f"--{name}")
            if value is not True:
                line += [str(v) for v in value] if isinstance(value, list) else [str(value)]
        return line

    return compose
