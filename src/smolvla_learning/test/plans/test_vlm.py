# SPDX-License-Identifier: Apache-2.0
"""The judge that is a vision-language model: what it is shown, asked, and what answers mean."""

import numpy as np
import pytest
from smolvla_core.judge import Choice, Verdict
from smolvla_learning.describing.models import ModelError

SENTENCE = "put the red cube into the bowl"
IMAGES = {
    "top": np.full((30, 40, 3), (200, 0, 0), np.uint8),
    "wrist": np.full((60, 20, 3), (0, 0, 200), np.uint8),
}


@pytest.fixture
def judge_of(serve):
    def make(answer, *options):
        stub = serve(answer if callable(answer) else lambda *_: answer)
        maker = Choice("vlm", (f"server={stub.address}", "model=eyes", *options)).maker()
        judge, settings = maker[0](), maker[1]
        return judge, settings, stub

    return make


def test_it_is_shown_all_cameras_side_by_side_and_asked_about_the_sentence(judge_of):
    judge, settings, stub = judge_of("Yes. The red cube lies in the bowl.")
    opinion = judge.judge(SENTENCE, IMAGES)
    assert opinion.verdict == Verdict.YES
    assert opinion.seen == "The red cube lies in the bowl."
    assert settings.in_a_row == 2
    ((model, (picture,), question),) = stub.asked
    assert (model, picture.shape) == ("eyes", (60, 60, 3))
    assert picture[10, 10, 2] > 150  # BGR
    assert picture[50, 50, 0] > 150
    assert SENTENCE in question
    assert "top, wrist" in question


@pytest.mark.parametrize(
    ("answer", "verdict", "seen"),
    [
        ("no, the gripper holds it", Verdict.NO, "the gripper holds it"),
        ("**YES**", Verdict.YES, "**YES**"),
        ("Nothing is there", Verdict.UNKNOWN, "neither yes nor no: Nothing is there"),
        ("", Verdict.UNKNOWN, "neither yes nor no: no answer"),
        ("I think yes", Verdict.UNKNOWN, "neither yes nor no: I think yes"),
    ],
)
def test_only_yes_or_no_at_the_begin_counts(judge_of, answer, verdict, seen):
    opinion = judge_of(answer)[0].judge(SENTENCE, IMAGES)
    assert (opinion.verdict, opinion.seen) == (verdict, seen)


def test_a_server_that_fails_tells_nothing(judge_of):
    with pytest.raises(ModelError, match="status 500"):
        judge_of(None)[0].judge(SENTENCE, IMAGES)


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ((), "name a model, or a server's address"),
        (("server=localhost:8000",), "must begin with http"),
    ],
)
def test_a_judge_without_a_model_says_what_is_missing(options, problem):
    make, _ = Choice("vlm", options).maker()
    with pytest.raises(ValueError, match=problem):
        make()


def test_a_wrong_option_is_named():
    with pytest.raises(ValueError, match=r"judge 'vlm': .*did you mean 'server'"):
        Choice("vlm", ("serve=x",)).maker()
