# SPDX-License-Identifier: Apache-2.0
"""Meta-World by LeRobot's protocol: scripts/with_metaworld.sh python -m pytest plugins"""

from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("metaworld", reason="scripts/with_metaworld.sh python -m pytest plugins")

from smolvla_core.robot import load_robot
from smolvla_core.units.joint_units import joint_units
from smolvla_learning.dataset import Dataset
from smolvla_metaworld import evaluate, record
from smolvla_metaworld.environment import CAMERA, FIVE, GOAL, OBJECTS, TASKS, MetaWorld
from smolvla_metaworld.play import Player
from smolvla_sim.settings import CHECKPOINT
from smolvla_sim.world.rendering import choose_gl

ROOT = Path(__file__).parents[3]


@pytest.fixture(autouse=True)
def _gl():
    choose_gl()


@pytest.fixture
def made():
    worlds = []

    def make(name, **options):
        worlds.append(MetaWorld(name, 96, **options))
        return worlds[-1]

    yield make
    for world in worlds:
        world.close()


def test_an_episode_depends_on_its_seed_alone(made):
    world = made("door-open-v3")
    world.reset(5)
    first = world.picture()
    for _ in range(30):
        world.step(world.expert_action())
    moved = world.state
    world.reset(6)
    assert np.abs(world.picture().astype(int) - first).max() > 50
    world.reset(5)
    np.testing.assert_array_equal(world.picture(), first)
    for _ in range(30):
        world.step(world.expert_action())
    np.testing.assert_allclose(world.state, moved, atol=1e-6)


@pytest.mark.parametrize("name", FIVE)
def test_the_expert_does_the_task_and_stays_within_the_actions(made, name):
    world = made(name)
    world.reset(1000)
    while not world.success and not world.over:
        action = world.expert_action()
        assert np.abs(action).max() <= 1.0
        world.step(action)
    assert world.success


def test_labels_are_where_the_goal_is_drawn(made):
    world = made("reach-v3")
    for seed in range(3):
        world.reset(seed)
        with_goal = world.picture().astype(int)
        goal = world._env.model.site("goal")
        color = goal.rgba.copy()
        goal.rgba = 0.0
        rows, columns = np.nonzero(np.abs(world.picture() - with_goal).sum(-1))
        goal.rgba = color
        u, v, present = world.labels()[OBJECTS.index(GOAL)]
        assert present == 1.0
        assert (u * 96, v * 96) == pytest.approx((columns.mean(), rows.mean()), abs=2.0)


@pytest.mark.parametrize("name", TASKS)
def test_the_positions_of_the_robot_file_are_the_steps_that_actions_do(made, name):
    robot = load_robot(str(ROOT / "docs/examples/metaworld.yaml"))
    units = joint_units("radians", robot.joints)
    world = made(name)
    world.reset(1000)
    assert (units.to_policy(world.state) == world.state).all()
    command = np.array([*world._env.data.mocap_pos[0], 1.0])
    for _ in range(150):
        action = world.expert_action()
        command = units.to_joints(action, command)
        world.step(world.toward(command))
        np.testing.assert_allclose(world._env.data.mocap_pos[0], command[:3], atol=1e-6)
        np.testing.assert_allclose(world.toward(command)[3], action[3], atol=1e-6)


def test_a_quick_picture_is_nearly_the_same(made):
    pictures = []
    for quick in (False, True):
        world = made("drawer-close-v3", quick=quick)
        world.reset(3)
        pictures.append(world.picture().astype(int))
    assert 0.0 < np.abs(pictures[0] - pictures[1]).mean() < 3.0


def test_a_recording_is_a_dataset_by_lerobots_protocol(tmp_path, capsys):
    options = ["--output", str(tmp_path / "mw"), "--episodes", "2", "--workers", "1"]
    tasks = ["--tasks", "reach-v3", "drawer-close-v3"]
    assert record.main([*options, *tasks]) == 0
    dataset = Dataset.open(tmp_path / "mw")
    assert dataset.num_episodes == 2
    assert dataset.fps == 80
    assert set(dataset.tasks) == {TASKS["reach-v3"].sentence, TASKS["drawer-close-v3"].sentence}
    assert dataset.features[CAMERA].shape == (480, 480, 3)
    assert record.LABELS not in dataset.features
    assert dataset.column("observation.state").shape[1] == 4
    assert np.abs(dataset.column("action")).max() <= 1.0
    assert record.main([*options, *tasks]) == 2
    assert "another --output" in capsys.readouterr().err


def test_parts_of_episodes_can_be_filmed(tmp_path):
    options = ["--output", str(tmp_path / "mw"), "--episodes", "3", "--workers", "1"]
    assert record.main([*options, "--tasks", "reach-v3", "--longest", "4", "--grounding"]) == 0
    dataset = Dataset.open(tmp_path / "mw")
    assert [episode.length for episode in dataset.episodes] == [4, 4, 4]
    goal = dataset.column(record.LABELS)[:, 3 * OBJECTS.index(GOAL) :][:, :3]
    assert (goal > 0.0).all()
    # Each begins at a moment of its own.
    starts = dataset.column("observation.state")[::4]
    assert len(np.unique(starts, axis=0)) == 3


def test_the_shipped_checkpoint_closes_a_drawer(capsys):
    options = ["--tasks", "drawer-close-v3", "--episodes", "1", "--workers", "1"]
    assert evaluate.main(options) == 0
    assert "success 1/1" in capsys.readouterr().out


def test_a_checkpoint_of_another_robot_is_refused(capsys):
    assert evaluate.main(["--checkpoint", str(CHECKPOINT), "--workers", "1"]) == 2
    said = capsys.readouterr().err
    assert "no checkpoint of Meta-World" in said
    assert "Traceback" not in said


def test_driving_ends_with_the_success(made):
    world = made("drawer-close-v3")
    world.reset(1000)
    asked = Player(str(evaluate.SHIPPED)).play(world, 1000, 500)
    assert world.success
    assert asked == -(-world.steps // 4)
