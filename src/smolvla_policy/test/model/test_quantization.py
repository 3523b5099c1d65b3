# SPDX-License-Identifier: Apache-2.0
"""int8: near the float graphs, refused where it cannot be had, and never silently float."""

from __future__ import annotations

import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from smolvla_policy.checkpoint.source import CheckpointError
from smolvla_policy.policy import SmolVLAPolicy
from smolvla_policy.quantization import Observation, action_error, quantize

from smolvla_policy import quantization

pytest.importorskip("openvino")
pytest.importorskip("nncf")

CUBE = "pick up the cube"
CHECKPOINT = Path(__file__).parents[1] / "golden" / "ckpt"
ROOT = Path(__file__).parents[4]
CLOSE = 0.25
"""Of the actions' spread: the network is small, its weights are random, and it is quantized by a
few observations."""


def load(dtype, engine="openvino", folder=CHECKPOINT):
    return SmolVLAPolicy.from_pretrained(folder, dtype=dtype, engine=engine)


def observations(count, *tasks):
    random = np.random.default_rng(count)
    for index in range(count):
        images = {
            name: random.integers(0, 256, (48, 64, 3), np.uint8) for name in ("top", "wrist")
        }
        yield Observation(
            images, random.normal(0.0, 20.0, 6).astype(np.float32), tasks[index % len(tasks)]
        )


@pytest.fixture(scope="module")
def pair():
    """The checkpoint with its float graphs and with the int8 graphs made from them."""
    exact = load("auto")
    calls = []
    assert (
        quantize(
            exact, observations(8, CUBE, "put the cube into the box"), done=lambda: calls.append(1)
        ).seconds
        > 0.0
    )
    assert len(calls) == 8 + 6
    return exact, load("int8")


@pytest.mark.parametrize("task", [CUBE, "go", "put the red cube to the left, then go home"])
def test_actions_are_near_those_of_the_float_graphs(pair, task):
    error = action_error(*pair, observations(3, task))
    assert error.spread.min() > 1.0
    assert (error.mean <= error.largest).all()
    assert (error.mean / error.spread).max() < CLOSE
    assert error.largest.min() > 0.0
    assert (pair[1].dtype, pair[1].engine.name) == ("int8", "openvino")


def test_each_sample_of_a_batch_gets_its_own_actions(pair):
    policy = pair[1]
    one, two = observations(2, CUBE)
    noise = np.random.default_rng(0).standard_normal(
        (2, policy.chunk_size, int(policy.config.max_action_dim)), np.float32
    )
    images = {name: np.stack([one.images[name], two.images[name]]) for name in one.images}
    states = np.stack([one.state, two.state])
    batch = policy.predict_batch(images, states, [one.task, two.task], noise)
    alone = [policy.predict_chunk(*o, n) for o, n in zip((one, two), noise, strict=True)]
    assert np.allclose(batch, alone, atol=1e-4)


def test_float_graphs_stay_in_use_for_other_dtypes(pair):
    again = load("auto")
    assert again.engine.graphs.seconds == 0.0
    assert action_error(pair[0], again, observations(1, CUBE)).largest.max() == 0.0


@pytest.mark.parametrize(
    ("options", "remedy"),
    [
        ({"engine": "torch"}, "engine 'openvino'"),
        ({"engine": "auto", "device": "meta"}, "device"),
    ],
)
def test_other_engines_have_no_int8(options, remedy):
    with pytest.raises(ValueError, match=remedy):
        SmolVLAPolicy.from_pretrained(CHECKPOINT, dtype="int8", **options)


def test_without_openvino_the_remedy_is_to_install_it(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="pip install openvino"):
        load("int8", "auto")


def test_a_checkpoint_that_was_not_quantized_names_the_command(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    with pytest.raises(
        CheckpointError, match=re.escape(f"smolvla quantize --checkpoint {CHECKPOINT}")
    ):
        load("int8")


@pytest.mark.parametrize("damage", ["cut", "foreign"])
def test_a_cache_that_cannot_be_used_is_refused(pair, tmp_path, monkeypatch, damage):
    # Foreign: the float graphs in the place of the others.
    taken = pair[damage == "cut"].engine.graphs.source.folder
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    place = pair[1].engine.graphs.source.folder
    shutil.copytree(taken, place)
    if damage == "cut":
        (place / "step.blob").write_bytes((place / "step.blob").read_bytes()[:1000])
    with pytest.raises(CheckpointError, match="smolvla quantize"):
        load("int8")


def test_quantized_again_needs_the_float_graphs(pair):
    for policy in (pair[1], load("float32", "torch")):
        with pytest.raises(ValueError, match="engine='openvino' and dtype='auto'"):
            quantize(policy, observations(1, CUBE))


def test_no_observations_are_an_error(pair):
    with pytest.raises(ValueError, match="no observations"):
        quantize(pair[0], [])


def test_without_nncf_the_remedy_is_the_version_that_is_tested(monkeypatch):
    monkeypatch.setitem(sys.modules, "nncf", None)
    with pytest.raises(ValueError, match=re.escape(f"pip install nncf=={quantization.NNCF}")):
        quantization.import_nncf()
    assert f"nncf=={quantization.NNCF}" in (ROOT / "constraints.txt").read_text().splitlines()
