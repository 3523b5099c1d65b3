# SPDX-License-Identifier: Apache-2.0
"""New checkpoints: sizes from the file, words from the dataset, weights of a sane scale."""

from __future__ import annotations

import json

import numpy as np
import pytest
import torch
from smolvla_learning.training.scratch import Robot, learn_merges, new_policy
from smolvla_policy.policy import SmolVLAPolicy

SENTENCES = ("put the red cube into the bowl", "touch the blue cube")
NUMBERS = {
    "mean": np.arange(6.0),
    "std": np.full(6, 2.0),
    "min": np.full(6, -9.0),
    "max": np.full(6, 9.0),
}
ROBOT = Robot(
    cameras={"observation.images.top": (24, 32)},
    state=6,
    action=6,
    statistics={"observation.state": NUMBERS, "action": NUMBERS},
    sentences=SENTENCES,
)


@pytest.fixture
def made(architecture, tmp_path):
    return new_policy(architecture, ROBOT, tmp_path / "new", seed=1)


def test_words_of_the_dataset_are_one_token_each(made):
    # "put", " the", " red", … and the line break.
    assert len(made.tokenizer.encode(SENTENCES[0])) == 8
    assert len(made.tokenizer.encode(SENTENCES[1])) == 5
    assert made.tokenizer.encode("wave") != made.tokenizer.encode("bowl")


def test_the_vocabulary_is_never_exceeded(made):
    assert len(learn_merges(SENTENCES, 300)) <= 300 - 256
    text = json.loads(made.tokenizer.path.read_text())
    assert len(text["model"]["vocab"]) == 300
    assert sorted(text["model"]["vocab"].values()) == list(range(300))


def test_the_checkpoint_stands_by_itself(made, tmp_path):
    again = SmolVLAPolicy.from_pretrained(tmp_path / "new")
    assert again.dtype == "float32"
    assert again.cameras == ("observation.images.top",)
    assert np.array_equal(again.normalizers["action"].low, np.arange(6, dtype=np.float32))
    image = {"top": np.zeros((24, 32, 3), np.uint8)}
    noise = np.zeros((4, 32), np.float32)
    first, second = (
        policy.predict_chunk(image, np.zeros(6, np.float32), SENTENCES[0], noise)
        for policy in (made, again)
    )
    assert np.array_equal(first, second)


def test_seeds_decide_the_weights(architecture, tmp_path, made):
    other = new_policy(architecture, ROBOT, tmp_path / "other", seed=2)
    same = new_policy(architecture, ROBOT, tmp_path / "same", seed=1)
    name = "connector.proj.weight"
    weights = [dict(policy.network.named_parameters())[name] for policy in (made, other, same)]
    assert not torch.equal(weights[0], weights[1])
    assert torch.equal(weights[0], weights[2])


def test_images_and_words_enter_at_the_same_scale(made):
    network = made.network
    pixels = torch.rand(8, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
    with torch.inference_mode():
        prefix = network.embed_prefix(
            [network.encode_images(pixels)],
            [None],
            torch.arange(10).repeat(8, 1),
            None,
            torch.zeros(8, 32),
        )
    tokens = network.sizes.image_tokens
    images = prefix.embeddings[:, :tokens].std()
    message = prefix.embeddings[:, tokens:-1].std()
    assert 0.3 < images / message < 3.0
