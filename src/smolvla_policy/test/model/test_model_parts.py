# SPDX-License-Identifier: Apache-2.0
"""Sizes, number types, images, attention and names of the weights."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from smolvla_policy.model import layers
from smolvla_policy.model.layers import additive_mask, grouped_attention
from smolvla_policy.model.names import LM_HEAD, locations, views
from smolvla_policy.model.network import SmolVLANetwork
from smolvla_policy.model.preprocess import PixelScale, fitted_size, stack_cameras, to_pixels
from smolvla_policy.model.sizes import (
    DecoderSizes,
    ModelSizes,
    VisionSizes,
    choose_precision,
    cpu_has_bfloat16,
    expert_sizes,
)
from torch.nn import functional

CPU = torch.device("cpu")
TEXT = DecoderSizes(960, 16, 15, 5, 64, 2560, 1e-5)
FULL = ModelSizes(
    vision=VisionSizes(768, 12, 12, 3072, 512, 16, 3, 1e-6, 4),
    text=TEXT,
    expert=expert_sizes(TEXT, 0.75, 0),
    vocabulary=49280,
    state_dim=32,
    action_dim=32,
    chunk=50,
    steps=10,
    min_period=4e-3,
    max_period=4.0,
    cross_attention=True,
    self_attention_every=2,
)


def test_expert_of_smolvla():
    assert (FULL.expert.hidden, FULL.expert.mlp, FULL.expert.layers) == (720, 2048, 16)
    assert FULL.image_tokens == 64


def test_full_size_has_lerobots_tensors_and_parameters():
    precision = choose_precision("bfloat16", CPU, load_vlm_weights=True, native_bfloat16=True)
    network = SmolVLANetwork(FULL, precision)  # on the meta device: no memory
    tensors = views(network)
    assert len(tensors) == 500 - 1
    assert LM_HEAD not in tensors
    assert sum(t.numel() for t in tensors.values()) == 450_046_176 - 49280 * 960
    places = locations(network)
    wide = [n for n in places if network.value_dtype(places[n].parameter) == torch.float32]
    assert len(wide) == 10 + 16


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"expert": dataclasses.replace(FULL.expert, layers=7)}, "no multiple"),
        ({"expert": dataclasses.replace(FULL.expert, layers=8)}, "pattern"),
        ({"expert": dataclasses.replace(FULL.expert, head_dim=32)}, "share heads"),
        ({"vision": dataclasses.replace(FULL.vision, heads=7)}, "7 heads"),
        ({"vision": dataclasses.replace(FULL.vision, image=500)}, "patch 16"),
    ],
)
def test_sizes_that_contradict_each_other(change, message):
    with pytest.raises(ValueError, match=message):
        dataclasses.replace(FULL, **change)


def test_fewer_expert_layers_fit_if_all_are_cross_attention():
    sizes = dataclasses.replace(
        FULL, expert=dataclasses.replace(FULL.expert, layers=8), self_attention_every=0
    )
    assert [sizes.expert_layer(i) for i in range(4)] == [0, None, 1, None]


def test_joined_weights_are_written_through_their_views(build):
    network = build("float32")
    name = "model.vlm_with_expert.lm_expert.layers.0.self_attn.k_proj.weight"
    views(network)[name].fill_(7.0)
    joined = network.expert.blocks[0].qkv.weight
    assert (joined[48:64] == 7.0).all()
    assert not (joined[:48] == 7.0).any()
    assert not (joined[64:] == 7.0).any()


@pytest.mark.parametrize(
    ("dtype", "load_vlm_weights", "name", "vision"),
    [
        ("float32", True, "float32", torch.float32),
        ("bfloat16", False, "bfloat16", torch.bfloat16),
        ("auto", True, "bfloat16", torch.bfloat16),
        (None, False, "bfloat16, vision float32", torch.float32),
        (torch.float32, True, "float32", torch.float32),
    ],
)
def test_precision(dtype, load_vlm_weights, name, vision):
    got = choose_precision(dtype, CPU, load_vlm_weights=load_vlm_weights)
    assert (got.name, got.vision) == (name, vision)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("flags\t\t: fpu avx512f avx512_bf16\n", True),
        ("flags\t\t: fpu avx512f amx_bf16\n", True),
        ("Features\t: fp asimd bf16\n", True),
        ("flags\t\t: fpu avx512f avx512_vnni\n", False),
        ("", False),
    ],
)
def test_bfloat16_hardware(tmp_path, text, expected):
    (tmp_path / "cpuinfo").write_text(text)
    assert cpu_has_bfloat16(tmp_path / "cpuinfo") is expected
    assert cpu_has_bfloat16(tmp_path / "missing") is False


@pytest.mark.parametrize(
    ("limit", "expected"), [("AVX2_VNNI", False), ("AVX512_CORE_BF16", True), ("", True)]
)
def test_onednn_may_be_limited_to_an_older_processor(monkeypatch, tmp_path, limit, expected):
    (tmp_path / "cpuinfo").write_text("flags : fpu amx_bf16\n")
    monkeypatch.setenv("ONEDNN_MAX_CPU_ISA", limit)
    assert cpu_has_bfloat16(tmp_path / "cpuinfo") is expected


@pytest.mark.parametrize(
    ("size", "fitted"),
    [((480, 640), (384, 512)), ((720, 1280), (288, 512)), ((640, 480), (512, 384))],
)
def test_fitted_size(size, fitted):
    assert fitted_size(*size, (512, 512)) == fitted


def test_padding_is_black_on_the_left_and_the_top():
    out = torch.empty(1, 3, 8, 8)
    to_pixels(np.full((1, 4, 8, 3), 255, np.uint8), out, (8, 8))
    assert (out[:, :, :4] == -1).all()
    assert (out[:, :, 4:] == 1).all()
    to_pixels(np.full((1, 8, 4, 3), 255, np.uint8), out, (8, 8))
    assert (out[:, :, :, :4] == -1).all()
    assert (out[:, :, :, 4:] == 1).all()


def test_image_of_the_right_size_is_not_resampled():
    image = np.random.default_rng(0).integers(0, 256, (1, 8, 8, 3)).astype(np.uint8)
    out = torch.empty(1, 3, 8, 8)
    to_pixels(image, out, (8, 8))
    back = ((out + 1) / 2 * 255).round().permute(0, 2, 3, 1).numpy()
    assert np.array_equal(back, image)


def test_images_that_may_not_be_resized_must_fit():
    out = torch.empty(1, 3, 8, 8)
    with pytest.raises(ValueError, match=r"4x8.*8x8"):
        to_pixels(np.zeros((1, 4, 8, 3), np.uint8), out, None)


def test_normalization_is_in_front_of_the_padding():
    scale = PixelScale(np.full(3, 2.0, np.float32), np.full(3, 1.0, np.float32))
    image = np.full((1, 4, 8, 3), 51, np.uint8)  # 0.2
    out = stack_cameras([image], 8, (8, 8), CPU, [scale])
    assert out[0, 0, 7, 0].item() == pytest.approx(2 * (0.2 * 2 + 1) - 1, abs=1e-6)
    assert out[0, 0, 0, 0].item() == -1


def test_small_grid_takes_positions_at_the_same_fractions(build):
    vision = build("float32").vision
    assert torch.equal(vision.positions(8, 8), vision.position)
    want = vision.position.view(8, 8, -1)[::2, ::2].reshape(16, -1)
    assert torch.equal(vision.positions(4, 4), want)


@pytest.mark.parametrize("masked", [False, True])
def test_grouped_attention_equals_repeated_heads(masked):
    generator = torch.Generator().manual_seed(0)
    q = torch.randn(2, 6, 5, 8, generator=generator)
    k, v = torch.randn(2, 2, 2, 7, 8, generator=generator).unbind(1)
    allowed = torch.rand(2, 5, 7, generator=generator) > 0.3
    allowed[:, :, 0] = True
    mask = additive_mask(allowed, 3) if masked else None
    got = grouped_attention(q, k, v, mask)
    want = functional.scaled_dot_product_attention(
        q,
        k.repeat_interleave(3, 1),
        v.repeat_interleave(3, 1),
        attn_mask=allowed[:, None] if masked else None,
    )
    assert torch.allclose(got, want.transpose(1, 2).reshape(2, 5, 48), atol=1e-6)


def test_a_row_without_permission_is_not_nan():
    q, k = torch.ones(1, 1, 2, 4), torch.ones(1, 1, 3, 4)
    mask = additive_mask(torch.zeros(1, 2, 3, dtype=torch.bool), 1)
    assert torch.allclose(grouped_attention(q, k, k, mask), torch.ones(1, 2, 4))


@pytest.mark.parametrize("available", [True, False])
@pytest.mark.parametrize("gelu", [True, False])
def test_linear_with_and_without_the_fused_operator(monkeypatch, available, gelu):
    if not available:
        monkeypatch.setattr(layers, "_onednn", lambda: None)
    x, weight, bias = torch.randn(2, 50, 24), torch.randn(40, 24), torch.randn(40)
    with torch.inference_mode():
        got = layers.linear(x, weight, bias, gelu=gelu)
    want = functional.linear(x, weight, bias)
    want = functional.gelu(want, approximate="tanh") if gelu else want
    assert torch.allclose(got, want, atol=1e-4)


def test_linear_keeps_gradients():
    x = torch.randn(3, 4, requires_grad=True)
    layers.linear(x, torch.randn(2, 4), None).sum().backward()
    assert x.grad is not None


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_pytorch_s_norm_which_gpus_run_rounds_like_ours(dtype):
    x = torch.randn(50, 96, generator=torch.Generator().manual_seed(0)).to(dtype)
    norm = layers.RMSNorm(96, 1e-5)
    norm.weight = torch.nn.Parameter(torch.linspace(0.5, 2.0, 96).to(dtype))
    want = norm.weight * functional.rms_norm(x, (96,), eps=1e-5)
    assert torch.equal(norm(x), want)
