# SPDX-License-Identifier: Apache-2.0
"""`evaluate_plan`: plans that succeed, orders that change, and judges that are wrong."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest
from smolvla_core.judge import JudgeSettings, Opinion, Verdict
from smolvla_sim.evaluate_plan import evaluate, main, report, summary
from smolvla_sim.play.policies import completed
from smolvla_sim.settings import PlanEvaluationSettings

from smolvla_core import judge as judges

SCRIPTED, _ = completed(
    PlanEvaluationSettings(policy="scripted", episodes=2, workers=1, camera_size="64x48")
)


@pytest.fixture(scope="module")
def alone():
    """Two plans of the scripted expert, in this process."""
    return evaluate(SCRIPTED)


def test_all_cubes_come_into_the_bowl_in_an_order_of_the_seed(alone):
    assert [result.seed for result in alone] == [7000, 7001]
    assert all(result.success for result in alone)
    orders = [[step.instruction for step in result.steps] for result in alone]
    assert orders[0] != orders[1]
    sentences = {f"put the {color} cube into the bowl" for color in ("red", "green", "blue")}
    assert all(set(order) == sentences for order in orders)
    assert all(step.said and step.done for result in alone for step in result.steps)


def test_two_workers_give_the_same_plans(alone):
    assert evaluate(dataclasses.replace(SCRIPTED, workers=2)) == alone


def test_another_order_in_the_middle_is_done(alone):
    (result,) = evaluate(dataclasses.replace(SCRIPTED, episodes=1, reorder=True))
    before = [step.instruction for step in alone[0].steps]
    assert [step.instruction for step in result.steps] == [before[0], before[2], before[1]]
    assert result.success


class Oracle:
    """A judge that always says the same."""

    answer = Verdict.YES
    seen = None

    def __init__(self, settings):
        pass

    def judge(self, instruction, images):
        Oracle.seen = instruction, images
        return Opinion(Oracle.answer, "the oracle's words")


@pytest.fixture
def asked(monkeypatch):
    monkeypatch.setattr(judges, "load", lambda *_: (Oracle, JudgeSettings))

    def ask(answer, **changes):
        monkeypatch.setattr(Oracle, "answer", answer)
        changed = {"judge": "oracle", "episodes": 1, **changes}
        return evaluate(dataclasses.replace(SCRIPTED, **changed))[0]

    return ask


def test_a_judge_that_says_yes_too_early_is_wrong_in_each_step(asked):
    result = asked(Verdict.YES, judge_options=("in_a_row=2",))
    assert result.reason == "SUCCEEDED"
    assert not result.success
    assert [(step.wrong_yes, step.missed, step.said, step.done) for step in result.steps] == [
        (1, 0, True, False)
    ] * 3
    sentence, images = Oracle.seen
    assert sentence == result.steps[-1].instruction
    assert {name: image.shape for name, image in images.items()} == dict.fromkeys(
        ("top", "wrist"), (48, 64, 3)
    )
    assert images["top"].dtype == np.uint8


def test_a_judge_that_never_says_yes_has_missed_what_was_done(asked):
    result = asked(Verdict.NO, time_limit=9.0, tries=1)
    assert result.reason == "NOT_DONE"
    assert "the oracle's words" in result.message
    assert [(step.tries, step.missed) for step in result.steps] == [(1, 1), (0, 0), (0, 0)]
    assert result.steps[0].done


def test_the_report_counts_wrong_verdicts_and_ends_with_the_success(asked, alone):
    results = [*alone, asked(Verdict.YES)]
    numbers = summary(results)
    assert (numbers["successes"], numbers["episodes"]) == (2, 3)
    assert (numbers["wrong_yes"], numbers["missed"]) == (3, 0)
    assert (numbers["steps"], numbers["steps_done"]) == (9, 6)
    lines = report(results).splitlines()
    assert lines[1].startswith("  seed 7000: not done at the end: 'put the ")
    assert "wrong verdicts 3: yes before it was done 3" in lines[-3]
    assert lines[-1].startswith("success 2/3 (66.7 %, 95 % CI 9.4–99.2)")


def test_it_writes_what_was_played(tmp_path, capsys):
    target = tmp_path / "plans.json"
    options = ["--policy", "scripted", "--workers", "1", "--episodes", "1", "--json", str(target)]
    assert main(options) == 0
    assert "success 1/1" in capsys.readouterr().out
    content = json.loads(target.read_text())
    assert content["summary"]["successes"] == 1
    assert content["episodes"][0]["steps"][0]["tries"] == 1
    assert content["options"]["judge"] == "sim"


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["--judge", "nobody"], "no judge 'nobody'"),
        (["--judge", "topic"], "is a topic of ROS; here it is 'sim'"),
        (["--judge-options", "in_a_row=2", "--judge", "topic"], "has no options"),
    ],
)
def test_what_cannot_be_played_is_said(options, problem, capsys):
    assert main(["--policy", "scripted", "--workers", "1", *options]) == 2
    assert problem in capsys.readouterr().err
