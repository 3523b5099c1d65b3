# SPDX-License-Identifier: Apache-2.0
"""`evaluate`: what it measures, prints and writes, the same with any number of workers."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from itertools import count
from xml.etree import ElementTree

import av
import numpy as np
import pytest
from smolvla_sim.evaluate import (
    EpisodePlayer,
    EpisodeResult,
    evaluate,
    main,
    report,
    success_line,
    summary,
)
from smolvla_sim.evaluation_page import page
from smolvla_sim.expert.backend import ScriptedBackend
from smolvla_sim.play import policies
from smolvla_sim.play.policies import completed
from smolvla_sim.settings import CHECKPOINT, EvaluationSettings, PlaySettings
from smolvla_sim.world.arm import JOINT_NAMES
from smolvla_sim.world.simulation import HOME

SCRIPTED = ["--policy", "scripted", "--workers", "1"]
REACH, _ = completed(
    EvaluationSettings(
        policy="scripted", kind="reach", time_limit=4.0, episodes=3, seed=1000, workers=1
    )
)


def test_the_success_line():
    assert success_line(93, 100) == "success 93/100 (93.0 %, 95 % CI 86.1–97.1)"
    assert success_line(0, 3) == "success 0/3 (0.0 %, 95 % CI 0.0–70.8)"


@pytest.fixture(scope="module")
def alone():
    """Three episodes of the scripted expert, in this process."""
    return evaluate(REACH)


def test_the_scripted_expert_succeeds(alone):
    assert [result.seed for result in alone] == [1000, 1001, 1002]
    colors = ("green", "blue", "red")
    assert [result.task for result in alone] == [f"touch the {color} cube" for color in colors]
    assert all(result.success and result.outcome == "success" for result in alone)
    assert all(0.2 < result.seconds < REACH.limit for result in alone)
    # Five actions at 15 Hz between two chunks.
    assert all(result.chunks == -(-round(result.seconds * 15) // 5) for result in alone)


def test_two_workers_give_the_same_episodes(alone):
    assert evaluate(dataclasses.replace(REACH, workers=2)) == alone


def test_starts_and_joint_noise_depend_on_the_seed(alone):
    def seconds(**settings):
        return [result.seconds for result in evaluate(dataclasses.replace(REACH, **settings))]

    usual = [result.seconds for result in alone]
    for settings in ({"random_starts": 1.0}, {"joint_noise": 0.02}):
        assert seconds(**settings) == seconds(**settings) != usual


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
    numbers = summary(MIXED)
    assert (numbers["episodes"], numbers["successes"]) == (5, 2)
    assert numbers["failures"] == {
        "lifted only": 1,
        "wrong cube touched first": 2,
        "right cube touched, not lifted": 0,
        "nothing touched": 0,
    }
    assert numbers["mean_score"] == pytest.approx(0.5)
    assert numbers["seconds_per_success"] == 3.0
    assert numbers["refusals"] == 1


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
    arguments = ["--kind", "reach", "--episodes", "2", "--seed", "1000", "--json", str(path)]
    assert main([*SCRIPTED, "--time-limit", "4", *arguments]) == 0
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
    assert content["options"]["policy"] == "scripted"
    assert content["options"]["n_action_steps"] == 5


def test_the_page_has_intervals_and_films_of_failures(tmp_path, capsys):
    path = tmp_path / "new" / "page.html"
    # Too short a time for the second one.
    arguments = ["--time-limit", "1.4", "--episodes", "2", "--seed", "1000", "--report", str(path)]
    assert main([*SCRIPTED, *arguments]) == 0
    results = evaluate(dataclasses.replace(REACH, time_limit=1.4, episodes=2))
    failed = [result for result in results if not result.success]
    assert len(failed) == 1, results
    text = path.read_text("utf-8")
    for void in ('<meta charset="utf-8">', " controls muted loop"):
        text = text.replace(void, "")
    ElementTree.fromstring(text.partition("\n")[2])  # every element ends
    assert "<h1>success 1 of 2</h1>" in text
    assert "1.3 to 98.7 %" in text
    (film,) = re.findall('data:video/mp4;base64,([^"]+)', text)
    assert f"seed {failed[0].seed}, {failed[0].task}: {failed[0].outcome}" in text
    with av.open(io.BytesIO(base64.b64decode(film))) as video:
        frames = [frame.to_ndarray(format="rgb24") for frame in video.decode(video=0)]
    assert len(frames) == pytest.approx(1.4 * 15, abs=2)
    assert frames[0].shape == (240, 640, 3)
    assert np.abs(frames[0].astype(int) - frames[-1]).max() > 50  # it moves
    assert f"{path} has all episodes" in capsys.readouterr().out


def test_a_page_without_failures_has_no_films(tmp_path):
    path = tmp_path / "page.html"
    arguments = ["--time-limit", "4", "--episodes", "1", "--seed", "1000", "--report", str(path)]
    assert main([*SCRIPTED, *arguments, "--json", "-"]) == 0
    text = path.read_text("utf-8")
    assert "<h1>success 1 of 1</h1>" in text
    assert "video" not in text.partition("</style>")[2]


def test_the_page_of_strange_words_is_html():
    refused = result_of(3, "lifted only", 0.5, 8.0, "camera <top> & more")
    text = page("a < b", [refused], summary([refused]), {})
    assert "camera &lt;top&gt; &amp; more" in text
    assert "<p>a &lt; b</p>" in text


def test_the_results_go_to_standard_output_alone(capsys):
    arguments = ["--time-limit", "4", "--episodes", "1", "--seed", "1000", "--json", "-"]
    assert main([*SCRIPTED, *arguments]) == 0
    captured = capsys.readouterr()
    assert json.loads(captured.out)["summary"]["successes"] == 1
    assert success_line(1, 1) in captured.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--task dance", "unknown task 'dance'; there are pick_place"),
        ("--fps 29 --episodes 1", "29 Hz does not divide the physics rate"),
        ("--n-action-steps 17", "--n-action-steps is 17, but must be 1 to 16"),
        ("--camera-size large", "--camera-size is 'large'; give e.g. 640x480"),
        ("--policy smolvla --checkpoint ./nowhere", "nowhere' is neither an existing folder"),
        ("--policy smolvla --cameras front", "looks through camera front, which the simulation"),
        ("--report .", "report is a page with films: give a file"),
        ("--policy dice", "no backend 'dice'; installed: "),
    ],
)
def test_wrong_options_are_explained_in_one_line(arguments, message, capsys):
    assert main([*SCRIPTED, *arguments.split()]) == 2
    err = capsys.readouterr().err
    lines = [line for line in err.splitlines() if line.startswith("smolvla eval: ")]
    assert len(lines) == 1
    assert message in lines[0]
    assert err.endswith(f"{lines[0]}\n")


def test_a_file_that_cannot_be_written_is_noticed_before_the_first_episode(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setattr(EpisodePlayer, "__call__", lambda *_: pytest.fail("an episode began"))
    (tmp_path / "file").touch()
    for path in (tmp_path, tmp_path / "file" / "reach.json"):
        assert main([*SCRIPTED, "--episodes", "1", "--json", str(path)]) == 2
        assert str(tmp_path) in capsys.readouterr().err


def test_an_interrupted_evaluation_leaves_no_empty_file(tmp_path, monkeypatch):
    monkeypatch.setattr(EpisodePlayer, "__call__", interrupted)
    assert main([*SCRIPTED, "--episodes", "1", "--json", str(tmp_path / "reach.json")]) == 130
    assert not any(tmp_path.iterdir())


def test_the_help_shows_no_path_of_this_machine(capsys):
    with pytest.raises(SystemExit):
        main(["--help"])
    assert str(CHECKPOINT.parent) not in "".join(capsys.readouterr().out.split())


def test_the_shipped_checkpoint_says_how_many_actions_to_execute():
    settings, facts = completed(PlaySettings())
    assert facts.cameras == ("top", "wrist")
    assert settings.n_action_steps == facts.n_action_steps <= facts.chunk_size
    assert completed(PlaySettings(n_action_steps=3))[0].n_action_steps == 3


class Sulker:
    """A backend that refuses the chunks whose numbers `when` accepts, and else stays at home."""

    name, cameras, joint_names, needs_objects = "sulker", (), JOINT_NAMES, False
    chunk_size, period = 16, 1.0 / 15.0

    def __init__(self, when):
        self._when, self._numbers = when, count(1)

    def close(self):
        """Nothing to free."""

    def infer(self, observation, request):
        if self._when(next(self._numbers)):
            raise ValueError("I see no camera top")
        return np.tile(HOME, (16, 1))


@pytest.fixture
def sulk(monkeypatch):
    def install(when):
        monkeypatch.setattr(policies, "create_backend", lambda settings: Sulker(when))

    return install


def test_a_policy_that_does_not_fit_at_all_is_an_error_with_its_message(sulk, capsys):
    sulk(lambda number: True)
    assert main([*SCRIPTED, "--episodes", "2"]) == 2
    captured = capsys.readouterr()
    assert "smolvla eval: sulker: I see no camera top\n" in captured.err
    assert "success" not in captured.out


def test_a_policy_that_refuses_now_and_then_is_asked_again(sulk):
    sulk(lambda number: number in (2, 3))
    result = EpisodePlayer(dataclasses.replace(REACH, time_limit=2.0))(0)
    assert (result.success, result.outcome) == (False, "nothing touched")
    assert result.refusal == "sulker: I see no camera top"
    assert result.seconds == 2.0
    # Five actions, a tick for each refusal, and the other 23 in five chunks.
    assert result.chunks == 1 + 2 + 5


def test_an_episode_ends_when_it_is_lost(alone, monkeypatch):
    # The expert touches the cube of its sentence, and the judge wants another.
    infer = ScriptedBackend.infer

    def wrong(backend, observation, request):
        other = dataclasses.replace(observation, instruction="touch the red cube")
        return infer(backend, other, request)

    monkeypatch.setattr(ScriptedBackend, "infer", wrong)
    lost = EpisodePlayer(REACH)(1000)
    assert (lost.success, lost.score) == (False, 0.0)
    assert lost.outcome == "wrong cube touched first"
    assert lost.seconds < REACH.limit


def interrupted(player, seed):
    raise KeyboardInterrupt


def test_ctrl_c(monkeypatch, capsys):
    monkeypatch.setattr(EpisodePlayer, "__call__", interrupted)
    assert main([*SCRIPTED, "--episodes", "2"]) == 130
    assert "success 0" not in capsys.readouterr().out


def test_parameters_of_a_backend_are_options_and_reach_it(tmp_path, capsys, monkeypatch):
    given = []

    def take(settings):
        given.append(settings)
        return Sulker(lambda number: False)

    monkeypatch.setattr(policies, "create_backend", take)
    path = tmp_path / "reach.json"
    options = "--num-steps 5 --solver ab2 --engine torch --threads 2 --time-limit 0.5 --episodes 1"
    assert main([*options.split(), "--workers", "1", "--json", str(path)]) == 0
    (settings,) = given
    found = (settings.num_steps, settings.solver, settings.engine, settings.threads)
    assert found == (5, "ab2", "torch", 2)
    wanted = {"num_steps": 5, "solver": "ab2", "engine": "torch", "threads": 2}
    assert json.loads(path.read_text())["options"]["backend"] == wanted
    assert main([*SCRIPTED, "--num-steps", "5"]) == 2
    assert "policy 'scripted' has no parameter 'num_steps'" in capsys.readouterr().err


def test_the_rate_is_the_checkpoints_own_unless_it_is_given(tmp_path):
    from smolvla_policy.checkpoint.robot import RobotFacts, write_robot

    def fps(**settings):
        return completed(PlaySettings(**settings))[0].fps

    assert fps() == fps(policy="scripted") == 15.0
    # Another one that says something else about itself.
    (tmp_path / "config.json").write_bytes((CHECKPOINT / "config.json").read_bytes())
    mine = {"checkpoint": str(tmp_path), "cameras": ("top:observation.images.top",)}
    write_robot(tmp_path, RobotFacts(fps=20.0))
    assert fps(**mine) == 20.0
    assert fps(**mine, fps=10.0) == 10.0
    write_robot(tmp_path, RobotFacts(units="degrees"))
    with pytest.raises(ValueError, match="give --fps, the frame rate of the recordings"):
        fps(**mine)


def test_the_earlier_name_of_the_time_limit_is_answered_with_the_new_one(capsys):
    with pytest.raises(SystemExit):
        main([*SCRIPTED, "--seconds", "3"])
    assert "--seconds has become --time-limit" in capsys.readouterr().err
