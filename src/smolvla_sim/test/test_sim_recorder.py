# SPDX-License-Identifier: Apache-2.0
"""The recorder: what a demonstration holds, order, failures, resuming, refusals."""

from __future__ import annotations

import json
from contextlib import contextmanager
from itertools import count

import numpy as np
import pytest
from smolvla_core.robot import load_robot
from smolvla_core.units.joint_units import joint_units
from smolvla_learning.dataset import Dataset
from smolvla_learning.training.facts import dataset_facts
from smolvla_sim.demonstrations import record_dataset
from smolvla_sim.demonstrations.demonstration import (
    KINDS,
    SCENES_PER_EPISODE,
    Demonstration,
    DemonstrationOptions,
    Demonstrator,
)
from smolvla_sim.demonstrations.pool import demonstrations
from smolvla_sim.demonstrations.record_dataset import NOTES, main, record
from smolvla_sim.world.scene import OBJECTS
from smolvla_sim.world.simulation import HOME
from smolvla_sim.world.tasks import parse_task

SMALL = {"width": 64, "height": 48}
BLIND = DemonstrationOptions("reach", cameras=(), random_starts=0.0)


def made(demonstrator, seed):
    demonstration = demonstrator.record(seed)
    assert demonstration.success
    return demonstration


def stacked(demonstration, name):
    return np.array([frame[name] for frame in demonstration.frames])


def test_a_demonstration_of_reaching():
    demonstration = made(Demonstrator(BLIND), 5)
    state, action = stacked(demonstration, "observation.state"), stacked(demonstration, "action")
    assert state.shape == action.shape
    assert 12 <= len(state) <= 40
    units = joint_units("degrees", load_robot("so100").joints)
    np.testing.assert_allclose(state[0], units.to_policy(HOME), atol=1.0)
    # An action is where the arm is one frame later, up to the lag of the servos.
    moving = np.abs(np.diff(action[:, :5], axis=0)).max(axis=1) > 2.0
    ahead = np.abs(action[:-1, :5] - state[1:, :5])[moving].max(axis=1)
    behind = np.abs(action[:-1, :5] - state[:-1, :5])[moving].max(axis=1)
    assert np.median(ahead) < 0.3 * np.median(behind)
    assert len(set(demonstration.tasks)) == 1


def test_a_cube_that_is_out_of_reach_makes_a_failed_episode(monkeypatch):
    """A lead-in may have pushed it there; the recording goes on with the next seed."""
    demonstrator = Demonstrator(BLIND)
    start = demonstrator._start

    def start_without_cubes(seed, task, rng):
        start(seed, task, rng)
        demonstrator._simulation.move_object(task.cube, np.array([0.22, 0.42, 0.0125]), yaw=0.0)

    monkeypatch.setattr(demonstrator, "_start", start_without_cubes)
    demonstration = demonstrator.record(5)
    assert not demonstration.success
    assert not demonstration.frames


def test_episodes_end_soon_after_the_success():
    longer = Demonstrator(DemonstrationOptions("pick_place", cameras=(), random_starts=0.0))
    lengths = [len(made(longer, seed).frames) for seed in range(4)]
    assert max(lengths) < 90


def test_an_episode_depends_on_its_seed_alone():
    options = DemonstrationOptions("reach", cameras=(), random_starts=0.5, noise=0.02)
    used, fresh = Demonstrator(options), Demonstrator(options)
    for seed in (7, 8):
        used.record(seed)
    again, first = used.record(7), fresh.record(7)
    assert again.tasks == first.tasks
    np.testing.assert_array_equal(stacked(again, "action"), stacked(first, "action"))


def test_colors_and_starts_change_with_the_seed():
    demonstrator = Demonstrator(DemonstrationOptions("reach", cameras=(), random_starts=0.5))
    episodes = [made(demonstrator, seed) for seed in range(12)]
    assert {parse_task(e.tasks[0]).color for e in episodes} == {"red", "green", "blue"}
    at_home = [np.allclose(e.frames[0]["observation.state"][0], 0.0, atol=1.0) for e in episodes]
    assert 2 <= sum(at_home) <= 10


def test_noise_disturbs_the_arm_and_not_the_actions():
    quiet = made(Demonstrator(BLIND), 3)
    noisy = made(
        Demonstrator(DemonstrationOptions("reach", cameras=(), random_starts=0.0, noise=0.03)), 3
    )
    # Until the first plan that sees the disturbance.
    np.testing.assert_array_equal(stacked(noisy, "action")[:4], stacked(quiet, "action")[:4])
    assert (
        np.abs(
            stacked(noisy, "observation.state")[1:4] - stacked(quiet, "observation.state")[1:4]
        )[:, :5].max()
        > 0.2
    )


def test_pictures_and_labels_belong_to_their_frame():
    demonstrator = Demonstrator(DemonstrationOptions("reach", grounding=True, **SMALL))
    frame = made(demonstrator, 2).frames[0]
    demonstrator.close()
    assert set(frame) == {
        "observation.state",
        "action",
        "observation.images.top",
        "observation.images.wrist",
        "grounding.top",
        "grounding.wrist",
    }
    picture = frame["observation.images.top"].astype(int)
    labels = frame["grounding.top"].reshape(len(OBJECTS), 3)
    for name, channel in (("green_cube", 1), ("blue_cube", 2)):
        u, v, visible = labels[OBJECTS.index(name)]
        assert visible
        pixel = picture[int(v * 48), int(u * 64)]
        assert pixel[channel] > 1.5 * np.delete(pixel, channel).max()


def test_scenes_are_still_pictures_of_different_scenes():
    demonstrator = Demonstrator(DemonstrationOptions("scenes", grounding=True, **SMALL))
    demonstration = made(demonstrator, 1)
    demonstrator.close()
    assert len(demonstration.frames) == len(demonstration.tasks) == SCENES_PER_EPISODE
    np.testing.assert_array_equal(
        stacked(demonstration, "action"), stacked(demonstration, "observation.state")
    )
    labels = stacked(demonstration, "grounding.top")
    assert len(np.unique(labels[:, 0])) > SCENES_PER_EPISODE // 2
    assert len(set(demonstration.tasks)) > 4
    assert {parse_task(text).kind for text in demonstration.tasks} <= {
        "reach",
        "pick_up",
        "pick_place",
    }


def test_a_failure_has_no_frames():
    demonstrator = Demonstrator(BLIND)
    demonstrator._expert.plan = lambda *_, **__: np.tile(HOME, (8, 1))
    demonstration = demonstrator.record(0)
    assert not demonstration.success
    assert demonstration.frames == demonstration.tasks == []


def test_frames_per_second_must_divide_the_physics_rate():
    with pytest.raises(ValueError, match="10, 15, 20, 25 or 30"):
        DemonstrationOptions("reach", cameras=(), fps=29)


def test_workers_give_the_episodes_in_the_order_of_their_seeds():
    with demonstrations(BLIND, 40, 2) as several:
        episodes = [next(several) for _ in range(5)]
    assert [episode.seed for episode in episodes] == [40, 41, 42, 43, 44]
    demonstrator = Demonstrator(BLIND)
    for episode in episodes[::4]:
        alone = demonstrator.record(episode.seed)
        np.testing.assert_array_equal(stacked(episode, "action"), stacked(alone, "action"))


def test_an_error_in_a_worker_reaches_the_user():
    with (
        demonstrations(DemonstrationOptions("reach", "so102", cameras=()), 0, 1) as several,
        pytest.raises(ValueError, match="so100, so101"),
    ):
        next(several)


@pytest.fixture
def in_process(monkeypatch):
    """Demonstrations without processes; every third seed fails, `until` interrupts."""
    seeds, until = [], []

    @contextmanager
    def fake(options, first_seed, workers):
        def make():
            for seed in count(first_seed):
                if seed in until:
                    raise KeyboardInterrupt
                seeds.append(seed)
                state = np.full(6, seed, np.float32)
                frames = [{"observation.state": state, "action": state}] * 3
                good = seed % 3 != 2
                yield Demonstration(seed, good, ["reach"] * 3 * good, frames * good)

        yield make()

    monkeypatch.setattr(record_dataset, "demonstrations", fake)
    return seeds, until


def test_only_successes_are_kept(in_process, tmp_path):
    assert record(BLIND, tmp_path / "data", 5, seed=1, progress=False) == 2
    dataset = Dataset.open(tmp_path / "data")
    assert dataset.num_episodes == 5
    np.testing.assert_array_equal(dataset.column("action")[::3, 0], [1, 3, 4, 6, 7])
    assert dataset.fps == 15
    assert dataset.features["action"].names[0] == "shoulder_pan.pos"
    notes = json.loads((tmp_path / "data" / NOTES).read_text())
    assert notes["seeds"] == [1, 3, 4, 6, 7]


def test_an_interrupted_run_goes_on_at_the_next_seed(in_process, tmp_path):
    seeds, until = in_process
    until.append(4)
    with pytest.raises(KeyboardInterrupt):
        record(BLIND, tmp_path / "data", 5, seed=0, progress=False)
    until.clear()
    seeds.clear()
    record(BLIND, tmp_path / "data", 5, seed=0, resume=True, progress=False)
    assert seeds == [4, 5, 6, 7][: len(seeds)]
    actions = Dataset.open(tmp_path / "data").column("action")[::3, 0]
    np.testing.assert_array_equal(actions, [0, 1, 3, 4, 6])


def test_ctrl_c_says_how_to_go_on(in_process, tmp_path, capsys):
    _, until = in_process
    until.append(4)
    folder = tmp_path / "data"
    arguments = ["--task", "reach", "--cameras", "", "--episodes", "5", "--seed", "0"]
    assert main([*arguments, "--out", str(folder)]) == 130
    assert f"--resume continues {folder}" in capsys.readouterr().err
    assert Dataset.open(folder).num_episodes == 3


def test_resuming_with_other_options_is_refused(in_process, tmp_path):
    record(BLIND, tmp_path / "data", 1, progress=False)
    other = DemonstrationOptions("reach", cameras=(), random_starts=0.0, noise=0.01)
    with pytest.raises(ValueError, match=r"was recorded with noise=0\.0"):
        record(other, tmp_path / "data", 2, resume=True, progress=False)
    (tmp_path / "data" / "meta" / "simulation.json").unlink()
    with pytest.raises(ValueError, match="was not recorded by this program"):
        record(BLIND, tmp_path / "data", 2, resume=True, progress=False)


@pytest.mark.parametrize("resume", [False, True])
def test_an_early_ctrl_c_does_not_block_the_next_run(in_process, tmp_path, resume):
    _, until = in_process
    until.append(4)
    with pytest.raises(KeyboardInterrupt):
        record(BLIND, tmp_path / "data", 2, seed=4, progress=False)
    until.clear()
    other = DemonstrationOptions("reach", cameras=(), random_starts=0.0, fps=10)
    record(other, tmp_path / "data", 1, seed=4, resume=resume, progress=False)
    data = Dataset.open(tmp_path / "data")
    assert (data.num_episodes, data.fps) == (1, 10)


def test_episodes_are_not_recorded_over(in_process, tmp_path, capsys):
    record(BLIND, tmp_path / "data", 1, progress=False)
    line = ["--task", "reach", "--cameras", "", "--episodes", "1", "--out", str(tmp_path / "data")]
    assert main(line) == 2
    assert "--resume continues" in capsys.readouterr().err
    assert Dataset.open(tmp_path / "data").num_episodes == 1


def test_the_dataset_says_its_units(in_process, tmp_path):
    record(BLIND, tmp_path / "data", 1, progress=False)
    facts = dataset_facts(Dataset.open(tmp_path / "data"))
    assert (facts.units, facts.fps, facts.joints[5]) == ("degrees", BLIND.fps, "gripper.pos")
    assert facts.gripper_range == (-0.174, 1.75)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--episodes", "0"], "--episodes must be at least 1"),
        (["--episodes", "1", "--noise", "1"], "the noise must be 0 to 0.1 rad"),
        (["--episodes", "1", "--random-starts", "2"], "random starts must be 0 to 1"),
        (["--episodes", "1", "--cameras", "front"], "unknown camera 'front'"),
        (["--episodes", "1", "--scene-tasks", "dance"], "unknown kind of task 'dance'"),
        (["--episodes", "1", "--cameras", "", "--grounding"], "labels need a camera"),
    ],
)
def test_wrong_options_are_explained(arguments, words, tmp_path, capsys):
    assert main(["--task", "reach", "--out", str(tmp_path / "data"), *arguments]) == 2
    assert words in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


def test_every_kind_can_be_asked_for(capsys):
    assert KINDS == ("pick_place", "pick_up", "reach", "stack", "sort", "scenes")
    with pytest.raises(SystemExit):
        main(["--task", "dance", "--episodes", "1", "--out", "x"])
    assert "scenes" in capsys.readouterr().err
