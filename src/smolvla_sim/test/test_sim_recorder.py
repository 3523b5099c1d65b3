# SPDX-License-Identifier: Apache-2.0
"""The recorder: what a demonstration holds, order, failures, resuming, refusals."""

from __future__ import annotations

import dataclasses
import json
from contextlib import contextmanager
from functools import partial
from itertools import count, islice

import numpy as np
import pytest
from smolvla_core.robot import load_robot
from smolvla_core.units.joint_units import joint_units
from smolvla_learning.dataset import Dataset
from smolvla_learning.training.checks import dataset_facts
from smolvla_sim.demonstrations import demonstrator, record_dataset
from smolvla_sim.demonstrations.demonstrator import (
    SCENES_PER_EPISODE,
    Demonstration,
    Demonstrator,
)
from smolvla_sim.demonstrations.record_dataset import NOTES, main, record
from smolvla_sim.expert.backend import ScriptedBackend
from smolvla_sim.play.workers import run_in_processes
from smolvla_sim.settings import LEAD_IN, DemonstrationSettings, RecordingSettings
from smolvla_sim.world.arm import JOINT_NAMES
from smolvla_sim.world.scene import CUBES, OBJECTS
from smolvla_sim.world.simulation import HOME
from smolvla_sim.world.tasks import parse_task

SMALL = {"camera_size": "64x48"}
BLIND = DemonstrationSettings(kind="reach", cameras=(), random_starts=0.0)


def made(demonstrating, seed):
    demonstration = demonstrating(seed)
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
    demonstrating = Demonstrator(BLIND)
    simulation = demonstrating.simulation
    reset = simulation.reset

    def reset_without_cubes(seed, **options):
        reset(seed, **options)
        for name in ("red_cube", "green_cube", "blue_cube"):
            simulation.move_object(name, np.array([0.22, 0.42, 0.0125]), yaw=0.0)

    monkeypatch.setattr(simulation, "reset", reset_without_cubes)
    demonstration = demonstrating(5)
    assert not demonstration.success
    assert not demonstration.frames
    assert simulation.time < 1.0


def test_other_cubes_may_lie_in_the_bowl_already_and_the_end_be_longer():
    usual = DemonstrationSettings(kind="pick_place", cameras=(), random_starts=0.0)
    plain = made(Demonstrator(usual), 5)
    settings = dataclasses.replace(usual, filled=1.0, frames_after=20)
    demonstrating = Demonstrator(settings)
    full = made(demonstrating, 5)
    assert full.tasks[0] == plain.tasks[0]
    objects = demonstrating.simulation.objects()
    away = [np.hypot(*(objects[cube].position - objects["bowl"].position)[:2]) for cube in CUBES]
    assert max(away) < 0.055
    assert len(full.frames) > 20


def test_episodes_end_soon_after_the_success():
    longer = Demonstrator(dataclasses.replace(BLIND, kind="pick_place"))
    lengths = [len(made(longer, seed).frames) for seed in range(4)]
    assert max(lengths) < 90


def test_an_episode_depends_on_its_seed_alone():
    options = dataclasses.replace(BLIND, random_starts=0.5, noise=0.02)
    used, fresh = Demonstrator(options), Demonstrator(options)
    for seed in (7, 8):
        used(seed)
    again, first = used(7), fresh(7)
    assert again.tasks == first.tasks
    np.testing.assert_array_equal(stacked(again, "action"), stacked(first, "action"))


def test_colors_and_starts_change_with_the_seed():
    demonstrating = Demonstrator(dataclasses.replace(BLIND, random_starts=0.5))
    episodes = [made(demonstrating, seed) for seed in range(12)]
    assert {parse_task(e.tasks[0]).color for e in episodes} == {"red", "green", "blue"}
    at_home = [np.allclose(e.frames[0]["observation.state"][0], 0.0, atol=1.0) for e in episodes]
    assert 2 <= sum(at_home) <= 10


def test_noise_disturbs_the_arm_and_not_the_actions():
    quiet = made(Demonstrator(BLIND), 3)
    noisy = made(Demonstrator(dataclasses.replace(BLIND, noise=0.03)), 3)
    # Until the first plan that sees the disturbance.
    np.testing.assert_array_equal(stacked(noisy, "action")[:4], stacked(quiet, "action")[:4])
    assert (
        np.abs(
            stacked(noisy, "observation.state")[1:4] - stacked(quiet, "observation.state")[1:4]
        )[:, :5].max()
        > 0.2
    )


def test_pictures_and_labels_belong_to_their_frame():
    demonstrating = Demonstrator(DemonstrationSettings(kind="reach", grounding=True, **SMALL))
    frame = made(demonstrating, 2).frames[0]
    demonstrating.close()
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
    demonstrating = Demonstrator(DemonstrationSettings(kind="scenes", grounding=True, **SMALL))
    demonstration = made(demonstrating, 1)
    demonstrating.close()
    assert len(demonstration.frames) == len(demonstration.tasks) == SCENES_PER_EPISODE
    np.testing.assert_array_equal(
        stacked(demonstration, "action"), stacked(demonstration, "observation.state")
    )
    labels = stacked(demonstration, "grounding.top")
    assert len(np.unique(labels[:, 0])) > SCENES_PER_EPISODE // 2
    assert len(set(demonstration.tasks)) > 4
    assert {parse_task(text).name for text in demonstration.tasks} <= {
        "reach",
        "pick_up",
        "pick_place",
    }


def test_a_failure_has_no_frames(monkeypatch):
    monkeypatch.setattr(ScriptedBackend, "infer", lambda *_: np.tile(HOME, (8, 1)))
    demonstration = Demonstrator(BLIND)(0)
    assert not demonstration.success
    assert demonstration.frames == demonstration.tasks == []


def test_a_sentence_is_a_task_too():
    settings = dataclasses.replace(BLIND, task="Touch the blue cube.")
    assert set(made(Demonstrator(settings), 4).tasks) == {"touch the blue cube"}


def test_workers_give_the_same_episodes():
    with run_in_processes(partial(Demonstrator, BLIND), count(40), 2, in_order=True) as several:
        episodes = [episode for _, episode in islice(several, 5)]
    assert [episode.seed for episode in episodes] == [40, 41, 42, 43, 44]
    demonstrating = Demonstrator(BLIND)
    for episode in episodes[::4]:
        alone = demonstrating(episode.seed)
        np.testing.assert_array_equal(stacked(episode, "action"), stacked(alone, "action"))


def test_an_error_in_a_worker_reaches_the_user(tmp_path):
    settings = recording(tmp_path / "data", 1, lead_in="./nowhere", workers=1)
    with pytest.raises(ValueError, match="nowhere' is neither"):
        record(settings)


def recording(folder, episodes, **settings):
    usual = {**dataclasses.asdict(BLIND), "output": folder, "episodes": episodes, "seed": 0}
    return RecordingSettings(**{**usual, **settings})


@pytest.fixture
def in_process(monkeypatch):
    """Demonstrations without processes; every third seed fails, `until` interrupts."""
    seeds, until = [], []

    @contextmanager
    def fake(make, jobs, workers, *, in_order):
        def several():
            for seed in jobs:
                if seed in until:
                    raise KeyboardInterrupt
                seeds.append(seed)
                state = np.full(6, seed, np.float32)
                frames = [{"observation.state": state, "action": state}] * 3
                good = seed % 3 != 2
                yield seed, Demonstration(seed, good, ["reach"] * 3 * good, frames * good)

        yield several()

    monkeypatch.setattr(record_dataset, "run_in_processes", fake)
    return seeds, until


def test_only_successes_are_kept(in_process, tmp_path):
    assert record(recording(tmp_path / "data", 5, seed=1)) == 2
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
        record(recording(tmp_path / "data", 5))
    until.clear()
    seeds.clear()
    record(recording(tmp_path / "data", 5, resume=True))
    assert seeds == [4, 5, 6, 7][: len(seeds)]
    actions = Dataset.open(tmp_path / "data").column("action")[::3, 0]
    np.testing.assert_array_equal(actions, [0, 1, 3, 4, 6])


def test_ctrl_c_names_how_to_go_on(in_process, tmp_path, capsys):
    _, until = in_process
    until.append(4)
    folder = tmp_path / "data"
    arguments = ["--kind", "reach", "--cameras", "", "--episodes", "5", "--seed", "0"]
    assert main([*arguments, "--output", str(folder)]) == 130
    assert f"--resume continues {folder}" in capsys.readouterr().err
    assert Dataset.open(folder).num_episodes == 3


def test_resuming_with_other_options_is_refused(in_process, tmp_path):
    record(recording(tmp_path / "data", 1))
    with pytest.raises(ValueError, match=r"was recorded with noise=0\.0"):
        record(recording(tmp_path / "data", 2, noise=0.01, resume=True))
    (tmp_path / "data" / "meta" / "simulation.json").unlink()
    with pytest.raises(ValueError, match="was not recorded by this program"):
        record(recording(tmp_path / "data", 2, resume=True))


@pytest.mark.parametrize("resume", [False, True])
def test_an_early_ctrl_c_does_not_block_the_next_run(in_process, tmp_path, resume):
    _, until = in_process
    until.append(4)
    with pytest.raises(KeyboardInterrupt):
        record(recording(tmp_path / "data", 2, seed=4))
    until.clear()
    other = recording(tmp_path / "data", 1, seed=4, fps=10, resume=resume)
    record(other)
    data = Dataset.open(tmp_path / "data")
    assert (data.num_episodes, data.fps) == (1, 10)


def test_episodes_are_not_recorded_over(in_process, tmp_path, capsys):
    record(recording(tmp_path / "data", 1))
    line = ["--kind", "reach", "--cameras", "", "--episodes", "1"]
    assert main([*line, "--output", str(tmp_path / "data")]) == 2
    assert "--resume continues" in capsys.readouterr().err
    assert Dataset.open(tmp_path / "data").num_episodes == 1


def test_the_dataset_holds_its_units(in_process, tmp_path):
    record(recording(tmp_path / "data", 1))
    facts = dataset_facts(Dataset.open(tmp_path / "data"))
    assert (facts.units, facts.fps, facts.joints[5]) == ("degrees", BLIND.fps, "gripper.pos")
    assert facts.gripper_range == (-0.174, 1.75)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--cameras", "front"], "--cameras has front; there are "),
        (["--task", "dance"], "unknown task 'dance'; there are pick_place"),
        (["--cameras", "", "--grounding"], "--grounding needs a camera"),
        (["--camera-size", "9x9"], "--camera-size is '9x9'"),
    ],
)
def test_wrong_options_are_explained(arguments, message, tmp_path, capsys):
    usual = ["--kind", "reach", "--episodes", "1", "--output", str(tmp_path / "data")]
    assert main([*usual, *arguments]) == 2
    assert message in capsys.readouterr().err
    assert not (tmp_path / "data").exists()


LED = DemonstrationSettings(kind="reach", cameras=(), lead_in="some/checkpoint")


class Sleeper:
    """A backend that stays at home."""

    name, cameras, joint_names, needs_objects = "sleeper", (), JOINT_NAMES, False
    chunk_size, period = 16, 1.0 / 15.0

    def __init__(self):
        self.tuned = []
        self.closed = False

    def tune(self, options):
        self.tuned.append(options)

    def infer(self, observation, request):
        return np.tile(HOME, (16, 1))

    def close(self):
        self.closed = True


@pytest.fixture
def driven(monkeypatch):
    """A policy in place of any checkpoint; returns what installs it and what was asked for."""
    asked = []

    def install(backend):
        def load(settings):
            asked.append(settings)
            return backend

        monkeypatch.setattr(demonstrator, "load_backend", load)

    return install, asked


def test_a_checkpoint_drives_for_a_random_time_in_every_way(driven):
    install, asked = driven
    sleeper = Sleeper()
    install(sleeper)
    demonstrating = Demonstrator(LED)
    times = []
    for seed in range(14):
        demonstration = made(demonstrating, seed)
        # Nothing of it is recorded: the expert's frames are shorter than the time that passed.
        times.append(demonstrating.simulation.time - len(demonstration.frames) / LED.fps)
    assert min(times) < 3.0 < 9.0 < max(times) < LEAD_IN
    assert len({round(time, 3) for time in times}) == 14
    assert [options["seed"] for options in sleeper.tuned] == list(range(14))
    assert {options["real_time_chunking"] for options in sleeper.tuned} == {
        "auto",
        "off",
        "guided",
    }
    (settings,) = asked
    assert (settings.policy, settings.checkpoint) == ("smolvla", "some/checkpoint")
    assert (settings.fps, settings.model) == (0.0, "so100")  # the checkpoint's own rate
    demonstrating.close()
    assert sleeper.closed


def test_the_expert_does_the_task_that_the_checkpoint_left(driven):
    install, _ = driven
    install(ScriptedBackend(chunk_size=16, period=1.0 / 15.0))
    demonstrating = Demonstrator(LED)
    usual, led = Demonstrator(BLIND), []
    for seed in (0, 4, 5):
        demonstration = made(demonstrating, seed)
        assert set(demonstration.tasks) == {demonstrating.simulation.task.sentence}
        led.append(demonstration.tasks[0] != made(usual, seed).tasks[0])
    # It had done some already.
    assert any(led)


def test_a_led_episode_depends_on_its_seed_alone(driven):
    install, _ = driven
    install(ScriptedBackend(chunk_size=16, period=1.0 / 15.0))
    used, fresh = Demonstrator(LED), Demonstrator(LED)
    used(7)
    again, first = used(4), fresh(4)
    assert again.success
    assert again.tasks == first.tasks
    for name in ("action", "observation.state"):
        np.testing.assert_array_equal(stacked(again, name), stacked(first, name))


def test_still_pictures_and_plain_recordings_load_no_checkpoint(driven):
    install, asked = driven
    install(Sleeper())
    Demonstrator(DemonstrationSettings(kind="scenes", cameras=(), lead_in="some/checkpoint"))
    Demonstrator(BLIND)
    assert asked == []


def test_a_recording_resumes_only_with_the_same_checkpoint(in_process, tmp_path, capsys):
    def run(*arguments):
        usual = ["--kind", "reach", "--cameras", "", "--seed", "3"]
        status = main([*usual, "--output", str(tmp_path / "d"), *arguments])
        return status, capsys.readouterr().err

    assert run("--lead-in", "mine", "--episodes", "1")[0] == 0
    for other in (["--lead-in", "another"], []):
        status, err = run(*other, "--episodes", "2", "--resume")
        assert status == 2
        assert "was recorded with lead_in='mine'" in err
    assert run("--lead-in", "mine", "--episodes", "2", "--resume")[0] == 0
    assert in_process[0] == [3, 4]
