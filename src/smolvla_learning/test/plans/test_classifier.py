# SPDX-License-Identifier: Apache-2.0
"""The small network that judges: it learns a color from a sentence, and says what it cannot do."""

import json

import numpy as np
import pytest
from smolvla_core.judge import Choice, Verdict
from smolvla_learning.dataset import Dataset, DatasetWriter, camera_feature, joint_features
from smolvla_learning.dataset.features import Feature
from smolvla_learning.plans.classifier import ABOUT, WEIGHTS
from smolvla_learning.plans.train_judge import (
    JudgeTraining,
    calibrate,
    collect,
    main,
)

JOINTS = ["a.pos"]
COLORS = {"red": (200, 30, 30), "blue": (30, 30, 200)}


def picture(rng, *done):
    """A gray table; what is done is a square of its color, at the same place always."""
    image = np.full((48, 64, 3), rng.integers(90, 120), np.uint8)
    for color in done:
        left = 8 if color == "red" else 40
        image[16:32, left : left + 16] = COLORS[color]
    return image


def record(folder, episodes, frames=8, last=2, marks=False, sentence="put away the {} cube"):
    """Episodes whose last frames show that they are done; half begin with the other one done."""
    rng = np.random.default_rng(1)
    features = {**joint_features(JOINTS), "observation.images.top": camera_feature(48, 64)}
    if marks:
        features["next.success"] = Feature("bool", (1,))
    with DatasetWriter.create(folder, fps=10, robot_type="arm", features=features) as writer:
        for episode in range(episodes):
            color, other = list(COLORS)[:: 1 if episode % 2 else -1]
            before = (other,) if episode % 4 < 2 else ()
            for at in range(frames):
                done = at >= frames - last
                frame = {
                    "observation.state": np.zeros(1, np.float32),
                    "action": np.zeros(1, np.float32),
                    "observation.images.top": picture(rng, *before, *((color,) if done else ())),
                }
                if marks:
                    frame["next.success"] = np.array([done])
                writer.add_frame(frame, sentence.format(color))
            writer.save_episode()
    return folder


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    return record(tmp_path_factory.mktemp("recorded") / "cubes", 40)


OPTIONS = ["--no-others", "--gap-seconds", "0.1", "--device", "cpu", "--frames-per-second", "10"]


@pytest.fixture(scope="module")
def trained(recorded):
    folder = recorded.parent / "judge"
    line = [str(recorded), "--output", str(folder), *OPTIONS, "--epochs", "12"]
    assert main([*line, "--batch-size", "32", "--learning-rate", "0.003"]) == 0
    return folder


def judge_of(folder, *options):
    maker = Choice("classifier", (f"model={folder}", *options)).maker()
    return maker[0](), maker[1]


def test_it_says_yes_to_what_is_done_and_no_to_the_other_color(trained):
    judge, settings = judge_of(trained)
    assert settings.in_a_row == 3
    rng = np.random.default_rng(5)
    for color, other in (("red", "blue"), ("blue", "red")):
        sentence = f"Put away the {color} cube."
        for done, verdict in (
            ((color,), Verdict.YES),
            ((color, other), Verdict.YES),
            ((other,), Verdict.NO),
            ((), Verdict.NO),
        ):
            opinion = judge.judge(sentence, {"top": picture(rng, *done), "wrist": None})
            assert opinion.verdict == verdict, (sentence, done, opinion.seen)
            assert opinion.seen.startswith("done with ")


def test_a_threshold_of_the_caller_wins(trained):
    nothing = picture(np.random.default_rng(5))
    judge, _ = judge_of(trained, "threshold=0.000000001")
    assert judge.judge("put away the red cube", {"top": nothing}).verdict == Verdict.YES


def test_what_it_has_not_learned_or_cannot_see_is_said(trained):
    judge, _ = judge_of(trained)
    image = picture(np.random.default_rng(0))
    with pytest.raises(ValueError, match="not learned 'put away the red cub'; did you mean 'put"):
        judge.judge("put away the red cub", {"top": image})
    with pytest.raises(ValueError, match="camera top, but there is wrist"):
        judge.judge("put away the red cube", {"wrist": image})


def test_a_folder_that_holds_none_says_how_one_is_made(tmp_path, trained):
    with pytest.raises(ValueError, match="smolvla train-judge makes one"):
        judge_of(tmp_path)
    with pytest.raises(ValueError, match="model is not given"):
        Choice("classifier").maker()[0]()
    (tmp_path / ABOUT).write_text((trained / ABOUT).read_text())
    (tmp_path / WEIGHTS).write_bytes(b"no weights")
    with pytest.raises(ValueError, match="train again"):
        judge_of(tmp_path)
    (tmp_path / ABOUT).write_text(json.dumps({"sentences": []}))
    with pytest.raises(ValueError, match="cannot be understood"):
        judge_of(tmp_path)


def settings_for(tmp_path, **changes):
    return JudgeTraining(
        output=tmp_path / "out", gap_seconds=0.1, frames_per_second=10.0, **changes
    )


def test_the_end_is_done_what_is_before_it_is_unknown_the_rest_is_not(recorded, tmp_path):
    dataset = Dataset.open(recorded)
    samples, sentences, cameras = collect([dataset], settings_for(tmp_path, others=False))
    assert sentences == ("put away the blue cube", "put away the red cube")
    assert cameras == ("top",)
    assert samples.pictures.shape == (40 * 7, 1, 96, 128, 3)
    assert samples.done.reshape(40, 7).tolist() == [[False] * 5 + [True] * 2] * 40
    assert samples.apart.sum() == 8 * 7


def test_an_end_is_not_done_for_the_other_sentences(recorded, tmp_path):
    samples, _, _ = collect([Dataset.open(recorded)], settings_for(tmp_path))
    assert len(samples.done) == 40 * 9
    assert samples.done.sum() == 40 * 2
    same_frame = samples.frames[1:] == samples.frames[:-1]
    assert (samples.sentences[1:][same_frame] != samples.sentences[:-1][same_frame]).all()


def test_marks_in_the_dataset_win_over_the_end(tmp_path):
    folder = record(tmp_path / "marked", 6, last=4, marks=True)
    samples, _, _ = collect([Dataset.open(folder)], settings_for(tmp_path, others=False))
    assert samples.done.reshape(6, 8).tolist() == [[False] * 4 + [True] * 4] * 6


def test_the_threshold_lets_so_many_wrong_answers_through():
    done = np.array([False] * 100 + [True] * 10)
    probability = np.concatenate([np.linspace(0, 0.99, 100), np.linspace(0.9, 1.0, 10)])
    strict, wrong, right = calibrate(probability.astype(np.float32), done, 0.0)
    assert strict > 0.99
    assert (wrong, right) == (0.0, 0.1)
    loose, wrong, right = calibrate(probability.astype(np.float32), done, 0.05)
    assert loose < strict
    assert wrong == pytest.approx(0.05)
    assert right > 0.5


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (["--cameras", "moon"], "has no camera moon; it has top"),
        (["--success-seconds", "9", "--no-others"], "show only one of done and not done"),
        (["--device", "toaster"], "toaster"),
    ],
)
def test_what_cannot_be_trained_is_said(recorded, tmp_path, change, problem, capsys):
    line = [str(recorded), "--output", str(tmp_path / "out"), "--epochs", "1", *change]
    assert main(line) == 2
    assert problem in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_too_few_episodes_or_a_folder_that_exists(tmp_path, capsys):
    few = record(tmp_path / "few", 3)
    assert main([str(few), "--output", str(tmp_path / "out")]) == 2
    assert "at least 5 are needed" in capsys.readouterr().err
    assert main([str(few), "--output", str(tmp_path)]) == 2
    assert "exists" in capsys.readouterr().err
