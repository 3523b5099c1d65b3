# SPDX-License-Identifier: Apache-2.0
"""`evaluate`: what it measures, prints and writes, the same with any number of workers."""

from __future__ import annotations

import argparse
import json
from itertools import count

import numpy as np
import pytest
from smolvla_sim.evaluate import evaluate, main, report, success_line, summary
from smolvla_sim.play import episodes
from smolvla_sim.play.assignments import Assignment
from smolvla_sim.play.episodes import EpisodeOptions, EpisodePlayer, EpisodeResult
from smolvla_sim.play.options import add_policy_options, policy_spec
from smolvla_sim.play.policies import LoadedPolicy, PolicyFacts, PolicySpec, policy_facts
from smolvla_sim.world.arm import JOINT_NAMES
from smolvla_sim.world.simulation import HOME, Simulation

SCRIPTED = ["--policy", "scripted", "--workers", "1"]
REACH = EpisodeOptions(PolicySpec("scripted"), Assignment("reach"), 5, seconds=4.0)


def test_the_success_line():
    assert success_line(93, 100) == "success 93/100 (93.0 %, 95 % CI 86.1–97.1)"
    assert success_line(0, 3) == "success 0/3 (0.0 %, 95 % CI 0.0–70.8)"


@pytest.fixture(scope="module")
def alone():
    """Three episodes of the scripted expert, in this process."""
    return evaluate(REACH, (1002, 1000, 1001))


def test_the_scripted_expert_succeeds(alone):
    assert [result.seed for result in alone] == [1002, 1000, 1001]
    assert [result.task for result in alone] == [
        Assignment("reach").task(seed).sentence for seed in (1002, 1000, 1001)
    ]
    assert all(result.success and result.outcome == "success" for result in alone)
    assert all(0.2 < result.seconds < REACH.seconds for result in alone)
    # Five actions at 15 Hz between two chunks.
    assert all(result.chunks == -(-round(result.seconds * 15) // 5) for result in alone)


def test_two_workers_give_the_same_episodes(alone):
    assert evaluate(REACH, (1002, 1000, 1001), workers=2) == alone


def result_of(seed, outcome="success", score=1.0, seconds=2.0, refusal=""):
    return EpisodeResult(seed, "touch the red cube", score, seconds, 3, outcome, refusal)


MIXED = [
    result_of(0),
    result_of(1, "wrong cube touched first", 0.0, 8.0),
    result_of(2, seconds=4.0),
    result_of(3, "lifted only", 0.5, 8.0, "camera top is silent"),
    result_of(4, "wrong cube touched first", 0.0, 8.0),
]


def test_failures_are_counted_by_kind():
    figures = summary(MIXED)
    assert (figures["episodes"], figures["successes"]) == (5, 2)
    assert figures["failures"] == {
        "lifted only": 1,
        "wrong cube touched first": 2,
        "right cube touched, not lifted": 0,
        "nothing touched": 0,
    }
    assert figures["mean_score"] == pytest.approx(0.5)
    assert figures["seconds_per_success"] == 3.0
    assert figures["refusals"] == 1


def test_the_report_ends_with_the_success():
    lines = report(MIXED).splitlines()
    assert [" ".join(line.split()) for line in lines] == [
        "failures",
        "lifted only 1",
        "wrong cube touched first 2",
        "the policy refused in 1 episodes, e.g. seed 3: camera top is silent",
        "mean graded score 0.500",
        "time per success 3.00 s (95 % CI of the mean 2.00–4.00)",
        success_line(2, 5),
    ]


def test_the_report_of_nothing_but_one_kind():
    assert "failures" not in report(MIXED[:1])
    assert "time per success" not in report(MIXED[1:2])
    assert report(MIXED[1:2]).splitlines()[-1] == success_line(0, 1)


def test_the_command_prints_the_success_last_and_writes_all(tmp_path, capsys):
    path = tmp_path / "new" / "reach.json"
    arguments = ["--task", "reach", "--episodes", "2", "--seed", "1000", "--json", str(path)]
    assert main([*SCRIPTED, "--seconds", "4", *arguments]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == (
        "scripted expert, task reach, 2 episodes from seed 1000, 5 actions a chunk at 15 Hz, at "
        "most 4 s each"
    )
    assert out[-1] == success_line(2, 2)
    content = json.loads(path.read_text())
    assert [episode["seed"] for episode in content["episodes"]] == [1000, 1001]
    assert all(episode["score"] == 1.0 for episode in content["episodes"])
    assert content["summary"]["successes"] == 2
    assert content["summary"]["interval"] == [pytest.approx(0.1581, abs=1e-4), 1.0]
    assert content["options"]["policy"]["name"] == "scripted"
    assert content["options"]["n_action_steps"] == 5


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ("--task dance", "unknown kind of task 'dance'; there are pick_place"),
        ("--episodes 0", "--episodes is 0; it must be 1 or more"),
        ("--seed -1", "--seed is -1; it must be 0 or more"),
        ("--workers 0", "--workers is 0; it must be 1 or more"),
        ("--seconds 0", "--seconds is 0; it must be above 0"),
        ("--fps 0", "fps is 0; it must be above 0"),
        ("--noise-scale 1.5", "--noise-scale is 1.5; it must be 0 to 1"),
        ("--fps 29 --episodes 1", "29 Hz does not divide the physics rate"),
        ("--n-action-steps 17", "n_action_steps is 17, but must be 1 to 16"),
        ("--camera-size large", "--camera-size is 'large'; give e.g. 640x480"),
        ("--policy smolvla --checkpoint ./nowhere", "nowhere' is neither an existing folder"),
        ("--policy smolvla --cameras front", "looks through camera front, which the simulation"),
    ],
)
def test_wrong_options_are_explained_in_one_line(arguments, words, capsys):
    assert main([*SCRIPTED, *arguments.split()]) == 2
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("evaluate: ")]
    assert len(lines) == 1
    assert words in lines[0]
    assert err.endswith(f"{lines[0]}\n")


def test_an_unknown_policy_is_refused():
    with pytest.raises(ValueError, match="unknown policy 'dice'; there are smolvla, scripted"):
        policy_facts(PolicySpec("dice"))


def test_the_shipped_checkpoint_says_how_many_actions_to_execute():
    facts = policy_facts(PolicySpec())
    assert facts.cameras == ("top", "wrist")
    assert facts.steps(None) == facts.n_action_steps <= facts.chunk_size
    assert PolicyFacts(16, 8, ()).steps(3) == 3


class Sulker:
    """A backend that refuses the chunks whose numbers `when` accepts, and else stays at home."""

    name, cameras, joint_names, needs_objects = "sulker", (), JOINT_NAMES, False
    chunk_size, period = 16, 1.0 / 15.0

    def __init__(self, when):
        self._when, self._numbers = when, count(1)

    def infer(self, observation, request):
        if self._when(next(self._numbers)):
            raise ValueError("I see no camera top")
        return np.tile(HOME, (16, 1))


@pytest.fixture
def sulk(monkeypatch):
    def install(when):
        policy = LoadedPolicy(Sulker(when), lambda seed: None, lambda on: None)
        monkeypatch.setattr(episodes, "load_policy", lambda spec: policy)

    return install


def test_a_policy_that_does_not_fit_at_all_is_an_error_with_its_words(sulk, capsys):
    sulk(lambda number: True)
    assert main([*SCRIPTED, "--episodes", "2"]) == 2
    captured = capsys.readouterr()
    assert "evaluate: sulker: I see no camera top\n" in captured.err
    assert "success" not in captured.out


def test_a_policy_that_refuses_now_and_then_is_asked_again(sulk):
    sulk(lambda number: number in (2, 3))
    result = EpisodePlayer(EpisodeOptions(PolicySpec("scripted"), Assignment("reach"), 5, 2.0))(0)
    assert (result.success, result.outcome) == (False, "nothing touched")
    assert result.refusal == "sulker: I see no camera top"
    assert result.seconds == 2.0
    # Five actions, a tick for each refusal, and the other 23 in five chunks.
    assert result.chunks == 1 + 2 + 5


def test_an_episode_ends_when_it_is_lost(alone, monkeypatch):
    # The expert touches the cube of its sentence, and the judge wants another.
    judge, other = Simulation.set_task, Assignment("reach").task(1001).sentence
    monkeypatch.setattr(Simulation, "set_task", lambda simulation, _: judge(simulation, other))
    lost = EpisodePlayer(REACH)(1000)
    assert (lost.success, lost.score) == (False, 0.0)
    assert lost.seconds == alone[1].seconds


def test_ctrl_c(monkeypatch, capsys):
    def interrupted(player, seed):
        raise KeyboardInterrupt

    monkeypatch.setattr(EpisodePlayer, "__call__", interrupted)
    assert main([*SCRIPTED, "--episodes", "2"]) == 130
    assert "success 0" not in capsys.readouterr().out


def test_the_rate_is_the_checkpoints_own_unless_it_is_given(tmp_path):
    from smolvla_policy.checkpoint.robot import RobotFacts, write_robot

    def fps(*arguments: str) -> float:
        parser = argparse.ArgumentParser()
        add_policy_options(parser)
        return policy_spec(parser.parse_args(arguments)).fps

    assert fps() == 15.0
    assert fps("--policy", "scripted") == 15.0
    (tmp_path / "config.json").write_text("{}")
    write_robot(tmp_path, RobotFacts(fps=20.0))
    assert fps("--checkpoint", str(tmp_path)) == 20.0
    assert fps("--checkpoint", str(tmp_path), "--fps", "10") == 10.0
    write_robot(tmp_path, RobotFacts(units="degrees"))
    with pytest.raises(ValueError, match="give --fps, the frame rate of the recordings"):
        fps("--checkpoint", str(tmp_path))
