# SPDX-License-Identifier: Apache-2.0
"""Every format of checkpoint that LeRobot has written gives the same actions."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from smolvla_policy import CheckpointError, SmolVLAPolicy

STATE, ACTION = "observation.state", "action"
MODEL = "model.safetensors"
Q_PROJ = "model.vlm_with_expert.lm_expert.layers.0.self_attn.q_proj"


def statistics(copy):
    return load_file(copy.folder / "policy_preprocessor_step_5_normalizer_processor.safetensors")


def to_old_buffers(copy, prefix=""):
    """Move the statistics into the weights, as LeRobot up to 0.3 had them."""
    stats = statistics(copy)
    buffers = {
        f"{group}.{prefix}buffer_{feature.replace('.', '_')}.{stat}": stats[f"{feature}.{stat}"]
        for group, feature in (
            ("normalize_inputs", STATE),
            ("normalize_targets", ACTION),
            ("unnormalize_outputs", ACTION),
        )
        for stat in ("mean", "std")
    }
    copy.tensors(lambda tensors: {**tensors, **buffers})
    copy.without_processors()


def check(policy, sample, want):
    assert np.abs(policy.predict_chunk(**sample) - want).max() <= 1e-4


def test_old_buffers(copy, sample, want, caplog):
    to_old_buffers(copy)
    with caplog.at_level("WARNING"):
        check(copy.load(), sample, want)
    assert caplog.text == ""  # they are no unexpected weights


def test_old_buffers_of_one_data_set(copy, sample, want):
    to_old_buffers(copy, prefix="so100_")
    check(copy.load(), sample, want)


def test_old_buffers_of_several_data_sets_need_a_choice(copy, sample, want):
    to_old_buffers(copy, prefix="so100_")
    copy.tensors(
        lambda tensors: {
            **tensors,
            **{
                key.replace("so100_", "so100-blue_"): value + 1
                for key, value in tensors.items()
                if "so100_" in key
            },
        }
    )
    with pytest.raises(CheckpointError, match=r"stats='so100'; stats='so100-blue'"):
        copy.load()
    check(copy.load(stats="so100"), sample, want)
    assert np.abs(copy.load(stats="so100-blue").predict_chunk(**sample) - want).max() > 0.5


def test_camera_names_with_underscores_survive_old_buffers(copy):
    def rename(content):
        content["input_features"]["observation.images.wrist_cam"] = content["input_features"].pop(
            "observation.images.wrist"
        )
        content["normalization_mapping"]["VISUAL"] = "MEAN_STD"

    to_old_buffers(copy)
    copy.edit("config.json", rename)
    numbers = {
        f"normalize_inputs.buffer_observation_images_{camera}.{stat}": torch.full((3, 1, 1), value)
        for camera in ("top", "wrist_cam", "side")
        for stat, value in (("mean", 0.5), ("std", 0.25))
    }
    copy.tensors(lambda tensors: {**tensors, **numbers})
    policy = copy.load()
    assert policy.normalizers["observation.images.wrist_cam"].low.tolist() == [0.5] * 3


def test_names_of_a_compiled_model(copy, sample, want):
    copy.tensors(
        lambda tensors: {
            key.replace("model.", "model._orig_mod.", 1): value for key, value in tensors.items()
        }
    )
    check(copy.load(), sample, want)


def test_tokenizer_in_the_checkpoint(copy, sample, want):
    (copy.folder / "tokenizer").mkdir()
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.move(copy.folder / "vlm" / name, copy.folder / "tokenizer" / name)

    def artifact(content):
        content["steps"][3]["artifacts"] = {"tokenizer_name": "tokenizer"}
        content["steps"][3]["config"]["tokenizer_name"] = "somebody/gone"

    copy.edit("policy_preprocessor.json", artifact)
    check(copy.load(), sample, want)


@pytest.mark.parametrize("form", ["folder", "file"])
def test_tokenizer_by_argument(copy, sample, want, tmp_path, form):
    shutil.move(copy.folder / "vlm" / "tokenizer.json", tmp_path / "tokenizer.json")
    shutil.copy(copy.folder / "vlm" / "tokenizer_config.json", tmp_path)
    path = tmp_path if form == "folder" else tmp_path / "tokenizer.json"
    check(copy.load(tokenizer=path), sample, want)


def test_unknown_fields_are_tolerated(copy, sample, want, caplog):
    copy.config(field_of_the_future=1)
    policy = copy.load()
    assert policy.config.unknown == ("field_of_the_future",)
    assert "field_of_the_future" in caplog.text
    check(policy, sample, want)


def test_unexpected_weights_are_reported(copy, sample, want, caplog):
    copy.tensors(lambda tensors: {**tensors, "model.extra": torch.zeros(1)})
    policy = copy.load()
    assert "1 tensors are not used: model.extra" in caplog.text
    check(policy, sample, want)


def test_training_output_folder(copy, sample, want, tmp_path):
    home = tmp_path / "run" / "checkpoints" / "last"
    home.mkdir(parents=True)
    shutil.move(copy.folder, home / "pretrained_model")
    policy = SmolVLAPolicy.from_pretrained(tmp_path / "run", dtype="float32")
    check(policy, sample, want)


def test_rename_map(copy, sample, want):
    def rename(content):
        content["steps"][0]["config"]["rename_map"] = {
            "observation.images.head": "observation.images.top"
        }

    copy.edit("policy_preprocessor.json", rename)
    policy = copy.load()
    for name in ("observation.images.head", "head"):
        images = dict(sample["images"])
        images[name] = images.pop("observation.images.top")
        check(policy, {**sample, "images": images}, want)


def test_a_camera_may_be_missing_within_empty_cameras(copy, sample, golden_variants):
    copy.config(empty_cameras=1)
    images = {name: image for name, image in sample["images"].items() if "side" not in name}
    got = copy.load().predict_chunk(**{**sample, "images": images})
    assert close(copy, got, golden_variants["no_side_empty1.actions"])


def test_without_a_camera(copy, sample, golden_variants):
    copy.edit("config.json", lambda c: c["input_features"].pop("observation.images.side"))
    images = {name: image for name, image in sample["images"].items() if "side" not in name}
    got = copy.load().predict_chunk(**{**sample, "images": images})
    assert close(copy, got, golden_variants["no_side.actions"])


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({"num_steps": 4}, "steps_4"),
        ({"prefix_length": 40}, "prefix_len_40"),
        ({"pad_language_to": "longest"}, "lang_longest"),
        ({"add_image_special_tokens": True}, "special_tokens"),
    ],
)
def test_field_of_the_configuration(copy, sample, golden_variants, fields, name):
    copy.config(**fields)
    got = copy.load().predict_chunk(**sample)
    assert close(copy, got, golden_variants[f"{name}.actions"])


@pytest.fixture(scope="module")
def golden_variants():
    from pathlib import Path

    return load_file(Path(__file__).parents[1] / "golden" / "f32_variants.safetensors")


def close(copy, got, normalized):
    stats = statistics(copy)
    want = normalized[0] * stats["action.std"] + stats["action.mean"]
    # 1e-4 holds for the normalized actions, whose unit is the standard deviation.
    return bool(((torch.from_numpy(got) - want).abs() / stats["action.std"]).max() <= 1e-4)


def adapter(copy, settings=None, extra=None, rank=2):
    """Write an adapter for one query projection; return what it adds."""
    generator = torch.Generator().manual_seed(0)
    down = torch.randn(rank, 36, generator=generator) * 0.1
    up = torch.randn(48, rank, generator=generator) * 0.1
    tensors = {
        f"base_model.model.{Q_PROJ}.lora_A.weight": down,
        f"base_model.model.{Q_PROJ}.lora_B.weight": up,
        **(extra or {}),
    }
    save_file(tensors, copy.folder / "adapter_model.safetensors")
    about = {"peft_type": "LORA", "r": rank, "lora_alpha": 8, "bias": "none", **(settings or {})}
    (copy.folder / "adapter_config.json").write_text(json.dumps(about))
    return up @ down


@pytest.mark.parametrize(
    ("settings", "scale"),
    [({}, 4.0), ({"use_rslora": True}, 8 / 2**0.5), ({"alpha_pattern": {"q_proj": 2}}, 1.0)],
)
def test_adapter_is_merged(copy, sample, want, settings, scale):
    change = adapter(copy, settings)
    got = copy.load()

    def merged(tensors):
        key = Q_PROJ + ".weight"
        return {**tensors, key: tensors[key].float() + change * scale}

    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (copy.folder / name).unlink()
    copy.tensors(merged)
    expected = copy.load().predict_chunk(**sample)
    assert np.abs(got.predict_chunk(**sample) - expected).max() <= 1e-4
    assert np.abs(expected - want).max() > 0.01


def test_adapter_with_whole_modules(copy, sample, want):
    key = "base_model.model.model.state_proj.modules_to_save.weight"
    adapter(copy, extra={key: torch.zeros(48, 32)})
    assert not copy.load().network.state_proj.weight.any()


def test_adapter_beside_its_base(copy, tmp_path, sample):
    adapter(copy)
    merged = copy.load().predict_chunk(**sample)
    base = tmp_path / "base"
    shutil.copytree(copy.folder, base)
    for name in ("adapter_config.json", "adapter_model.safetensors"):
        (base / name).unlink()
    (copy.folder / MODEL).unlink()
    copy.edit("adapter_config.json", lambda c: c.update(base_model_name_or_path=str(base)))
    assert np.array_equal(copy.load().predict_chunk(**sample), merged)
    copy.edit("adapter_config.json", lambda c: c.update(base_model_name_or_path=None))
    with pytest.raises(CheckpointError, match="only an adapter"):
        copy.load()


@pytest.mark.parametrize(
    ("settings", "extra", "message"),
    [
        ({"peft_type": "IA3"}, {}, "IA3"),
        ({"use_dora": True}, {}, "use_dora"),
        ({"bias": "all"}, {}, "bias"),
        ({}, {"base_model.model.model.x.lora_A.weight": torch.zeros(1, 1)}, "incomplete"),
        ({}, {"base_model.model.model.x.weight": torch.zeros(1, 1)}, "fits no weight"),
    ],
)
def test_adapter_that_cannot_be_merged(copy, settings, extra, message):
    adapter(copy, settings, extra)
    with pytest.raises(CheckpointError, match=message):
        copy.load()


def declare(copy, cameras, rename_map=None, **fields):
    """Let the configuration declare cameras, without statistics of any image."""

    def change(content):
        state = content["input_features"]["observation.state"]
        image = {"type": "VISUAL", "shape": [3, 256, 256]}
        content["input_features"] = {STATE: state, **dict.fromkeys(cameras, image)}
        content.update(fields)

    copy.edit("config.json", change)
    copy.edit(
        "policy_preprocessor.json",
        lambda c: c["steps"][0]["config"].update(rename_map=rename_map or {}),
    )
    copy.statistics(lambda t: {k: v for k, v in t.items() if "images" not in k})


CAMERAS = tuple(f"observation.images.view_{letter}" for letter in "abc")
EMPTY = "observation.images.empty_camera_0"


def shown(sample, *names):
    """Return the sample with the golden images of top, wrist, side under these names."""
    images = dict(zip(names, sample["images"].values(), strict=False))
    return {**sample, "images": {name: image for name, image in images.items() if name}}


def test_cameras_that_are_not_given_are_left_out(copy, sample, golden_variants):
    declare(copy, CAMERAS)
    policy = copy.load()
    assert policy.cameras == CAMERAS
    got = policy.predict_chunk(**shown(sample, *CAMERAS[:2]))
    assert close(copy, got, golden_variants["no_side.actions"])


def test_given_cameras_are_in_the_configurations_order(copy, sample, want):
    declare(copy, CAMERAS)
    given = shown(sample, *CAMERAS)
    given["images"] = dict(reversed(given["images"].items()))
    check(copy.load(), given, want)


def test_the_rename_map_tells_which_cameras_are_expected(copy, sample, golden_variants):
    names = ("observation.images.desk", "observation.images.hand")
    declare(copy, CAMERAS, dict(zip(names, CAMERAS[:2], strict=True)))
    policy = copy.load()
    assert policy.cameras == CAMERAS[:2]
    got = policy.predict_chunk(**shown(sample, "desk", "observation.images.hand"))
    assert close(copy, got, golden_variants["no_side.actions"])


def test_the_rename_map_of_the_training_is_taken_where_the_processor_has_none(copy, sample):
    declare(copy, CAMERAS)
    training = {"rename_map": {"observation.images.desk": CAMERAS[2]}, "steps": 9}
    (copy.folder / "train_config.json").write_text(json.dumps(training))
    policy = copy.load()
    assert policy.cameras == (CAMERAS[2],)
    policy.predict_chunk(**shown(sample, "desk"))


def test_statistics_of_images_tell_more_than_the_rename_map(copy):
    declare(copy, CAMERAS, {"observation.images.desk": CAMERAS[1]})
    copy.statistics(
        lambda t: {
            **t,
            "observation.images.desk.mean": torch.zeros(3, 1, 1),
            f"{CAMERAS[2]}.mean": torch.zeros(3, 1, 1),
        }
    )
    assert copy.load().cameras == CAMERAS[1:]


def test_an_empty_camera_is_padding_unless_it_is_given(copy, sample, want, golden_variants):
    declare(copy, (*CAMERAS[:2], EMPTY), empty_cameras=1)
    policy = copy.load()
    assert policy.cameras == CAMERAS[:2]
    got = policy.predict_chunk(**shown(sample, *CAMERAS[:2]))
    assert close(copy, got, golden_variants["no_side.actions"])
    check(policy, shown(sample, *CAMERAS[:2], EMPTY), want)


def test_one_camera_must_be_there(copy, sample):
    declare(copy, (*CAMERAS, EMPTY), empty_cameras=2)
    with pytest.raises(ValueError, match=r"no image is given; .* at least one of .*view_a"):
        copy.load().predict_chunk(**shown(sample))


def sized(copy, state, action, declared):
    """Give state and action statistics of these sizes while the configuration says another."""
    random = torch.Generator().manual_seed(state)

    def change(tensors):
        for feature, size in ((STATE, state), (ACTION, action)):
            for name in [name for name in tensors if name.startswith(f"{feature}.")]:
                del tensors[name]
            for name in ("mean", "std"):
                tensors[f"{feature}.{name}"] = torch.rand(size, generator=random) + 0.5
        return tensors

    copy.statistics(change)

    def stale(content):
        content["input_features"][STATE]["shape"] = [declared]
        content["output_features"][ACTION]["shape"] = [declared]

    copy.edit("config.json", stale)


@pytest.mark.parametrize(("state", "action"), [(5, 5), (11, 4), (4, 13), (32, 32)])
def test_the_statistics_say_the_sizes(copy, sample, state, action):
    sized(copy, state, action, declared=9)
    policy = copy.load()
    assert (policy.state_dim, policy.action_dim) == (state, action)
    got = policy.predict_chunk(**{**sample, "state": np.ones(state, np.float32)})
    assert got.shape == (8, action)
    notes = "\n".join(policy.notes)
    assert f"says 9 numbers for 'observation.state', the statistics are of {state}" in notes
    with pytest.raises(ValueError, match=rf"needs \({state},\)"):
        policy.predict_chunk(**{**sample, "state": np.ones(9, np.float32)})
    policy.save_pretrained(copy.folder.parent / "saved")
    saved = json.loads((copy.folder.parent / "saved" / "config.json").read_text())
    assert saved["input_features"][STATE]["shape"] == [state]
    assert saved["output_features"][ACTION]["shape"] == [action]


def test_sizes_that_are_right_are_no_note(copy):
    assert copy.load().notes == ()


def test_more_numbers_than_the_network_has_room_for(copy):
    sized(copy, 33, 6, declared=6)
    with pytest.raises(CheckpointError, match="33 dimensions, more than max_state_dim"):
        copy.load()


MODES = {
    "MEAN_STD": ("mean", "std"),
    "MIN_MAX": ("min", "max"),
    "QUANTILES": ("q01", "q99"),
    "QUANTILE10": ("q10", "q90"),
}


@pytest.mark.parametrize("mode", MODES)
def test_a_constant_dimension_is_as_in_lerobot(copy, sample, mode):
    first, second = MODES[mode]
    low = torch.tensor([-3.0, -2.0, 7.5, 0.0, 1.0, 2.0])
    high = torch.tensor([2.0, 1.0, 7.5, 5.0, 6.0, 7.0])
    if mode == "MEAN_STD":
        high[2] = 0.0

    def change(tensors):
        for feature in (STATE, ACTION):
            tensors[f"{feature}.{first}"], tensors[f"{feature}.{second}"] = low, high
        return tensors

    copy.statistics(change)
    norm_map = {"VISUAL": "IDENTITY", "STATE": mode, "ACTION": mode}
    for file, index in (("policy_preprocessor.json", 5), ("policy_postprocessor.json", 0)):
        copy.edit(file, lambda c, i=index: c["steps"][i]["config"].update(norm_map=norm_map))
    policy = copy.load()
    actions = policy.predict_chunk(**sample)
    np.testing.assert_allclose(actions[:, 2], 7.5, atol=1e-6)
    assert actions[:, 0].std() > 0
    # LeRobot divides by 1e-8 there: the value itself is 0 or -1, one beside it is huge.
    numbers = policy.normalizers[STATE].normalize(np.full(6, 7.5, np.float32))
    assert numbers[2] == (0.0 if mode == "MEAN_STD" else -1.0)
    beside = policy.normalizers[STATE].normalize(np.full(6, 8.5, np.float32))[2]
    assert beside == pytest.approx(1e8 if mode == "MEAN_STD" else 2e8, rel=1e-6)
    assert [note for note in policy.notes if "dimension 2 was always 7.5" in note]
    # Real-time chunking survives rounding in what is queued.
    decided = actions[2:].copy()
    decided[:, 2] += 1e-3
    continued = policy.predict_chunk(**sample, decided=decided, delay=2)
    exact = policy.predict_chunk(**sample, decided=actions[2:], delay=2)
    np.testing.assert_allclose(continued, exact, atol=1e-3)


def test_a_constant_joint_goes_by_its_name(copy):
    names = ["one", "two", "three", "four", "five", "six"]

    def name(content):
        content["output_features"][ACTION]["names"] = names

    copy.edit("config.json", name)
    copy.statistics(lambda t: {**t, f"{ACTION}.std": torch.tensor([1.0, 1, 1, 0, 1, 0])})
    (note,) = copy.load().notes
    assert "four was always" in note
    assert "six was always" in note
    assert "one" not in note


@pytest.mark.parametrize("place", ["config", "step"])
def test_a_step_that_is_switched_off_is_ignored(copy, sample, want, place):
    off = {"registry_name": "shift_actions_processor", "config": {"by": 3}}
    (off["config"] if place == "config" else off)["enabled"] = False
    for file in ("policy_preprocessor.json", "policy_postprocessor.json"):
        copy.edit(file, lambda c: c["steps"].insert(1, off))
    check(copy.load(), sample, want)
    (off["config"] if place == "config" else off)["enabled"] = True
    copy.edit("policy_postprocessor.json", lambda c: c["steps"].insert(1, off))
    with pytest.raises(CheckpointError, match="'shift_actions_processor' is not known"):
        copy.load()


def test_relative_actions_are_off_unless_they_are_enabled(copy, sample, want):
    step = {"registry_name": "relative_actions_processor", "config": {}}
    copy.edit("policy_preprocessor.json", lambda c: c["steps"].insert(3, step))
    check(copy.load(), sample, want)
    step["config"]["enabled"] = True
    copy.edit("policy_preprocessor.json", lambda c: c["steps"].insert(3, step))
    with pytest.raises(CheckpointError, match="'relative_actions_processor' is not known"):
        copy.load()


@pytest.mark.parametrize("kind", ["normalizer_processor", "unnormalizer_processor"])
def test_a_normalizer_that_is_switched_off_is_refused(copy, sample, want, kind):
    file = f"policy_{'pre' if kind.startswith('norm') else 'post'}processor.json"

    def switch(content, enabled):
        (step,) = [s for s in content["steps"] if s["registry_name"] == kind]
        if enabled:
            del step["config"]["enabled"]
        else:
            step["config"]["enabled"] = False

    copy.edit(file, lambda c: switch(c, False))
    with pytest.raises(CheckpointError, match=rf"'{kind}' is switched off.*Delete \"enabled\""):
        copy.load()
    copy.edit(file, lambda c: switch(c, True))
    check(copy.load(), sample, want)
    copy.edit(file, lambda c: [step.update(enabled=False) for step in c["steps"][-2:]])
    check(copy.load(), sample, want)


@pytest.mark.parametrize("how", ["features", "normalize_observation_keys"])
def test_a_state_that_the_normalizer_does_not_list_is_passed_on(copy, sample, want, how):
    def leave_out(content):
        settings = content["steps"][5]["config"]
        if how == "features":
            del settings["features"][STATE]
        else:
            settings[how] = ["observation.images.top"]

    stats = statistics(copy)
    copy.edit("policy_preprocessor.json", leave_out)
    mean, std = (stats[f"{STATE}.{name}"].numpy() for name in ("mean", "std"))
    state = ((sample["state"] - mean) / (std + 1e-8)).astype(np.float32)
    check(copy.load(), {**sample, "state": state}, want)
