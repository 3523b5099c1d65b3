# SPDX-License-Identifier: Apache-2.0
"""Loss and gradients equal LeRobot's for fixed noise and time."""

from __future__ import annotations

import pytest
import torch
from smolvla_policy.model.loss import (
    denoising_errors,
    flow_matching_loss,
    sample_times,
    velocity_errors,
)
from smolvla_policy.model.names import gradients, set_trainable
from smolvla_policy.model.preprocess import stack_cameras
from torch.nn import functional

CAMERAS = ("top", "wrist", "side")


@pytest.fixture(scope="module")
def want(golden):
    return golden("train_f32")


@pytest.fixture(scope="module")
def trained(build, inputs):
    network = build("float32")
    set_trainable(network)
    images = [inputs[f"image_u8.{camera}"].numpy() for camera in CAMERAS]
    pixels = stack_cameras(images, 64, (64, 64), torch.device("cpu"))
    state = functional.pad(inputs["state_norm"], (0, 26))
    prefix = network.embed_prefix(
        list(network.encode_images(pixels).split(2)),
        [None] * 3,
        inputs["lang_tokens"],
        inputs["lang_mask"],
        state,
    )
    actions = functional.pad(inputs["action_norm"], (0, 26))
    errors = velocity_errors(network, prefix, actions, inputs["train_noise"], inputs["train_time"])
    flow_matching_loss(errors).backward()
    return network, errors.detach()


def test_squared_errors(trained, want):
    assert torch.allclose(trained[1], want["losses"], atol=1e-4, rtol=1e-5)


def test_loss_over_padded_dimensions(trained, want):
    assert abs(flow_matching_loss(trained[1]) - want["loss_v044"]) <= 1e-5


def test_loss_per_sample(trained, want):
    got = flow_matching_loss(trained[1], reduction="none")
    assert (got - want["loss_v044_per_sample"]).abs().max() <= 1e-5


def test_loss_cropped_to_real_dimensions(trained, want):
    assert abs(flow_matching_loss(trained[1], action_dim=6) - want["loss_crop6"]) <= 1e-5


def test_loss_masks_actions_behind_the_end(trained, want, inputs):
    got = flow_matching_loss(trained[1], action_dim=6, is_pad=inputs["action_is_pad"])
    assert abs(got - want["loss_head_masked"]) <= 1e-5


def test_gradient_norms(trained, want):
    got = gradients(trained[0])
    names = {key.removeprefix("gradnorm/") for key in want if key.startswith("gradnorm/")}
    assert set(got) == names
    for name in names:
        assert torch.allclose(got[name].norm(), want[f"gradnorm/{name}"], rtol=1e-4), name


def test_gradients(trained, want):
    got = gradients(trained[0])
    for key, value in want.items():
        if key.startswith("grad/"):
            assert torch.allclose(got[key.removeprefix("grad/")], value, atol=1e-5), key


def test_a_sample_of_padding_alone_counts_nothing():
    errors = torch.ones(2, 3, 4)
    is_pad = torch.tensor([[True, True, True], [False, True, True]])
    assert flow_matching_loss(errors, is_pad=is_pad, reduction="none").tolist() == [0.0, 1.0]


def test_unknown_reduction_is_refused():
    with pytest.raises(ValueError, match="'sum'"):
        flow_matching_loss(torch.ones(1, 1, 1), reduction="sum")


def test_times_follow_the_beta_distribution():
    times = sample_times(20_000, torch.Generator().manual_seed(1))
    assert times.min() >= 0.001
    assert times.max() <= 1.0
    # Beta(1.5, 1) has mean 0.6.
    assert abs(times.mean() - (0.6 * 0.999 + 0.001)) < 0.01


@pytest.mark.parametrize(
    ("settings", "trained_part", "frozen_part"),
    [
        ({}, "expert.blocks.0.out.weight", "text.blocks.0.qkv.weight"),
        ({"train_state_proj": False}, "action_in_proj.weight", "state_proj.weight"),
        ({"train_expert_only": False}, "text.blocks.0.qkv.weight", "vision.patch.weight"),
        ({"train_expert_only": False}, "text.blocks.3.qkv.weight", "text.blocks.3.down.weight"),
        (
            {"train_expert_only": False, "freeze_vision_encoder": False},
            "vision.patch.weight",
            "text.norm.weight",
        ),
    ],
)
def test_what_is_trained(build, settings, trained_part, frozen_part):
    network = build("float32")
    set_trainable(network, **settings)
    parameters = dict(network.named_parameters())
    assert parameters[trained_part].requires_grad
    assert not parameters[frozen_part].requires_grad


def test_known_actions_are_read_without_noise_at_flow_time_0(build, inputs):
    network = build("float32")
    tokens = inputs["lang_tokens"]
    prefix = network.embed_prefix(
        [], [], tokens, inputs["lang_mask"], functional.pad(inputs["state_norm"], (0, 26))
    )
    cache = network.expert_cache(network.prefill(prefix)[0], prefix)
    actions = functional.pad(inputs["action_norm"], (0, 26))
    noise, time = inputs["train_noise"], inputs["train_time"]
    known = torch.zeros(actions.shape[:2], dtype=torch.bool)
    known[0, :3] = True
    got = denoising_errors(network, cache, actions, noise, time, known)
    plain = denoising_errors(network, cache, actions, noise, time)
    # What is read as it is does not depend on its noise; the rows behind it see the difference.
    other = torch.where(known[:, :, None], noise + 1.0, noise)
    again = denoising_errors(network, cache, actions, other, time, known)
    assert torch.equal(got[0, 3:], again[0, 3:])
    assert not torch.allclose(got[0, 3:], plain[0, 3:])
    assert torch.allclose(got[1], plain[1], atol=1e-6)
    # All known is flow time 0.
    whole = denoising_errors(network, cache, actions, noise, time, torch.ones_like(known))
    zero = denoising_errors(network, cache, actions, noise, torch.zeros_like(time))
    assert torch.allclose(whole, zero, atol=1e-6)
