# SPDX-License-Identifier: Apache-2.0
"""The public class on the golden checkpoint: actions, inputs, determinism."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file

from smolvla_policy import SmolVLAPolicy

GOLDEN = Path(__file__).parents[1] / "golden"


def test_actions_equal_lerobots(policy, sample, want):
    actions = policy.predict_chunk(**sample)
    assert actions.dtype == np.float32
    assert actions.shape == (policy.chunk_size, policy.action_dim) == (8, 6)
    assert np.abs(actions - want).max() <= 1e-4


def test_mixed_precision_equals_lerobots(sample):
    policy = SmolVLAPolicy.from_pretrained(GOLDEN / "ckpt", dtype="bfloat16")
    want = load_file(GOLDEN / "f32_b1.safetensors")["actions_unnormalized"][0]
    std = np.array(json.loads((GOLDEN / "meta.json").read_text())["stats"]["action"]["std"])
    assert (np.abs(policy.predict_chunk(**sample) - want) / std).max() <= 0.05
    assert policy.dtype == "bfloat16"


NEEDS_GPU = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU")


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=NEEDS_GPU)])
def test_a_captured_chunk_equals_lerobots(sample, want, device):
    policy = SmolVLAPolicy.from_pretrained(
        GOLDEN / "ckpt", dtype="float32", device=device, cuda_graph=True
    )
    for _ in range(2):  # captured, then replayed
        assert np.abs(policy.predict_chunk(**sample) - want).max() <= 1e-2


def test_batch_equals_lerobots(policy):
    data = load_file(GOLDEN / "inputs.safetensors")
    meta = json.loads((GOLDEN / "meta.json").read_text())
    images = {camera: data[f"image_u8.{camera}"] for camera in meta["cams"]}
    actions = policy.predict_batch(images, data["state_raw"], meta["tasks"], data["noise"])
    want = load_file(GOLDEN / "f32_b2.safetensors")["actions_unnormalized"]
    assert np.abs(actions - want).max() <= 1e-4


@pytest.mark.parametrize("case", json.loads((GOLDEN / "tokenizer.json").read_text()))
def test_tokens_equal_lerobots(policy, case):
    ids = policy.tokenizer.encode_text(case["text"])
    padded, mask = policy.tokenizer.pad(ids, 16)
    assert padded == case["padded"]
    assert [int(real) for real in mask] == case["mask"]


def test_instruction_gets_one_line_break(policy):
    assert policy.tokenizer.encode("go") == policy.tokenizer.encode("go\n")
    assert policy.tokenizer.encode("go") != policy.tokenizer.encode_text("go")


def test_a_chunk_continues_what_is_decided(policy, sample):
    free = policy.predict_chunk(**sample)
    std = policy.normalizers["action"].high
    decided = free[:5] + 1.5 * std
    got = policy.predict_chunk(**sample, decided=decided, delay=3)

    def away(rows):
        return np.abs((got[rows] - decided[rows]) / std).max()

    assert away(slice(0, 3)) < 0.5
    assert 0.1 < away(slice(4, 5)) < 1.5
    assert np.abs(got - free)[:3].max() > 0.5 * std.min()


def test_no_decided_rows_bind_nothing(policy, sample):
    none = np.empty((0, policy.action_dim), np.float32)
    got = policy.predict_chunk(**sample, decided=none, delay=3)
    assert np.array_equal(got, policy.predict_chunk(**sample))


@pytest.mark.parametrize(
    ("decided", "message"),
    [
        (np.zeros((3, 5), np.float32), r"decided actions have shape \(3, 5\)"),
        (np.zeros(6, np.float32), "decided actions have shape"),
        (np.full((3, 6), np.nan, np.float32), "NaN"),
    ],
)
def test_decided_actions_that_do_not_fit(policy, sample, decided, message):
    with pytest.raises(ValueError, match=message):
        policy.predict_chunk(**sample, decided=decided)


def test_fresh_noise_differs(policy, sample):
    sample = {**sample, "noise": None}
    assert not np.array_equal(policy.predict_chunk(**sample), policy.predict_chunk(**sample))


def test_one_thread_equals_two(policy, sample):
    before = torch.get_num_threads()
    try:
        torch.set_num_threads(1)
        one = policy.predict_chunk(**sample)
        torch.set_num_threads(2)
        two = policy.predict_chunk(**sample)
    finally:
        torch.set_num_threads(before)
    assert np.abs(one - two).max() <= 1e-4


def test_global_state_of_torch_changes_nothing(policy, sample):
    want = policy.predict_chunk(**sample)
    threads = torch.get_num_threads()
    try:
        torch.set_default_dtype(torch.float64)
        torch.set_float32_matmul_precision("medium")
        with torch.device("meta"), torch.autocast("cpu", dtype=torch.bfloat16):
            got = policy.predict_chunk(**sample)
        fresh = SmolVLAPolicy.from_pretrained(GOLDEN / "ckpt", dtype="float32")
        again = fresh.predict_chunk(**sample)
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_default_dtype(torch.float32)
        torch.set_float32_matmul_precision("highest")
    assert np.array_equal(got, want)
    assert np.array_equal(again, want)
    assert torch.get_num_threads() == threads


@pytest.mark.filterwarnings("error")
def test_read_only_arrays(policy, sample, want):
    frozen = {name: image.copy() for name, image in sample["images"].items()}
    state, noise = sample["state"].copy(), sample["noise"].copy()
    for array in (*frozen.values(), state, noise):
        array.setflags(write=False)
    got = policy.predict_chunk(frozen, state, sample["task"], noise)
    assert np.abs(got - want).max() <= 1e-4


def test_short_camera_names_and_views(policy, sample, want):
    images = {
        name.rpartition(".")[2]: image[:, ::-1][:, ::-1]
        for name, image in sample["images"].items()
    }
    got = policy.predict_chunk(**{**sample, "images": images})
    assert np.abs(got - want).max() <= 1e-4


def test_stage_times_and_size(policy, sample):
    policy.predict_chunk(**sample)
    times = policy.engine.stage_times
    assert set(times) == {"images", "prefix", "steps", "total"}
    parts = times["images"] + times["prefix"] + times["steps"]
    assert times["total"] == pytest.approx(parts)
    assert policy.num_parameters == 298_496 - 336 * 48  # without lm_head
    assert policy.warm_up() > 0


BAD_INPUTS = {
    "no camera": (lambda s: s["images"].clear(), "no image is given.*images.top"),
    "camera unknown": (lambda s: s["images"].update(front=np.zeros((8, 8, 3), np.uint8)), "front"),
    "camera twice": (lambda s: s["images"].update(top=np.zeros((8, 8, 3), np.uint8)), "twice"),
    "float image": (
        lambda s: s["images"].update({"observation.images.top": np.zeros((8, 8, 3))}),
        "uint8",
    ),
    "channels first": (
        lambda s: s["images"].update({"observation.images.top": np.zeros((3, 8, 8), np.uint8)}),
        r"\(3, 8, 8\)",
    ),
    "gray": (
        lambda s: s["images"].update({"observation.images.top": np.zeros((8, 8), np.uint8)}),
        r"\(8, 8\)",
    ),
    "empty image": (
        lambda s: s["images"].update({"observation.images.top": np.zeros((0, 8, 3), np.uint8)}),
        r"\(0, 8, 3\)",
    ),
    "short state": (lambda s: s.update(state=np.zeros(5, np.float32)), r"\(6,\)"),
    "NaN in state": (lambda s: s.update(state=np.full(6, np.nan)), "NaN"),
    "noise shape": (lambda s: s.update(noise=np.zeros((8, 6), np.float32)), r"\(8, 32\)"),
    "infinite noise": (lambda s: s.update(noise=np.full((8, 32), np.inf)), "noise holds"),
    "empty task": (lambda s: s.update(task="  \n"), "task is empty"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_refused(policy, sample, name):
    change, message = BAD_INPUTS[name]
    bad = {**sample, "images": dict(sample["images"])}
    change(bad)
    with pytest.raises(ValueError, match=message):
        policy.predict_chunk(**bad)


def test_ambiguous_short_name_is_refused(copy, sample):
    def rename(content):
        inputs = content["input_features"]
        content["input_features"] = {
            "observation.state": inputs["observation.state"],
            "left.cam": inputs["observation.images.top"],
            "right.cam": inputs["observation.images.side"],
        }

    copy.edit("config.json", rename)
    policy, image = copy.load(), sample["images"]["observation.images.top"]
    assert policy.predict_chunk(**{**sample, "images": {"left.cam": image}}).shape == (8, 6)
    with pytest.raises(ValueError, match="several cameras"):
        policy.predict_chunk(**{**sample, "images": {"cam": image}})


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"device": "cuda"}, "absent"),
        ({"device": "cuda:3"}, "absent"),
        ({"device": "mps"}, "absent"),
        ({"device": "warp9"}, "unknown"),
        ({"device": "meta"}, "not supported"),
        ({"dtype": "float16"}, "'float16' is unknown"),
    ],
)
def test_device_or_dtype_that_cannot_be_had(options, message):
    with pytest.raises(ValueError, match=message):
        SmolVLAPolicy.from_pretrained(GOLDEN / "ckpt", **options)
