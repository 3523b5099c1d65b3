# SPDX-License-Identifier: Apache-2.0
"""Sentences by a vision-language model: a stub server, the table, the new dataset."""

from __future__ import annotations

import csv
import filecmp
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest
from smolvla_learning.dataset import Dataset, DatasetWriter, camera_feature, joint_features
from smolvla_learning.dataset.catalog import episode_files
from smolvla_learning.dataset.check import find_problems
from smolvla_learning.dataset.statistics import numeric_statistics
from smolvla_learning.describing.describe import main
from smolvla_learning.describing.relabel import ORIGINAL
from smolvla_learning.describing.sentences import cleaned, problem_of

JOINTS = ["a.pos", "b.pos"]


@pytest.mark.parametrize(
    ("answer", "sentence"),
    [
        ("Pick up the red cube.", "Pick up the red cube"),
        ('Answer: "Push  the\n button"', "Push the button"),
        ("**Press** the bell", "Press** the bell"),
        ("“Fold the towel”", "Fold the towel"),
        ("touch the 'go' button", "Touch the 'go' button"),
    ],
)
def test_what_models_put_around_a_sentence_goes(answer, sentence):
    assert cleaned(answer) == sentence
    assert problem_of(sentence) == ""


@pytest.mark.parametrize(
    ("sentence", "problem"),
    [
        ("", "no words"),
        ("The robot picks up the cube", "verb in the imperative"),
        ("Picking up the cube", "verb in the imperative"),
        ("Picks up the cube", "verb in the imperative"),
        ("Task 1", "verb in the imperative"),
        ("Open", "names no object"),
        ("Open <b>it</b> now", "markup"),
        ("Pick the cube. Then place it", "one plain sentence"),
        ("Pick " + "the cube " * 15, "31 words"),
    ],
)
def test_what_is_no_instruction(sentence, problem):
    assert problem in problem_of(sentence)


@pytest.fixture
def dataset(tmp_path, monkeypatch):
    """Three episodes; the second has two sentences. The gray of a picture tells its episode."""
    monkeypatch.chdir(tmp_path)
    features = {
        **joint_features(JOINTS),
        "observation.images.top": camera_feature(48, 64),
        "observation.images.wrist": camera_feature(32, 32),
    }
    folder = tmp_path / "cubes"
    with DatasetWriter.create(folder, fps=10, robot_type="arm", features=features) as writer:
        for episode, tasks in enumerate((["Task 1"] * 6, ["Task 1"] * 3 + ["Task 2"] * 3, [" x"])):
            for task in tasks * (1 if len(tasks) > 1 else 5):
                frame = {
                    "observation.state": np.full(2, episode, np.float32),
                    "action": np.full(2, episode, np.float32),
                    "observation.images.top": np.full((48, 64, 3), 60 * episode + 60, np.uint8),
                    "observation.images.wrist": np.full((32, 32, 3), 30, np.uint8),
                }
                writer.add_frame(frame, task)
            writer.save_episode()
    return folder


def by_picture(number, images, question):
    episode = round((float(images[0][5, 5].mean()) - 60) / 60)
    second = '"Task 2"' in question
    return ["Pick up the red cube.", "Open the drawer", "Pick up the red cube"][episode] + (
        " slowly" if second else ""
    )


def table(path="cubes-sentences.csv"):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_a_described_dataset(dataset, serve, tmp_path, capsys):
    before = {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()}
    stub = serve(by_picture)
    line = [str(dataset), "--server", stub.address, "--model", "vl", "--output", "new"]
    assert main([*line, "--frames", "3"]) == 0
    assert [model for model, *_ in stub.asked] == ["vl"] * 4
    assert all(len(images) == 3 for _, images, _ in stub.asked)
    assert stub.asked[0][1][0].shape == (48, 64 + 32, 3)
    new, old = Dataset.open("new"), Dataset.open(dataset)
    assert new.tasks == ["Pick up the red cube", "Open the drawer", "Open the drawer slowly"]
    assert [list(e.tasks) for e in new.episodes] == [new.tasks[:1], new.tasks[1:], new.tasks[:1]]
    assert new.column("task_index").tolist() == [0] * 6 + [1] * 3 + [2] * 3 + [0] * 5
    assert find_problems(new, True) == []
    index = new.column("task_index").reshape(-1, 1)
    for key, value in numeric_statistics(index).items():
        np.testing.assert_allclose(new.stats["task_index"][key], value)
    (episodes,) = episode_files(new.folder)
    columns = pq.read_table(episodes)
    assert columns[ORIGINAL].to_pylist() == [["Task 1"], ["Task 1", "Task 2"], [" x"]]
    assert columns["stats/task_index/mean"].to_pylist() == [[0.0], [1.5], [0.0]]
    np.testing.assert_array_equal(new.column("action"), old.column("action"))
    for video in dataset.rglob("*.mp4"):
        assert filecmp.cmp(video, "new" / video.relative_to(dataset), shallow=False)
    # What was there is as it was, and can be continued.
    assert before == {path: path.read_bytes() for path in dataset.rglob("*") if path.is_file()}
    with DatasetWriter.resume("new") as writer:
        assert writer.num_episodes == 3
    text = (tmp_path / "cubes-sentences.html").read_text()
    assert text.count("<img") == 4
    assert "Open the drawer slowly" in text
    assert "3 different sentences" in capsys.readouterr().out


def test_an_answer_that_is_no_instruction_is_asked_for_again(dataset, serve, capsys):
    def answer(number, images, question):
        if "refused" not in question:
            return "The robot arm picks up a cube."
        assert "does not begin with a verb" in question
        return "Pick up the cube"

    stub = serve(answer)
    assert main([str(dataset), "--server", stub.address]) == 0
    assert len(stub.asked) == 8
    assert {row["after"] for row in table()} == {"Pick up the cube"}
    assert "give the same command with --output" in capsys.readouterr().out


def test_answers_that_never_fit_are_left_to_a_person(dataset, serve, capsys):
    stub = serve(lambda *_: "A cube.")
    line = [str(dataset), "--server", stub.address, "--tries", "2"]
    assert main([*line, "--output", "new"]) == 1
    assert len(stub.asked) == 8
    error = capsys.readouterr().err
    assert "4 sentences are missing" in error
    assert "'A cube': it does not begin with a verb" in error
    assert not Dataset.open(dataset).folder.with_name("new").exists()


def test_a_server_that_ends_in_the_middle_costs_nothing(dataset, serve, capsys):
    def failing(number, images, question):
        return by_picture(number, images, question) if number < 3 else None

    stub = serve(failing)
    assert main([str(dataset), "--server", stub.address, "--output", "new"]) == 2
    error = capsys.readouterr().err
    assert error.startswith("smolvla dataset describe: the server at http://127.0.0.1:")
    assert error.count("\n") == 1
    assert "answered with status 500" in error
    assert sum(bool(row["after"]) for row in table()) == 2
    whole = serve(by_picture)
    assert main([str(dataset), "--server", whole.address, "--output", "new"]) == 0
    assert len(whole.asked) == 2
    assert len(Dataset.open("new").tasks) == 3


def test_the_table_is_edited_and_applied_without_a_model(dataset, capsys):
    assert main([str(dataset)]) == 2
    assert "4 of 4 sentences are missing" in capsys.readouterr().err
    rows = table()
    for row in rows:
        row["after"] = "Stack the blue cube on the red one."
    with open("cubes-sentences.csv", "w", newline="") as file:
        writer = csv.DictWriter(file, rows[0])
        writer.writeheader()
        writer.writerows(rows)
    assert main([str(dataset), "--output", "new"]) == 0
    assert Dataset.open("new").tasks == ["Stack the blue cube on the red one"]
    assert main([str(dataset), "--output", "new"]) == 2
    assert "exists" in capsys.readouterr().err


def test_sentences_that_a_person_writes_need_no_cameras(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with DatasetWriter.create(
        tmp_path / "blind", fps=10, robot_type="arm", features=joint_features(JOINTS)
    ) as writer:
        writer.add_frame({"observation.state": np.zeros(2), "action": np.zeros(2)}, "Task 1")
        writer.save_episode()
    (tmp_path / "blind-sentences.csv").write_text(
        "episode,before,after,problem\n0,Task 1,Open it slowly,\n"
    )
    assert main(["blind", "--output", "new"]) == 0
    assert Dataset.open("new").tasks == ["Open it slowly"]


@pytest.mark.parametrize(
    ("content", "status", "text"),
    [
        ("episode,before,after,problem\n0,Task 1,The cube\n", 2, "3 of 4 sentences are missing"),
        ("episode,before,after,problem\n9,Task 1,Open it,\n", 2, "choose another --table"),
        ("a,b\n1,2\n", 2, "it lacks the column episode, before, after, problem"),
        ("\xff\xfe", 2, "is not in UTF-8"),
        ("episode,before,after,problem\na,Task 1,Open it,\n", 2, "line 2: episode 'a' has no"),
        ("episode,before,after,problem\n0,Task 1,,\n0,Task 1,,\n", 2, "stands there twice"),
        ("episode;before;after;problem\n0;Task 1;Open it;\n", 2, "3 of 4 sentences are missing"),
    ],
)
def test_a_table_that_does_not_fit(dataset, content, status, text, capsys, tmp_path):
    (tmp_path / "cubes-sentences.csv").write_bytes(content.encode("latin-1"))
    assert main([str(dataset), "--output", "new"]) == status
    assert text in capsys.readouterr().err


def test_a_sentence_that_somebody_wrote_wrongly_is_named(dataset, serve, capsys, tmp_path):
    stub = serve(by_picture)
    assert main([str(dataset), "--server", stub.address]) == 0
    path = tmp_path / "cubes-sentences.csv"
    path.write_text(path.read_text().replace("Open the drawer slowly", "The drawer"))
    assert main([str(dataset), "--output", "new"]) == 1
    assert "; episode 1: it does not begin with a verb" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (["--cameras", "side"], "has no camera side; it has top, wrist"),
        (["--server", "http://127.0.0.1:9/v1"], "the server at http://127.0.0.1:9/v1 gave no"),
        (["--server", "127.0.0.1:9"], "must begin with http:// or https://"),
        (["--model", "/no/model"], "pip install -r requirements/describe.txt, or name a --server"),
        (["--frames", "0"], "--frames"),
    ],
)
def test_what_cannot_work_is_told_in_a_line(dataset, arguments, text, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "transformers", None)  # as where it is not installed
    try:
        status = main([str(dataset), *arguments])
    except SystemExit as ended:
        status = ended.code
    assert status == 2
    assert text in capsys.readouterr().err
