# SPDX-License-Identifier: Apache-2.0
"""What does not fit is reported before the first step, with the place and the remedy."""

from __future__ import annotations

import errno
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from smolvla_learning.training import state
from smolvla_learning.training.train import main
from smolvla_learning.training.trainer import Trainer

JOINTS = [f"joint_{index}.pos" for index in range(6)]


@pytest.fixture
def fails(options, capsys):
    """Return a function that runs a training which must fail, and gives its one line."""

    def run(**changes) -> str:
        assert main(options(**changes)) == 2
        printed = capsys.readouterr().err.splitlines()
        lines = [line for line in printed if line.startswith("smolvla train:")]
        assert len(lines) == 1
        return lines[0]

    return run


@pytest.fixture
def second(tmp_path, record):
    """Return a function that records another dataset."""
    return lambda **changes: record(tmp_path / "second", **changes)


def test_rates_differ(fails, second, dataset_folder):
    text = fails(dataset=[dataset_folder, second(fps=15)])
    assert "15 frames per second" in text
    assert "10; record both at one rate" in text


def test_cameras_differ(fails, second, dataset_folder):
    text = fails(dataset=[dataset_folder, second(cameras=("top", "side"))])
    assert "observation.images.side" in text
    assert "names and order must agree" in text


def test_joint_order_differs(fails, second, dataset_folder):
    assert "order of the joints" in fails(dataset=[dataset_folder, second(joints=JOINTS[::-1])])


def test_nan_in_the_actions(fails, second):
    folder = second()
    path = next((folder / "data").rglob("*.parquet"))
    table = pq.read_table(path)
    actions = table["action"].to_pylist()
    actions[5][2] = float("nan")
    column = pa.array(actions, type=table.schema.field("action").type)
    pq.write_table(
        table.set_column(table.schema.get_field_index("action"), "action", column), path
    )
    text = fails(dataset=[folder])
    assert "action" in text
    assert "episode 1" in text


def checkpoint_of(options, tmp_path):
    assert main(options(output=tmp_path / "first", steps=1)) == 0
    return tmp_path / "first" / "checkpoints" / "last" / "pretrained_model"


def test_the_checkpoints_cameras_differ(fails, options, second, tmp_path):
    start = checkpoint_of(options, tmp_path)
    folder = second(cameras=("top", "side"))
    text = fails(checkpoint=start, architecture=None, dataset=[folder])
    assert "reads observation.images.top, observation.images.wrist" in text


def test_no_labels_for_the_grounding_loss(fails, second, tmp_path):
    folder = second()
    info = folder / "meta" / "info.json"
    content = json.loads(info.read_text())
    content["features"] = {
        name: about
        for name, about in content["features"].items()
        if not name.startswith("grounding")
    }
    info.write_text(json.dumps(content))
    assert "record with --grounding" in fails(dataset=[folder], grounding_weight=1.0)


def test_no_interventions_that_could_weigh_more(fails, second):
    assert "record with --intervention" in fails(dataset=[second()], intervention_weight=3)


def test_a_dataset_that_is_not_there(fails, tmp_path):
    assert str(tmp_path / "nothing") in fails(dataset=[tmp_path / "nothing"])


def test_an_output_folder_in_use(fails, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    assert "not empty and holds no training; choose another --output" in fails()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"dataset": None}, "give --dataset FOLDER"),
        ({"architecture": None}, "give either --checkpoint to fine-tune or --architecture"),
        ({"flow_weight": 0.0}, "both losses are off"),
        ({"shares": [1.0, 2.0]}, "--shares are 2, but there are 1 datasets"),
        ({"architecture": "/does/not/exist.json"}, "is no architecture"),
        ({"device": "cuda:77"}, "cuda:77"),
        ({"rtc_delay": 4}, "a chunk has 4 actions"),
        ({"state_offset": 6}, "the longest episode has 6 frames"),
        ({"chunk_size": 8}, "--chunk-size changes a checkpoint"),
    ],
)
def test_options_that_make_no_sense(fails, changes, text):
    assert text in fails(**changes)


def test_resuming_nothing(tmp_path, capsys):
    assert main(["--resume", "--output", str(tmp_path)]) == 2
    assert "is no output folder of a training" in capsys.readouterr().err


def test_resuming_with_other_options(options, tmp_path, capsys):
    assert main(["--resume", "--output", str(tmp_path), "--lr", "1"]) == 2
    assert "leave out --lr" in capsys.readouterr().err


def test_a_full_disk_keeps_the_checkpoint_before(fails, tmp_path, monkeypatch):
    written = []
    save_file = state.save_file

    def fill(tensors, path):
        if written:
            raise OSError(errno.ENOSPC, "No space left on device")
        written.append(path)
        save_file(tensors, path)

    monkeypatch.setattr(state, "save_file", fill)
    text = fails()
    assert "the disk is full" in text
    assert "--resume" in text
    root = tmp_path / "out" / "checkpoints"
    assert sorted(path.name for path in root.iterdir()) == ["000002", "last"]


def test_a_loss_that_is_not_a_number(fails, monkeypatch):
    from smolvla_learning.training import learner

    monkeypatch.setattr(
        learner, "flow_matching_loss", lambda errors, **options: errors.sum() * torch.nan
    )
    assert "not a number" in fails()


def test_numbers_stay_finite_when_a_joint_never_moves():
    from smolvla_learning.training.checks import pooled_statistics

    class Still:
        def column(self, name):
            return np.zeros((5, 6), np.float32)

    assert (pooled_statistics([Still()])["action"]["std"] == 1.0).all()


def test_a_full_disk_before_the_first_checkpoint(fails, monkeypatch):
    def full(*arguments, **options):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Trainer, "run", full)
    text = fails()
    assert "No space left on device" in text
    assert "make room or choose another --output" in text


def test_a_task_that_the_table_does_not_have(fails, second):
    folder = second()
    path = folder / "meta" / "tasks.parquet"
    pq.write_table(pq.read_table(path).slice(0, 1), path)
    text = fails(dataset=[folder])
    assert "task_index is 1 in frame" in text
    assert "meta/tasks.parquet has 1 tasks" in text


@pytest.mark.parametrize(
    ("steps", "message"), [(1, "nothing was kept"), (3, "go on with --resume")]
)
def test_ctrl_c_says_whether_there_is_something_to_go_on_from(
    options, monkeypatch, capsys, steps, message
):
    step = Trainer._step

    def until_then(self, number):
        if number == steps:
            raise KeyboardInterrupt
        step(self, number)

    monkeypatch.setattr(Trainer, "_step", until_then)
    assert main(options(save_every=2)) == 130
    assert message in capsys.readouterr().err
