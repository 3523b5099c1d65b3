# SPDX-License-Identifier: Apache-2.0
"""A training that left nothing worth keeping does not stand in the way of its own retry."""

from __future__ import annotations

import json
import shutil

import pytest
from smolvla_learning.training.train import lock, main
from smolvla_learning.training.trainer import Trainer


@pytest.fixture
def interrupted(options, monkeypatch):
    """Return a function that trains until Ctrl-C comes at a step."""

    def run(at, **changes):
        step = Trainer._step

        def until_then(self, number):
            if number == at:
                raise KeyboardInterrupt
            step(self, number)

        with monkeypatch.context() as patch:
            patch.setattr(Trainer, "_step", until_then)
            assert main(options(**changes)) == 130

    return run


def steps(output):
    return sorted(path.name for path in (output / "checkpoints").iterdir())


def test_the_same_command_begins_anew_after_an_early_ctrl_c(interrupted, options, tmp_path):
    interrupted(1)
    # The name of an event file has the second in it: one that the next cannot have.
    event = next((tmp_path / "out" / "tensorboard").iterdir()).rename(
        tmp_path / "out" / "tensorboard" / "events.out.tfevents.1.here"
    )
    (tmp_path / "out" / "my notes.txt").write_text("mine")
    assert main(options()) == 0
    assert steps(tmp_path / "out") == ["000002", "000004", "last"]
    assert not event.exists()
    assert (tmp_path / "out" / "my notes.txt").read_text() == "mine"


def test_resume_begins_anew_with_the_same_options(interrupted, options, tmp_path):
    interrupted(1, lr=0.007)
    assert main(["--resume", "--output", str(tmp_path / "out")]) == 0
    assert json.loads((tmp_path / "out" / "train_config.json").read_text())["lr"] == 0.007
    assert steps(tmp_path / "out") == ["000002", "000004", "last"]


def test_a_failed_start_does_not_block_the_next(options, tmp_path):
    bad = tmp_path / "bad.json"
    bad.write_text("{}")
    assert main(options(architecture=bad)) == 2
    assert main(options(architecture=None, checkpoint="/no/such/checkpoint")) == 2
    assert main(options(steps=1)) == 0


def test_a_checkpoint_is_never_begun_over(interrupted, options, tmp_path, capsys):
    interrupted(3)
    assert main(options()) == 2
    assert "000002 as its newest checkpoint; go on with --resume" in capsys.readouterr().err
    (tmp_path / "out" / "checkpoints" / "last").unlink()  # killed before the link was made
    assert main(["--resume", "--output", str(tmp_path / "out")]) == 0
    assert "resuming behind step 2 of 4" in capsys.readouterr().out


def test_a_training_that_runs_is_left_alone(interrupted, options, tmp_path, capsys):
    interrupted(1)
    before = (tmp_path / "out" / "metrics.csv").read_text()
    with lock(tmp_path / "out"):
        assert main(options()) == 2
    assert "another training is writing into" in capsys.readouterr().err
    assert (tmp_path / "out" / "metrics.csv").read_text() == before


def test_a_folder_of_something_else_is_left_alone(options, tmp_path, capsys):
    out = tmp_path / "out"
    (out / "tensorboard").mkdir(parents=True)
    (out / "tensorboard" / "picture.png").write_bytes(b"mine")
    assert main(options()) == 2
    assert "holds no training; choose another --output" in capsys.readouterr().err
    assert [path.name for path in out.rglob("*")] == ["tensorboard", "picture.png"]
    shutil.rmtree(out)
    out.write_text("a file")
    assert main(options()) == 2
    assert "is a file" in capsys.readouterr().err
