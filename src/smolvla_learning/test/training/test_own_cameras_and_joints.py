# SPDX-License-Identifier: Apache-2.0
"""A base of other cameras and joints is fine-tuned on what a dataset has."""

from __future__ import annotations

import json
import shutil

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file
from smolvla_learning.dataset import Dataset, DatasetWriter
from smolvla_learning.training.fit import dataset_cameras, fit
from smolvla_learning.training.options import TrainingError, parse_rename_map
from smolvla_learning.training.scratch import Robot, new_policy
from smolvla_learning.training.train import main

from smolvla_policy import SmolVLAPolicy

IMAGES = "observation.images."
BASE = tuple(IMAGES + f"camera{number}" for number in (1, 2, 3))
TASK = "lift the ring"


@pytest.fixture(scope="module")
def base(architecture, tmp_path_factory):
    """A checkpoint as the released base: three cameras, six joints, statistics of no use."""
    folder = tmp_path_factory.mktemp("base") / "smolvla_base"
    numbers = {name: np.ones(6) for name in ("mean", "std", "min", "max")}
    robot = Robot(
        cameras=dict.fromkeys(BASE, (256, 256)),
        state=6,
        action=6,
        statistics={"observation.state": numbers, "action": numbers},
        sentences=[TASK],
    )
    new_policy(architecture, robot, folder, seed=4)
    for path in folder.glob("*normalizer_processor.safetensors"):
        kept = {f"arm.buffer.{k}": v for k, v in load_file(path).items() if k.startswith("action")}
        save_file(kept, path)
    return folder


@pytest.fixture(scope="module")
def set_of(record, tmp_path_factory):
    """Return a function that records a dataset with these cameras and so many joints, once."""
    folders = {}

    def make(cameras=("top", "wrist"), joints=6):
        if (cameras, joints) not in folders:
            folders[cameras, joints] = record(
                tmp_path_factory.mktemp("sets") / "set",
                cameras=cameras,
                joints=[f"axis_{index}.pos" for index in range(joints)],
                episodes=1,
            )
        return folders[cameras, joints]

    return make


@pytest.fixture
def tuned(options, base, set_of, tmp_path, capsys):
    """Return a function that fine-tunes the base one step, and gives policy and output."""

    def run(cameras=("top", "wrist"), joints=6, **changes):
        changes = {"architecture": None, "checkpoint": base, "steps": 1, **changes}
        shutil.rmtree(tmp_path / "out", ignore_errors=True)
        assert main(options(dataset=[set_of(cameras, joints)], **changes)) == 0
        return SmolVLAPolicy.from_pretrained(tmp_path / "out"), capsys.readouterr().out

    return run


@pytest.fixture
def refused(options, base, set_of, capsys):
    """Return a function that fine-tunes, which must fail, and gives the one line."""

    def run(cameras=("top", "wrist"), joints=6, **changes):
        changes = {"architecture": None, "checkpoint": base, "steps": 1, **changes}
        assert main(options(dataset=[set_of(cameras, joints)], **changes)) == 2
        lines = [line for line in capsys.readouterr().err.splitlines() if "smolvla train:" in line]
        assert len(lines) == 1
        return lines[0]

    return run


def saved(tmp_path, file):
    folder = tmp_path / "out" / "checkpoints" / "last" / "pretrained_model"
    return json.loads((folder / file).read_text())


def renamed(tmp_path):
    return saved(tmp_path, "policy_preprocessor.json")["steps"][0]["config"]["rename_map"]


def predict(policy, cameras):
    images = {name: np.full((24, 32, 3), 90, np.uint8) for name in cameras}
    return policy.predict_chunk(images, np.zeros(policy.state_dim, np.float32), TASK)


def test_other_names_take_the_place_of_the_bases(tuned, tmp_path):
    policy, output = tuned()
    assert policy.cameras == (IMAGES + "top", IMAGES + "wrist")
    assert "take the place of observation.images.camera1" in output
    config = saved(tmp_path, "config.json")
    assert config["input_features"][IMAGES + "top"]["shape"] == [3, 24, 32]
    steps = saved(tmp_path, "policy_preprocessor.json")["steps"]
    assert list(steps[5]["config"]["features"]) == [*config["input_features"], "action"]
    assert renamed(tmp_path) == {}
    assert predict(policy, ("top", "wrist")).shape == (4, 6)


def test_the_statistics_are_the_datasets(tuned, set_of):
    from smolvla_learning.dataset import Dataset

    policy, _ = tuned()
    actions = Dataset.open(set_of()).column("action")
    np.testing.assert_allclose(policy.statistics["action"]["mean"], actions.mean(0), atol=1e-5)
    np.testing.assert_allclose(
        policy.statistics["action"]["q90"], np.quantile(actions, 0.9, axis=0), atol=1e-5
    )


@pytest.mark.parametrize(
    "spelling",
    [
        ["top=camera3", "wrist=camera1"],
        [json.dumps({IMAGES + "top": BASE[2], IMAGES + "wrist": BASE[0]})],
    ],
)
def test_a_rename_map_keeps_the_bases_names(tuned, tmp_path, spelling):
    policy, output = tuned(rename_map=spelling)
    assert policy.cameras == (BASE[0], BASE[2])
    assert renamed(tmp_path) == {IMAGES + "top": BASE[2], IMAGES + "wrist": BASE[0]}
    assert "observation.images.camera2" in output
    assert predict(policy, (IMAGES + "top", IMAGES + "wrist")).shape == (4, 6)


def test_resuming_keeps_cameras_sizes_and_robot(tuned, tmp_path):
    before, _ = tuned(joints=7, rename_map=["wrist=camera2"], steps=2)
    line = tmp_path / "out" / "train_config.json"
    line.write_text(json.dumps({**json.loads(line.read_text()), "steps": 3}))
    assert main(["--resume", "--output", str(tmp_path / "out")]) == 0
    after = SmolVLAPolicy.from_pretrained(tmp_path / "out")
    assert (tmp_path / "out" / "checkpoints" / "000003").is_dir()
    assert after.cameras == before.cameras == (BASE[1],)
    assert after.robot == before.robot
    assert after.robot.cameras == (IMAGES + "wrist",)
    assert (after.state_dim, after.action_dim) == (7, 7)
    assert renamed(tmp_path) == {IMAGES + "wrist": BASE[1]}


@pytest.mark.parametrize("joints", [4, 12, 32])
def test_as_many_joints_as_the_dataset_has(tuned, joints, tmp_path):
    policy, output = tuned(joints=joints)
    assert (policy.state_dim, policy.action_dim) == (joints, joints)
    assert f"action: {joints} numbers, as in the dataset" in output
    assert policy.robot.joints == tuple(f"axis_{index}.pos" for index in range(joints))
    assert predict(policy, ("top", "wrist")).shape == (4, joints)


def test_empty_cameras_are_declared_as_lerobot_does(tuned, tmp_path):
    tuned(empty_cameras=2)
    config = saved(tmp_path, "config.json")
    assert config["empty_cameras"] == 2
    assert list(config["input_features"])[3:] == [
        IMAGES + "empty_camera_0",
        IMAGES + "empty_camera_1",
    ]


def test_the_bases_own_names_stay_and_absent_ones_are_left_out(tuned):
    policy, output = tuned(cameras=("camera2", "camera1"))
    assert policy.cameras == BASE[:2]
    assert "left out: observation.images.camera3" in output


def test_more_joints_than_there_is_room_for(refused):
    text = refused(joints=33)
    assert "33 numbers" in text
    assert "max_state_dim" in text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"rename_map": ["camera1=top"]}, "write the dataset's name first"),
        ({"rename_map": ["top=camera9"]}, "observation.images.camera3"),
        ({"rename_map": ["top"]}, "top=camera1 wrist=camera2"),
        ({"rename_map": ['{"top": 3}']}, "names must map to names"),
        ({"rename_map": ["top=camera1", "wrist=camera1"]}, "two cameras are to be"),
        ({"cameras": ("camera1", "side")}, "--rename-map side=camera2"),
    ],
)
def test_what_does_not_fit_is_told_with_the_remedy(refused, changes, message):
    assert message in refused(**changes)


def test_a_choice_of_cameras(base, set_of):
    from smolvla_learning.dataset import Dataset
    from smolvla_policy.checkpoint.config import read_config
    from smolvla_policy.checkpoint.processors import read_processors

    config = read_config(base)
    processors = read_processors(base, config)
    dataset = Dataset.open(set_of(("top", "wrist", "side")))

    def pairs(**wishes):
        made, made_processors, _ = fit(config, processors, dataset, "base", **wishes)
        return dataset_cameras(made, made_processors, dataset, wishes.get("cameras", ()))

    assert pairs(cameras=["side", "top"]) == {
        IMAGES + "side": IMAGES + "side",
        IMAGES + "top": IMAGES + "top",
    }
    assert pairs(
        cameras=["wrist", "side"], rename_map={"side": "camera1", "wrist": "camera3"}
    ) == {
        BASE[0]: IMAGES + "side",
        BASE[2]: IMAGES + "wrist",
    }
    half = Dataset.open(set_of(("camera2", "hand")))
    made, made_processors, _ = fit(
        config, processors, half, "base", rename_map={"hand": "camera1"}
    )
    assert made.cameras == BASE[:2]
    assert made_processors.rename_map == {IMAGES + "hand": BASE[0], BASE[1]: BASE[1]}
    with pytest.raises(TrainingError, match="--cameras names hand, but the cameras of"):
        pairs(cameras=["hand"])
    with pytest.raises(TrainingError, match="names none of the cameras that are used"):
        pairs(cameras=["wrist"], rename_map={"side": "camera1"})


def test_the_bases_own_rename_map_serves_or_goes(base, set_of):
    from dataclasses import replace

    from smolvla_learning.dataset import Dataset
    from smolvla_policy.checkpoint.config import read_config
    from smolvla_policy.checkpoint.processors import read_processors

    config = read_config(base)
    old = {IMAGES + "head": BASE[1]}
    processors = replace(read_processors(base, config), rename_map=old)
    known, known_processors, _ = fit(config, processors, Dataset.open(set_of(("head",))), "base")
    assert known.cameras == (BASE[1],)
    assert known_processors.rename_map == old
    others, others_processors, _ = fit(config, processors, Dataset.open(set_of(("tail",))), "base")
    assert others.cameras == (IMAGES + "tail",)
    assert others_processors.rename_map == {}


def test_the_order_of_a_rename_map_is_dataset_first():
    assert parse_rename_map(["a=b", "c=d"]) == {"a": "b", "c": "d"}
    assert parse_rename_map(['{"a":', '"b"}']) == {"a": "b"}


def relabel(folder, to, units):
    """Copy a dataset and note its units, as a recorder does."""
    shutil.copytree(folder, to)
    path = to / "meta" / "info.json"
    info = json.loads(path.read_text())
    for feature in ("observation.state", "action"):
        info["features"][feature]["info"] = {"units": units, "joint_signs": [1.0] * 5 + [-1.0]}
    path.write_text(json.dumps(info))
    return to


def test_what_a_dataset_says_goes_into_the_checkpoint(options, set_of, tmp_path, capsys):
    mine = relabel(set_of(), tmp_path / "mine", "radians")
    assert main(options(dataset=[mine], steps=1)) == 0
    robot = saved(tmp_path, "robot.json")
    assert (robot["units"], robot["fps"], robot["joint_signs"][5]) == ("radians", 10.0, -1.0)
    assert robot["cameras"] == [IMAGES + "top", IMAGES + "wrist"]
    assert robot["tasks"] == list(Dataset.open(mine).tasks)
    other = relabel(set_of(), tmp_path / "other", "degrees")
    assert main(options(dataset=[mine, other], output=tmp_path / "both")) == 2
    assert "is in degrees and" in capsys.readouterr().err


def test_one_silent_dataset_leaves_the_units_open(options, set_of, tmp_path, capsys):
    mine = relabel(set_of(), tmp_path / "mine", "radians")
    assert main(options(dataset=[mine, set_of()], steps=1)) == 0
    assert "units" not in saved(tmp_path, "robot.json")
    assert "does not say them" in capsys.readouterr().out


def test_statistics_in_other_units_are_not_kept(options, set_of, tmp_path, capsys):
    mine = relabel(set_of(), tmp_path / "mine", "radians")
    assert main(options(dataset=[mine], steps=1)) == 0
    start = tmp_path / "out"
    other = relabel(set_of(), tmp_path / "other", "degrees")
    line = options(
        dataset=[other],
        checkpoint=start,
        architecture=None,
        output=tmp_path / "second",
        keep_statistics=True,
    )
    assert main(line) == 2
    assert "leave out --keep-statistics" in capsys.readouterr().err


def test_statistics_of_other_joints_are_not_kept(options, set_of, tmp_path, capsys):
    assert main(options(dataset=[set_of()], steps=1)) == 0
    line = options(
        dataset=[set_of(joints=4)],
        checkpoint=tmp_path / "out",
        architecture=None,
        output=tmp_path / "second",
        keep_statistics=True,
    )
    assert main(line) == 2
    assert "of 6 numbers for 'observation.state'" in capsys.readouterr().err


def test_the_joints_of_the_base_in_another_order(options, record, tmp_path, capsys):
    names = [f"part_{index}.pos" for index in range(6)]
    first = record(tmp_path / "one", joints=names, episodes=1)
    assert main(options(dataset=[first], steps=1)) == 0
    turned = record(tmp_path / "two", joints=names[::-1], episodes=1)
    line = options(
        dataset=[turned], checkpoint=tmp_path / "out", architecture=None, output=tmp_path / "next"
    )
    assert main(line) == 2
    assert "the order must agree" in capsys.readouterr().err


def test_the_writer_notes_what_it_is_told(tmp_path):
    from smolvla_learning.dataset import joint_features

    writer = DatasetWriter.create(
        tmp_path / "set",
        fps=5,
        robot_type=None,
        features=joint_features(["a.pos"]),
        about={"action": {"units": "radians"}},
    )
    with writer:
        values = np.zeros(1, np.float32)
        writer.add_frame({"observation.state": values, "action": values}, TASK)
        writer.save_episode()
    again = DatasetWriter.resume(tmp_path / "set")
    assert again.about("action") == {"units": "radians"}
    again.close()


def test_cameras_whose_names_have_dots(tuned, tmp_path):
    policy, _ = tuned(
        cameras=("left.hand", "hand"), rename_map=["left.hand=camera3", "hand=camera1"]
    )
    assert policy.cameras == (BASE[0], BASE[2])
    assert renamed(tmp_path) == {IMAGES + "left.hand": BASE[2], IMAGES + "hand": BASE[0]}
