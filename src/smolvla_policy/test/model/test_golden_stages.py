# SPDX-License-Identifier: Apache-2.0
"""Every stage of the network equals LeRobot's, in float32 and in the mixed precision."""

from __future__ import annotations

import pytest
import torch
from smolvla_policy.model.preprocess import stack_cameras
from smolvla_policy.model.sampler import flow_times, integrate
from torch.nn import functional

CAMERAS = ("top", "wrist", "side")
RUNS = {
    "float32": ("float32", None, "f32_b1", 1e-4),
    "bfloat16 in hardware": ("bfloat16", True, "mixed_bf16_b1", 0.05),
    "bfloat16 widened": ("bfloat16", False, "mixed_bf16_b1", 0.05),
}
if torch.cuda.is_available():
    RUNS["float32 on a GPU"] = ("float32", None, "f32_b1", 1e-3)
    RUNS["bfloat16 on a GPU"] = ("bfloat16", True, "mixed_bf16_b1", 0.05)
STAGES = [
    *(f"pixels.{i}" for i in range(3)),
    *(f"vision_embeddings.{i}" for i in range(3)),
    *(f"vision_out.{i}" for i in range(3)),
    *(f"connector_out.{i}" for i in range(3)),
    "prefix_embs",
    "prefix_pad_masks",
    "prefix_att_masks",
    "prefix_att_2d",
    "prefix_position_ids",
    *(f"kv.{layer}.{part}" for layer in range(4) for part in "kv"),
    "prefix_out",
    "suffix_embs_step0",
    "suffix_att_2d",
    "suffix_position_ids",
    "expert_out_step0",
    "time",
    *(f"v_t.{step}" for step in range(10)),
    *(f"x_t.{step}" for step in range(10)),
    "actions_padded",
    "actions",
]


def compute(network, inputs, batch=1, cameras=CAMERAS, image_valid=None, steps=None, **prefix):
    """Run the network on the golden inputs and return every stage by its golden name."""
    got = {}
    device = network.device
    images = [inputs[f"image_u8.{camera}"][:batch].numpy() for camera in cameras]
    pixels = stack_cameras(images, 64, (64, 64), device)
    inputs = {name: value.to(device) for name, value in inputs.items()}
    typed = pixels if network.precision.widen else pixels.to(network.precision.vision)
    tokens = prefix.pop("tokens", inputs["lang_tokens"][:batch])
    mask = prefix.pop("mask", inputs["lang_mask"][:batch])
    with torch.inference_mode():
        stages = {
            "pixels": pixels,
            "vision_embeddings": network.vision.embed(typed),
            "vision_out": network.vision(typed),
            "connector_out": network.encode_images(pixels),
        }
        for name, value in stages.items():
            got.update({f"{name}.{i}": part for i, part in enumerate(value.split(batch))})
        state = functional.pad(inputs["state_norm"][:batch], (0, 26))
        embedded = list(stages["connector_out"].split(batch))
        valid = image_valid or [None] * len(embedded)
        made = network.embed_prefix(embedded, valid, tokens, mask, state, **prefix)
        got["prefix_embs"] = made.embeddings
        got["prefix_pad_masks"] = made.valid
        got["prefix_att_masks"] = made.starts_block
        got["prefix_att_2d"] = made.attention()
        got["prefix_position_ids"] = made.positions()
        keys_values, got["prefix_out"] = network.prefill(made, with_output=True)
        for layer, (k, v) in enumerate(keys_values):
            got[f"kv.{layer}.k"], got[f"kv.{layer}.v"] = k.transpose(1, 2), v.transpose(1, 2)
        cache = network.expert_cache(keys_values, made)
        noise = inputs["noise"][:batch]
        got["time"] = torch.tensor(flow_times(10), device=device)
        suffix = network.embed_suffix(noise, network.time_features(got["time"][:1]))
        got["suffix_embs_step0"] = suffix
        got["suffix_att_2d"] = network.suffix_attention(made.valid)
        got["suffix_position_ids"] = network.suffix_positions(made.valid)
        got["expert_out_step0"] = network.run_expert(suffix, cache)

        def observe(step, velocity, actions):
            got[f"v_t.{step}"], got[f"x_t.{step}"] = velocity, actions

        count = steps or network.sizes.steps
        features = network.time_features(torch.tensor(flow_times(count), device=device))

        def velocity(actions, step):
            return network.velocity(actions, features[step : step + 1], cache)

        actions = integrate(velocity, noise, count, observe=observe)
        got["actions_padded"], got["actions"] = actions, actions[:, :, :6]
    return {name: value.cpu() for name, value in got.items()}


@pytest.fixture(scope="module", params=RUNS)
def run(request, build, inputs, golden):
    dtype, native, name, tolerance = RUNS[request.param]
    want = golden(name)
    for part in ("v_t", "x_t"):
        want.update({f"{part}.{step}": value for step, value in enumerate(want[part])})
    device = torch.device("cuda" if "GPU" in request.param else "cpu")
    return compute(build(dtype, native, device), inputs), want, tolerance


@pytest.mark.parametrize("stage", STAGES)
def test_stage_equals_lerobot(run, stage):
    got, want, tolerance = run
    assert got[stage].shape == want[stage].shape
    if want[stage].is_floating_point():
        assert (got[stage].float() - want[stage].float()).abs().max() <= tolerance
    else:
        assert torch.equal(got[stage].to(want[stage].dtype), want[stage])


def test_hardware_bfloat16_keeps_lerobots_number_types(build, inputs, golden):
    got, want = compute(build("bfloat16", True), inputs), golden("mixed_bf16_b1")
    for stage in ("vision_out.0", "connector_out.0", "prefix_embs", "kv.1.k", "expert_out_step0"):
        assert got[stage].dtype == want[stage].dtype, stage


@pytest.mark.parametrize("stage", ["prefix_embs", "prefix_pad_masks", "x_t", "actions"])
def test_batch_of_two_equals_lerobot(build, inputs, golden, stage):
    got, want = compute(build("float32"), inputs, batch=2), golden("f32_b2")[stage]
    value = torch.stack([got[f"x_t.{i}"] for i in range(10)]) if stage == "x_t" else got[stage]
    assert (value.float() - want.float()).abs().max() <= 1e-4


def variant(name, network, inputs):
    if name == "steps_4":
        return compute(network, inputs, steps=4)
    if name == "prefix_len_40":
        return compute(network, inputs, pad_to=40)
    if name == "lang_longest":
        words = int(inputs["lang_mask"][0].sum())
        return compute(network, inputs, tokens=inputs["lang_tokens"][:1, :words], mask=None)
    if name == "special_tokens":
        start, end = torch.tensor([325, 320]), torch.tensor([325])
        return compute(network, inputs, image_start=start, image_end=end)
    if name == "no_side":
        return compute(network, inputs, cameras=CAMERAS[:2])
    assert name == "no_side_empty1"
    return compute(network, inputs, image_valid=[None, None, torch.tensor([False])])


@pytest.mark.parametrize(
    "name",
    ["steps_4", "prefix_len_40", "lang_longest", "special_tokens", "no_side", "no_side_empty1"],
)
def test_variant_equals_lerobot(build, inputs, golden, name):
    got, want = variant(name, build("float32"), inputs), golden("f32_variants")
    assert (got["actions"] - want[f"{name}.actions"]).abs().max() <= 1e-4
    if f"{name}.prefix_embs" in want:
        assert torch.equal(got["prefix_pad_masks"], want[f"{name}.prefix_pad_masks"])
        # What an absent camera's tokens hold is read by nobody.
        seen = want[f"{name}.prefix_pad_masks"][:, :, None]
        difference = (got["prefix_embs"] - want[f"{name}.prefix_embs"]) * seen
        assert difference.abs().max() <= 1e-4


def test_the_last_block_may_stop_at_its_keys_and_values(build, inputs):
    network = build("float32")
    tokens, state = inputs["lang_tokens"][:1], torch.zeros(1, 32)
    with torch.inference_mode():
        prefix = network.embed_prefix([], [], tokens, None, state)
        short, stream = network.prefill(prefix)
        long, _ = network.prefill(prefix, with_output=True)
    assert stream.shape == prefix.embeddings.shape
    for one, other in zip(short, long, strict=True):
        assert torch.equal(one[0], other[0])
        assert torch.equal(one[1], other[1])
