# SPDX-License-Identifier: Apache-2.0
"""What is written can be read again, and random checkpoints have the released format."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file
from smolvla_policy.checkpoint.synthetic import make_checkpoint
from smolvla_policy.checkpoint.weights import TensorFile, write_tensor_file

from smolvla_policy import CheckpointError, SmolVLAPolicy

GOLDEN = Path(__file__).parents[1] / "golden"


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_saved_checkpoint_gives_the_same_actions(tmp_path, sample, dtype):
    policy = SmolVLAPolicy.from_pretrained(GOLDEN / "ckpt", dtype=dtype)
    policy.save_pretrained(tmp_path / "saved")
    again = SmolVLAPolicy.from_pretrained(tmp_path / "saved", dtype=dtype)
    assert np.array_equal(again.predict_chunk(**sample), policy.predict_chunk(**sample))


def test_saved_weights_are_the_loaded_ones(tmp_path):
    policy = SmolVLAPolicy.from_pretrained(GOLDEN / "ckpt", dtype="bfloat16")
    policy.save_pretrained(tmp_path)
    want, got = (
        load_file(GOLDEN / "ckpt" / "model.safetensors"),
        load_file(tmp_path / "model.safetensors"),
    )
    assert set(got) == set(want)  # lm_head included
    for name, tensor in want.items():
        assert got[name].dtype == tensor.dtype, name
        assert torch.equal(got[name], tensor), name


def test_saved_files(tmp_path, copy):
    copy.config(field_of_the_future=1)
    copy.load().save_pretrained(tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert "field_of_the_future" not in config
    assert config["type"] == "smolvla"
    for name in ("policy_preprocessor.json", "policy_postprocessor.json"):
        for step in json.loads((tmp_path / "saved" / name).read_text())["steps"]:
            if "state_file" in step:
                assert (tmp_path / "saved" / step["state_file"]).is_file()
    assert (tmp_path / "saved" / "tokenizer" / "tokenizer.json").is_file()


def test_saved_fields_are_those_of_the_oldest_format(tmp_path, copy):
    newer = {
        "pretrained_revision": "v7",
        "rtc_config": None,
        "compile_model": False,
        "compile_mode": "default",
        "use_peft": False,
    }
    copy.config(**newer, optimizer_lr=3e-5)
    copy.load().save_pretrained(tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    assert not set(newer) & set(config)
    assert config["optimizer_lr"] == 3e-5


def test_a_vlm_by_a_path_of_another_machine_is_saved_by_a_name_that_is_there(
    tmp_path, copy, sample, want
):
    gone = "/home/trainer/models/vlm_of_mine"
    copy.config(vlm_model_name=gone)
    copy.edit(
        "policy_preprocessor.json",
        lambda c: c["steps"][3]["config"].update(tokenizer_name=gone),
    )
    copy.load().save_pretrained(tmp_path / "saved")
    config = json.loads((tmp_path / "saved" / "config.json").read_text())
    steps = json.loads((tmp_path / "saved" / "policy_preprocessor.json").read_text())["steps"]
    named = [config["vlm_model_name"], steps[3]["config"]["tokenizer_name"]]
    for name, file in zip(named, ("config.json", "tokenizer.json"), strict=True):
        assert (tmp_path / "saved" / name / file).is_file()
    again = SmolVLAPolicy.from_pretrained(tmp_path / "saved", dtype="float32")
    assert np.abs(again.predict_chunk(**sample) - want).max() <= 1e-4


def test_chosen_statistics_are_saved(tmp_path, copy, sample):
    stats = {
        "observation.state": {"mean": [0.0] * 6, "std": [1.0] * 6},
        "action": {"mean": [5.0] * 6, "std": [2.0] * 6},
    }
    policy = copy.load(stats=stats)
    policy.save_pretrained(tmp_path / "saved")
    again = SmolVLAPolicy.from_pretrained(tmp_path / "saved", dtype="float32")
    assert again.normalizers["action"].high.tolist() == [2.0] * 6
    assert np.array_equal(again.predict_chunk(**sample), policy.predict_chunk(**sample))


def test_the_loaded_folder_is_not_overwritten(copy):
    with pytest.raises(CheckpointError, match="in use"):
        copy.load().save_pretrained(copy.folder)


def test_saved_without_its_source_lacks_only_lm_head(tmp_path, copy, sample):
    policy = copy.load()
    (copy.folder / "model.safetensors").unlink()
    policy.save_pretrained(tmp_path / "saved")
    assert not any("lm_head" in name for name in load_file(tmp_path / "saved/model.safetensors"))
    again = SmolVLAPolicy.from_pretrained(tmp_path / "saved", dtype="float32")
    assert np.array_equal(again.predict_chunk(**sample), policy.predict_chunk(**sample))


def test_header_length_that_looks_like_a_pickle(tmp_path):
    for letters in range(1, 300):
        path = tmp_path / "x.safetensors"
        write_tensor_file(path, {"n" * letters: torch.ones(1)})
        if path.read_bytes()[0] == 0x80:
            break
    with TensorFile(path) as file:
        assert file.read("n" * letters).tolist() == [1.0]
    assert path.read_bytes()[0] == 0x80


def test_random_checkpoint(tmp_path):
    vlm = json.loads((GOLDEN / "ckpt" / "vlm" / "config.json").read_text())
    overrides = {
        "chunk_size": 8,
        "n_action_steps": 8,
        "num_vlm_layers": 4,
        "resize_imgs_with_padding": [64, 64],
    }
    for name in ("one", "two"):
        make_checkpoint(tmp_path / name, cameras=("eye",), vlm=vlm, overrides=overrides)
    one, two = (load_file(tmp_path / name / "model.safetensors") for name in ("one", "two"))
    released = load_file(GOLDEN / "ckpt" / "model.safetensors")
    assert {name: (t.shape, t.dtype) for name, t in one.items()} == {
        name: (t.shape, t.dtype) for name, t in released.items()
    }
    assert all(torch.equal(one[name], two[name]) for name in one)
    policy = SmolVLAPolicy.from_pretrained(tmp_path / "one")
    actions = policy.predict_chunk(
        {"eye": np.zeros((48, 64, 3), np.uint8)}, np.zeros(6, np.float32), "wave"
    )
    assert actions.shape == (8, 6)
    assert len(policy.tokenizer.encode("wave")) == 5  # bytes and a line break
