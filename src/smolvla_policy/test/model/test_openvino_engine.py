# SPDX-License-Identifier: Apache-2.0
"""OpenVINO computes what PyTorch computes, from a cache that may be missing, broken or closed."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from smolvla_policy.policy import SmolVLAPolicy

pytest.importorskip("openvino")

CHECKPOINT = Path(__file__).parents[1] / "golden" / "ckpt"
STATE = np.array([1.0, -20.0, 30.0, 5.0, 0.0, 10.0], np.float32)
TOLERANCE = {"float32": 1e-5, "bfloat16": 0.05}
"""Of the actions' spread."""


def load(dtype, engine, folder=CHECKPOINT):
    return SmolVLAPolicy.from_pretrained(folder, dtype=dtype, engine=engine)


@pytest.fixture(scope="module", params=TOLERANCE)
def pair(request):
    """The same checkpoint in both engines, and how far apart they may be."""
    both = load(request.param, "torch"), load(request.param, "openvino")
    return *both, TOLERANCE[request.param]


@pytest.fixture(scope="module")
def images():
    random = np.random.default_rng(0)
    sizes = {"top": (48, 64), "wrist": (64, 64), "side": (96, 72)}
    return {name: random.integers(0, 256, (2, *size, 3), np.uint8) for name, size in sizes.items()}


def draw_noise(policy, batch):
    shape = (batch, policy.chunk_size, int(policy.config.max_action_dim))
    return np.random.default_rng(1).standard_normal(shape, dtype=np.float32)


def compare(pair, images, tasks, **options):
    batch = len(tasks)
    frames = {name: image[:batch] for name, image in images.items()}
    states = np.stack([STATE, -STATE])[:batch]
    noise = draw_noise(pair[0], batch)
    want, got = (p.predict_batch(frames, states, tasks, noise, **options) for p in pair[:2])
    spread = want.std(axis=(0, 1))
    assert spread.min() > 1.0
    assert (np.abs(got - want) / spread).max() <= pair[2]
    assert (got != want).any()  # another engine


@pytest.mark.parametrize("cameras", [("top",), ("wrist", "side"), ("top", "wrist", "side")])
def test_cameras(pair, images, cameras):
    compare(pair, {name: images[name] for name in cameras}, ["pick up the cube"])


@pytest.mark.parametrize("task", ["go", "put the red cube into the box on the left, then go home"])
def test_sentences_of_any_length(pair, images, task):
    compare(pair, images, [task])


def test_a_batch_with_padding_and_another_after_it(pair, images):
    compare(pair, images, ["go", "put the red cube into the box on the left"])
    compare(pair, images, ["pick up the cube"])


@pytest.mark.parametrize("trained", [False, True])
def test_real_time_chunking(pair, images, trained):
    decided = np.full((1, 5, 6), 3.0, np.float32)
    compare(pair, images, ["pick up the cube"], decided=decided, delay=2, trained=trained)


def test_there_is_no_jacobian(pair, images):
    policy = pair[1]
    policy.engine.jacobian = True
    try:
        with pytest.raises(ValueError, match="use engine 'torch', or 'guided'"):
            chunk(policy, images)
    finally:
        policy.engine.jacobian = False


def test_fewer_steps_of_second_order(pair, images):
    for policy in pair[:2]:
        policy.engine.steps, policy.engine.solver = 3, "ab2"
    try:
        compare(pair, images, ["pick up the cube"])
    finally:
        for policy in pair[:2]:
            policy.engine.steps, policy.engine.solver = 0, "euler"


def test_stage_times_and_names(pair, images):
    policy = pair[1]
    compare(pair, images, ["pick up the cube"])
    times = policy.engine.stage_times
    assert times["total"] >= times["images"] + times["prefix"] + times["steps"] > 0.0
    assert (policy.engine.name, policy.dtype) == ("openvino", pair[0].dtype)


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hub"))
    return tmp_path / "hub"


def chunk(policy, images):
    frames = {name: image[0] for name, image in images.items()}
    return policy.predict_chunk(frames, STATE, "go", draw_noise(policy, 1)[0])


def test_the_cache_is_used_by_copies_and_a_broken_one_is_made_again(
    cache, images, tmp_path, caplog
):
    first = load("float32", "openvino")
    assert first.engine.graphs.seconds > 0.0
    want = chunk(first, images)
    copy = tmp_path / "copy"
    shutil.copytree(CHECKPOINT, copy)
    second = load("float32", "openvino", copy)
    assert second.engine.graphs.seconds == 0.0
    assert np.array_equal(chunk(second, images), want)
    for blob in cache.rglob("step.blob"):
        blob.write_bytes(blob.read_bytes()[:1000])
    third = load("float32", "openvino")
    assert third.engine.graphs.seconds > 0.0
    assert "made again" in caplog.text
    assert np.array_equal(chunk(third, images), want)


def test_other_weights_get_other_graphs(cache, images, tmp_path):
    other = tmp_path / "other"
    policy = load("float32", "torch")
    policy.network.action_out_proj.weight.mul_(2.0)
    policy.save_pretrained(other)
    want = chunk(load("float32", "torch", other), images)
    assert not np.allclose(chunk(load("float32", "openvino"), images), want, atol=0.1)
    assert np.allclose(chunk(load("float32", "openvino", other), images), want, atol=1e-3)


def test_graphs_of_an_older_version_are_removed(cache, monkeypatch):
    with monkeypatch.context() as older:
        older.setattr(
            "smolvla_policy.model.openvino_graphs.fingerprint_of_source", lambda: "older"
        )
        old = [load(dtype, "openvino").engine.graphs.source.folder for dtype in TOLERANCE]
    new = load("float32", "openvino").engine.graphs.source.folder
    assert set(new.parent.iterdir()) == {new, old[1]}


def test_a_cache_that_cannot_be_written_costs_only_time(tmp_path, monkeypatch, images, caplog):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "file"))
    policy = load("float32", "openvino")
    assert "cannot be written" in caplog.text
    want = chunk(load("float32", "torch"), images)
    assert np.allclose(chunk(policy, images), want, atol=1e-3)


def test_an_intel_gpu_gets_the_graphs(cache, images, monkeypatch):
    # OpenVINO's device for CPUs stands in for the one for GPUs.
    monkeypatch.setattr("smolvla_policy.model.openvino_graphs.INTEL_GPU", "CPU")
    monkeypatch.setattr("smolvla_policy.model.openvino_engine.INTEL_GPU", "CPU")
    policy = SmolVLAPolicy.from_pretrained(
        CHECKPOINT, device="xpu", dtype="bfloat16", engine="auto"
    )
    assert policy.engine.place == "xpu (openvino)"
    want = chunk(load("bfloat16", "torch"), images)
    assert np.allclose(chunk(policy, images), want, atol=0.05 * want.std())


def test_a_policy_of_graphs_has_no_weights_to_save(pair, tmp_path):
    with pytest.raises(ValueError, match="engine"):
        pair[1].save_pretrained(tmp_path / "saved")
