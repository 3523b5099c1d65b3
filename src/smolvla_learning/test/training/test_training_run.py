# SPDX-License-Identifier: Apache-2.0
"""Whole trainings on a tiny dataset: they learn, can be killed, and end in a checkpoint."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from smolvla_learning.dataset import Dataset
from smolvla_learning.training.options import parse
from smolvla_learning.training.samples import Batches, Source
from smolvla_learning.training.train import main, train
from smolvla_policy.checkpoint.config import ACTION, STATE
from smolvla_policy.checkpoint.robot import read_robot
from smolvla_policy.policy import SmolVLAPolicy

# A training that kills its own process, as `kill -9` would, before it makes its fifth step.
KILLED = """
import os, signal, sys
from smolvla_learning.training.train import main
from smolvla_learning.training.trainer import Trainer

step = Trainer._step

def until_the_fifth(self, number):
    if number == 4:
        os.kill(os.getpid(), signal.SIGKILL)
    step(self, number)

Trainer._step = until_the_fifth
main(sys.argv[1:])
"""


def weights(folder):
    return load_file(folder / "checkpoints" / "last" / "pretrained_model" / "model.safetensors")


def rows(folder):
    with (folder / "metrics.csv").open() as file:
        return list(csv.DictReader(file))


def test_a_training_ends_in_a_checkpoint_that_predicts(options, tmp_path, capsys):
    assert main(options(grounding_weight=1.0, draws=2, noise=0.01)) == 0
    printed = capsys.readouterr()
    assert not printed.err, "progress bars are for a terminal"
    out = tmp_path / "out"
    assert printed.out.endswith(f"trained: {out}/checkpoints/000004/pretrained_model\n")
    policy = SmolVLAPolicy.from_pretrained(out / "checkpoints" / "last" / "pretrained_model")
    image = np.zeros((24, 32, 3), np.uint8)
    images = {"observation.images.top": image, "observation.images.wrist": image}
    actions = policy.predict_chunk(images, np.zeros(6, np.float32), "touch the red cube")
    assert actions.shape == (4, 6)
    assert policy.dtype == "float32"
    assert [int(row["step"]) for row in rows(out)] == [1, 2, 3, 4]
    assert all(float(row["grounding_loss"]) > 0 for row in rows(out))
    assert not any("head" in name for name in weights(out))
    assert list((out / "tensorboard").iterdir())


def test_a_training_for_asynchronous_execution_says_so(options, tmp_path):
    """Also when it is resumed; LeRobot does not read the file."""
    line = options(rtc_delay=3, state_offset=2, steps=2)
    assert main(line) == 0
    folder = tmp_path / "out" / "checkpoints" / "last" / "pretrained_model"
    facts = read_robot(folder)
    assert (facts.rtc_delay, facts.state_offset) == (3, 2)
    assert main(["--resume", "--output", str(tmp_path / "out")]) == 0
    assert read_robot(folder) == facts


def test_state_and_actions_are_of_a_moment_behind_the_images(
    dataset_folder, architecture, options, tmp_path
):
    assert main(options(steps=1)) == 0
    policy = SmolVLAPolicy.from_pretrained(tmp_path / "out/checkpoints/last/pretrained_model")
    dataset = Dataset.open(dataset_folder)
    pictures = np.arange(dataset.num_frames, dtype=np.uint8)[:, None, None, None]
    source = Source(dataset, policy, [pictures, pictures], policy.cameras)
    frames = np.tile(np.arange(dataset.num_frames), 8)
    rows = np.column_stack([np.zeros_like(frames), frames])
    batch = Batches([source], policy, state_offset=2)(rows, torch.Generator().manual_seed(0))
    seen = batch.images[0].reshape(-1).numpy()
    measured, commanded = dataset.column(STATE), dataset.column(ACTION)
    offsets = []
    for picture, state, actions in zip(seen, batch.state.numpy(), batch.actions, strict=True):
        chunks = source.chunk(frames[: dataset.num_frames])[0]
        of = np.flatnonzero((chunks == actions.numpy()).all((1, 2)))[0]
        moved = measured[picture] + commanded[of] - commanded[picture]
        wanted = policy.normalizers[STATE].normalize(moved.astype(np.float32)[None])[0]
        np.testing.assert_allclose(state[: len(wanted)], wanted, rtol=1e-4, atol=1e-5)
        episodes = [e for e in dataset.episodes if e.from_index <= picture < e.to_index]
        assert of < episodes[0].to_index
        offsets.append(of - picture)
    assert set(offsets) == {0, 1, 2}


def test_a_dataset_by_its_hub_id(options, dataset_folder, tmp_path, monkeypatch):
    """LeRobot keeps what it recorded or downloaded in a folder by that name."""
    (tmp_path / "lab").mkdir()
    (tmp_path / "lab/cubes").symlink_to(dataset_folder)
    monkeypatch.setenv("HF_LEROBOT_HOME", str(tmp_path))
    assert main(options(dataset=["lab/cubes"], steps=1)) == 0


def test_the_loss_goes_down(options, tmp_path):
    assert main(options(steps=150, log_every=50, save_every=150, lr=3e-3, draws=4)) == 0
    losses = [float(row["flow_loss"]) for row in rows(tmp_path / "out")]
    assert losses[-1] < 0.8 * losses[0]


def test_a_killed_training_goes_on_as_if_nothing_had_happened(options, tmp_path):
    line = options(steps=6, grounding_weight=0.5, brightness=0.1)
    assert main([*line[:1], str(tmp_path / "whole"), *line[2:]]) == 0
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    killed = subprocess.run(
        [sys.executable, "-c", KILLED, *line], env=environment, check=False, capture_output=True
    )
    assert killed.returncode == -signal.SIGKILL, killed.stderr.decode()
    assert main(["--resume", "--output", str(tmp_path / "out")]) == 0
    one, other = weights(tmp_path / "whole"), weights(tmp_path / "out")
    assert all(torch.equal(one[name], other[name]) for name in one)
    pairs = zip(rows(tmp_path / "whole"), rows(tmp_path / "out"), strict=True)
    assert all(a["loss"] == b["loss"] and a["step"] == b["step"] for a, b in pairs)


def test_accumulation_sees_the_samples_of_one_large_batch(options, tmp_path):
    assert main(options(batch_size=8, steps=1, save_every=1, output=tmp_path / "large")) == 0
    assert (
        main(options(batch_size=4, accumulate=2, steps=1, save_every=1, output=tmp_path / "two"))
        == 0
    )
    large, two = (rows(tmp_path / name)[0] for name in ("large", "two"))
    # Noise differs between the two; the samples do not.
    assert float(large["loss"]) == pytest.approx(float(two["loss"]), rel=0.5)


def test_fine_tuning_takes_the_datasets_statistics_unless_told(options, tmp_path):
    first = tmp_path / "first"
    train(parse(options(output=first)))
    start = first / "checkpoints" / "last" / "pretrained_model"
    name = "policy_preprocessor_step_5_normalizer_processor.safetensors"
    wrong = load_file(start / name)
    wrong["action.mean"] += 5.0
    save_file(wrong, start / name)
    save_file(
        wrong,
        start
        / name.replace("preprocessor_step_5", "postprocessor_step_0").replace(
            "normalizer_processor", "unnormalizer_processor"
        ),
    )
    for extra, kept in (({}, False), ({"keep_statistics": True}, True)):
        out = tmp_path / f"tuned_{kept}"
        train(parse(options(output=out, architecture=None, checkpoint=start, **extra)))
        found = load_file(out / "checkpoints" / "last" / "pretrained_model" / name)
        assert torch.equal(found["action.mean"], wrong["action.mean"]) == kept


def test_frozen_parts_stay(options, tmp_path):
    assert main(options(train_expert_only=True, grounding_weight=0.0)) == 0
    before = load_file(tmp_path / "out" / "initial" / "model.safetensors")
    after = weights(tmp_path / "out")
    for name, value in after.items():
        moved = not torch.equal(before[name], value)
        assert moved == ("lm_expert" in name or ".vlm." not in name), name


def test_options_are_written_down(options, tmp_path):
    assert main(options(steps=2)) == 0
    saved = json.loads((tmp_path / "out" / "train_config.json").read_text())
    assert saved["steps"] == 2
    assert saved["batch_size"] == 4
