# SPDX-License-Identifier: Apache-2.0
"""The module that is trained: LeRobot's loss on the golden data, draws, masks, labels."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from smolvla_learning.training import learner as learner_module
from smolvla_learning.training.frame_cache import fit
from smolvla_learning.training.learner import Learner
from smolvla_learning.training.samples import Batch
from smolvla_policy.model.preprocess import stack_cameras
from smolvla_policy.policy import SmolVLAPolicy
from torch.nn import functional

GOLDEN = Path(__file__).parents[3] / "smolvla_policy/test/golden"
CAMERAS = ("top", "wrist", "side")


@pytest.fixture(scope="module")
def inputs():
    return load_file(GOLDEN / "inputs.safetensors")


@pytest.fixture(scope="module")
def policy():
    return SmolVLAPolicy.from_pretrained(GOLDEN / "ckpt", dtype="float32")


@pytest.fixture
def batch(inputs):
    count = len(inputs["state_norm"])
    return Batch(
        images=[
            torch.from_numpy(fit(inputs[f"image_u8.{camera}"].numpy(), 64)) for camera in CAMERAS
        ],
        tokens=inputs["lang_tokens"],
        token_valid=inputs["lang_mask"],
        state=functional.pad(inputs["state_norm"], (0, 26)),
        actions=functional.pad(inputs["action_norm"], (0, 26)),
        is_pad=inputs["action_is_pad"],
        acts=torch.ones(count, dtype=torch.bool),
        labels=[None] * 3,
        named=torch.full((count,), -1),
    )


def loss_of(policy, batch, draws=1, rtc_delay=0):
    made = Learner(policy, draws=draws, rtc_delay=rtc_delay)
    return made(batch, torch.Generator().manual_seed(0))


def test_the_loss_is_lerobots(policy, batch, inputs, monkeypatch):
    # The golden images have not the network's size: the network's own preprocessing resizes them,
    # without the rounding of frames that are kept.
    side = policy.config.image_side
    images = [inputs[f"image_u8.{camera}"].numpy() for camera in CAMERAS]
    pixels = stack_cameras(images, side, (side, side), torch.device("cpu"))
    frames = (pixels.permute(0, 2, 3, 1) + 1) * 127.5
    batch = replace(batch, images=list(frames.split(2)))
    made = Learner(policy)
    monkeypatch.setattr(
        learner_module.torch, "randn", lambda *shape, **options: inputs["train_noise"]
    )
    monkeypatch.setattr(
        learner_module, "sample_times", lambda count, generator: inputs["train_time"]
    )
    got = made(batch, torch.Generator())["loss"]
    want = load_file(GOLDEN / "train_f32.safetensors")["loss_head_masked"]
    assert abs(got - want) <= 1e-5


def test_draws_are_samples_of_the_same_observation(policy, batch):
    twice = [
        torch.cat((part, part)) if isinstance(part, torch.Tensor) else part
        for part in (batch.tokens, batch.token_valid, batch.state, batch.actions, batch.is_pad)
    ]
    order = torch.tensor([0, 2, 1, 3])
    double = Batch(
        images=[torch.cat((image, image))[order] for image in batch.images],
        tokens=twice[0][order],
        token_valid=twice[1][order],
        state=twice[2][order],
        actions=twice[3][order],
        is_pad=twice[4][order],
        acts=torch.ones(4, dtype=torch.bool),
        labels=batch.labels,
        named=torch.full((4,), -1),
    )
    with torch.no_grad():
        one, other = loss_of(policy, batch, draws=2), loss_of(policy, double)
    assert torch.allclose(one["loss"], other["loss"], rtol=1e-5)


def test_scenes_teach_no_actions(policy, batch):
    with torch.no_grad():
        none = loss_of(policy, replace(batch, acts=torch.zeros(2, dtype=torch.bool)))
        some = loss_of(policy, batch)
    assert none["loss"] == 0
    assert some["loss"] > 0


@pytest.mark.parametrize("wide", [False, True])
def test_frames_are_padded_with_black_on_the_left_and_the_top(policy, batch, wide):
    side = policy.config.image_side
    whole = torch.zeros((2, side, side, 3), dtype=torch.uint8)
    frames = whole[:, side // 2 :] if wide else whole[:, :, side // 2 :]
    frames[:] = 200
    losses = [
        loss_of(policy, replace(batch, images=[images] * 3))["loss"] for images in (frames, whole)
    ]
    assert torch.equal(*losses)
    other = replace(batch, images=[whole.flip(1, 2)] * 3)
    assert loss_of(policy, other)["loss"] != losses[0]


def test_given_actions_do_not_count(policy, batch, monkeypatch):
    """With all but the last action given, only errors of the last are learned."""
    given = torch.tensor([[7], [7]])
    monkeypatch.setattr(learner_module.torch, "randint", lambda *range_, **options: given)
    with torch.no_grad():
        some = loss_of(policy, replace(batch, is_pad=torch.zeros(2, 8, dtype=torch.bool)), 1, 7)
        given = torch.tensor([[0], [0]])
        whole = loss_of(policy, replace(batch, is_pad=torch.arange(8).repeat(2, 1) < 7), 1, 7)
    assert some["loss"] > 0
    assert some["loss"] != whole["loss"], "it reads what is given"
