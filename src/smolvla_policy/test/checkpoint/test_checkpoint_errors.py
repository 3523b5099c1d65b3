# SPDX-License-Identifier: Apache-2.0
"""A checkpoint that cannot be used is refused with one clear error."""

from __future__ import annotations

import struct

import numpy as np
import pytest
import torch

from smolvla_policy import CheckpointError, SmolVLAPolicy

STATE, ACTION = "observation.state", "action"
MODEL = "model.safetensors"


def raw(copy, change):
    path = copy.folder / MODEL
    path.write_bytes(change(path.read_bytes()))


def features(key, **about):
    return lambda content: content[key].update(about)


def step(file, index, **fields):
    return lambda copy: copy.edit(file, lambda c: c["steps"][index].update(fields))


PRE = "policy_preprocessor.json"
BROKEN = {
    "cut short": (lambda c: raw(c, lambda b: b[:-100]), "cut short"),
    "cut in the header": (lambda c: raw(c, lambda b: b[:100]), "cut short"),
    "empty file": (lambda c: raw(c, lambda b: b""), "no safetensors file"),
    "not safetensors": (lambda c: raw(c, lambda b: b"hello world, no header"), "no safetensors"),
    "bad header": (
        lambda c: raw(c, lambda b: struct.pack("<Q", 4) + b"nope"),
        "invalid JSON in header",
    ),
    "pickle": (lambda c: raw(c, lambda b: b"\x80\x02" + b), "pickle"),
    "zipped pickle": (lambda c: raw(c, lambda b: b"PK\x03\x04" + b), "pickle"),
    "no weights": (lambda c: (c.folder / MODEL).unlink(), "has no model.safetensors"),
    "only a pickle": (
        lambda c: (c.folder / MODEL).rename(c.folder / "pytorch_model.bin"),
        "pytorch_model.bin",
    ),
    "no configuration": (lambda c: (c.folder / "config.json").unlink(), "no config.json"),
    "configuration is no JSON": (
        lambda c: (c.folder / "config.json").write_text("{"),
        "cannot be read",
    ),
    "configuration is a list": (
        lambda c: (c.folder / "config.json").write_text("[]"),
        "JSON object",
    ),
    "another policy": (lambda c: c.config(type="act"), "'act'"),
    "wrong shape": (
        lambda c: c.tensors(lambda t: {**t, "model.state_proj.bias": torch.zeros(5)}),
        r"state_proj.bias.*\[5\].*\[48\]",
    ),
    "weight missing": (
        lambda c: c.tensors(lambda t: {k: v for k, v in t.items() if "state_proj" not in k}),
        "lacks 2 of 123 weights: model.state_proj",
    ),
    "integer weights": (
        lambda c: c.tensors(lambda t: {**t, "model.state_proj.bias": torch.zeros(48).int()}),
        "not floats",
    ),
    "chunk of nothing": (lambda c: c.config(chunk_size=0), "chunk_size"),
    "chunk in words": (lambda c: c.config(chunk_size="fifty"), "expected int"),
    "more joints than fit": (lambda c: c.config(max_action_dim=4), "max_action_dim"),
    "padded action size": (lambda c: c.config(max_action_dim=16), r"action_in_proj"),
    "more layers": (lambda c: c.config(num_vlm_layers=6), "lacks"),
    "no state": (
        lambda c: c.edit("config.json", lambda j: j["input_features"].pop(STATE)),
        "observation.state",
    ),
    "no camera": (
        lambda c: c.config(input_features={STATE: {"type": "STATE", "shape": [6]}}),
        "no camera",
    ),
    "no features": (lambda c: c.config(input_features=None), "input_features is missing"),
    "feature without shape": (
        lambda c: c.config(output_features={ACTION: {"type": "ACTION"}}),
        "type and a shape",
    ),
    "oblong images": (lambda c: c.config(resize_imgs_with_padding=[64, 32]), "square"),
    "odd image side": (lambda c: c.config(resize_imgs_with_padding=[72, 72]), "72 pixels"),
    "ALOHA": (lambda c: c.config(adapt_to_pi_aloha=True), "ALOHA"),
    "unknown normalization": (
        lambda c: c.config(normalization_mapping={"STATE": "MAGIC"}),
        "MAGIC",
    ),
    "expert layers that do not fit": (lambda c: c.config(num_expert_layers=3), "no multiple"),
    "expert layers without a pattern": (lambda c: c.config(num_expert_layers=2), "pattern"),
    "no VLM": (
        lambda c: (c.folder / "vlm" / "config.json").unlink(),
        "no folder here has its config.json.*Put config.json of that model into .*/vlm$",
    ),
    "VLM without sizes": (
        lambda c: c.edit("vlm/config.json", lambda j: j["text_config"].pop("hidden_size")),
        "hidden_size",
    ),
    "no tokenizer": (
        lambda c: (c.folder / "vlm" / "tokenizer.json").unlink(),
        "tokenizer.json",
    ),
    "broken tokenizer": (
        lambda c: (c.folder / "vlm" / "tokenizer.json").write_text("{}"),
        "is no tokenizer",
    ),
    "half of the processors": (
        lambda c: (c.folder / "policy_postprocessor.json").unlink(),
        "policy_postprocessor.json",
    ),
    "unknown step": (step(PRE, 1, registry_name="delta_actions"), "delta_actions"),
    "statistics file missing": (step(PRE, 5, state_file="gone.safetensors"), "gone.safetensors"),
    "statistics file elsewhere": (step(PRE, 5, state_file="../x.safetensors"), "not in"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_broken_checkpoint_is_refused(copy, name):
    change, message = BROKEN[name]
    change(copy)
    with pytest.raises(CheckpointError, match=message):
        copy.load()


def test_empty_folder(tmp_path):
    with pytest.raises(CheckpointError, match="is empty"):
        SmolVLAPolicy.from_pretrained(tmp_path)


def test_a_file_instead_of_a_folder(copy):
    with pytest.raises(CheckpointError, match="is a file"):
        SmolVLAPolicy.from_pretrained(copy.folder / MODEL)


BAD_STATISTICS = {
    "NaN": (f"{STATE}.mean", torch.full((6,), float("nan")), "NaN or infinity"),
    "infinite": (f"{ACTION}.std", torch.full((6,), float("inf")), "NaN or infinity"),
    "negative deviation": (f"{STATE}.std", -torch.ones(6), "is negative in"),
    "wrong length": (f"{ACTION}.mean", torch.zeros(7), "7 numbers, the feature 6"),
}


@pytest.mark.parametrize("name", BAD_STATISTICS)
def test_bad_statistics_are_refused(copy, name):
    key, value, message = BAD_STATISTICS[name]
    copy.statistics(lambda tensors: {**tensors, key: value})
    with pytest.raises(CheckpointError, match=message):
        copy.load()


def test_bounds_the_wrong_way_round_are_refused(copy):
    norm_map = {"VISUAL": "IDENTITY", "STATE": "MEAN_STD", "ACTION": "MIN_MAX"}
    copy.edit(
        "policy_postprocessor.json", lambda c: c["steps"][0]["config"].update(norm_map=norm_map)
    )
    copy.statistics(lambda tensors: {**tensors, f"{ACTION}.max": torch.full((6,), -999.0)})
    with pytest.raises(CheckpointError, match="is below 'min'"):
        copy.load()


@pytest.mark.parametrize("feature", [STATE, ACTION])
def test_missing_statistics_are_never_identity(copy, feature):
    copy.statistics(lambda tensors: {k: v for k, v in tensors.items() if feature not in k})
    with pytest.raises(CheckpointError, match=f"no statistics for '{feature}'"):
        copy.load()


def test_mode_whose_statistics_are_missing(copy):
    norm_map = {"VISUAL": "IDENTITY", "STATE": "QUANTILES", "ACTION": "MEAN_STD"}
    copy.edit(PRE, lambda c: c["steps"][5]["config"].update(norm_map=norm_map))
    with pytest.raises(CheckpointError, match="lack 'q01'"):
        copy.load()


def test_identity_needs_no_statistics(copy, sample):
    norm_map = {"VISUAL": "IDENTITY", "STATE": "IDENTITY", "ACTION": "IDENTITY"}
    for file, index in ((PRE, 5), ("policy_postprocessor.json", 0)):
        copy.edit(file, lambda c, i=index: c["steps"][i]["config"].update(norm_map=norm_map))
    copy.statistics(lambda tensors: {"unused.mean": torch.zeros(1)})
    assert copy.load().predict_chunk(**sample).shape == (8, 6)


def test_damaged_weights_are_noticed(copy, sample):
    copy.tensors(
        lambda tensors: {**tensors, "model.action_out_proj.bias": torch.full((32,), float("nan"))}
    )
    with pytest.raises(ValueError, match="weights are damaged"):
        copy.load().predict_chunk(**sample)


def test_tokenizer_of_another_model(copy, sample):
    def shift(content):
        content["model"]["vocab"] = {
            key: value if value < 3 else value + 1000
            for key, value in content["model"]["vocab"].items()
        }

    copy.edit("vlm/tokenizer.json", shift)
    with pytest.raises(ValueError, match="not this checkpoint's tokenizer"):
        copy.load().predict_chunk(**sample)


@pytest.mark.parametrize("set_offline", [True, False])
def test_hub_that_cannot_be_reached(monkeypatch, set_offline):
    import huggingface_hub

    def offline(*args, **kwargs):
        raise huggingface_hub.errors.LocalEntryNotFoundError("outgoing traffic is disabled")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", offline)
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    if set_offline:
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(CheckpointError, match="traffic is disabled") as caught:
        SmolVLAPolicy.from_pretrained("somebody/something")
    assert "`hf download somebody/something`" in str(caught.value)
    assert ("HF_HUB_OFFLINE" in str(caught.value)) is set_offline


def test_hub_id_with_revision(monkeypatch, copy, sample, want):
    import huggingface_hub

    asked = {}

    def download(repo_id, **options):
        asked.update(repo_id=repo_id, **options)
        return str(copy.folder)

    monkeypatch.setattr(huggingface_hub, "snapshot_download", download)
    policy = SmolVLAPolicy.from_pretrained("a/b", revision="v1", dtype="float32")
    assert (asked["repo_id"], asked["revision"]) == ("a/b", "v1")
    assert not any(pattern.endswith((".bin", ".pt")) for pattern in asked["allow_patterns"])
    assert np.abs(policy.predict_chunk(**sample) - want).max() <= 1e-4
