# SPDX-License-Identifier: Apache-2.0
"""The backend of `policy_node` on the golden checkpoint."""

from __future__ import annotations

import json
import weakref
from dataclasses import replace

import numpy as np
import pytest
import torch
from robot_files import robot_file
from smolvla_core.backend import ChunkRequest, Observation
from smolvla_core.robot import load_robot
from smolvla_core.units.joint_units import JointUnits, joint_units
from smolvla_policy.backends.smolvla import SmolVLABackend, chunk_noise, create
from smolvla_policy.backends.smolvla_settings import SmolVLASettings
from smolvla_policy.checkpoint.contents import read_contents

JOINTS = ("shoulder_pan", "shoulder_lift", "elbow_flex", "wrist_flex", "wrist_roll", "gripper")
REQUEST = ChunkRequest(1, 0, np.zeros((0, 6)), 0)


DOUBLED = JointUnits(JOINTS, np.full(6, 2.0), np.zeros(6))
"""The checkpoint's numbers are twice the radians."""


@pytest.fixture(autouse=True)
def threads():
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)


def make(copy, cameras=None, **options):
    settings = SmolVLASettings(dtype="float32", device="cpu", threads=2, **options)
    return SmolVLABackend(settings, read_contents(copy.folder), JOINTS, DOUBLED, cameras)


def observe(sample, names=("top", "wrist", "side"), **changes):
    images = dict(zip(names, sample["images"].values(), strict=True))
    values = {
        "images": images,
        "joint_names": JOINTS,
        "positions": sample["state"].astype(np.float64) / 2,
        "instruction": sample["task"],
        **changes,
    }
    return Observation(**values)


def test_actions_in_radians(copy, sample, policy):
    backend = make(copy, seed=3)
    got = backend.infer(observe(sample), REQUEST)
    noise = chunk_noise(3, 0, (8, 32))
    want = policy.predict_chunk(**{**sample, "noise": noise}) / 2
    assert got.shape == (backend.chunk_size, 6)
    assert np.abs(got - want).max() <= 1e-4
    assert backend.cameras == ("top", "wrist", "side")
    assert backend.device in ("cpu", "cpu (openvino)")
    assert (backend.dtype, backend.name) == ("float32", "smolvla")


def test_a_seed_begins_the_sequence_of_noise_anew(copy, sample):
    backend = make(copy, seed=5)
    first = backend.infer(observe(sample), REQUEST)
    backend.tune({"seed": 6})
    assert not np.array_equal(backend.infer(observe(sample), REQUEST), first)
    backend.tune({"seed": 5})
    assert np.array_equal(backend.infer(observe(sample), REQUEST), first)


def test_new_values_take_effect_with_the_next_chunk(copy, sample):
    observation = observe(sample)
    wanted = make(copy, seed=9, noise_scale=0.25)
    backend = make(copy)
    backend.infer(observation, REQUEST)
    backend.tune({"seed": 9, "noise_scale": 0.25})
    for _ in range(2):
        chunk = backend.infer(observation, REQUEST)
        assert np.array_equal(chunk, wanted.infer(observation, REQUEST))
    backend.tune({"noise_scale": 0.0})  # the sequence of the seed goes on
    assert np.array_equal(
        backend.infer(observation, REQUEST),
        make(copy, noise_scale=0.0).infer(observation, REQUEST),
    )
    backend.tune({"seed": -1, "noise_scale": 1.0})
    first, second = (backend.infer(observation, REQUEST) for _ in range(2))
    assert not np.array_equal(first, second)
    assert backend.real_time_chunking == "auto"
    backend.tune({"real_time_chunking": "guided"})
    assert backend.real_time_chunking == "guided"


def test_steps_and_solver_are_settings_and_take_effect_with_the_next_chunk(copy, sample):
    def chunk(backend):
        backend.tune({"seed": 9})
        return backend.infer(observe(sample), REQUEST)

    backend = make(copy)
    usual = chunk(backend)
    copy.config(num_steps=4)
    four = chunk(make(copy))
    assert np.abs(four - usual).max() > 1e-3
    assert np.array_equal(chunk(make(copy, num_steps=10)), usual)
    backend.tune({"num_steps": 4})
    assert np.array_equal(chunk(backend), four)
    second = chunk(make(copy, solver="ab2"))
    assert np.abs(second - four).max() > 1e-3
    backend.tune({"solver": "ab2"})
    assert np.array_equal(chunk(backend), second)
    backend.tune({"solver": "euler", "num_steps": 0})  # as the checkpoint says
    assert np.array_equal(chunk(backend), usual)


def test_real_time_chunking_continues_the_queue(copy, sample, policy):
    backend = make(copy, seed=3, real_time_chunking="guided")
    first = backend.infer(observe(sample), REQUEST)
    request = ChunkRequest(2, 4, first[4:] + 0.3, 2)
    got = backend.infer(observe(sample), request)
    noise = chunk_noise(3, 1, (8, 32))
    decided = (2 * request.committed).astype(np.float32)
    want = policy.predict_chunk(**{**sample, "noise": noise}, decided=decided, delay=2) / 2
    assert np.abs(got - want).max() <= 1e-4
    plain = make(copy, seed=3)
    plain.infer(observe(sample), REQUEST)
    assert np.abs(got - plain.infer(observe(sample), request)).max() > 0.01


def increments():
    """Units whose first joint takes increments of 0.1 rad; the others are radians."""
    joints = list(load_robot("so100").joints)
    joints[0] = replace(joints[0], lower=-90.0, upper=90.0, increment=0.1)
    return joint_units("radians", [replace(joint, role="joint") for joint in joints])


def make_driven(copy, **options):
    settings = SmolVLASettings(dtype="float32", device="cpu", threads=2, seed=3, **options)
    return SmolVLABackend(settings, read_contents(copy.folder), JOINTS, increments())


def test_increments_go_on_from_the_command_or_from_the_arm(copy, sample, policy):
    want = policy.predict_chunk(**{**sample, "noise": chunk_noise(3, 0, (8, 32))})
    sums = 0.1 * np.cumsum(np.clip(want[:, 0], -1.0, 1.0))
    state = sample["state"].astype(np.float64)
    for command in (None, state + 0.5):
        backend = make_driven(copy)
        got = backend.infer(observe(sample, positions=state), replace(REQUEST, command=command))
        begin = state[0] if command is None else command[0]
        assert np.abs(got[:, 0] - begin - sums).max() <= 1e-4
        assert np.abs(got[:, 1:] - want[:, 1:]).max() <= 1e-4


def test_queued_positions_are_continued_as_increments(copy, sample, policy):
    state = sample["state"].astype(np.float64)
    queued = state + 0.02 * np.arange(4)[:, None]
    command = state - 0.05
    request = ChunkRequest(2, 4, queued, 2, command)
    backend = make_driven(copy, real_time_chunking="guided")
    backend.infer(observe(sample, positions=state), REQUEST)
    got = backend.infer(observe(sample, positions=state), request)
    decided = queued.astype(np.float32)
    decided[:, 0] = np.array([0.5, 0.2, 0.2, 0.2])
    noise = chunk_noise(3, 1, (8, 32))
    want = policy.predict_chunk(**{**sample, "noise": noise}, decided=decided, delay=2)
    sums = 0.1 * np.cumsum(np.clip(want[:, 0], -1.0, 1.0))
    assert np.abs(got[:, 0] - command[0] - sums).max() <= 1e-3


def test_increments_go_on_where_the_queued_rows_before_them_end(copy, sample):
    copy.robot(state_offset=3)
    state = sample["state"].astype(np.float64)
    backend = make_driven(copy)
    backend.infer(observe(sample, positions=state), REQUEST)
    queued = state + 0.02 * np.arange(8)[:, None]
    got = backend.infer(observe(sample, positions=state), ChunkRequest(2, 0, queued, 4, state))
    assert np.array_equal(got[:3], queued[:3])
    assert np.abs(got[3, 0] - queued[2, 0]) <= 0.1 + 1e-9


def test_a_new_instruction_is_not_bound_to_the_queue_of_the_old_one(copy, sample, policy):
    backend = make(copy, seed=3, real_time_chunking="guided")
    first = backend.infer(observe(sample), REQUEST)
    request = ChunkRequest(2, 4, first[4:] + 0.3, 2)
    got = backend.infer(observe(sample, instruction="something else"), request)
    noise = chunk_noise(3, 1, (8, 32))
    other = {**sample, "noise": noise, "task": "something else"}
    want = policy.predict_chunk(**other) / 2
    assert np.abs(got - want).max() <= 1e-4


def test_a_checkpoint_that_was_trained_to_begins_where_the_arm_will_be(copy, sample, policy):
    """And no row is lost."""
    copy.robot(state_offset=3)
    backend = make(copy, seed=3)
    first = backend.infer(observe(sample), REQUEST)
    request = ChunkRequest(2, 0, first + 0.1 * np.arange(8)[:, None], 4)
    got = backend.infer(observe(sample), request)
    queued = request.committed
    moved = np.asarray(sample["state"]) + 2 * (queued[3] - queued[0])
    want = policy.predict_chunk(
        **{**sample, "noise": chunk_noise(3, 1, (8, 32)), "state": moved.astype(np.float32)}
    )
    assert np.array_equal(got[:3], queued[:3])
    assert np.abs(got[3:] - want / 2).max() <= 1e-4
    assert got.shape == (3 + 8, 6)


def test_a_checkpoint_that_was_trained_to_reads_what_is_executed_meanwhile(copy, sample, policy):
    copy.robot(rtc_delay=4)
    backend = make(copy, seed=3)
    first = backend.infer(observe(sample), REQUEST)
    request = ChunkRequest(2, 0, first + 0.1 * np.arange(8)[:, None], 2)
    got = backend.infer(observe(sample), request)
    queued = request.committed
    want = policy.predict_chunk(
        **{**sample, "noise": chunk_noise(3, 1, (8, 32))},
        decided=(2 * queued[:3]).astype(np.float32),
        delay=3,
        trained=True,
    )
    assert np.abs(got - want / 2).max() <= 1e-4
    assert np.abs(got[:3] - queued[:3]).max() <= 1e-4


@pytest.mark.parametrize(
    ("trained_for", "method"),
    [
        ({}, "off"),
        ({"rtc_delay": 4}, "trained"),
        ({"state_offset": 6}, "future_state"),
        ({"rtc_delay": 4, "state_offset": 6}, "future_state"),
    ],
)
def test_auto_is_what_the_checkpoint_was_trained_for(copy, sample, trained_for, method):
    copy.robot(**trained_for)
    backend = make(copy)
    first = backend.infer(observe(sample), REQUEST)
    assert backend.continues == "off"
    backend.infer(observe(sample), ChunkRequest(2, 0, first, 4))
    assert backend.continues == method
    assert backend.state_offset == trained_for.get("state_offset", 0)


@pytest.mark.parametrize("method", ["trained", "future_state"])
def test_a_method_that_the_checkpoint_was_not_trained_for_is_refused(copy, sample, method):
    with pytest.raises(ValueError, match=f"'{method}', but the checkpoint was not trained"):
        make(copy, real_time_chunking=method)
    backend = make(copy)
    backend.tune({"real_time_chunking": method})
    backend.infer(observe(sample), REQUEST)  # of a new instruction, which continues nothing
    with pytest.raises(ValueError, match="use 'guided' or 'auto'"):
        backend.infer(observe(sample), REQUEST)


@pytest.mark.parametrize("seed", [3, -1])
def test_without_noise_the_same_observation_gives_the_same_chunk(copy, sample, policy, seed):
    backend = make(copy, seed=seed, noise_scale=0.0)
    first, second = (backend.infer(observe(sample), REQUEST) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    want = policy.predict_chunk(**{**sample, "noise": np.zeros((8, 32), np.float32)}) / 2
    assert np.abs(first - want).max() <= 1e-4


def test_noise_is_scaled(copy, sample, policy):
    got = make(copy, seed=3, noise_scale=0.5).infer(observe(sample), REQUEST)
    want = policy.predict_chunk(**{**sample, "noise": chunk_noise(3, 0, (8, 32)) / 2}) / 2
    assert np.abs(got - want).max() <= 1e-4


def test_noise_depends_on_seed_and_index_alone():
    assert np.array_equal(chunk_noise(1, 2, (4, 3)), chunk_noise(1, 2, (4, 3)))
    assert not np.array_equal(chunk_noise(1, 2, (4, 3)), chunk_noise(2, 1, (4, 3)))
    assert chunk_noise(1, 2, (4, 3)).dtype == np.float32
    assert abs(float(chunk_noise(0, 0, (200, 50)).std()) - 1) < 0.05


def test_camera_mapping(copy, sample):
    plain = make(copy, seed=1).infer(observe(sample), REQUEST)
    names = ("head", "hand", "side")
    cameras = {"hand": "wrist", "side": "side", "head": "observation.images.top"}
    backend = make(copy, seed=1, cameras=cameras)
    assert backend.cameras == names
    assert np.array_equal(backend.infer(observe(sample, names), REQUEST), plain)


@pytest.mark.parametrize(
    ("cameras", "message"),
    [
        ({"a": "top", "b": "top"}, "a and b are both for observation.images.top"),
        ({"a": "front"}, "'front' is unknown"),
    ],
)
def test_cameras_that_do_not_fit_the_checkpoint(copy, cameras, message):
    with pytest.raises(ValueError, match=message):
        make(copy, cameras)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": {}}, "camera top, wrist, side"),
        ({"joint_names": JOINTS[::-1]}, "expected shoulder_pan"),
        ({"instruction": ""}, "task is empty"),
    ],
)
def test_observation_that_does_not_fit(copy, sample, changes, message):
    with pytest.raises(ValueError, match=message):
        make(copy).infer(observe(sample, **changes), REQUEST)


def parameters(copy, **changes):
    settings = {
        "checkpoint": str(copy.folder),
        "device": "cpu",
        "dtype": "float32",
        "units": "radians",
        "allow_units_mismatch": True,
        "period": 0.05,
        "seed": 4,
        "threads": 1,
    }
    return SmolVLASettings(**{**settings, **changes})


def test_created_from_parameters(copy, sample, policy):
    backend = create(parameters(copy, cameras=["top", "hand:wrist", "side"]))
    assert torch.get_num_threads() == 1
    assert backend.period == 0.05
    assert backend.real_time_chunking == "auto"
    assert create(parameters(copy, real_time_chunking="off")).real_time_chunking == "off"
    assert backend.cameras == ("top", "hand", "side")
    without = create(parameters(copy, noise_scale=0.0, seed=-1))
    first, second = (without.infer(observe(sample), REQUEST) for _ in range(2))
    np.testing.assert_array_equal(first, second)
    noise = chunk_noise(4, 0, (8, 32))
    want = policy.predict_chunk(**{**sample, "noise": noise})
    observation = observe(sample, ("top", "hand", "side"), positions=sample["state"] * 1.0)
    assert np.abs(backend.infer(observation, REQUEST) - want).max() <= 1e-3


def test_cameras_by_the_rename_map_and_the_rest_left_out(copy, sample, policy):
    top, wrist, side = sample["images"]
    copy.statistics(lambda t: {k: v for k, v in t.items() if "images" not in k})
    copy.edit(
        "policy_preprocessor.json",
        lambda c: c["steps"][0]["config"].update(
            rename_map={"observation.images.desk": top, "observation.images.hand": wrist}
        ),
    )
    backend = create(parameters(copy))
    assert backend.cameras == ("desk", "hand")
    assert f"cameras: desk is {top}, hand is {wrist}; left out: {side}" in backend.notes
    images = dict(zip(backend.cameras, sample["images"].values(), strict=False))
    got = backend.infer(observe(sample, images=images, positions=sample["state"] * 1.0), REQUEST)
    two = {top: sample["images"][top], wrist: sample["images"][wrist]}
    noise = chunk_noise(4, 0, (8, 32))
    want = policy.predict_chunk(**{**sample, "images": two, "noise": noise})
    assert np.abs(got - want).max() <= 1e-3
    # The parameter says which there are, whatever the checkpoint was trained with.
    backend = create(parameters(copy, cameras=["door:side"]))
    assert backend.cameras == ("door",)
    assert f"left out: {top}, {wrist}" in backend.notes[-1]


def test_what_is_to_be_known_of_a_checkpoint_is_in_the_notes(copy):
    copy.edit("config.json", lambda c: c["input_features"]["observation.state"].update(shape=[14]))
    copy.statistics(lambda t: {**t, "action.std": torch.tensor([1.0, 1, 0, 1, 1, 1])})
    notes = "\n".join(create(parameters(copy)).notes)
    assert "says 14 numbers for 'observation.state', the statistics are of 6" in notes
    assert "action: in the training data elbow_flex was always" in notes


def test_a_state_of_another_size_than_the_action_is_refused(copy):
    state = {"observation.state.mean": torch.zeros(8), "observation.state.std": torch.ones(8)}
    copy.statistics(
        lambda t: {**{k: v for k, v in t.items() if "observation.state" not in k}, **state}
    )
    with pytest.raises(ValueError, match=r"state of 8 and actions of 6 .*from Python"):
        create(parameters(copy))


def test_a_tokenizer_by_parameter(copy, sample, tmp_path):
    for path in copy.folder.rglob("tokenizer.json"):
        path.rename(tmp_path / "tokenizer.json")
    backend = create(parameters(copy, tokenizer=str(tmp_path)))
    assert backend.policy.tokenizer.path == tmp_path / "tokenizer.json"


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"checkpoint": ""}, "'checkpoint' is empty"),
        ({"robot": "so99"}, "no robot 'so99'"),
        ({"units": "furlongs"}, "furlongs"),
        ({"allow_units_mismatch": False}, "the mean of shoulder_pan .* set units:=degrees"),
        ({"units": "normalized"}, "give the entry calibration of the robot file"),
        (
            {"units": "normalized", "allow_units_mismatch": False},
            "maximum of shoulder_lift .* set units:=degrees",
        ),
        ({"calibration": "/nowhere/arm.json"}, "/nowhere/arm.json: cannot be read"),
        ({"robot": robot_file(JOINTS[:5])}, "has 5 joints"),
    ],
)
def test_parameters_that_do_not_fit(copy, changes, message):
    with pytest.raises(ValueError, match=message):
        create(parameters(copy, **changes))


def test_close_frees_the_weights(copy, sample):
    backend = make(copy)
    backend.infer(observe(sample), REQUEST)
    policy = weakref.ref(backend.policy)
    engine = weakref.ref(backend.policy.engine)
    backend.close()
    assert policy() is None
    assert engine() is None


def test_the_units_that_the_statistics_imply_are_taken_and_told(copy, sample, policy):
    backend = create(parameters(copy, units="auto"))
    assert backend.notes[0].startswith("units: degrees, because no other units fit")
    observation = observe(sample, positions=np.deg2rad(sample["state"]).astype(np.float64))
    got = backend.infer(observation, REQUEST)
    units = joint_units("degrees", load_robot("so100").joints)
    state = units.to_policy(observation.positions)
    want = policy.predict_chunk(**{**sample, "state": state, "noise": chunk_noise(4, 0, (8, 32))})
    assert np.abs(got - units.to_joints(want)).max() <= 1e-4


def shares(copy, tmp_path, width, **changes):
    """A checkpoint in shares of the ranges, and a calibration whose elbow is so wide [ticks]."""

    ends = {"min": [*[-100.0] * 5, 0.0], "max": [100.0] * 6}

    def to_shares(tensors):
        kinds = {key: key.rpartition(".")[2] for key in tensors}
        return {
            key: value.new_tensor(ends[kinds[key]]) if kinds[key] in ends else value.clamp(-90, 90)
            for key, value in tensors.items()
        }

    copy.statistics(to_shares)
    arm = {
        name: {"id": i + 1, "drive_mode": 0, "homing_offset": 0, "range_min": 800}
        for i, name in enumerate(JOINTS)
    }
    for name, joint in arm.items():
        joint["range_max"] = 800 + (width if name == "elbow_flex" else 2200)
    path = tmp_path / "arm.json"
    path.write_text(json.dumps(arm))
    changes = {"units": "auto", "allow_units_mismatch": False, **changes}
    return parameters(copy, calibration=str(path), **changes)


def test_shares_of_the_range_go_through_the_calibration(copy, tmp_path):
    backend = create(shares(copy, tmp_path, 2200))
    assert "units: normalized, because extremes of shoulder_pan" in backend.notes[0]


def test_the_calibration_of_another_arm_is_refused(copy, tmp_path):
    options = shares(copy, tmp_path, 3295)
    with pytest.raises(ValueError, match=r"'elbow_flex': the range is 290 degrees wide.*another"):
        create(options)
    assert any(
        "290 degrees" in r for r in create(replace(options, allow_units_mismatch=True)).notes
    )
